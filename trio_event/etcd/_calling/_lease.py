"""A lease as its holder sees it: how long it is certain to be there.

The problem: a cluster deletes the keys of a lease that was not kept alive, and by then the holder
must have stopped what depends on them. But it may not hear of that: it may be cut off, or frozen.
So it has to know from its own clock how long the lease is there for certain.

The invariants:

- The deadline counts from the sending of what was acknowledged last. The cluster counts from when
  that has arrived there, which is later. So the lease is there until the deadline, however long
  the answer has taken.
- A lease is lost once and for all. It is lost when a member says that it is not there, or when its
  deadline has passed, whatever is said later.
- What must not outlive the lease runs in a scope whose deadline moves with that of the lease. No
  task has to run for that: Trio cancels the scope, also after the process was frozen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import trio
from trio.lowlevel import enable_ki_protection

from .._errors import RefusedError
from ._verdicts import LEASE_IS_LOST

if TYPE_CHECKING:
    from types import TracebackType


@final
class Lease:
    """A lease, which is kept alive inside of ``async with client.lease(ttl)`` (E13).

    Keys that are put with it are deleted when it ends. It is lost if the cluster has not
    acknowledged for too long that it is kept alive, or says that it is not there. What is lost
    stays lost: open another one, and put the keys again.

    Attributes:
        id: Its number in the cluster.

    Example::

        async with client.lease(10) as lease:
            await client.put("app/peers/alice", b"10.0.0.4", lease=lease)
            await lease.wait_lost()
    """

    def __init__(self, number: int, ttl: int, sent_at: float) -> None:
        """Clients make leases; see :meth:`EtcdClient.lease`."""
        self.id: int = number
        self._ttl = ttl
        # When what was acknowledged last was sent.
        self._sent_at = sent_at
        self._token = trio.lowlevel.current_trio_token()
        self._is_gone = False
        self._is_left = False
        # What ends before the lease does, by how many seconds.
        self._scopes: dict[trio.CancelScope, float] = {}

    def __repr__(self) -> str:
        """Show the id, and whether it is there."""
        state = " left" if self._is_left else " gone" if self._is_gone else ""
        return f"<Lease {self.id:x} of {self._ttl} s{state}>"

    @property
    def ttl(self) -> int:
        """How many seconds the cluster has granted; it may be more than was asked for."""
        return self._ttl

    @property
    def deadline(self) -> float:
        """Until when the lease is there for certain, in Trio's time.

        It counts from the sending of the last keepalive that was acknowledged, and moves with each.
        """
        return self._sent_at + self._ttl

    @property
    def is_lost(self) -> bool:
        """Whether the deadline has passed, or the cluster has said that the lease is not there."""
        return self._is_gone or trio.current_time() >= self.deadline

    async def wait_lost(self) -> None:
        """Wait until the lease is lost, or was left (E13).

        Raises:
            RuntimeError: if the lease is of another Trio run.

        Checkpoints:
            Always.

        Cancellation:
            Leaves nothing behind.
        """
        if trio.lowlevel.current_trio_token() is not self._token:
            msg = f"wait_lost() of {self!r} was called in another Trio run: open one in this"
            raise RuntimeError(msg)
        with self._scope():
            await trio.sleep_forever()

    # For the package

    def _scope(self, margin: float = 0) -> _Scope:
        """Cancel the body when the lease is lost, or ``margin`` seconds before its deadline."""
        return _Scope(self, margin)

    def _renew(self, sent_at: float, ttl: int) -> None:
        """Record what was acknowledged; a lease that is lost stays lost."""
        if self.is_lost:
            return
        self._sent_at, self._ttl = sent_at, ttl
        for scope, margin in self._scopes.items():
            scope.deadline = self.deadline - margin

    def _end(self, *, is_left: bool = False) -> None:
        """Record that it is not there any more."""
        self._is_gone = True
        self._is_left = self._is_left or is_left
        for scope in self._scopes:
            scope.cancel(reason=f"{self!r} has ended")


@final
class _Scope:
    """A scope that ends before a lease does.

    It is no ``contextmanager``: a ``KeyboardInterrupt`` in the frames of :mod:`contextlib`, which
    are not protected, would leave Trio's scope open.
    """

    __slots__ = ("_lease", "_margin", "_scope")

    def __init__(self, lease: Lease, margin: float) -> None:
        self._lease = lease
        self._margin = margin
        self._scope = trio.CancelScope(deadline=lease.deadline - margin)

    @enable_ki_protection
    def __enter__(self) -> trio.CancelScope:
        scope, lease = self._scope, self._lease
        scope.__enter__()
        if lease._is_gone:
            scope.cancel(reason=f"{lease!r} is lost")
        lease._scopes[scope] = self._margin
        return scope

    @enable_ki_protection
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        del self._lease._scopes[self._scope]
        return self._scope.__exit__(kind, error, traceback)


def id_of(call: str, key: object, lease: object) -> int:
    """Return the number by which a key is put with a lease; 0 for None.

    Raises:
        TypeError: if it is no lease.
        RuntimeError: if it is of another Trio run.
        ClosedResourceError: if it was left.
        RefusedError: if it is lost.
    """
    if lease is None:
        return 0
    if not isinstance(lease, Lease):
        msg = f"{call}() of {key!r} was given {lease!r}, which is no lease: open one by lease()"
        raise TypeError(msg)
    if trio.lowlevel.current_trio_token() is not lease._token:
        msg = f"{call}() of {key!r} was given {lease!r} of another Trio run: open one in this"
        raise RuntimeError(msg)
    if lease._is_left:
        msg = f"{call}() of {key!r} was given {lease!r}: call it inside the lease's 'async with'"
        raise trio.ClosedResourceError(msg)
    if lease.is_lost:
        msg = f"{call}() of {key!r}: {LEASE_IS_LOST}: open another one instead of {lease!r}"
        raise RefusedError(msg)
    return lease.id

"""Electing one of several processes that leads (E10).

The problem: of several candidates at most one may lead, although each may be cut off, frozen, or
have its key deleted, and none of them hears of that in time.

The invariants:

- A candidate has a lease and a key with it. It leads when, in one transaction, its key has the
  create revision that it was given, and no key of the election is older. Older ones never come.
- A candidate that waits watches the next older key, so that one candidate is woken and not all. It
  watches its own as well: an operator may delete either.
- The child runs in a scope whose deadline is that of the lease, less the margin. So it is cancelled
  before another one can lead, also when nothing tells it to. The scope is Trio's: after a freeze it
  is cancelled in the first task step.
- The lease is ended when the child is gone, and not before, as long as it lasts.
- A leader that was too slow, because its thread was blocked, may yet send a write. Such writes are
  fenced: they compare the create revision of the key of the election, in the same transaction.
"""

from __future__ import annotations

import inspect
import os
import socket
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, final

import trio
from trio.lowlevel import enable_ki_protection

import supervisor
from supervisor import GroupState, RunError, Signal, UnknownNameError

from .._absent import ABSENT
from .._arguments import check_seconds, shown
from .._value import compose
from ._calling._endpoints import pauses
from ._calling._leases import END_TIME
from ._calling._requests import (
    Compare,
    Delete,
    Get,
    Put,
    TransactionResult,
    check_ttl,
    encode_key,
    end_of_prefix,
    fenced_request,
    oldest_request,
    transaction_request,
    transaction_result,
)
from ._calling._verdicts import says_lease_is_lost
from ._client import check_client
from ._errors import LeadershipLostError, RefusedError, UnavailableError, UnknownOutcomeError
from ._values._codecs import Bytes
from ._values._open import check_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from supervisor import Handle, Pool

    from ._calling._lease import Lease
    from ._calling._requests import Operation
    from ._client import EtcdClient

_current: Final[ContextVar[Leadership]] = ContextVar("trio_event.etcd.leadership")


def elect(
    client: EtcdClient,
    name: str,
    runnable: Callable[[], Awaitable[object]],
    *,
    ttl: int = 10,
    margin: float | None = None,
) -> Election:
    """Make a runnable that runs another one while it is the leader (E10).

    Each process that takes part runs it, with the same name. The runnable is ``HEALTHY`` as soon as
    it is a candidate. While it leads, it runs ``runnable`` as a child of its pool ``terms``, with
    signals of its own. The child gets its :class:`Leadership` by :func:`current_leadership`.

    If the leadership is lost, the child is cancelled, and the runnable is a candidate again. If
    the child dies, the runnable dies of the same error: another process leads, and this one is
    a candidate when its supervisor starts it again. If the child is ``DONE``, so is the runnable.

    Args:
        client: The client.
        name: The name of the election. The keys of the candidates are ``name/...``.
        runnable: What the leader runs. Its children's grace periods have to fit into the margin.
        ttl: After how many seconds without a sign of life the next one leads.
        margin: How many seconds before its lease ends the child is cancelled; by default a fifth of
            ``ttl``.

    Returns:
        A runnable, for :func:`supervisor.run`.

    Raises:
        TypeError: if ``runnable`` is not callable, or an argument is of a wrong kind.
        ValueError: if ``name`` is empty, ``ttl`` below 1, or ``margin`` not below half of it.

    Checkpoints:
        Never.

    Example::

        supervisor.run("leader", elect(client, "app/leader", assign_shards))
    """
    check_client("elect", client)
    check_key("elect", name)
    check_ttl("elect", ttl)
    _check_runnable(runnable)
    if margin is None:
        margin = ttl / 5
    check_seconds("elect", "margin", margin)
    if margin >= ttl / 2:
        msg = f"elect(): margin={margin!r} is not below half of ttl={ttl!r}: make it smaller"
        raise ValueError(msg)
    return Election(client, name, runnable, ttl, margin)


def _check_runnable(runnable: object) -> None:
    if inspect.iscoroutine(runnable):
        runnable.close()  # nobody will await it
        msg = f"elect(): runnable={shown(runnable)} is a coroutine: pass the function, not its call"
        raise TypeError(msg)
    if not callable(runnable) or inspect.isasyncgenfunction(runnable):
        msg = f"elect(): runnable={shown(runnable)} is no async function: pass one"
        raise TypeError(msg)


def current_leadership() -> Leadership:
    """Return the leadership of the calling child of :func:`elect` (E10).

    Raises:
        LookupError: if no such child calls, nor a task or child of it.

    Checkpoints:
        Never.
    """
    leadership = _current.get(None)
    if leadership is None:
        msg = "current_leadership() was called outside of what elect() runs: pass that to elect()"
        raise LookupError(msg)
    return leadership


@final
class Leadership:
    """What a leader may do as the leader, and only as long as it is (E10).

    Each write compares, in its transaction, whether this is the leader still. So none succeeds
    after one of a later leader.

    Attributes:
        name: The name of the election.
        key: The key of this leader.
        revision: The revision that has put it. A later leader has a greater one.
        lease: Its lease, for keys that are to end with the leadership.

    Example::

        leadership = current_leadership()
        await leadership.put("app/address", b"10.0.0.4", lease=leadership.lease)
    """

    def __init__(
        self, client: EtcdClient, name: str, key: str, revision: int, lease: Lease
    ) -> None:
        """Elections make leaderships; see :func:`elect`."""
        self.name: str = name
        self.key: str = key
        self.revision: int = revision
        self.lease: Lease = lease
        self._client = client

    def __repr__(self) -> str:
        """Show the election and the revision."""
        state = " lost" if self.lease.is_lost else ""
        return f"<Leadership of {self.name!r} since revision {self.revision}{state}>"

    async def put(self, key: str | bytes, value: bytes, *, lease: Lease | None = None) -> int:
        """Put data under a key, if this is the leader still.

        Args:
            key: The key.
            value: The data.
            lease: With which the key is to end; by default with none.

        Returns:
            The cluster's revision that has done it.

        Raises:
            LeadershipLostError: if it is not; nothing was done.
            Exception: as :meth:`EtcdClient.put` does.

        Checkpoints:
            Always.

        Cancellation:
            It may have been done, or may yet be; not if it is cancelled before it begins.
        """
        return (await self.transaction([], [Put(key, value, lease)])).revision

    async def delete(self, key: str | bytes) -> int:
        """Delete a key, if it is there and this is the leader still.

        Args:
            key: The key.

        Returns:
            The cluster's revision that has done it; the present one if the key was not there.

        Raises:
            Exception: as :meth:`put` does.

        Checkpoints:
            Always.

        Cancellation:
            It may have been done, or may yet be; not if it is cancelled before it begins.
        """
        return (await self.transaction([], [Delete(key)])).revision

    async def transaction(
        self,
        compare: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> TransactionResult:
        """Do several things in one step, if this is the leader still.

        Args:
            compare: As for :meth:`EtcdClient.transaction`, like the others.
            then: What to do if all comparisons are true.
            otherwise: What to do if they are not.

        Returns:
            Which of the two was done.

        Raises:
            LeadershipLostError: if it is not the leader; nothing was done.
            Exception: as :meth:`EtcdClient.transaction` does.

        Checkpoints:
            Always.

        Cancellation:
            It may have been done, or may yet be; not if it is cancelled before it begins.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        request = transaction_request(compare, then, otherwise)
        if self.lease.is_lost:
            raise self._lost()
        answer = await self._client._call(
            "transaction", fenced_request(self.key, self.revision, request)
        )
        if not answer.succeeded:
            raise self._lost()
        inner = answer.responses[0].response_txn
        return TransactionResult(
            inner.succeeded, answer.header.revision, transaction_result(inner).gets
        )

    def _lost(self) -> LeadershipLostError:
        msg = (
            f"the leadership of {self.name!r} since revision {self.revision} is lost: "
            "leave the work to the next leader"
        )
        return LeadershipLostError(msg)


@final
class Election:
    """A runnable that runs another one while it leads, as :func:`elect` returns it (E10).

    Attributes:
        grace: What :func:`supervisor.run` takes for it if it is told nothing else: the grace of
            what it runs, and a second.
    """

    def __init__(
        self,
        client: EtcdClient,
        name: str,
        runnable: Callable[[], Awaitable[object]],
        ttl: int,
        margin: float,
    ) -> None:
        """Make one; users get theirs from :func:`elect`."""
        self._grace: float = getattr(runnable, "grace", 0.0)
        self.grace: float = self._grace + END_TIME
        self._client = client
        self._name = name
        self._runnable = runnable
        self._ttl = ttl
        self._margin = margin

    def __repr__(self) -> str:
        """Show the name."""
        return f"<Election {self._name!r}>"

    async def __call__(self) -> None:
        """Run: this is the runnable.

        Checkpoints:
            Always.

        Cancellation:
            Ends the child, and then the lease, which takes a second at most.
        """
        pool = supervisor.run_pool("terms")
        await pool.wait_healthy()
        supervisor.signal(Signal.HEALTHY)
        with supervisor.stop_scope():
            await self._take_part(pool)
            pool.close()
            supervisor.signal(Signal.DONE)

    async def _take_part(self, pool: Pool) -> None:
        """Be a candidate and lead, again and again, until a child is DONE."""
        pause = pauses()
        while True:
            try:
                async with self._client.lease(self._ttl) as lease:
                    pause = pauses()
                    if await self._take_part_by(lease, pool):
                        return
            except UnavailableError as error:
                supervisor.logger().info("no lease for the election %r: %s", self._name, error)
                await trio.sleep(next(pause))

    async def _take_part_by(self, lease: Lease, pool: Pool) -> bool:
        """Take part by a lease; return whether the child was DONE."""
        key = f"{self._name}/{lease.id:016x}"
        leadership: Leadership | None = None
        with lease._scope(self._margin):
            leadership = await self._wait_elected(key, lease)
        if leadership is None:
            supervisor.logger().info("the lease for the election %r is lost", self._name)
            await trio.lowlevel.checkpoint()
            return False
        supervisor.logger().info("leads %r since revision %d", self._name, leadership.revision)
        term = _Term(self._client, self._runnable, leadership, self._margin, pool)
        return await term.run(self._grace)

    # The campaign

    async def _wait_elected(self, key: str, lease: Lease) -> Leadership | None:
        """Wait for the leadership; return None if the lease is lost."""
        pause = pauses()
        while True:
            try:
                revision = await self._join(key, lease)
                older = await self._find_older(key, revision)
                if older is None:
                    return Leadership(self._client, self._name, key, revision, lease)
                if older != key:
                    await self._wait_changed(key, older)
                pause = pauses()
            except (UnavailableError, UnknownOutcomeError):
                await trio.sleep(next(pause))
            except RefusedError as error:
                if not says_lease_is_lost(error):
                    raise
                await trio.lowlevel.checkpoint()
                return None

    async def _join(self, key: str, lease: Lease) -> int:
        """Put the own key, if it is not there; return the revision that has put it."""
        who = f"{socket.gethostname()} {os.getpid()}".encode()
        result = await self._client.transaction(
            [Compare(key, "create_revision", "==", 0)], [Put(key, who, lease)], [Get(key)]
        )
        (found,) = result.gets or (None,)
        return result.revision if found is None else found.create_revision

    async def _find_older(self, key: str, revision: int) -> str | None:
        """Return the next older key; the own one if that is gone; None if it is the oldest."""
        first = encode_key("elect", f"{self._name}/")
        request = oldest_request(key, revision, first, end_of_prefix(first))
        answer = await self._client._call("elect", request)
        if answer.succeeded:
            return None
        found = answer.responses[0].response_range.kvs
        older: str = found[0].key.decode() if found else key
        return older

    async def _wait_changed(self, key: str, older: str) -> None:
        """Wait until the own key or the older one is gone."""
        async with (
            self._client.value(key, Bytes()) as own,
            self._client.value(older, Bytes()) as before,
        ):
            await compose(own, before).wait_for(lambda pair: any(each is ABSENT for each in pair))


@final
class _Term:
    """One leadership, and the child that has it."""

    def __init__(
        self,
        client: EtcdClient,
        runnable: Callable[[], Awaitable[object]],
        leadership: Leadership,
        margin: float,
        pool: Pool,
    ) -> None:
        self._client = client
        self._runnable = runnable
        self._leadership = leadership
        self._margin = margin
        self._pool = pool
        self._child = str(leadership.revision)
        # Why it was lost, and what the child has raised.
        self._loss = ""
        self._error: Exception | None = None
        self._has_returned = False
        self._has_ended = trio.Event()
        self._scope: trio.CancelScope | None = None

    @enable_ki_protection  # a nursery whose tasks are begun by halves never ends
    async def run(self, grace: float) -> bool:
        """Run the child until it ends, or the leadership is lost; return whether it was DONE.

        Raises:
            Exception: what the child has died of.
        """
        token = _current.set(self._leadership)
        try:
            # The child finds the variable as it is now.
            handle = self._pool.run(self._child, self._run_child, grace=grace)
        finally:
            _current.reset(token)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_lease)
                nursery.start_soon(self._watch_key)
                state = await handle.wait_ended()
                nursery.cancel_scope.cancel()
        finally:
            await self._stop(handle)  # noqa: ASYNC102  it shields, until the lease ends
        return self._judge(state, handle)

    def _judge(self, state: GroupState, handle: Handle) -> bool:
        """Say how the child has ended."""
        if state is GroupState.FINISHED:
            return True
        if isinstance(self._error, LeadershipLostError):
            self._loss = self._loss or str(self._error)
        if state is GroupState.FAILED and not self._loss:
            if self._error is not None:
                raise self._error
            msg = f"the leader {handle.dn} has ended without DONE: signal it, or raise an exception"
            raise RuntimeError(msg)
        reason = self._loss or "it was stopped"
        supervisor.logger().info("leads %r no longer: %s", self._leadership.name, reason)
        return False

    async def _run_child(self) -> None:
        """Run what the leader runs. This is the runnable of the child's node."""
        with self._leadership.lease._scope(self._margin) as self._scope:
            if self._loss:
                self._scope.cancel(reason=self._loss)
            try:
                await self._runnable()
                self._has_returned = True
            except Exception as error:
                self._error = error
                raise
        if not self._has_returned:
            await self._wait_ended()  # its end is a stop by the election, and no death

    @enable_ki_protection  # otherwise it may be left among those whom the event wakes
    async def _wait_ended(self) -> None:
        await self._has_ended.wait()

    @enable_ki_protection
    async def _watch_lease(self) -> None:
        with self._leadership.lease._scope(self._margin):
            await trio.Event().wait()
        await self._lose("its lease is lost, or was not renewed in time")

    @enable_ki_protection
    async def _watch_key(self) -> None:
        async with self._client.value(self._leadership.key, Bytes()) as own:
            await own.wait_for(lambda data: data is ABSENT)
        await self._lose("its key was deleted")

    async def _lose(self, reason: str) -> None:
        self._loss = self._loss or reason
        if self._scope is not None:
            self._scope.cancel(reason=reason)
        await self._end_child()

    async def _end_child(self) -> None:
        self._has_ended.set()
        try:
            await self._pool.stop(self._child)
        except (UnknownNameError, RunError):  # it has ended, or its pool is ended
            await trio.lowlevel.checkpoint()

    async def _stop(self, handle: Handle) -> None:
        """Wait until nothing of the child runs, as long as the lease lasts."""
        with trio.CancelScope(deadline=self._leadership.lease.deadline, shield=True):
            await self._end_child()
            await handle.wait_ended()

"""Keeping a key there for as long as the process lives, with the newest data of a value.

The invariants:

- The key is written only where nothing is stored, or what one of the leases of this call has put.
  So two announcers of one key can't overwrite each other: the second one is refused.
- Each write compares before it stores. It may be made again after an unknown outcome, since what is
  there is read then.
- A lease that is lost is replaced, and the key is put again with the new one. What the old one has
  put may still be there for a while. It counts as its own.
- What others have done to the key is seen by its modification revision: it is another one than that
  of the last put.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import trio

from .._consuming._select import select
from .._memory._value import MemoryValue
from .._watcher import check_value
from ._calling._endpoints import pauses
from ._calling._requests import Compare, Get, Put, check_ttl
from ._calling._verdicts import says_lease_is_lost
from ._client import check_client
from ._errors import RefusedError, UnavailableError, UnknownOutcomeError
from ._values._codecs import Bytes
from ._values._open import check_key

if TYPE_CHECKING:
    from .._value import ValueWatch
    from .._watcher import Watcher
    from ._calling._lease import Lease
    from ._client import EtcdClient
    from ._values._value import EtcdValue


async def announce(
    client: EtcdClient,
    key: str,
    value: bytes | ValueWatch[bytes],
    *,
    ttl: int = 10,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keep a key in the cluster until it is cancelled, with data that may change (E14).

    The key ends with this call, at once; with the process, after ``ttl`` seconds. It is put again
    if somebody deletes it, and if its lease was lost, as when the process was frozen.

    Args:
        client: The client.
        key: The key.
        value: The data, or a value of them that is followed. When that value is closed, its last
            data stay.
        ttl: After how many seconds without a sign of life the cluster deletes the key.
        task_status: ``await nursery.start(...)`` returns when the key is there.

    Raises:
        RefusedError: if the cluster does not allow it, or the key was put by somebody else.
        BrokenResourceError: if ``value`` has failed.
        ClosedResourceError: if the client was left.
        TypeError: if ``value`` is neither bytes nor a value of bytes, or ``ttl`` no whole number.
        ValueError: if ``key`` is empty, or ``ttl`` below 1.

    Checkpoints:
        Always.

    Cancellation:
        The key is deleted, which takes a second at most.

    Example::

        async with trio.open_nursery() as nursery:
            await nursery.start(announce, client, "app/peers/alice", b"10.0.0.4")
    """
    check_client("announce", client)
    check_key("announce", key)
    check_ttl("announce", ttl)
    if isinstance(value, bytes):
        value = MemoryValue(value)
    else:
        check_value("announce(): value", value, remedy="pass bytes, or a value of bytes")
    async with client.value(key, Bytes()) as stored:
        await _Announcement(client, stored, value, task_status).keep(ttl)


@final
class _Announcement:
    """One call of announce()."""

    def __init__(
        self,
        client: EtcdClient,
        stored: EtcdValue[bytes],
        source: ValueWatch[bytes],
        task_status: trio.TaskStatus[None],
    ) -> None:
        self._client = client
        self._key: Final = stored.key
        self._stored = stored
        self._source = source
        self._task_status: trio.TaskStatus[None] | None = task_status
        # The leases by which the key may be there.
        self._own: set[int] = set()
        # The revision that has put it last.
        self._revision = 0

    async def keep(self, ttl: int) -> None:
        """Keep the key there, by one lease after the other."""
        pause = pauses()
        while True:
            try:
                async with self._client.lease(ttl) as lease:
                    pause = pauses()
                    self._own.add(lease.id)
                    with lease._scope():
                        await self._keep_by(lease)
            except UnavailableError:
                await trio.sleep(next(pause))

    async def _keep_by(self, lease: Lease) -> None:
        """Keep the key there by a lease, until that is lost."""
        with self._source.watch() as newest, self._stored.watch() as there:
            data = await newest.get()
            while await self._put(data, lease):
                data = await self._wait_changed(data, newest, there)

    async def _wait_changed(
        self, data: bytes, newest: Watcher[bytes], there: Watcher[object]
    ) -> bytes:
        """Wait until there are newer data, or somebody else has changed the key."""
        while not self._is_changed():
            try:
                index, newer = await select(newest, there)
            except trio.EndOfChannel:
                await there.get()  # the value was closed, and its last data stay
                continue
            if index == 0:
                assert isinstance(newer, bytes)
                return newer
        return data  # noqa: ASYNC910  a put comes next

    def _is_changed(self) -> bool:
        return self._stored.revision >= self._revision != self._stored._mod_revision

    async def _put(self, data: bytes, lease: Lease) -> bool:
        """Put the key, whatever it takes; return False if the lease is lost."""
        pause = pauses()
        while True:
            try:
                await self._try_put(data, lease)
            except (UnavailableError, UnknownOutcomeError):
                await trio.sleep(next(pause))
            except RefusedError as error:
                if not says_lease_is_lost(error):
                    raise
                return False  # noqa: ASYNC910  the put was a checkpoint
            else:
                return True

    async def _try_put(self, data: bytes, lease: Lease) -> None:
        expected = self._revision
        while True:
            result = await self._client.transaction(
                [Compare(self._key, "mod_revision", "==", expected)],
                [Put(self._key, data, lease)],
                [Get(self._key)],
            )
            if result.succeeded:
                break
            (found,) = result.gets
            expected = 0 if found is None else found.mod_revision
            if found is not None and found.lease not in self._own:
                owner = f"lease {found.lease:x}" if found.lease else "no lease"
                msg = (
                    f"announce() of {self._key!r}: the key is there already, with {owner}: "
                    "announce another key, or wait until that one is gone"
                )
                raise RefusedError(msg)
        self._revision = result.revision
        self._own = {lease.id}
        if self._task_status is not None:
            self._task_status.started()
            self._task_status = None

"""The value of one key of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar, final

import trio

from ..._absent import Absent
from ..._arguments import check_function, check_version
from ..._unset import Unset
from ...abc import StoredValue
from .._calling._requests import Compare, Put, transaction_request
from ._codecs import Undecodable

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..._value import ValueWatch
    from ..._waiting import WaitQueue
    from .._calling._lease import Lease
    from .._watching._health import Health
    from ._following import Following
    from ._kept import KeptValue

T = TypeVar("T")


@final
class EtcdValue(StoredValue[T | Absent], Generic[T]):
    """What is stored under one key of a cluster, as a value (E1 to E7, E11).

    It is open, and known, inside of ``async with client.value(key, codec)``. Its data are those of
    the key, or :data:`ABSENT` while the key is not there. Its versions count the changes in this
    process; its revisions are the cluster's. It can be watched, selected, followed, piped, derived
    from and composed like any other value.

    While the cluster can't be reached it keeps its last data; :attr:`health` says so.

    Example::

        async with client.value("app/color", Text()) as color:
            await color.put("green")
            async for current in color.watch():
                print(current)
    """

    def __init__(self, kept: KeptValue[T], following: Following[T]) -> None:
        """Clients make values; see :meth:`EtcdClient.value`."""
        self._kept = kept
        self._following = following

    def __repr__(self) -> str:
        """Show the key and the data."""
        kept = self._kept
        state = "" if kept.is_open else " closed" if kept.error is None else " failed"
        return f"<EtcdValue{state} {self.key!r} {kept.data!r} revision {self.revision}>"

    @property
    def key(self) -> str:
        """The key."""
        return self._following.watch.name

    @property
    def version(self) -> int:
        """The newest version, which counts the changes in this process."""
        return self._kept.version

    @property
    def wait_queue(self) -> WaitQueue:
        """The queue of the tasks that wait for it."""
        return self._kept.queue

    def read(self) -> T | Absent:
        """Return the newest data.

        Raises:
            DecodeError: if what is stored can't be decoded.

        Checkpoints:
            Never.
        """
        data = self._kept.data
        if isinstance(data, Undecodable):
            data.raise_error()
        assert not isinstance(data, Unset)
        return data

    def end(self) -> Exception | None:
        """Return what a ``get`` that has seen all is to raise; None while there may be more.

        Checkpoints:
            Never.
        """
        kept = self._kept
        if kept.is_open:
            return None
        if kept.error is None:
            return trio.EndOfChannel()
        broken = trio.BrokenResourceError(f"the value has failed: {kept.error!r}")
        broken.__cause__ = kept.error
        return broken

    @property
    def revision(self) -> int:
        """The cluster's revision up to which this value has everything."""
        return self._following.revision

    @property
    def _mod_revision(self) -> int:
        """The revision that has put the key last; 0 while it is not there."""
        watch = self._following.watch
        return watch.reflection.mod_revision(watch.key)

    @property
    def health(self) -> ValueWatch[Health]:
        """How fresh it is: as the client's, and ``failed`` after an error that is permanent."""
        return self._following.health

    async def wait_revision(self, revision: int) -> None:
        """Wait until the value has what a revision of the cluster has done (E1).

        Args:
            revision: As a ``put``, ``delete`` or ``transaction`` has returned it, perhaps in
                another process.

        Raises:
            EndOfChannel: if the value was left before.
            BrokenResourceError: if it has failed before.

        Checkpoints:
            Always.

        Cancellation:
            Leaves nothing behind.
        """
        await self._following.wait_revision(revision)

    async def put(self, value: T, *, lease: Lease | None = None) -> int:
        """Store data under the key.

        Args:
            value: The data, which the codec encodes.
            lease: With which the key is to end; by default with none.

        Returns:
            The cluster's revision that has done it; see :meth:`wait_revision`.

        Raises:
            ClosedResourceError: if the value was left.
            TypeError: if ``value`` is not what the codec stores.
            Exception: as :meth:`EtcdClient.put` does.

        Checkpoints:
            Always.

        Cancellation:
            It may have been done, or may yet be; not if it is cancelled before it begins.
        """
        return await self._following.put(self.key, value, lease)

    async def delete(self) -> int:
        """Delete the key, if it is there.

        Returns:
            The cluster's revision that has done it; the present one if the key was not there.

        Raises:
            Exception: as :meth:`EtcdClient.delete` does.

        Checkpoints:
            Always.

        Cancellation:
            It may have been done, or may yet be; not if it is cancelled before it begins.
        """
        return await self._following.delete(self.key)

    async def compare_and_set(self, version: int, value: T) -> bool:
        """Store data, unless the key was changed since a version (E7).

        Args:
            version: The version that the data were made from, as of :attr:`version` or of an
                :class:`Update`.
            value: The data.

        Returns:
            Whether they were stored. If not, a newer version is there or will come.

        Raises:
            Exception: as :meth:`EtcdClient.put` does.

        Checkpoints:
            Always.

        Cancellation:
            It may have been done, or may yet be; not if it is cancelled before it begins.
        """
        check_version("compare_and_set", version)
        return await self._compare_and_set(version, value) is not None

    async def update(self, function: Callable[[T | Absent], T]) -> int:
        """Store what ``function`` makes of the newest data, and again if they were changed (E7).

        Args:
            function: Gets the data, or ABSENT, and returns the new ones. It may be called several
                times, and should have no effects.

        Returns:
            The cluster's revision that has done it.

        Raises:
            UnknownOutcomeError: if it may have been done; it is not tried again then.
            DecodeError: if the newest data can't be decoded.
            Exception: whatever ``function`` raises, and as :meth:`EtcdClient.put` does.

        Checkpoints:
            Always.

        Cancellation:
            It may have been done, or may yet be; not if it is cancelled before it begins.
        """
        check_function("update", "function", function)
        while True:
            self._following.check_open("update")
            version = self.version
            revision = await self._compare_and_set(version, function(self.read()))
            if revision is not None:
                return revision
            await self.wait_version(version + 1)

    async def _compare_and_set(self, version: int, value: T) -> int | None:
        """Return the revision; None if there is a newer version."""
        self._following.check_open("compare_and_set")
        data = self._following.encode(self.key, value)
        if version != self.version:
            await trio.lowlevel.checkpoint()
            return None
        request = transaction_request(
            [Compare(self.key, "mod_revision", "==", self._mod_revision)],
            [Put(self.key, data)],
            [],
        )
        answer = await self._following.call("compare_and_set", request)
        revision: int = answer.header.revision
        return revision if answer.succeeded else None

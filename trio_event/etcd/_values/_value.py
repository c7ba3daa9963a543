"""The value of one key of a cluster."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, final

import attrs
import trio

from ..._absent import ABSENT, Absent
from ..._arguments import check_function, check_version
from ..._memory._value import MemoryValue
from ..._unset import UNSET, Unset
from ..._value import ValueWatch, compose
from ..._waiting import WaitQueue
from ...abc import StoredValue
from .._calling._requests import (
    Compare,
    Put,
    delete_request,
    put_request,
    transaction_request,
)
from .._wire._seam import CallError
from ._codecs import Undecodable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from .._calling._requests import KeyValue, Request
    from .._errors import EtcdError
    from .._watching._health import Health
    from .._watching._watching import Watch, Watching
    from ._codecs import Codec

T = TypeVar("T")
U = TypeVar("U")

_logger: Final = logging.getLogger("trio_event.etcd")

# In seconds: until it is asked whether a revision that is waited for concerns the key at all.
_PATIENCE: Final = 0.25


@final
class Kept(Generic[T]):
    """The data of a key, as a watch tells them (E4, E6).

    It is apart from the value so that the value's names are for its users.
    """

    def __init__(self, codec: Codec[T], *, is_skipping: bool) -> None:
        """Make one that knows nothing."""
        self._codec = codec
        self._is_skipping = is_skipping
        self.queue = WaitQueue()
        self.version = 0
        self.data: T | Absent | Undecodable | Unset = UNSET
        self.error: BaseException | None = None
        self.is_open = True
        # Up to which revision of the cluster it has everything.
        self.revision: MemoryValue[int] = MemoryValue(0)

    def apply(self, revision: int, changes: Mapping[bytes, KeyValue | None]) -> None:
        """Take what a revision has changed; see ``Target``."""
        for item in changes.values():
            data = ABSENT if item is None else self._decode(item)
            if not isinstance(data, Undecodable) or not self._is_skipping:
                self._set(data)
            else:
                _logger.error("skipped: %r can't be decoded (%r)", data.key, data.cause)
        if isinstance(self.data, Unset):
            self._set(ABSENT)
        self.revision.set(revision)

    def _decode(self, item: KeyValue) -> T | Undecodable:
        try:
            return self._codec.decode(item.value)
        except Exception as error:  # noqa: BLE001  whatever the user's codec raises
            return Undecodable(item.key, item.mod_revision, item.value, error)

    def _set(self, data: T | Absent | Undecodable) -> None:
        self.data = data
        self.version += 1
        self.queue.notify()

    def finish(self, error: BaseException | None) -> None:
        """End the value."""
        if self.is_open:
            self.is_open = False
            self.error = error
            self.queue.notify()
            if error is None:
                self.revision.close()
            else:
                self.revision.fail(error)


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

    def __init__(
        self,
        kept: Kept[T],
        watch: Watch,
        watching: Watching,
        codec: Codec[T],
        call: Callable[[str, Request], Awaitable[Any]],
    ) -> None:
        """Clients make values; see :meth:`EtcdClient.value`."""
        self._kept = kept
        self._watch = watch
        self._watching = watching
        self._codec = codec
        self._call = call

    def __repr__(self) -> str:
        """Show the key and the data."""
        kept = self._kept
        state = "" if kept.is_open else " closed" if kept.error is None else " failed"
        return f"<EtcdValue{state} {self.key!r} {kept.data!r} revision {self.revision}>"

    @property
    def key(self) -> str:
        """The key."""
        return self._watch.name

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
        return self._kept.revision.peek()

    @property
    def health(self) -> ValueWatch[Health]:
        """How fresh it is: as the client's, and ``failed`` after an error that is permanent."""
        return compose(self._watching.health, self._watch.failure).map(_health)

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
        check_version("wait_revision", revision)
        reached = self._kept.revision
        while True:
            with trio.move_on_after(_PATIENCE):
                await reached.wait_for(lambda at: at >= revision)
                return
            # Nothing tells of revisions that do not concern the key. If a read finds nothing new,
            # then the value has everything up to there.
            try:
                found = await self._watching.read(self._watch)
            except CallError:
                continue  # the connection is lost, and another one will come
            is_whole = self._watch.reflection.is_unchanged(found.items)
            if is_whole and self._kept.is_open and found.revision > reached.peek():
                reached.set(found.revision)

    async def put(self, value: T) -> int:
        """Store data under the key.

        Args:
            value: The data, which the codec encodes.

        Returns:
            The cluster's revision that has done it; see :meth:`wait_revision`.

        Raises:
            Exception: as :meth:`EtcdClient.put` does.

        Checkpoints:
            Always.

        Cancellation:
            It may have been done, or may yet be; not if it is cancelled before it begins.
        """
        answer = await self._call("put", put_request(self.key, self._encode(value)))
        revision: int = answer.header.revision
        return revision

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
        answer = await self._call("delete", delete_request(self.key))
        revision: int = answer.header.revision
        return revision

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
            version = self.version
            revision = await self._compare_and_set(version, function(self.read()))
            if revision is not None:
                return revision
            await self.wait_version(version + 1)

    async def _compare_and_set(self, version: int, value: T) -> int | None:
        """Return the revision; None if there is a newer version."""
        data = self._encode(value)
        if version != self.version:
            await trio.lowlevel.checkpoint()
            return None
        at = self._watch.reflection.mod_revision(self._watch.key)
        request = transaction_request(
            [Compare(self.key, "mod_revision", "==", at)], [Put(self.key, data)], []
        )
        answer = await self._call("compare_and_set", request)
        revision: int = answer.header.revision
        return revision if answer.succeeded else None

    def _encode(self, value: T) -> bytes:
        data: object = self._codec.encode(value)
        if not isinstance(data, bytes):
            msg = f"the codec of {self.key!r} has made {data!r} of {value!r}, which is no bytes"
            raise TypeError(msg)
        return data


def _health(parts: tuple[Health, EtcdError | None]) -> Health:
    health, failure = parts
    return health if failure is None else attrs.evolve(health, state="failed", reason=str(failure))

"""What a watch has told, decoded: the data of a value or of a map, apart from what users call."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, Generic, TypeVar, final

from ..._absent import ABSENT, Absent
from ..._memory._map import ValueMap
from ..._memory._value import MemoryValue
from ..._unset import UNSET, Unset
from ..._waiting import WaitQueue
from ._codecs import Undecodable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._calling._requests import KeyValue
    from ._codecs import Codec

T = TypeVar("T")

_logger: Final = logging.getLogger("trio_event.etcd")


class Kept(ABC, Generic[T]):
    """What was told of a range (E2, E4, E6)."""

    def __init__(self, codec: Codec[T], *, is_skipping: bool) -> None:
        """Make one that knows nothing."""
        self._codec = codec
        self._is_skipping = is_skipping
        # Up to which revision of the cluster it has everything.
        self.revision: MemoryValue[int] = MemoryValue(0)
        self.is_open: bool = True
        # Nobody has it open any more.
        self.is_left: bool = False

    @abstractmethod
    def apply(self, revision: int, changes: Mapping[bytes, KeyValue | None]) -> None:
        """Take what a revision has changed; see ``Target``."""

    def finish(self, error: BaseException | None) -> None:
        """Take that nothing more comes; see ``Target``."""
        if error is None:
            self.is_left = True
        if self.is_open:
            self.is_open = False
            self._end(error)
            if error is None:
                self.revision.close()
            else:
                self.revision.fail(error)

    @abstractmethod
    def _end(self, error: BaseException | None) -> None:
        """End the data, for those who watch them."""

    def _decode(self, item: KeyValue) -> T | Undecodable | Unset:
        """Return the data; UNSET if they are bad, and are to be skipped."""
        try:
            data = self._codec.decode(item.value)
        except Exception as error:  # noqa: BLE001  whatever the user's codec raises
            return self._refuse(item, error)
        if data is UNSET or data is ABSENT:
            return self._refuse(item, TypeError(f"the codec has made {data!r}, which is no data"))
        return data

    def _refuse(self, item: KeyValue, error: Exception) -> Undecodable | Unset:
        if not self._is_skipping:
            return Undecodable(item.key, item.mod_revision, item.value, error)
        _logger.error("skipped revision %d of %r: %r", item.mod_revision, item.key, error)
        return UNSET


@final
class KeptValue(Kept[T]):
    """The data of one key."""

    def __init__(self, codec: Codec[T], *, is_skipping: bool) -> None:
        """Make one that knows nothing."""
        super().__init__(codec, is_skipping=is_skipping)
        self.queue: WaitQueue = WaitQueue()
        self.version: int = 0
        self.data: T | Absent | Undecodable | Unset = UNSET
        self.error: BaseException | None = None

    def apply(self, revision: int, changes: Mapping[bytes, KeyValue | None]) -> None:
        """Take what a revision has changed; see ``Target``."""
        for item in changes.values():
            data = ABSENT if item is None else self._decode(item)
            if not isinstance(data, Unset):
                self._set(data)
        if isinstance(self.data, Unset):
            self._set(ABSENT)
        self.revision.set(revision)

    def _set(self, data: T | Absent | Undecodable) -> None:
        self.data = data
        self.version += 1
        self.queue.notify()

    def _end(self, error: BaseException | None) -> None:
        self.error = error
        self.queue.notify()


@final
class KeptMap(Kept[T]):
    """The data of all keys with a prefix, by what follows that."""

    def __init__(self, codec: Codec[T], *, prefix: bytes, is_skipping: bool) -> None:
        """Make one that knows nothing."""
        super().__init__(codec, is_skipping=is_skipping)
        self._cut = len(prefix)
        self.map: ValueMap[str, T | Undecodable] = ValueMap()

    def apply(self, revision: int, changes: Mapping[bytes, KeyValue | None]) -> None:
        """Take what a revision has changed, as one version; see ``Target``."""
        decoded: dict[str, T | Undecodable | Unset] = {}
        for key, item in changes.items():
            # A key that is no UTF-8 gets a name that no other one has.
            name = key[self._cut :].decode("utf-8", "surrogateescape")
            if item is None:
                decoded[name] = UNSET
                continue
            data = self._decode_named(name, item)
            if not isinstance(data, Unset):
                decoded[name] = data
        if decoded or self.map.version:
            self.map.apply(decoded)
        else:
            self.map.replace_all({})
        self.revision.set(revision)

    def _decode_named(self, name: str, item: KeyValue) -> T | Undecodable | Unset:
        try:
            name.encode()
        except UnicodeEncodeError:
            return self._refuse(item, ValueError("the key is no UTF-8"))
        return self._decode(item)

    def _end(self, error: BaseException | None) -> None:
        if error is None:
            self.map.close()
        else:
            self.map.fail(error)

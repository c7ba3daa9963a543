"""One key of a map, as a value.

An item has the data of its key itself, and a wait queue of its own. So a change of the map costs
nothing for the items of other keys, however many tasks wait for them. A change puts the data into
all items that it concerns before it notifies any queue, and reading an item calls no code of the
key: so all that is read of one map in one step is of one version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, final

from trio.lowlevel import enable_ki_protection

from .._absent import Absent
from .._waiting import WaitQueue
from ._readable import Readable

if TYPE_CHECKING:
    from .._runs import Run
    from .._unset import Unset

T = TypeVar("T")


@final
class ItemQueue(WaitQueue):
    """The tasks that wait for one key. It belongs to the run of the map (V11, V23)."""

    __slots__ = ("_whole",)

    def __init__(self, whole: WaitQueue) -> None:
        super().__init__()
        # That of the map.
        self._whole = whole

    @enable_ki_protection
    def use(self) -> Run:
        run = self._whole.use()
        self.run = self._whole.run
        return run

    def is_elsewhere(self) -> bool:
        return self._whole.is_elsewhere()


@final
class Item(Readable[T | Absent]):
    """What ``ValueMap.item()`` returns (V23).

    Its versions count the changes of its key, from that of the map when the item was made: so an
    item that is made later has no lower one.
    """

    __slots__ = ("__weakref__", "_key")

    def __init__(
        self, key: object, data: T | Absent | Unset, version: int, whole: WaitQueue
    ) -> None:
        super().__init__(data)
        self._key = key
        self._version = version
        self._previous = max(version - 1, 0)
        self._queue = ItemQueue(whole)

    def __repr__(self) -> str:
        """Show the key, the data and the version."""
        state = "" if self._is_open else " closed" if self._error is None else " failed"
        return f"<item {self._key!r}{state} {self._data!r} version {self._version}>"

    def advance(self, data: T | Absent) -> None:
        """Put in what a change of the map has made of the key; the queue is yet to be notified."""
        self._data = data
        self._previous = self._version
        self._version += 1

    def finish(self, error: BaseException | None) -> None:
        """End with the map; likewise."""
        self._error = error
        self._is_open = False

"""A storage and a read side outside of the package, as users would write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, final

import trio

from trio_event import UNSET, Unset, ValueWatch
from trio_event.abc import StoredValue, WaitQueue

if TYPE_CHECKING:
    from trio_event import Watcher

T = TypeVar("T")


@final
class OwnStorage(StoredValue[T]):
    """A storage that is written against ``trio_event.abc`` alone.

    Its attributes have names that the package's own classes have as well.
    """

    def __init__(self) -> None:
        self._queue = WaitQueue()
        self._version = 0
        self._data: T | Unset = UNSET
        self._is_open = True
        self._error: Exception | None = None

    @property
    def version(self) -> int:
        return self._version

    @property
    def wait_queue(self) -> WaitQueue:
        return self._queue

    def read(self) -> T:
        assert not isinstance(self._data, Unset)
        return self._data

    def end(self) -> Exception | None:
        if self._error is None:
            return None if self._is_open else trio.EndOfChannel()
        broken = trio.BrokenResourceError(f"the value has failed: {self._error!r}")
        broken.__cause__ = self._error
        return broken

    def receive(self, data: T) -> None:
        """Learn of an update."""
        self._data = data
        self._version += 1
        self._queue.notify()

    def finish(self, error: Exception | None = None) -> None:
        """Learn of the end."""
        self._is_open, self._error = False, error
        self._queue.notify()


@final
class OwnValue(ValueWatch[T]):
    """A read side of another value, which defines no more than it has to."""

    def __init__(self, source: ValueWatch[T]) -> None:
        self._source = source

    def watch(self) -> Watcher[T]:
        return self._source.watch()

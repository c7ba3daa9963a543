"""What can be watched of data in memory, wherever they are set."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from .._unset import Unset
from .._value import ValueWatch
from .._watcher import SourceWatcher
from ._state import MemoryState
from ._watcher import MemoryWatcher

if TYPE_CHECKING:
    from .._graph import Source, Stage
    from .._watcher import Watcher

T = TypeVar("T")


class Readable(MemoryState[T], ValueWatch[T]):
    """A value in memory, without what sets it."""

    __slots__ = ()

    def watch(self) -> Watcher[T]:
        """Return a new watcher, which has seen nothing.

        Checkpoints:
            Never.
        """
        run = self._queue.run
        if get_ident() != run.thread:
            run = self._queue.use()
        return MemoryWatcher(self, run)

    def _watch_through(self, stages: tuple[Stage, ...]) -> Watcher[Any]:
        return SourceWatcher(self, stages, self._previous)

    def _open_source(self) -> Source[T]:
        return self

    def _evaluate_now(self) -> T | Unset:
        return self._data

    @property
    def version(self) -> int:
        """The newest version; 0 if there is no data yet."""
        return self._version

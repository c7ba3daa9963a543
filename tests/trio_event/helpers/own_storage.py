"""A storage outside of the package, as a user would write it.

It says no more than a storage has to say: its version, its value, its end, and where to wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, final

from trio_event import ValueWatch, Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .internals import WaitQueue

S = TypeVar("S")
T = TypeVar("T")


@final
class OwnValue(ValueWatch[T]):
    """What ``function`` makes of each state of another value."""

    def __init__(self, source: ValueWatch[S], function: Callable[[S], T]) -> None:
        self._source: ValueWatch[object] = source
        self._function: Callable[..., T] = function

    def watch(self) -> Watcher[T]:
        return OwnWatcher(self._source.watch(), self._function)


@final
class OwnWatcher(Watcher[T]):
    """Asks a watcher of the other value."""

    def __init__(self, source: Watcher[object], function: Callable[..., T]) -> None:
        super().__init__()
        self._source = source
        self._function = function

    def _version(self) -> int:
        return self._source._version()

    def _read(self) -> T:
        return self._function(self._source._read())

    def _end(self) -> Exception | None:
        return self._source._end()

    def _lines(self) -> Sequence[WaitQueue]:
        return self._source._lines()

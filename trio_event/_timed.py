"""Values that let time pass: ``debounce``, ``throttle``.

Their watchers say *when* the newest version may be taken, and whoever waits on them, a ``get`` or a
``select``, waits until then unless something happens before. There is no task, and no timer
while nobody waits.

Nothing is held meanwhile: what is taken in the end is the newest, and until then nothing is seen.
So a stage is no more than a condition on when to take, and of several stages all have to be met.

What is *new* the stages before a ``debounce`` say (``_news``), for ``distinct`` knows better than
the version whether something has come that a consumer would notice.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar, final

import trio

from ._derived import Derived, DerivedWatcher, given_as, take_as
from ._unset import Unset

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._value import ValueWatch
    from ._watcher import Watcher

T = TypeVar("T")


class _Timed(Derived[T]):
    __slots__ = ("_seconds",)

    def __init__(self, source: ValueWatch[T], seconds: float) -> None:
        if not 0 <= seconds < math.inf:
            msg = f"seconds={seconds!r} is not a finite number of at least 0"
            raise ValueError(msg)
        super().__init__(source)
        self._seconds = seconds

    def _timed(self) -> bool:
        return True

    def _given(self, newest: Callable[[ValueWatch[Any]], Any]) -> T | Unset:
        return given_as(self._source, newest)


class _TimedWatcher(DerivedWatcher[T]):
    __slots__ = ("_seconds", "_until")

    def __init__(self, inner: Watcher[object], seconds: float) -> None:
        super().__init__(inner)
        self._seconds = seconds
        # When to look again, as _pending() has found: the clock may have gone past it since.
        self._until = math.inf

    @abstractmethod
    def _due(self) -> float:
        """Return when what is unseen may be taken."""

    def _own_deadline(self) -> float:
        # When the source has ended, nothing is worth waiting for.
        if self._unseen() and self._end() is None:
            due = self._due()
            if due > trio.current_time():
                return due
        return math.inf

    def _pending(self) -> bool:
        self._until = self._own_deadline()
        inner_pending = self._inner._pending()
        return self._until < math.inf or inner_pending

    def _deadline(self) -> float:
        return min(self._until, self._inner._deadline())

    def _derive(self, predicate: Callable[[T], bool] | None) -> T | Unset:
        return take_as(self._inner, predicate or _any)


@final
class Debounced(_Timed[T]):
    """See :meth:`ValueWatch.debounce`."""

    __slots__ = ()

    def watch(self) -> Watcher[T]:
        return _DebouncedWatcher(self._source.watch(), self._seconds)


@final
class _DebouncedWatcher(_TimedWatcher[T]):
    __slots__ = ("_noticed", "_quiet_at")

    def __init__(self, inner: Watcher[object], seconds: float) -> None:
        super().__init__(inner, seconds)
        # The last change that was noticed, and when it will have been quiet for long enough.
        self._noticed = 0
        self._quiet_at = -math.inf

    def _due(self) -> float:
        news = self._news()
        if news != self._noticed:
            self._noticed = news
            self._quiet_at = trio.current_time() + self._seconds
        return self._quiet_at


@final
class Throttled(_Timed[T]):
    """See :meth:`ValueWatch.throttle`."""

    __slots__ = ()

    def watch(self) -> Watcher[T]:
        return _ThrottledWatcher(self._source.watch(), self._seconds)


@final
class _ThrottledWatcher(_TimedWatcher[T]):
    __slots__ = ("_next",)

    def __init__(self, inner: Watcher[object], seconds: float) -> None:
        super().__init__(inner, seconds)
        # When the next update may be taken.
        self._next = -math.inf

    def _due(self) -> float:
        return self._next

    def _derive(self, predicate: Callable[[T], bool] | None) -> T | Unset:
        now = trio.current_time()
        value = super()._derive(predicate)
        if not isinstance(value, Unset):
            self._next = now + self._seconds
        return value


def _any(_: object) -> bool:
    return True

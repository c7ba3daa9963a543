"""How a value in memory is watched: what all watchers do, in fewer steps."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

from trio.lowlevel import checkpoint, current_task, enable_ki_protection, wait_task_rescheduled

from .._graph import NOTHING, Later
from .._runs import Run
from .._unset import UNSET, Unset
from .._waiting import Waiter
from .._watcher import BUSY, CLOSED, SourceWatcher, Watcher, accepts, closed_meanwhile
from ._state import MemoryState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from .._graph import Stage
    from .._waiting import WaitQueue

T = TypeVar("T")

# What a closed watcher looks at, to keep nothing alive: a value that nobody will set.
_GONE: Final[MemoryState[Any]] = MemoryState(UNSET)


@final
class MemoryWatcher(Watcher[T]):
    """Follows a value in memory. Its ``get`` keeps V3 to V7 and V9 as the inherited one does."""

    __slots__ = ("_value",)

    def __init__(self, value: MemoryState[T], run: Run) -> None:
        # As the inherited one does, whose call would double the cost of watch(). A watcher that is
        # new has not missed what came before it, but for the newest.
        self._seen = value._previous
        self._state = run
        self._value = value

    def _version(self) -> int:
        return self._value._version

    def _glance(self) -> Later | None:
        value = self._value
        return None if value._version > self._seen or not value._is_open else NOTHING

    def _look(self, predicate: Callable[[T], bool] | None) -> T | Later:
        value = self._value
        version = value._version
        if version > self._seen:
            data = value._data
            assert data is not UNSET
            if predicate is None or accepts(predicate, data):
                self._seen = version
                return data
        return NOTHING

    def _peek(self) -> T | Unset:
        return self._value._data

    def _end(self) -> Exception | None:
        return self._value._end()

    def _queues(self) -> Collection[WaitQueue]:
        return self._value._queues()

    def _through(self, stages: tuple[Stage, ...]) -> Watcher[Any]:
        return SourceWatcher(self._value, stages, self._seen)

    def _forget(self) -> None:
        """Let go of the value (V8)."""
        self._value = _GONE

    @enable_ki_protection
    def close(self) -> None:
        # As the inherited one does, whose calls would double the cost.
        state = self._state
        if isinstance(state, Run) and state.thread == get_ident():
            self._state = CLOSED
            self._value = _GONE
        else:
            super().close()

    async def get(
        self, *, predicate: Callable[[T], bool] | None = None, backlog_only: bool = False
    ) -> Any:  # noqa: ANN401  the inherited overloads say it
        # A copy of the inherited one, without a method or coroutine for each step of it: a set and
        # the get that waits for it cost as much as a bare reschedule() and wait, and not a fifth
        # more; a task that waits needs 160 bytes for it, and not 380. One test makes the same
        # calls of both.
        value = self._value
        if (
            backlog_only
            or self._state is not value._queue.run
            or value._queue.run.thread != get_ident()
            or (predicate is not None and not callable(predicate))
        ):
            return await super().get(predicate=predicate, backlog_only=backlog_only)
        self._state = BUSY
        try:
            ready = value._version > self._seen or not value._is_open
            while True:
                if ready:
                    await checkpoint()
                    ready = False
                else:
                    self._state = waiter = Waiter()
                    waiter.task = current_task()
                    value._queue._waiting[waiter] = None
                    try:
                        await wait_task_rescheduled(waiter)
                    finally:
                        if value._queue._notified or waiter in value._queue._waiting:
                            value._queue.leave(waiter)
                if self._state is CLOSED:
                    raise closed_meanwhile()
                version = value._version
                found = self._look(predicate)
                if found is not NOTHING:
                    return found  # it is no other Later either
                # The predicate may have set the value or closed the watcher, while no task waited.
                ready = value._version != version or self._state is CLOSED
                if not ready and not value._is_open:
                    raise value._end()  # type: ignore[misc]  # it has ended, so this is not None
        finally:
            if self._state is not CLOSED:
                self._state = value._queue.run

    receive = get  # a coroutine less for each value of an ``async for``

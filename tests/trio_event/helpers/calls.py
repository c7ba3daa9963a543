"""Calls in tasks of their own, and what they cost."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Generic, TypeVar, final

import outcome
import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from trio.lowlevel import Task

T = TypeVar("T")


@final
class Call(Generic[T]):
    """A call of an async function in a task of its own.

    It begins when the caller next waits.
    """

    def __init__(self, nursery: trio.Nursery, async_fn: Callable[[], Awaitable[T]]) -> None:
        self.scope = trio.CancelScope()
        self.task: Task | None = None
        self._outcome: outcome.Value[T] | outcome.Error | None = None
        self._ended = trio.Event()
        nursery.start_soon(self._run, async_fn)

    async def _run(self, async_fn: Callable[[], Awaitable[T]]) -> None:
        self.task = trio.lowlevel.current_task()
        try:
            with self.scope:
                self._outcome = outcome.Value(await async_fn())
        except Exception as error:  # noqa: BLE001  result() raises it
            self._outcome = outcome.Error(error)
        finally:
            self._ended.set()

    @property
    def ended(self) -> bool:
        """Whether the call is over."""
        return self._ended.is_set()

    @property
    def cancelled(self) -> bool:
        """Whether the call was cancelled before it returned or raised."""
        return self.scope.cancelled_caught

    async def result(self) -> T:
        """Wait for the end of the call; return or raise what it returned or raised."""
        await self._ended.wait()
        assert self._outcome is not None, "the call was cancelled"
        return self._outcome.unwrap()

    async def cancel(self) -> None:
        """Cancel the call, and wait until it is over."""
        self.scope.cancel()
        await self._ended.wait()


@final
class Counts(trio.abc.Instrument):
    """How often each task was scheduled, and how many steps it took."""

    def __init__(self) -> None:
        self.scheduled: Counter[Task] = Counter()
        self.steps: Counter[Task] = Counter()

    def task_scheduled(self, task: Task) -> None:
        self.scheduled[task] += 1

    def before_task_step(self, task: Task) -> None:
        self.steps[task] += 1


@contextlib.contextmanager
def counting() -> Iterator[Counts]:
    """Count what Trio does in the block."""
    counts = Counts()
    trio.lowlevel.add_instrument(counts)
    try:
        yield counts
    finally:
        trio.lowlevel.remove_instrument(counts)


@final
class _AfterStep(trio.abc.Instrument):
    def __init__(self, task: Task, action: Callable[[], object]) -> None:
        self._task = task
        self._action = action

    def after_task_step(self, task: Task) -> None:
        if task is self._task:
            trio.lowlevel.remove_instrument(self)
            self._action()


def after_this_step(action: Callable[[], object]) -> None:
    """Run ``action`` when the calling task waits next, before any other task runs."""
    task = trio.lowlevel.current_task()
    trio.lowlevel.add_instrument(_AfterStep(task, action))

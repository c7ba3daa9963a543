"""Other threads, and Trio runs in them."""

from __future__ import annotations

import threading
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Self, TypeVar, final

import outcome
import pytest
import trio
from trio.testing import MockClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


def block_on_thread(*functions: Callable[[], object]) -> None:
    """Run each in a thread that Trio has not started, and block the run until they end."""
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def call_in_thread(function: Callable[[], T]) -> T:
    """Return or raise what ``function`` does in a thread that Trio has not started."""
    results: list[outcome.Value[T] | outcome.Error] = []
    block_on_thread(lambda: results.append(outcome.capture(function)))
    return results[0].unwrap()


async def call_in_other_run(async_fn: Callable[[], Awaitable[T]]) -> T:
    """Return or raise what ``async_fn`` does in a Trio run in another thread.

    Time jumps there to the next deadline when all tasks wait.
    """
    return await trio.to_thread.run_sync(partial(run_to_the_end, async_fn))


def run_to_the_end(async_fn: Callable[[], Awaitable[T]]) -> T:
    """Return or raise what ``async_fn`` does in a Trio run in this thread; time jumps there."""
    return trio.run(async_fn, clock=MockClock(autojump_threshold=0.0))


@final
class PlainThread:
    """A thread that Trio has not started, and that makes one call after the other."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._calls.put(None)
        self._thread.join()

    def call(self, function: Callable[[], T]) -> T:
        """Return or raise what ``function`` does in the thread."""
        results: SimpleQueue[outcome.Value[T] | outcome.Error] = SimpleQueue()
        self._calls.put(lambda: results.put(outcome.capture(function)))
        return results.get().unwrap()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


def call_in_thread_with_id(ident: int, function: Callable[[], T]) -> T:
    """Return or raise what ``function`` does in a new thread with the id of one that has ended."""
    missed = object()

    def work() -> T | object:
        return function() if threading.get_ident() == ident else missed

    for _ in range(100):
        result = call_in_thread(work)
        if result is not missed:
            return result  # type: ignore[return-value]  # it is the function's
    pytest.skip("the system has not used the thread's id again")

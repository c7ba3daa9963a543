"""What values and watchers cost, counted: steps, calls, coroutines and bytes (V1, V8, V14).

Benchmarks measure times; these tests count what causes them, which does not vary.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING

import pytest
import trio
from trio.lowlevel import Abort, wait_task_rescheduled
from trio.testing import wait_all_tasks_blocked

from trio_event import MemoryValue, Watcher, select

from .helpers.calls import Call, counting
from .helpers.several import make

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import FrameType

    from trio.lowlevel import Task

MANY = 1000


def calls_of(action: Callable[[], object]) -> list[str]:
    """Name the functions of ours that an action calls."""
    names: list[str] = []

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_globals["__name__"].startswith("trio_event."):
            names.append(frame.f_code.co_name)

    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(None)
    return names


def coroutines(task: Task) -> list[str]:
    """Name the coroutines of a task that waits, the outermost first."""
    names = []
    coroutine: object = task.coro
    while isinstance(coroutine, CoroutineType):
        names.append(coroutine.__name__)
        coroutine = coroutine.cr_await
    return names


def watched(count: int, version: int) -> tuple[MemoryValue[int], list[Watcher[int]]]:
    """Make a value at some version, and watchers that have seen it."""
    value = MemoryValue(0)
    for number in range(1, version):
        value.set(number)
    watchers = [value.watch() for _ in range(count)]
    for watcher in watchers:
        watcher.get_nowait()
    return value, watchers


async def steps_of(async_fn: Callable[[], Awaitable[object]]) -> int:
    """Count the steps that the calling task takes in ``async_fn``."""
    with counting() as counts:
        await async_fn()
    return counts.steps[trio.lowlevel.current_task()]


def fill(watchers: list[Watcher[int] | None], value: MemoryValue[int]) -> None:
    for index in range(len(watchers)):
        watchers[index] = value.watch()


def watch_and_drop(value: MemoryValue[int]) -> None:
    for _ in range(10 * MANY):
        value.watch()


def allocated(action: Callable[[], object]) -> int:
    """Count the bytes that are still in use after an action and were not before."""
    action()
    gc.collect()
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def bytes_of_tasks(start: Callable[[trio.Nursery], None]) -> float:
    """Return the bytes of a task among many that wait, in a Trio run that has had no others.

    Of tasks that have ended, Trio's sets of tasks keep some room. It would be counted, or not.
    """

    async def main() -> float:
        async with trio.open_nursery() as nursery:
            gc.collect()
            tracemalloc.start()
            try:
                for _ in range(MANY):
                    start(nursery)
                await wait_all_tasks_blocked()
                gc.collect()
                return tracemalloc.get_traced_memory()[0] / MANY
            finally:
                tracemalloc.stop()
                nursery.cancel_scope.cancel()

    return trio.run(main)


@pytest.mark.parametrize("watching", [1, MANY])
async def test_a_set_that_no_task_waits_for_calls_nothing(watching: int) -> None:
    """V1: set calls no function of ours in a run, however many watchers there are."""
    value, watchers = watched(watching, 3)
    assert calls_of(partial(value.set, 1)) == ["set"]
    assert all(watcher.changed for watcher in watchers)


@pytest.mark.parametrize("waiting", [2, MANY])
async def test_a_set_that_tasks_wait_for_reschedules_one(
    nursery: trio.Nursery, waiting: int
) -> None:
    """V1: a set calls one function and schedules one of the tasks, before any of them has run."""
    value, watchers = watched(waiting, 3)
    gets = [Call(nursery, watcher.get) for watcher in watchers]
    await wait_all_tasks_blocked()
    with counting() as counts:
        assert len(calls_of(partial(value.set, 7))) == 2
        assert counts.scheduled.total() == 1
    assert [await get.result() for get in gets] == [7] * waiting


async def test_a_set_with_many_waiting_takes_one_step_of_each(nursery: trio.Nursery) -> None:
    """V1: between a set and the last of the waiting tasks only these run."""
    value, watchers = watched(MANY, 3)
    gets = [Call(nursery, watcher.get) for watcher in watchers]
    await wait_all_tasks_blocked()
    tasks = {get.task for get in gets}
    with counting() as counts:
        value.set(7)
        await wait_all_tasks_blocked()
    assert {task for task in counts.steps if counts.steps[task] == 1} >= tasks
    assert all(get.ended for get in gets)


async def test_a_get_with_a_value_takes_one_step() -> None:
    """V5: it is the step of its checkpoint."""
    value, (watcher,) = watched(1, 3)

    async def gets() -> None:
        for number in range(10):
            value.set(number)
            await watcher.get()

    assert await steps_of(gets) == 10


async def test_a_get_that_waits_takes_one_step(nursery: trio.Nursery) -> None:
    """V4: it is the step in which it returns the value."""
    value, (watcher,) = watched(1, 3)
    get = Call(nursery, partial(steps_of, watcher.get))
    await wait_all_tasks_blocked()
    value.set(1)
    assert await get.result() == 1


@pytest.mark.parametrize("count", [1, MANY])
async def test_a_select_takes_one_step(nursery: trio.Nursery, count: int) -> None:
    """V14: this holds with a value and without, for any number of watchers."""
    values, watchers = make(count)

    async def selects() -> None:
        values[0].set(1)
        await select(*watchers)
        await select(*watchers)

    call = Call(nursery, partial(steps_of, selects))
    await wait_all_tasks_blocked()
    values[-1].set(2)
    assert await call.result() == 2


async def test_a_get_waits_in_trios_own_coroutines(nursery: trio.Nursery) -> None:
    """V1: no coroutine of ours is between the get and Trio, because each has a frame."""
    value, (watcher,) = watched(1, 3)
    nursery.start_soon(watcher.get)
    await wait_all_tasks_blocked()
    (task,) = nursery.child_tasks
    assert coroutines(task) == ["get", "wait_task_rescheduled"]
    value.set(1)


async def test_a_derived_get_waits_in_one_coroutine_more(nursery: trio.Nursery) -> None:
    """V17: it is the one that waits for several values."""
    value, _ = watched(1, 3)
    watcher = value.map(str).watch()
    watcher.get_nowait()
    nursery.start_soon(watcher.get)
    await wait_all_tasks_blocked()
    (task,) = nursery.child_tasks
    names = coroutines(task)
    assert (names[0], len(names), names[-1]) == ("get", 3, "wait_task_rescheduled")
    value.set(1)


async def test_cancelled_gets_leave_no_wait() -> None:
    """V5: this holds for those that waited and for those that were called before."""
    value, watchers = watched(MANY, 3)
    for called in (False, True):
        async with trio.open_nursery() as nursery:
            for watcher in watchers:
                nursery.start_soon(watcher.get)
            await wait_all_tasks_blocked()
            if called:
                value.set(1)
            nursery.cancel_scope.cancel()
        assert value.statistics().tasks_waiting == 0


@pytest.mark.parametrize("version", [2, 1000])
def test_bytes_of_an_idle_watcher(version: int) -> None:
    """V8: a watcher is four references and what Python adds to them, at any version."""
    value, _ = watched(0, version)
    watchers: list[Watcher[int] | None] = [None] * MANY
    # Since 3.12, Python keeps a pointer for a dictionary beside that for weak references.
    limit = 64 if sys.version_info < (3, 12) else 72
    assert allocated(partial(fill, watchers, value)) // MANY <= limit


def test_dropped_watchers_leave_no_byte() -> None:
    """V8: ten thousand watchers that are not closed are freed as soon as they are dropped."""
    value, _ = watched(0, 2)
    gc.collect()
    gc.disable()
    try:
        assert allocated(lambda: watch_and_drop(value)) < MANY
    finally:
        gc.enable()


def test_bytes_of_a_waiting_watcher_above_its_task() -> None:
    """V1: these are the watcher, its waiter, its place in the queue, and the rest of its frame."""
    value, _ = watched(0, 2)
    value.watch().get_nowait()

    async def bare() -> None:
        await wait_task_rescheduled(lambda _: Abort.SUCCEEDED)

    def start_bare(nursery: trio.Nursery) -> None:
        nursery.start_soon(bare, name="same")

    def start_get(nursery: trio.Nursery) -> None:
        watcher = value.watch()
        watcher.get_nowait()
        nursery.start_soon(watcher.get, name="same")

    for start in (start_bare, start_get):
        bytes_of_tasks(start)  # what is made once, and kept
    assert bytes_of_tasks(start_get) - bytes_of_tasks(start_bare) <= 200

"""Timers: the one task that calls functions later for a whole tree (S21, S16)."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import final

import pytest
import trio
from hypothesis import given, settings, strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from ..helpers.internals import Timer, Timers
from ..helpers.steps import count_steps

INF = float("inf")


@final
class Calls:
    """Records what was called, and when."""

    def __init__(self, clock: MockClock) -> None:
        self._clock = clock
        self.made: list[tuple[float, object]] = []

    def of(self, name: object) -> Callable[[], None]:
        return lambda: self.made.append((self._clock.current_time(), name))


async def test_timers_go_off_in_order_of_their_times(autojump_clock: MockClock) -> None:
    """S21: each call is made at its time, in whatever order they were set."""
    calls = Calls(autojump_clock)
    async with trio.open_nursery() as nursery:
        timers = Timers()
        timers.open(nursery)
        for seconds in (3.0, 1.0, 2.5, 0.0):
            timers.set(seconds, calls.of(seconds))
        assert calls.made == []
    assert calls.made == [(0.0, 0.0), (1.0, 1.0), (2.5, 2.5), (3.0, 3.0)]


async def test_timers_of_one_time_go_off_in_the_order_of_setting(autojump_clock: MockClock) -> None:
    """S21: of two calls for the same instant, the one that was set first is made first."""
    calls = Calls(autojump_clock)
    async with trio.open_nursery() as nursery:
        timers = Timers()
        timers.open(nursery)
        for number in range(10):
            timers.set(1.0, calls.of(number))
    assert calls.made == [(1.0, number) for number in range(10)]


async def test_an_earlier_timer_may_be_set_later(autojump_clock: MockClock) -> None:
    """S21: it goes off at its own time, before the one that the task sleeps for."""
    calls = Calls(autojump_clock)
    async with trio.open_nursery() as nursery:
        timers = Timers()
        timers.open(nursery)
        timers.set(100.0, calls.of("first set"))
        await trio.sleep(1.0)
        timers.set(200.0, calls.of("later"))
        timers.set(5.0, calls.of("earlier"))
        timers.set(0.0, calls.of("now"))
    assert calls.made == [(1.0, "now"), (6.0, "earlier"), (100.0, "first set"), (201.0, "later")]


async def test_a_cancelled_timer_does_not_go_off(autojump_clock: MockClock) -> None:
    """S21: cancelled before the task's first step, in its sleep, twice, or too late."""
    calls = Calls(autojump_clock)
    async with trio.open_nursery() as nursery:
        timers = Timers()
        timers.open(nursery)
        timers.set(1.0, calls.of("unborn")).cancel()
        slept_for = timers.set(2.0, calls.of("slept for"))
        behind = timers.set(4.0, calls.of("behind"))
        kept = timers.set(3.0, calls.of("kept"))
        await trio.sleep(1.5)
        slept_for.cancel()
        slept_for.cancel()
        behind.cancel()
        await trio.sleep(2.0)
        kept.cancel()
    assert calls.made == [(3.0, "kept")]


async def test_a_timer_may_cancel_one_of_the_same_time(autojump_clock: MockClock) -> None:
    """S21: a timer is cancelled until its call is made."""
    calls = Calls(autojump_clock)
    async with trio.open_nursery() as nursery:
        timers = Timers()
        timers.open(nursery)
        later: list[Timer] = []

        def cancel_later() -> None:
            later[0].cancel()

        timers.set(1.0, cancel_later)
        later.append(timers.set(1.0, calls.of("cancelled")))
        timers.set(1.0, calls.of("kept"))
    assert calls.made == [(1.0, "kept")]


async def test_a_timer_may_set_the_next(autojump_clock: MockClock) -> None:
    """S18: a repeated report sets its own next timer, at once or later."""
    calls = Calls(autojump_clock)
    async with trio.open_nursery() as nursery:
        timers = Timers()
        timers.open(nursery)

        def again(delays: list[float]) -> None:
            calls.of(len(delays))()
            if delays:
                timers.set(delays[0], partial(again, delays[1:]))

        timers.set(1.0, partial(again, [0.0, 2.0, 4.0]))
    assert calls.made == [(1.0, 3), (1.0, 2), (3.0, 1), (7.0, 0)]


async def test_there_is_one_task_while_there_are_timers(autojump_clock: MockClock) -> None:
    """S16: the task comes with the first timer and ends with the last; then it comes again."""
    calls = Calls(autojump_clock)
    async with trio.open_nursery() as nursery:
        timers = Timers()
        timers.open(nursery)
        await wait_all_tasks_blocked()
        assert not nursery.child_tasks
        for number in range(100):
            timers.set(1.0 + number, calls.of(number))
        assert len(nursery.child_tasks) == 1
        await trio.sleep(50.5)
        assert len(nursery.child_tasks) == 1
        await trio.sleep(50.0)
        assert not nursery.child_tasks
        assert len(calls.made) == 100
        timers.set(1.0, calls.of("again"))
        await trio.sleep(1.5)
        assert calls.made[-1] == (101.5, "again")
        assert not nursery.child_tasks


async def test_cancelled_timers_cost_no_steps(autojump_clock: MockClock) -> None:
    """S16: of a thousand cancelled timers, only the one slept for wakes the task."""
    calls = Calls(autojump_clock)
    async with trio.open_nursery() as nursery:
        timers = Timers()
        timers.open(nursery)
        timers.set(1000.0, calls.of("last"))
        needless = [timers.set(1.0 + number / 2, calls.of(number)) for number in range(1000)]
        await wait_all_tasks_blocked()
        for timer in needless:
            timer.cancel()
        with count_steps() as steps:
            await trio.sleep(999.0)
            assert steps.total() == 1
            await trio.sleep(2.0)
            assert steps.total() == 2
    assert calls.made == [(1000.0, "last")]


async def test_cancelled_timers_are_not_kept(autojump_clock: MockClock) -> None:
    """S20, S23: a million jobs that start within an hour of timeout keep no million timers."""
    calls = Calls(autojump_clock)
    timers = Timers()
    timers.set(3600.0, calls.of("kept"))
    alive = weakref.WeakSet[Callable[[], None]]()
    for number in range(10_000):
        call = calls.of(number)
        alive.add(call)
        timer = timers.set(3600.0, call)
        assert len(alive) < 100
        timer.cancel()
        timer.cancel()
    async with trio.open_nursery() as nursery:
        timers.open(nursery)
    assert calls.made == [(3600.0, "kept")]


async def test_timers_may_be_set_before_there_is_a_nursery(autojump_clock: MockClock) -> None:
    """S21: a tree may be stopped before its first step; the time counts from the setting."""
    calls = Calls(autojump_clock)
    timers = Timers()
    timers.set(2.0, calls.of("two"))
    timers.set(1.0, calls.of("one"))
    timers.set(3.0, calls.of("cancelled")).cancel()
    await trio.sleep(1.5)
    async with trio.open_nursery() as nursery:
        timers.open(nursery)
        timers.set(1.0, calls.of("opened"))
        assert len(nursery.child_tasks) == 1
    assert calls.made == [(1.5, "one"), (2.0, "two"), (2.5, "opened")]


@pytest.mark.parametrize("begun", [False, True])
async def test_close_ends_the_task_at_once(autojump_clock: MockClock, *, begun: bool) -> None:
    """S16: a tree that has ended waits for no timer; closing twice is harmless."""
    calls = Calls(autojump_clock)
    async with trio.open_nursery() as nursery:
        timers = Timers()
        timers.open(nursery)
        timers.set(1.0, calls.of("soon"))
        timers.set(INF, calls.of("never"))
        if begun:
            await wait_all_tasks_blocked()
        timers.close()
        timers.close()
    assert calls.made == []
    assert autojump_clock.current_time() == 0.0


async def test_close_without_timers_is_harmless() -> None:
    """S16: a tree that never set a timer closes them like any other."""
    async with trio.open_nursery() as nursery:
        Timers().close()
        assert not nursery.child_tasks


async def test_timers_go_off_in_a_tree_that_is_cancelled(autojump_clock: MockClock) -> None:
    """S18: a cancellation from outside stops no timer, whether set before or after."""
    calls = Calls(autojump_clock)
    with trio.CancelScope() as outside:
        async with trio.open_nursery() as nursery:
            timers = Timers()
            timers.open(nursery)
            timers.set(2.0, calls.of("set before"))
            await wait_all_tasks_blocked()
            outside.cancel()
            timers.set(1.0, calls.of("set after"))
    assert calls.made == [(1.0, "set after"), (2.0, "set before")]


@settings(deadline=None, derandomize=True)
@given(
    plan=st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.none() | st.integers(0, 20)),
        max_size=30,
    )
)
def test_timers_agree_with_a_sorted_list(plan: list[tuple[int, int, int | None]]) -> None:
    """S21: exactly those go off that are due before they are cancelled."""
    clock = MockClock(autojump_threshold=0.0)
    calls = Calls(clock)
    # Whole seconds for what goes off, halves between them for what sets and cancels.
    changes: list[tuple[float, int]] = []
    expected = []
    for number, (at, seconds, cancelled) in enumerate(plan):
        changes.append((at + 0.5, number))
        if cancelled is not None:
            changes.append((at + 0.5 + cancelled + 0.25, number))
        if cancelled is None or cancelled + 0.25 > seconds:
            expected.append((at + 0.5 + seconds, (at, number)))

    async def main() -> None:
        made: dict[int, Timer] = {}
        async with trio.open_nursery() as nursery:
            timers = Timers()
            timers.open(nursery)
            for when, number in sorted(changes):
                await trio.sleep_until(when)
                if number in made:
                    made[number].cancel()
                else:
                    at, seconds, _ = plan[number]
                    made[number] = timers.set(seconds, calls.of((at, number)))

    trio.run(main, clock=clock)
    assert calls.made == sorted(expected)

"""Alarms: what one task does later for a whole tree."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, final

import pytest
import trio
from hypothesis import given, settings, strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisor._alarms import Alarm, Alarms

if TYPE_CHECKING:
    from collections.abc import Callable

INF = float("inf")


@final
class Calls:
    """Notes what was called, and when."""

    def __init__(self, clock: MockClock) -> None:
        self._clock = clock
        self.made: list[tuple[float, object]] = []

    def of(self, name: object) -> Callable[[], None]:
        return lambda: self.made.append((self._clock.current_time(), name))


@final
class Steps(trio.abc.Instrument):
    """Notes when the alarms' task takes a step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task.name == "alarms":
            self.times.append(trio.current_time())


async def test_alarms_go_off_in_order_of_their_times(autojump_clock: MockClock) -> None:
    """S21: each call is made at its time, whatever the order in which they were set."""
    calls = Calls(autojump_clock)
    async with trio.open_nursery() as nursery:
        alarms = Alarms()
        alarms.open(nursery)
        for seconds in (3.0, 1.0, 2.5, 0.0):
            alarms.set(seconds, calls.of(seconds))
        assert calls.made == []
    assert calls.made == [(0.0, 0.0), (1.0, 1.0), (2.5, 2.5), (3.0, 3.0)]


async def test_alarms_of_one_time_go_off_in_the_order_of_setting(autojump_clock: MockClock) -> None:
    """S21: of two calls for the same instant, the one that was set first is made first."""
    calls = Calls(autojump_clock)
    async with trio.open_nursery() as nursery:
        alarms = Alarms()
        alarms.open(nursery)
        for number in range(10):
            alarms.set(1.0, calls.of(number))
    assert calls.made == [(1.0, number) for number in range(10)]


async def test_an_earlier_alarm_may_be_set_later(autojump_clock: MockClock) -> None:
    """S21: an alarm that is due before the one that is slept for goes off at its own time."""
    calls = Calls(autojump_clock)
    async with trio.open_nursery() as nursery:
        alarms = Alarms()
        alarms.open(nursery)
        alarms.set(100.0, calls.of("first set"))
        await trio.sleep(1.0)
        alarms.set(200.0, calls.of("later"))
        alarms.set(5.0, calls.of("earlier"))
        alarms.set(0.0, calls.of("now"))
    assert calls.made == [(1.0, "now"), (6.0, "earlier"), (100.0, "first set"), (201.0, "later")]


async def test_a_cancelled_alarm_does_not_go_off(autojump_clock: MockClock) -> None:
    """S21: cancelled before the task's first step, in its sleep, twice, or too late: no harm."""
    calls = Calls(autojump_clock)
    async with trio.open_nursery() as nursery:
        alarms = Alarms()
        alarms.open(nursery)
        alarms.set(1.0, calls.of("unborn")).cancel()
        slept_for = alarms.set(2.0, calls.of("slept for"))
        behind = alarms.set(4.0, calls.of("behind"))
        kept = alarms.set(3.0, calls.of("kept"))
        await trio.sleep(1.5)
        slept_for.cancel()
        slept_for.cancel()
        behind.cancel()
        await trio.sleep(2.0)
        kept.cancel()
    assert calls.made == [(3.0, "kept")]


async def test_an_alarm_may_cancel_one_of_the_same_time(autojump_clock: MockClock) -> None:
    """S21: whether an alarm has become needless is asked when its turn comes."""
    calls = Calls(autojump_clock)
    async with trio.open_nursery() as nursery:
        alarms = Alarms()
        alarms.open(nursery)
        later: list[Alarm] = []

        def cancel_later() -> None:
            later[0].cancel()

        alarms.set(1.0, cancel_later)
        later.append(alarms.set(1.0, calls.of("cancelled")))
        alarms.set(1.0, calls.of("kept"))
    assert calls.made == [(1.0, "kept")]


async def test_an_alarm_may_set_the_next(autojump_clock: MockClock) -> None:
    """S18: a report that is repeated sets its own next alarm, at once or later."""
    calls = Calls(autojump_clock)
    async with trio.open_nursery() as nursery:
        alarms = Alarms()
        alarms.open(nursery)

        def again(delays: list[float]) -> None:
            calls.of(len(delays))()
            if delays:
                alarms.set(delays[0], partial(again, delays[1:]))

        alarms.set(1.0, partial(again, [0.0, 2.0, 4.0]))
    assert calls.made == [(1.0, 3), (1.0, 2), (3.0, 1), (7.0, 0)]


async def test_there_is_one_task_while_there_are_alarms(autojump_clock: MockClock) -> None:
    """S16: the task comes with the first alarm and ends with the last; then it comes again."""
    calls = Calls(autojump_clock)
    async with trio.open_nursery() as nursery:
        alarms = Alarms()
        alarms.open(nursery)
        await wait_all_tasks_blocked()
        assert not nursery.child_tasks
        for number in range(100):
            alarms.set(1.0 + number, calls.of(number))
        assert len(nursery.child_tasks) == 1
        await trio.sleep(50.5)
        assert len(nursery.child_tasks) == 1
        await trio.sleep(50.0)
        assert not nursery.child_tasks
        assert len(calls.made) == 100
        alarms.set(1.0, calls.of("again"))
        await trio.sleep(1.5)
        assert calls.made[-1] == (101.5, "again")
        assert not nursery.child_tasks


async def test_needless_alarms_cost_no_steps(autojump_clock: MockClock) -> None:
    """S16: of a thousand alarms that were cancelled, only the one slept for wakes the task."""
    calls, steps = Calls(autojump_clock), Steps()
    trio.lowlevel.add_instrument(steps)
    try:
        async with trio.open_nursery() as nursery:
            alarms = Alarms()
            alarms.open(nursery)
            alarms.set(1000.0, calls.of("last"))
            needless = [alarms.set(1.0 + number / 2, calls.of(number)) for number in range(1000)]
            await wait_all_tasks_blocked()
            for alarm in needless:
                alarm.cancel()
    finally:
        trio.lowlevel.remove_instrument(steps)
    assert calls.made == [(1000.0, "last")]
    assert steps.times == [0.0, 1.0, 1000.0]


async def test_needless_alarms_are_let_go_of(autojump_clock: MockClock) -> None:
    """S20, S23: a million jobs that start within an hour of timeout keep no million alarms."""
    calls = Calls(autojump_clock)
    alarms = Alarms()
    alarms.set(3600.0, calls.of("kept"))
    most = 0
    for number in range(10_000):
        alarm = alarms.set(3600.0, calls.of(number))
        most = max(most, len(alarms._heap))
        alarm.cancel()
        alarm.cancel()
    assert most < 100
    async with trio.open_nursery() as nursery:
        alarms.open(nursery)
    assert calls.made == [(3600.0, "kept")]


async def test_alarms_may_be_set_before_there_is_a_nursery(autojump_clock: MockClock) -> None:
    """S21: a tree may be stopped before its first step; the time counts from the setting."""
    calls = Calls(autojump_clock)
    alarms = Alarms()
    alarms.set(2.0, calls.of("two"))
    alarms.set(1.0, calls.of("one"))
    alarms.set(3.0, calls.of("cancelled")).cancel()
    await trio.sleep(1.5)
    async with trio.open_nursery() as nursery:
        alarms.open(nursery)
        alarms.set(1.0, calls.of("opened"))
        assert len(nursery.child_tasks) == 1
    assert calls.made == [(1.5, "one"), (2.0, "two"), (2.5, "opened")]


@pytest.mark.parametrize("begun", [False, True])
async def test_close_ends_the_task_at_once(autojump_clock: MockClock, *, begun: bool) -> None:
    """S16: a tree that has ended waits for none of its alarms; closing twice is harmless."""
    calls = Calls(autojump_clock)
    async with trio.open_nursery() as nursery:
        alarms = Alarms()
        alarms.open(nursery)
        alarms.set(1.0, calls.of("soon"))
        alarms.set(INF, calls.of("never"))
        if begun:
            await wait_all_tasks_blocked()
        alarms.close()
        alarms.close()
    assert calls.made == []
    assert autojump_clock.current_time() == 0.0


async def test_close_without_alarms_is_harmless() -> None:
    """S16: a tree that never needed an alarm closes them like any other."""
    async with trio.open_nursery() as nursery:
        Alarms().close()
        assert not nursery.child_tasks


async def test_alarms_go_off_in_a_tree_that_is_cancelled(autojump_clock: MockClock) -> None:
    """S18: a cancellation from outside doesn't silence the alarms, before or in the sleep."""
    calls = Calls(autojump_clock)
    with trio.CancelScope() as outside:
        async with trio.open_nursery() as nursery:
            alarms = Alarms()
            alarms.open(nursery)
            alarms.set(2.0, calls.of("set before"))
            await wait_all_tasks_blocked()
            outside.cancel()
            alarms.set(1.0, calls.of("set after"))
    assert calls.made == [(1.0, "set after"), (2.0, "set before")]


@settings(deadline=None, derandomize=True)
@given(
    plan=st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.none() | st.integers(0, 20)),
        max_size=30,
    )
)
def test_alarms_agree_with_a_sorted_list(plan: list[tuple[int, int, int | None]]) -> None:
    """S21: set and cancelled at any times, exactly those go off that are due before it."""
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
        made: dict[int, Alarm] = {}
        async with trio.open_nursery() as nursery:
            alarms = Alarms()
            alarms.open(nursery)
            for when, number in sorted(changes):
                await trio.sleep_until(when)
                if number in made:
                    made[number].cancel()
                else:
                    at, seconds, _ = plan[number]
                    made[number] = alarms.set(seconds, calls.of((at, number)))

    trio.run(main, clock=clock)
    assert calls.made == sorted(expected)

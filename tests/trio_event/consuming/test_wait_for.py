"""``wait_for``: waiting until a value satisfies a predicate (V16)."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_event import MemoryValue, ValueMap, atomic, compose

from ..helpers.calls import Call, after_this_step, counting
from ..helpers.functions import is_big, is_even, noting
from ..helpers.timeline import play

if TYPE_CHECKING:
    from trio.testing import MockClock

    from ..helpers.maps import Batch


async def test_match_that_lasts_for_one_set_is_not_missed(nursery: trio.Nursery) -> None:
    """V16: wait_for returns it, although the value is another when the task runs."""
    value = MemoryValue(1)
    waiting: Call[object] = Call(nursery, partial(value.wait_for, is_big))
    await wait_all_tasks_blocked()
    for number in (2, 11, 12, 3):
        value.set(number)
    assert await waiting.result() == 11


async def test_predicate_is_asked_once_at_each_set(nursery: trio.Nursery) -> None:
    """V16: it is asked about each value in order, and not after a match or at the end."""
    value = MemoryValue(1)
    asked: list[int] = []
    waiting: Call[object] = Call(nursery, partial(value.wait_for, noting(asked, is_big)))
    await wait_all_tasks_blocked()
    for number in (2, 2, 3, 11, 4):
        value.set(number)
    value.close()
    assert await waiting.result() == 11
    assert asked == [1, 2, 2, 3, 11]


async def test_set_during_the_first_checkpoint_is_not_missed() -> None:
    """V16: wait_for listens before it waits."""
    value = MemoryValue(1)

    def flicker() -> None:
        value.set(11)
        value.set(1)

    after_this_step(flicker)
    assert await value.wait_for(is_big) == 11


async def test_set_that_does_not_match_wakes_no_task(nursery: trio.Nursery) -> None:
    """V16: the set asks the predicate; the task has nothing to do."""
    value = MemoryValue(1)
    Call(nursery, partial(value.wait_for, is_big))
    Call(nursery, partial(value.wait_for, is_big, held_for=1))
    await wait_all_tasks_blocked()
    with counting() as counts:
        for number in range(10):
            value.set(number)
    assert not counts.scheduled


async def test_any_answer_that_is_true_is_true(nursery: trio.Nursery) -> None:
    """V16: the truth of the answer counts, as everywhere in Python."""
    value = MemoryValue("")
    waiting: Call[object] = Call(nursery, partial(value.wait_for, str.strip))
    await wait_all_tasks_blocked()
    value.set(" ")
    value.set("a")
    assert await waiting.result() == "a"


async def test_failing_predicate_does_not_affect_the_others(nursery: trio.Nursery) -> None:
    """V16: the tasks before and behind it get their match, and set returns."""
    value = MemoryValue(1)

    def refuse(number: int) -> bool:
        if is_big(number):
            msg = f"I don't like {number}"
            raise ValueError(msg)
        return False

    calls: list[Call[object]] = [
        Call(nursery, partial(value.wait_for, predicate))
        for predicate in (is_big, refuse, is_big, refuse, is_big)
    ]
    await wait_all_tasks_blocked()
    assert value.set(11) == 2
    for call in calls[::2]:
        assert await call.result() == 11
    for call in calls[1::2]:
        with pytest.raises(ValueError, match="I don't like 11"):
            await call.result()


async def test_base_exception_of_a_predicate_is_raised_in_its_task(nursery: trio.Nursery) -> None:
    """V16: a SystemExit of a predicate leaves its task, and not set."""
    value = MemoryValue(1)

    def leave(number: int) -> bool:
        if is_big(number):
            raise SystemExit(number)
        return False

    async def wait() -> int:
        with pytest.raises(SystemExit):
            await value.wait_for(leave)
        return 1

    leaving = Call(nursery, wait)
    waiting: Call[object] = Call(nursery, partial(value.wait_for, is_big))
    await wait_all_tasks_blocked()
    value.set(11)
    assert await waiting.result() == 11
    assert await leaving.result() == 1


async def test_predicate_is_asked_no_more_after_it_has_failed(nursery: trio.Nursery) -> None:
    """V16: wait_for raises its first exception."""
    value = MemoryValue(1)
    asked: list[int] = []

    def refuse(number: int) -> bool:
        if is_big(number):
            raise ValueError(number)
        return False

    waiting: Call[object] = Call(nursery, partial(value.wait_for, noting(asked, refuse)))
    await wait_all_tasks_blocked()
    for number in (11, 12):
        value.set(number)
    with pytest.raises(ValueError, match="11"):
        await waiting.result()
    assert asked == [1, 11]


@pytest.mark.parametrize("held_for", [-1, math.inf, math.nan])
async def test_held_for_is_a_finite_number(held_for: float) -> None:
    """V16: any other number raises ValueError."""
    with pytest.raises(ValueError, match=r"held_for=.* is not a finite number of at least 0"):
        await MemoryValue(1).wait_for(is_even, held_for=held_for)


async def test_hold_returns_the_newest_value_at_its_end(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """V16: the hold does not return its first value, and sets that satisfy do not prolong it."""
    value = MemoryValue(1)
    waiting: Call[object] = Call(nursery, partial(value.wait_for, is_even, held_for=10))
    await play(value, (1, 2), (5, 4), (9, 6))
    assert await waiting.result() == 6
    assert autojump_clock.current_time() == 11


async def test_hold_begins_with_the_value_that_is_there(autojump_clock: MockClock) -> None:
    """V16: the time before the call does not count."""
    value = MemoryValue(2)
    await trio.sleep(100)
    assert await value.wait_for(is_even, held_for=10) == 2
    assert autojump_clock.current_time() == 110


async def test_break_of_a_hold_is_not_missed(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """V16: the time begins anew, although the next set, in the same step, satisfies."""
    value = MemoryValue(2)
    waiting: Call[object] = Call(nursery, partial(value.wait_for, is_even, held_for=10))
    await play(value, (4, 3), (4, 4), (12, 5), (20, 6))
    assert await waiting.result() == 6
    assert autojump_clock.current_time() == 30


async def test_hold_that_is_broken_after_its_time_counts(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """V16: a value that was held for long enough is returned, although the task has not run yet."""
    value = MemoryValue(2)
    waiting: Call[object] = Call(nursery, partial(value.wait_for, is_even, held_for=10))
    await wait_all_tasks_blocked()
    value.set(4)
    autojump_clock.jump(10)
    for number in (3, 6):
        value.set(number)
    assert await waiting.result() == 4


async def test_hold_outlasts_the_end_of_the_value(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """V9, V16: a last value that satisfies never changes, so a failure does not break its hold."""
    closed, failed = MemoryValue(2), MemoryValue(2)
    calls: list[Call[object]] = [
        Call(nursery, partial(v.wait_for, is_even, held_for=10)) for v in (closed, failed)
    ]
    await trio.sleep(1)
    closed.close()
    failed.fail(OSError("gone"))
    assert [await call.result() for call in calls] == [2, 2]
    assert autojump_clock.current_time() == 10


async def test_cancelled_hold_leaves_nothing_behind(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V5, V16: no wait is left of a hold that is cancelled in the middle."""
    value = MemoryValue(2)
    waiting: Call[object] = Call(nursery, partial(value.wait_for, is_even, held_for=10))
    await trio.sleep(5)
    await waiting.cancel()
    assert waiting.cancelled
    assert value.statistics().tasks_waiting == 0


async def test_set_and_cancel_before_the_step_of_a_match(nursery: trio.Nursery) -> None:
    """V5, V16: a wait that a set has ended returns; one that was cancelled before does not."""
    value = MemoryValue(1)
    first: Call[int] = Call(nursery, partial(value.wait_for, is_big))
    second: Call[int] = Call(nursery, partial(value.wait_for, is_big))
    await wait_all_tasks_blocked()
    second.scope.cancel()
    value.set(11)
    first.scope.cancel()
    await wait_all_tasks_blocked()
    assert (first.cancelled, second.cancelled) == (False, True)
    assert await first.result() == 11


async def test_derived_value_is_asked_about_as_it_is_at_each_set(nursery: trio.Nursery) -> None:
    """V16, V17: its functions run in the set, and the task that waits raises their exceptions."""
    value = MemoryValue(1)

    def halve(number: int) -> int:
        if number == 7:
            msg = "7 has no half"
            raise ValueError(msg)
        return number // 2

    derived = value.filter(is_even).map(halve)
    matching: Call[object] = Call(nursery, partial(derived.wait_for, is_big))
    failing: Call[object] = Call(nursery, partial(value.map(halve).wait_for, is_big))
    await wait_all_tasks_blocked()
    for number in (23, 7, 24, 1):
        value.set(number)
    assert await matching.result() == 12
    assert await failing.result() == 11
    failing = Call(nursery, partial(value.map(halve).wait_for, is_big))
    await wait_all_tasks_blocked()
    value.set(7)
    with pytest.raises(ValueError, match="7 has no half"):
        await failing.result()


async def test_hold_of_a_filtered_value_is_broken_where_it_has_no_data(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """V16, V17: a rejected state satisfies no predicate."""
    value = MemoryValue(2)
    waiting: Call[object] = Call(
        nursery, partial(value.filter(is_even).wait_for, bool, held_for=10)
    )
    await play(value, (4, 3), (5, 4))
    assert await waiting.result() == 4
    assert autojump_clock.current_time() == 15


async def test_composed_values_are_asked_about_between_two_sets_but_for_atomic(
    nursery: trio.Nursery,
) -> None:
    """V16, V18: each set is a state of the whole; the sets of an atomic block are one."""
    first, second = MemoryValue(1), MemoryValue(1)
    both = compose(first, second)
    states: list[tuple[int, int]] = []

    def remember(state: tuple[int, int]) -> bool:
        states.append(state)
        return False

    waiting: Call[object] = Call(nursery, partial(both.wait_for, remember))
    await wait_all_tasks_blocked()
    first.set(2)
    second.set(2)
    with atomic():
        first.set(3)
        second.set(3)
        second.set(4)
    assert states == [(1, 1), (2, 1), (2, 2), (3, 4)]
    await waiting.cancel()


async def test_map_is_asked_about_as_a_whole(nursery: trio.Nursery) -> None:
    """V16, V20: the predicate gets all keys that there are, also if there are none."""
    peers: ValueMap[str, int] = ValueMap()
    two: Call[Batch] = Call(nursery, partial(peers.wait_for, lambda batch: len(batch) == 2))
    await wait_all_tasks_blocked()
    peers.set("a", 1)
    peers.set("b", 2)
    peers.delete("a")
    assert [(change.key, change.new) for change in await two.result()] == [("a", 1), ("b", 2)]
    none: Call[object] = Call(nursery, partial(peers.wait_for, lambda batch: not batch))
    await wait_all_tasks_blocked()
    peers.delete("b")
    assert await none.result() == ()


async def test_wait_for_asks_about_what_a_timed_value_gives(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    """V16, V17: a value that was replaced before it was due is not asked about."""
    value: MemoryValue[int] = MemoryValue()
    waiting: Call[object] = Call(nursery, partial(value.debounce(1).wait_for, is_even))
    await play(value, (0, 2), (0.5, 3), (3, 4))
    assert await waiting.result() == 4
    assert autojump_clock.current_time() == 4


async def test_hold_of_a_timed_value_is_broken_by_what_it_gives(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    """V16, V17: held_for counts from the first value that satisfied; the newest is returned."""
    value: MemoryValue[int] = MemoryValue()
    waiting: Call[object] = Call(nursery, partial(value.throttle(1).wait_for, is_even, held_for=3))
    await play(value, (0, 2), (2, 3), (4, 4), (5, 6))
    assert await waiting.result() == 6
    assert autojump_clock.current_time() == 7


@pytest.mark.parametrize("failed", [False, True], ids=["closed", "failed"])
async def test_hold_of_a_timed_value_outlasts_its_end(
    nursery: trio.Nursery,
    failed: bool,  # noqa: FBT001  a parameter of the test's
    autojump_clock: MockClock,
) -> None:
    """V9, V16: a last value that satisfies always will; one that does not never will."""
    value = MemoryValue(2)
    waiting: Call[object] = Call(nursery, partial(value.throttle(1).wait_for, is_even, held_for=3))
    hopeless: Call[object] = Call(
        nursery, partial(value.throttle(1).wait_for, refuse_even, held_for=3)
    )
    await trio.sleep(1)
    value.fail(OSError("gone")) if failed else value.close()
    with pytest.raises(trio.BrokenResourceError if failed else trio.EndOfChannel):
        await hopeless.result()
    assert await waiting.result() == 2
    assert autojump_clock.current_time() == 3


def refuse_even(number: int) -> bool:
    return not is_even(number)


async def test_set_after_the_hold_of_a_timed_value_comes_too_late(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """V16: a value that was held for long enough is returned, although it was just replaced."""
    value = MemoryValue(2)
    waiting: Call[object] = Call(nursery, partial(value.throttle(1).wait_for, is_even, held_for=3))
    await wait_all_tasks_blocked()
    autojump_clock.jump(3)
    value.set(3)
    assert await waiting.result() == 2


async def test_cancelled_hold_of_a_timed_value_leaves_nothing_behind(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V5, V16: no wait is left, also if the value has ended and only time passes."""
    value = MemoryValue(2)
    for end in (False, True):
        if end:
            value.close()
        waiting: Call[object] = Call(
            nursery, partial(value.throttle(1).wait_for, is_even, held_for=3)
        )
        await trio.sleep(1)
        await waiting.cancel()
        assert waiting.cancelled
        assert value.statistics().tasks_waiting == 0

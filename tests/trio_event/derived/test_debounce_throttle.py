"""Values that let time pass: ``debounce`` and ``throttle`` (V17)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, final

import pytest
import trio
from trio.testing import assert_checkpoints

from trio_event import BacklogDone, MemoryValue, ValueMap, select

from ..helpers.calls import Call, after_this_step, counting
from ..helpers.functions import is_even, refuse_two
from ..helpers.timeline import play, record

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_event import ValueWatch


OPERATORS = ("debounce", "throttle")


def derive(source: ValueWatch[int], operator: str, seconds: float) -> ValueWatch[int]:
    return source.debounce(seconds) if operator == "debounce" else source.throttle(seconds)


@pytest.mark.parametrize("seconds", [-1, math.inf, math.nan])
@pytest.mark.parametrize("operator", OPERATORS)
def test_seconds_are_a_finite_number(operator: str, seconds: float) -> None:
    """V17: any other number is refused when the value is derived."""
    with pytest.raises(ValueError, match=r"seconds=.* is not a finite number of at least 0"):
        derive(MemoryValue(1), operator, seconds)


async def test_debounce_waits_until_the_value_was_quiet(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V17: each set begins the time anew, and what comes is the newest."""
    value: MemoryValue[int] = MemoryValue()
    seen: list[tuple[float, int]] = []
    nursery.start_soon(record, value.debounce(1).watch(), seen)
    await play(value, (0, 1), (0.5, 2), (1, 3), (3, 4), (3.75, 5), (10, 6))
    await trio.sleep(5)
    assert seen == [(2, 3), (4.75, 5), (11, 6)]


async def test_debounce_counts_from_when_a_get_notices(autojump_clock: MockClock) -> None:
    """V17: a watcher that comes late waits as long, for nobody has kept the time."""
    value = MemoryValue(1)
    watcher = value.debounce(2).watch()
    await trio.sleep(3600)
    assert await watcher.get() == 1
    assert autojump_clock.current_time() == 3602
    value.set(2)
    await trio.sleep(10)
    assert await watcher.get() == 2
    assert autojump_clock.current_time() == 3614


async def test_debounce_goes_on_counting_after_a_cancelled_get(autojump_clock: MockClock) -> None:
    """V5, V17: what one get has noticed the next one knows."""
    watcher = MemoryValue(1).debounce(2).watch()
    with trio.move_on_after(1.5) as scope:
        await watcher.get()
    assert scope.cancelled_caught
    assert await watcher.get() == 1
    assert autojump_clock.current_time() == 2


async def test_throttle_gives_the_first_at_once_and_then_the_newest(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V17: at most one update in so many seconds, and none of them is old."""
    value: MemoryValue[int] = MemoryValue()
    seen: list[tuple[float, int]] = []
    nursery.start_soon(record, value.throttle(2).watch(), seen)
    await play(value, (1, 1), (1.5, 2), (2, 3), (3.5, 4), (9, 5), (9.5, 6))
    await trio.sleep(5)
    assert seen == [(1, 1), (3, 3), (5, 4), (9, 5), (11, 6)]


async def test_rejected_value_does_not_use_the_time_of_a_throttle(
    autojump_clock: MockClock,
) -> None:
    """V6, V17: what was not taken is no update, and what is accepted comes at once."""
    value = MemoryValue(1)
    watcher = value.throttle(10).watch()
    with pytest.raises(BacklogDone):
        await watcher.get(predicate=is_even, backlog_only=True)
    value.set(2)
    assert await watcher.get(predicate=is_even) == 2
    assert autojump_clock.current_time() == 0


async def test_cancelled_get_does_not_use_the_time_of_a_throttle(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V5, V17: a get that was cancelled at its checkpoint has taken nothing."""
    watcher = MemoryValue(1).throttle(10).watch()
    with trio.CancelScope() as scope:
        after_this_step(scope.cancel)
        await watcher.get()
    assert scope.cancelled_caught
    assert watcher.get_nowait() == 1


@pytest.mark.parametrize("operator", OPERATORS)
async def test_get_cancelled_while_time_passes_has_seen_nothing(
    nursery: trio.Nursery,
    operator: str,
    autojump_clock: MockClock,
) -> None:
    """V5, V17: the value is there for the next get, when its time has come."""
    value = MemoryValue(0)
    watcher = derive(value, operator, 2).watch()
    assert await watcher.get() == 0
    start = autojump_clock.current_time()
    value.set(1)
    get = Call(nursery, watcher.get)
    await trio.sleep(1)
    await get.cancel()
    assert get.cancelled
    assert value.statistics().tasks_waiting == 0
    assert await watcher.get() == 1
    assert autojump_clock.current_time() == start + 2


@pytest.mark.parametrize("operator", OPERATORS)
async def test_what_may_not_be_taken_yet_is_not_there(
    operator: str,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V15, V17: get_nowait and changed say no until the time has come."""
    value = MemoryValue(0)
    watcher = derive(value, operator, 1).watch()
    assert await watcher.get() == 0
    value.set(1)
    for _ in range(2):
        assert not watcher.changed
        with pytest.raises(trio.WouldBlock):
            watcher.get_nowait()
    assert watcher.lag == 1
    await trio.sleep(1)
    assert watcher.changed
    assert watcher.get_nowait() == 1
    assert not watcher.changed


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("failed", [False, True], ids=["closed", "failed"])
async def test_last_value_comes_as_soon_as_the_source_ends(
    nursery: trio.Nursery,
    operator: str,
    failed: bool,  # noqa: FBT001  a parameter of the test's
    autojump_clock: MockClock,
) -> None:
    """V9, V17: nothing is worth waiting for any more; the end follows."""
    value = MemoryValue(0)
    watcher = derive(value, operator, 10).watch()
    assert await watcher.get() == 0
    start = autojump_clock.current_time()
    value.set(1)
    get = Call(nursery, watcher.get)
    await trio.sleep(1)
    value.fail(OSError("gone")) if failed else value.close()
    assert await get.result() == 1
    assert autojump_clock.current_time() == start + 1
    with pytest.raises(trio.BrokenResourceError if failed else trio.EndOfChannel):
        await watcher.get()


@pytest.mark.parametrize("operator", OPERATORS)
async def test_backlog_waits_for_time_but_for_no_update(
    operator: str,
    autojump_clock: MockClock,
) -> None:
    """V10, V17: what was there at the first call is returned when its time has come."""
    value = MemoryValue(0)
    watcher = derive(value, operator, 1).watch()
    assert await watcher.get(backlog_only=True) == 0
    with pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)
    start = autojump_clock.current_time()
    value.set(1)
    assert await watcher.get(backlog_only=True) == 1
    assert autojump_clock.current_time() == start + 1
    value.set(2)
    with assert_checkpoints(), pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)


@pytest.mark.parametrize("operator", OPERATORS)
async def test_peek_and_version_ignore_the_time(
    operator: str,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V15, V17: they say what the newest source gives, in a run or out of it."""
    value = MemoryValue(0)
    derived = derive(value, operator, 10)
    watcher = derived.watch()
    assert await watcher.get() == 0
    value.set(1)
    assert (derived.peek(), derived.version) == (1, 2)
    assert await trio.to_thread.run_sync(derived.peek) == 1


@pytest.mark.parametrize("operator", OPERATORS)
async def test_nothing_happens_while_nobody_waits(
    operator: str,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V17: neither a set nor the passing of time wakes anybody; there is no task."""
    value = MemoryValue(0)
    watchers = [derive(value, operator, 1).watch() for _ in range(10)]
    for watcher in watchers:
        await watcher.get()
    with counting() as counts:
        value.set(1)
        await trio.sleep(2)
    assert set(counts.steps) == {trio.lowlevel.current_task()}


async def test_two_stages_are_two_conditions(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V17: what both let pass is taken, and their order makes no difference."""
    value: MemoryValue[int] = MemoryValue()
    seen: list[list[tuple[float, int]]] = [[], []]
    nursery.start_soon(record, value.debounce(1).throttle(5).watch(), seen[0])
    nursery.start_soon(record, value.throttle(5).debounce(1).watch(), seen[1])
    await play(value, (0, 1), (0.5, 2), (2, 3), (6, 4), (10, 5), (10.5, 6), (11, 7))
    await trio.sleep(10)
    assert seen == [[(1.5, 2), (7, 4), (12, 7)]] * 2


async def test_two_debounces_are_the_longer_one(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V17: two stages of one kind are no sum of their times, and neither hangs."""
    value: MemoryValue[int] = MemoryValue()
    seen: list[tuple[float, int]] = []
    nursery.start_soon(record, value.debounce(3).map(abs).debounce(1).watch(), seen)
    await play(value, (0, 1), (2, 2), (8, 3))
    await trio.sleep(5)
    assert seen == [(5, 2), (11, 3)]


async def test_repetition_does_not_hold_up_a_debounce(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V17: behind distinct, quiet is what does not change, however often it is set."""
    value: MemoryValue[int] = MemoryValue()
    seen: list[tuple[float, int]] = []
    nursery.start_soon(record, value.distinct().debounce(1).watch(), seen)
    await play(value, *((at / 2, 1 + at // 8) for at in range(16)))
    await trio.sleep(5)
    assert seen == [(1, 1), (5, 2)]


async def test_state_that_was_left_and_come_back_to_is_no_news(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V17: after a flicker, distinct before debounce sees the state that it returned last."""
    value: MemoryValue[int] = MemoryValue()
    seen: list[tuple[float, int]] = []
    nursery.start_soon(record, value.distinct().debounce(1).watch(), seen)
    await play(value, (0, 1), (2, 2), (2.5, 1), (5, 3))
    await trio.sleep(5)
    assert seen == [(1, 1), (6, 3)]


async def test_key_that_can_not_be_compared_is_news(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    """V17: what its comparison raises comes when the value does, and in the get."""
    value = MemoryValue(1)
    watcher = value.distinct(refuse_two).debounce(1).watch()
    assert await watcher.get() == 1
    value.set(2)
    get = Call(nursery, watcher.get)
    await trio.sleep(0.5)
    assert not get.ended
    with pytest.raises(ValueError, match="I don't like 2"):
        await get.result()
    assert autojump_clock.current_time() == 2
    with assert_checkpoints(), pytest.raises(ValueError, match="I don't like 2"):
        await watcher.get()
    value.set(3)
    assert await watcher.get() == 3


async def test_rejected_value_takes_the_place_of_what_was_waiting(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V17: a filtered value has no data then, so none come; its return begins the time anew."""
    value: MemoryValue[int] = MemoryValue()
    seen: list[tuple[float, int]] = []
    chain = value.filter(is_even).distinct().debounce(1)
    nursery.start_soon(record, chain.watch(), seen)
    await play(value, (0, 2), (0.5, 3), (3, 4), (3.5, 5), (3.75, 4))
    await trio.sleep(5)
    assert seen == [(4.75, 4)]


async def test_throttle_behind_distinct_loses_no_time_to_repetitions(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V17: a repetition is no update, so what follows it comes at once."""
    value: MemoryValue[int] = MemoryValue()
    seen: list[tuple[float, int]] = []
    nursery.start_soon(record, value.distinct().throttle(2).watch(), seen)
    await play(value, (0, 1), (3, 1), (3.5, 2))
    await trio.sleep(5)
    assert seen == [(0, 1), (3.5, 2)]


async def test_debounced_map_gives_all_changes_in_one_batch(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    """V17, V20: what has changed until it is quiet is in the batch."""
    peers: ValueMap[str, int] = ValueMap()
    get = Call(nursery, peers.debounce(1).watch().get)
    for number, key in enumerate("abc"):
        await trio.sleep(0.5)
        peers.set(key, number)
    peers.delete("b")
    batch = await get.result()
    assert [(change.key, change.new) for change in batch] == [("a", 0), ("c", 2)]
    assert autojump_clock.current_time() == 2.5


@final
class Ticking(trio.abc.Clock):
    """Time goes on by a microsecond whenever somebody looks, and to what is next when all wait."""

    def __init__(self) -> None:
        self.now = 0.0

    def start_clock(self) -> None:
        pass

    def current_time(self) -> float:
        self.now += 1e-6
        return self.now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        self.now = max(self.now, min(deadline, self.now + 60))
        return 0


@pytest.mark.parametrize("operator", OPERATORS)
def test_time_that_comes_in_the_middle_of_a_look_is_not_missed(operator: str) -> None:
    """V17: what becomes due between two looks at the clock is taken, at whichever look that is."""

    async def get(looks: int) -> None:
        value = MemoryValue(0)
        watcher = derive(value, operator, looks * 1e-6).watch()
        with trio.fail_after(10):
            assert await watcher.get() == 0
            value.set(1)
            assert await watcher.get() == 1
            value.set(2)
            assert await select(watcher) == (0, 2)

    for looks in range(20):
        trio.run(get, looks, clock=Ticking())

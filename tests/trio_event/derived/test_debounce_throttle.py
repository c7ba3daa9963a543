"""Values that let time pass: ``debounce`` and ``throttle`` (V17)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import pytest
import trio
from trio.testing import assert_checkpoints

from trio_event import BacklogDone, MemoryValue, ValueMap, select

from ..helpers.calls import Call, after_this_step, counting
from ..helpers.clocks import Ticking
from ..helpers.functions import is_even, refuse_two
from ..helpers.timeline import play, record

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

    from trio_event import ValueWatch


OPERATORS = ("debounce", "throttle")


def derive(source: ValueWatch[int], operator: str, seconds: float) -> ValueWatch[int]:
    return source.debounce(seconds) if operator == "debounce" else source.throttle(seconds)


@pytest.mark.parametrize("seconds", [-1, math.inf, math.nan])
@pytest.mark.parametrize("operator", OPERATORS)
def test_seconds_are_a_finite_number(operator: str, seconds: float) -> None:
    """V17: any other number raises ValueError when the value is derived."""
    with pytest.raises(ValueError, match=r"seconds=.* is not a finite number of at least 0"):
        derive(MemoryValue(1), operator, seconds)


# Chains; what is set, and when; what a watcher returns, and when.
CHAINS: Final = (
    pytest.param(
        lambda source: source.debounce(1),
        ((0, 1), (0.5, 2), (1, 3), (3, 4), (3.75, 5), (10, 6)),
        [(2, 3), (4.75, 5), (11, 6)],
        id="debounce waits until the value was quiet",
    ),
    pytest.param(
        lambda source: source.throttle(2),
        ((1, 1), (1.5, 2), (2, 3), (3.5, 4), (9, 5), (9.5, 6)),
        [(1, 1), (3, 3), (5, 4), (9, 5), (11, 6)],
        id="throttle returns the first at once and then the newest",
    ),
    pytest.param(
        lambda source: source.debounce(1).throttle(5),
        ((0, 1), (0.5, 2), (2, 3), (6, 4), (10, 5), (10.5, 6), (11, 7)),
        [(1.5, 2), (7, 4), (12, 7)],
        id="two stages are two conditions",
    ),
    pytest.param(
        lambda source: source.throttle(5).debounce(1),
        ((0, 1), (0.5, 2), (2, 3), (6, 4), (10, 5), (10.5, 6), (11, 7)),
        [(1.5, 2), (7, 4), (12, 7)],
        id="the order of two stages makes no difference",
    ),
    pytest.param(
        lambda source: source.debounce(3).map(abs).debounce(1),
        ((0, 1), (2, 2), (8, 3)),
        [(5, 2), (11, 3)],
        id="two debounces are the longer one",
    ),
    pytest.param(
        lambda source: source.distinct().debounce(1),
        tuple((at / 2, 1 + at // 8) for at in range(16)),
        [(1, 1), (5, 2)],
        id="a repetition does not hold up a debounce behind distinct",
    ),
    pytest.param(
        lambda source: source.distinct().debounce(1),
        ((0, 1), (2, 2), (2.5, 1), (5, 3)),
        [(1, 1), (6, 3)],
        id="a state that was left and comes again is no news to distinct",
    ),
    pytest.param(
        lambda source: source.filter(is_even).distinct().debounce(1),
        ((0, 2), (0.5, 3), (3, 4), (3.5, 5), (3.75, 4)),
        [(4.75, 4)],
        id="a rejected state takes the place of the one that was waiting",
    ),
    pytest.param(
        lambda source: source.distinct().throttle(2),
        ((0, 1), (3, 1), (3.5, 2)),
        [(0, 1), (3.5, 2)],
        id="a repetition does not use the time of a throttle behind distinct",
    ),
)


@pytest.mark.parametrize(("chain", "sets", "expected"), CHAINS)
async def test_chain_returns_each_state_when_it_is_due(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
    chain: Callable[[ValueWatch[int]], ValueWatch[int]],
    sets: tuple[tuple[float, int], ...],
    expected: list[tuple[float, int]],
) -> None:
    """V17: a state that is new comes when every stage of the chain lets it pass."""
    value: MemoryValue[int] = MemoryValue()
    seen: list[tuple[float, int]] = []
    nursery.start_soon(record, chain(value).watch(), seen)
    await play(value, *sets)
    await trio.sleep(10)
    assert seen == expected


async def test_debounce_counts_from_when_a_get_notices(autojump_clock: MockClock) -> None:
    """V17: a watcher that comes late waits as long, because no task keeps the time."""
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
    """V5, V17: the time that one get has begun goes on for the next."""
    watcher = MemoryValue(1).debounce(2).watch()
    with trio.move_on_after(1.5) as scope:
        await watcher.get()
    assert scope.cancelled_caught
    assert await watcher.get() == 1
    assert autojump_clock.current_time() == 2


async def test_rejected_value_does_not_use_the_time_of_a_throttle(
    autojump_clock: MockClock,
) -> None:
    """V6, V17: a rejected value is no update, so an accepted one comes at once."""
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
    """V5, V17: the next get returns the value when it is due."""
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
async def test_value_that_is_not_due_is_not_there(
    operator: str,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V15, V17: get_nowait raises and changed is false until the value is due."""
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
    """V9, V17: a value does not wait for its time after the end, and the end follows."""
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
    """V10, V17: a value that was there at the first call is returned when it is due."""
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
    """V15, V17: they tell what the newest source gives, in a run or out of it."""
    value = MemoryValue(0)
    derived = derive(value, operator, 10)
    watcher = derived.watch()
    assert await watcher.get() == 0
    value.set(1)
    assert (derived.peek(), derived.version) == (1, 2)
    assert await trio.to_thread.run_sync(derived.peek) == 1


@pytest.mark.parametrize("operator", OPERATORS)
async def test_nothing_happens_while_no_task_waits(
    operator: str,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V17: neither a set nor the passing of time wakes a task, and there is no task of our own."""
    value = MemoryValue(0)
    watchers = [derive(value, operator, 1).watch() for _ in range(10)]
    for watcher in watchers:
        await watcher.get()
    with counting() as counts:
        value.set(1)
        await trio.sleep(2)
    assert set(counts.steps) == {trio.lowlevel.current_task()}


async def test_key_that_fails_is_news(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    """V17: the get raises its exception when the value is due."""
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


async def test_debounced_map_gives_all_changes_in_one_batch(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    """V17, V20: the batch has all changes until the map is quiet."""
    peers: ValueMap[str, int] = ValueMap()
    get = Call(nursery, peers.debounce(1).watch().get)
    for number, key in enumerate("abc"):
        await trio.sleep(0.5)
        peers.set(key, number)
    peers.delete("b")
    batch = await get.result()
    assert [(change.key, change.new) for change in batch] == [("a", 0), ("c", 2)]
    assert autojump_clock.current_time() == 2.5


@pytest.mark.parametrize("operator", OPERATORS)
def test_time_that_comes_in_the_middle_of_a_look_is_not_missed(operator: str) -> None:
    """V17: a value that becomes due between two looks at the clock is taken."""

    async def get(looks: int) -> None:
        value = MemoryValue(0)
        watcher = derive(value, operator, looks * 1e-6).watch()
        with trio.fail_after(60):
            assert await watcher.get() == 0
            value.set(1)
            assert await watcher.get() == 1
            value.set(2)
            assert await select(watcher) == (0, 2)

    for looks in range(20):
        trio.run(get, looks, clock=Ticking())

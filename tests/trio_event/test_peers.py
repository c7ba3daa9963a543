"""Faults of other libraries with watched values, which this package does not have (V1 to V20).

Each test is a fault that trio-util, tokio, Kotlin, Rx, param or Monogon has or had.
"""

from __future__ import annotations

import operator
import warnings
from functools import partial
from typing import TYPE_CHECKING, final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_event import BacklogDone, MemoryValue, ValueMap, Watcher, compose, select

from .helpers.alive import watchers_alive
from .helpers.calls import Call
from .helpers.functions import is_even

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_event import ValueWatch


@final
class Ambiguous:
    """Compares as an array does: the answer is neither true nor false."""

    def __eq__(self, other: object) -> Ambiguous:  # type: ignore[override]
        return self

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        msg = "the truth value of an array is ambiguous"
        raise ValueError(msg)


@final
class Incomparable:
    """Raises when it is compared."""

    def __eq__(self, other: object) -> bool:
        msg = "don't compare me"
        raise TypeError(msg)

    __hash__ = None  # type: ignore[assignment]


async def test_held_for_returns_the_newest_value(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V16: trio-util returns the first match, which may be replaced since."""
    value = MemoryValue(10)
    waiting: Call[object] = Call(
        nursery, partial(value.wait_for, lambda number: number >= 10, held_for=5)
    )
    await trio.sleep(2)
    value.set(11)
    await trio.sleep(2)
    value.set(12)
    assert await waiting.result() == 12 == value.peek()


async def test_raising_predicate_keeps_no_other_waiter_from_waking(nursery: trio.Nursery) -> None:
    """V6, V16: in trio-util, set raises, and tasks behind the predicate are never woken."""
    value = MemoryValue(0)

    def refuse(number: int) -> bool:
        if number == 5:
            raise ValueError(number)
        return False

    failing: Call[object] = Call(nursery, partial(value.wait_for, refuse))
    others: list[Call[int]] = [
        Call(nursery, partial(value.wait_for, lambda number: number == 5)),
        Call(nursery, partial(value.watch().get, predicate=lambda number: number == 5)),
    ]
    await wait_all_tasks_blocked()
    assert value.set(5) == 2
    with pytest.raises(ValueError, match="5"):
        await failing.result()
    assert [await other.result() for other in others] == [5, 5]


async def test_set_in_a_transform_leaves_no_stale_derived_value() -> None:
    """V19: trio-util leaves the source at 2 and the derived value at the one for 1."""
    value = MemoryValue(0)

    def clamp(number: int) -> int:
        if number == 1:
            value.set(2)
        return number * 10

    derived = value.map(clamp)
    watcher = derived.watch()
    assert await watcher.get() == 0
    value.set(1)
    assert await watcher.get() == 10
    assert await watcher.get() == 20 == derived.peek()


async def test_composed_diamond_is_no_mixture(nursery: trio.Nursery) -> None:
    """V18: trio-util's predicate, and Kotlin's combine, see (5, 2) between (1, 2) and (5, 10)."""
    value = MemoryValue(1)
    states: list[tuple[int, int]] = []

    def remember(state: tuple[int, int]) -> bool:
        states.append(state)
        return False

    waiting: Call[object] = Call(
        nursery, partial(compose(value, value.map(lambda n: n * 2)).wait_for, remember)
    )
    await wait_all_tasks_blocked()
    value.set(5)
    assert states == [(1, 2), (5, 10)]
    await waiting.cancel()


@pytest.mark.parametrize("make", [Ambiguous, Incomparable])
async def test_value_that_can_not_be_compared_is_set_and_watched(
    nursery: trio.Nursery, make: type[object]
) -> None:
    """V1, V20: trio-util's and Kotlin's setters compare, and raise; ours compares if told to."""
    value: MemoryValue[object] = MemoryValue(make())
    peers: ValueMap[str, object] = ValueMap({"a": make()})
    watchers: list[Watcher[object]] = [
        value.watch(),
        value.filter(lambda _: True).watch(),
        compose(value, value.map(lambda one: one)).watch(),
        compose(a=value).watch(),
        peers.watch(),
    ]
    for watcher in watchers:
        await watcher.get()
    gets = [Call(nursery, watcher.get) for watcher in watchers]
    waiting: Call[object] = Call(nursery, partial(value.wait_for, lambda _: False))
    await wait_all_tasks_blocked()
    assert value.set(make()) == 2
    assert peers.set("a", make()) == 2
    for get in gets:
        await get.result()
    await waiting.cancel()


@pytest.mark.parametrize("make", [Ambiguous, Incomparable])
async def test_comparison_that_fails_is_raised_where_it_was_asked_for(make: type[object]) -> None:
    """V1, V17: the set of a value with eq raises, or the get of a distinct one; nothing is lost."""
    value: MemoryValue[object] = MemoryValue(make(), eq=operator.eq)
    with pytest.raises((ValueError, TypeError)):
        value.set(make())
    assert value.version == 1
    plain: MemoryValue[object] = MemoryValue(make())
    watcher = plain.distinct().watch()
    await watcher.get()
    plain.set(make())
    for _ in range(2):
        with pytest.raises((ValueError, TypeError)):
            await watcher.get()
    by_identity = plain.distinct(id).watch()
    await by_identity.get()


async def test_iteration_that_is_given_up_half_way_leaves_nothing(nursery: trio.Nursery) -> None:
    """V8, V12: others iterate by async generators, which have to be closed; a watcher does not."""
    value = MemoryValue(1)
    before = watchers_alive()

    async def look_once(source: ValueWatch[object]) -> None:
        async for _ in source.watch():
            break

    async def look_and_fail(source: ValueWatch[object]) -> None:
        async for item in source.watch():
            msg = f"no {item}"
            raise ValueError(msg)

    async def look_in_vain(source: ValueWatch[object]) -> None:
        call = Call(nursery, partial(iterate, source))
        await wait_all_tasks_blocked()
        await call.cancel()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for source in (value, value.map(str), compose(value, value), value.throttle(1)):
            await look_once(source)
            with pytest.raises(ValueError, match="no "):
                await look_and_fail(source)
            await look_in_vain(source)
        await wait_all_tasks_blocked()
        assert watchers_alive() == before
    assert value.statistics().tasks_waiting == 0


async def iterate(source: ValueWatch[object]) -> None:
    async for _ in source.watch():
        pass


async def test_state_that_was_left_and_come_back_to_meanwhile_is_an_update() -> None:
    """V1, V3: StateFlow emits nothing if the state equals the one that the collector got last."""
    value = MemoryValue("A")
    watcher = value.watch()
    assert await watcher.get() == "A"
    value.set("B")
    value.set("A")
    assert (await watcher.get_update()).missed == 1


async def test_equal_value_is_an_update_unless_told_otherwise() -> None:
    """V1: StateFlow always skips equal values."""
    value = MemoryValue(1)
    watcher = value.watch()
    assert await watcher.get() == 1
    value.set(1)
    assert await watcher.get() == 1


async def test_value_without_watchers_keeps_what_is_set() -> None:
    """V1, V3: tokio's send drops the value if there is no receiver."""
    value = MemoryValue(1)
    value.watch().close()
    value.set(2)
    assert value.peek() == 2
    assert await value.watch().get() == 2


def test_compare_and_set_is_not_true_without_setting() -> None:
    """V19: StateFlow's returns true to every caller if the new value equals the present one."""
    value = MemoryValue("free", eq=operator.eq)
    assert [value.compare_and_set(1, "free") for _ in range(3)] == [True, False, False]


async def test_match_of_one_set_is_not_missed(nursery: trio.Nursery) -> None:
    """V16: tokio's wait_for and Monogon's filter see only what is there when the task runs."""
    value = MemoryValue(0)
    waiting: Call[object] = Call(nursery, partial(value.wait_for, lambda number: number == 100))
    await wait_all_tasks_blocked()
    value.set(100)
    value.set(2)
    assert await waiting.result() == 100


async def test_value_that_was_rejected_is_not_lost() -> None:
    """V6: Monogon's filter and tokio's wait_for consume what they reject."""
    value = MemoryValue(1)
    watcher = value.watch()
    with pytest.raises(BacklogDone):
        await watcher.get(predicate=is_even, backlog_only=True)
    assert await watcher.get() == 1


async def test_unseen_value_comes_before_the_end_of_each_call() -> None:
    """V9, V15: tokio's has_changed fails on a closed channel with an unseen value."""
    value = MemoryValue(1)
    watcher = value.watch()
    value.close()
    assert watcher.changed
    assert watcher.get_nowait() == 1
    assert not watcher.changed


async def test_state_that_is_there_already_ends_each_wait() -> None:
    """V3, V16: a tokio receiver that waits for a change has seen the first value."""
    value = MemoryValue(4)
    assert await value.wait_for(is_even) == 4
    assert await value.watch().get() == 4


async def test_watching_begins_with_the_call_and_not_with_a_task() -> None:
    """V18: trio-util's compose_values loses what is set before its background task has begun."""
    first, second = MemoryValue(1), MemoryValue(1)
    watcher = compose(first, second).watch()
    first.set(2)
    assert await watcher.get() == (2, 1)


async def test_loop_that_sets_its_own_value_starves_no_task(nursery: trio.Nursery) -> None:
    """V5: a get is a checkpoint also if a value is ready."""
    value = MemoryValue(0)

    async def chase() -> None:
        async for number in value.watch():
            value.set(number + 1)

    chasing = Call(nursery, chase)
    for _ in range(10):
        await trio.lowlevel.checkpoint()
    await chasing.cancel()
    assert 1 < value.peek() < 100


async def test_second_consumer_does_not_hang(nursery: trio.Nursery) -> None:
    """V7: Swift's streams hang the second iterator of one stream; here it gets an error."""
    watcher = MemoryValue[int]().watch()
    Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    for call in (watcher.get, watcher.get_update, partial(select, watcher)):
        with pytest.raises(trio.BusyResourceError):
            await call()


async def test_delete_is_not_taken_for_an_empty_value() -> None:
    """V20: Monogon's etcd value returns an empty value for a deleted key."""
    peers = ValueMap({"a": "x"})
    watcher = peers.watch()
    await watcher.get()
    peers.set("a", "")
    (change,) = await watcher.get()
    assert change.new == ""
    peers.delete("a")
    (change,) = await watcher.get()
    assert change.new is not None
    assert change.new != ""

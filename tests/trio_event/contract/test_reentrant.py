"""Predicates and functions that set a value or close the watcher (V7, V19)."""

from __future__ import annotations

import operator
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_event import BacklogDone, MemoryValue, Watcher, atomic, compose, select

from ..helpers.calls import Call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Predicate = Callable[[int], bool]
    Get = Callable[[MemoryValue[int], Predicate], Callable[[], Awaitable[object]]]
    from collections.abc import Callable


def of_memory(value: MemoryValue[int], predicate: Predicate) -> Callable[[], Awaitable[object]]:
    return partial(value.watch().get, predicate=predicate)


def of_derived(value: MemoryValue[int], predicate: Predicate) -> Callable[[], Awaitable[object]]:
    return value.filter(predicate).watch().get


def of_timed(value: MemoryValue[int], predicate: Predicate) -> Callable[[], Awaitable[object]]:
    return partial(value.throttle(0).watch().get, predicate=predicate)


def of_timed_part(value: MemoryValue[int], predicate: Predicate) -> Callable[[], Awaitable[object]]:
    return compose(value.filter(predicate).throttle(0)).map(lambda part: part[0]).watch().get


async def selected(watcher: Watcher[int]) -> int:
    return (await select(watcher))[1]


def of_select(value: MemoryValue[int], predicate: Predicate) -> Callable[[], Awaitable[object]]:
    return partial(selected, value.filter(predicate).watch())


ALL: list[Get] = [of_memory, of_derived, of_timed, of_timed_part, of_select]


@pytest.mark.parametrize("ends", [False, True], ids=["open", "closed"])
@pytest.mark.parametrize("get", ALL, ids=lambda get: get.__name__)
async def test_set_by_what_rejects_is_looked_at(
    get: Get,
    ends: bool,  # noqa: FBT001  a parameter of the test's
) -> None:
    """V9, V19: a value that a rejecting predicate sets is the next version, or the last."""
    value = MemoryValue(1)

    def replace(number: int) -> bool:
        if number == 1 and value.version == 1:
            value.set(2)
            if ends:
                value.close()
        return number == 2

    with trio.fail_after(60):
        assert await get(value, replace)() == 2


async def test_set_of_another_value_of_a_select_is_looked_at() -> None:
    """V14, V19: a function of one watcher may set the value of another."""
    value, other = MemoryValue(1), MemoryValue[int]()

    def set_other(_: int) -> bool:
        if not other.version:
            other.set(5)
        return False

    with trio.fail_after(60):
        assert await select(other.watch(), value.filter(set_other).watch()) == (0, 5)


@pytest.mark.parametrize("backlog_only", [False, True])
@pytest.mark.parametrize("derived", [False, True])
@pytest.mark.parametrize("ended", [False, True])
async def test_watcher_closed_by_what_rejects_raises(
    backlog_only: bool,  # noqa: FBT001  parameters of the test's
    derived: bool,  # noqa: FBT001
    ended: bool,  # noqa: FBT001
) -> None:
    """V7: a watcher that its own predicate closes ends the get under way."""
    value = MemoryValue(1)
    watcher = (value.map(int) if derived else value).watch()
    if ended:
        value.close()

    def close(_: int) -> bool:
        watcher.close()
        return False

    with trio.fail_after(60), pytest.raises(trio.ClosedResourceError):
        await watcher.get(predicate=close, backlog_only=backlog_only)
    with pytest.raises(trio.ClosedResourceError):
        await watcher.get()


async def test_watcher_closed_by_a_function_ends_a_select() -> None:
    """V7, V14: this holds for each of the watchers."""
    watcher = MemoryValue[int]().watch()

    def close(_: int) -> bool:
        watcher.close()
        return False

    with trio.fail_after(60), pytest.raises(trio.ClosedResourceError):
        await select(watcher, MemoryValue(1).filter(close).watch())


async def test_set_by_what_rejects_is_no_backlog() -> None:
    """V10: the value was set after the first call, and the next get returns it."""
    value = MemoryValue(1)
    watcher = value.watch()

    def replace(_: int) -> bool:
        value.set(2)
        return False

    with pytest.raises(BacklogDone):
        await watcher.get(predicate=replace, backlog_only=True)
    assert await watcher.get() == 2


async def test_set_in_a_predicate_of_wait_for_comes_after_the_set_under_way(
    nursery: trio.Nursery,
) -> None:
    """V19: all predicates are asked about the first set before any is asked about the second."""
    value = MemoryValue(0)
    told: list[tuple[str, int]] = []

    def note_and_set(name: str, number: int) -> bool:
        told.append((name, number))
        if name == "b" and 0 < number < 3:
            version = value.version
            assert value.set(number + 1) == version + 1
            assert value.version == version
        return number == 3

    calls: list[Call[object]] = [
        Call(nursery, partial(value.wait_for, partial(note_and_set, name))) for name in "abc"
    ]
    watcher = value.watch()
    await wait_all_tasks_blocked()
    told.clear()
    value.set(1)
    assert value.peek() == 3
    assert [number for _, number in told] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [await call.result() for call in calls] == [3, 3, 3]
    assert await watcher.get() == 3


async def test_change_in_a_predicate_builds_on_what_is_to_be_set(nursery: trio.Nursery) -> None:
    """V19: update and compare_and_set take deferred sets into account."""
    value = MemoryValue(0, eq=operator.eq)
    results: list[object] = []

    def change(number: int) -> bool:
        if number == 1:
            results.append(value.set(2))
            results.append(value.set(2))
            results.append(value.update(lambda newest: newest * 10))
            results.append(value.compare_and_set(2, 5))
            results.append(value.compare_and_set(4, 6))
        return number == 6

    waiting: Call[object] = Call(nursery, partial(value.wait_for, change))
    await wait_all_tasks_blocked()
    value.set(1)
    assert results == [3, 3, 4, False, True]
    assert await waiting.result() == 6
    assert value.version == 5


async def test_set_in_a_predicate_at_the_end_of_an_atomic_block_is_not_lost(
    nursery: trio.Nursery,
) -> None:
    """V18, V19: it is set when all were asked about the block, and before any later set."""
    value, other = MemoryValue(0), MemoryValue(0)
    told: list[int] = []

    def answer(number: int) -> bool:
        if number == 1:
            value.set(2)
            other.set(2)
        return False

    def note(number: int) -> bool:
        told.append(number)
        return False

    calls: list[Call[object]] = [
        Call(nursery, partial(value.wait_for, answer)),
        Call(nursery, partial(other.wait_for, note)),
    ]
    await wait_all_tasks_blocked()
    with atomic():
        value.set(1)
        other.set(1)
    assert (value.peek(), other.peek()) == (2, 2)
    assert told == [0, 1, 2]
    value.set(3)
    assert value.peek() == 3
    for call in calls:
        await call.cancel()


async def test_sets_in_predicates_of_an_atomic_block_keep_their_order(
    nursery: trio.Nursery,
) -> None:
    """V18, V19: a later set does not overtake one that is deferred to the end of the block."""
    first, value, last = (MemoryValue(0) for _ in range(3))
    told: list[int] = []
    versions: list[int] = []

    def set_to(number: int, asked: int) -> bool:
        if asked:
            versions.append(value.set(number))
        return False

    def note(number: int) -> bool:
        told.append(number)
        return False

    for source, predicate in (
        (first, partial(set_to, 10)),
        (value, note),
        (last, partial(set_to, 20)),
    ):
        Call(nursery, partial(source.wait_for, predicate))
    await wait_all_tasks_blocked()
    with atomic():
        for source in (first, value, last):
            source.set(1)
    assert told == [0, 1, 10, 20]
    assert versions == [2 + 1, 2 + 2]
    assert value.version == 4
    nursery.cancel_scope.cancel()


async def test_value_that_a_predicate_closes_ends_for_all(nursery: trio.Nursery) -> None:
    """V9, V19: the other predicates are asked about the set before the end."""
    value = MemoryValue(0)

    def close(number: int) -> bool:
        if number:
            value.close()
        return False

    closing: Call[object] = Call(nursery, partial(value.wait_for, close))
    matching: Call[object] = Call(nursery, partial(value.wait_for, bool))
    await wait_all_tasks_blocked()
    value.set(1)
    assert await matching.result() == 1
    with pytest.raises(trio.EndOfChannel):
        await closing.result()


async def test_set_of_another_source_in_a_predicate_is_asked_about(nursery: trio.Nursery) -> None:
    """V18, V19: a predicate on composed values that sets one of them is asked about that too."""
    first, second = MemoryValue(0), MemoryValue(0)
    asked: list[tuple[int, int]] = []

    def follow_suit(state: tuple[int, int]) -> bool:
        asked.append(state)
        if state[1] < state[0]:
            second.set(state[0])
        return state == (2, 2)

    waiting: Call[object] = Call(nursery, partial(compose(first, second).wait_for, follow_suit))
    await wait_all_tasks_blocked()
    first.set(2)
    assert asked == [(0, 0), (2, 0), (2, 2)]
    assert await waiting.result() == (2, 2)


async def test_set_in_a_transform_is_an_update_of_its_own() -> None:
    """V19: the get returns the result for the older value, and the next get that for the newer."""
    value = MemoryValue(1)

    def count(number: int) -> int:
        if number < 3:
            value.set(number + 1)
        return number * 10

    watcher = value.map(count).watch()
    assert [await watcher.get() for _ in range(3)] == [10, 20, 30]
    with pytest.raises(trio.WouldBlock):
        watcher.get_nowait()


async def test_set_in_a_key_is_an_update_of_its_own() -> None:
    """V19: the same holds for the key of distinct."""
    value = MemoryValue(1)

    def key(number: int) -> int:
        if number == 1:
            value.set(2)
        return number

    watcher = value.distinct(key).watch()
    assert [await watcher.get() for _ in range(2)] == [1, 2]

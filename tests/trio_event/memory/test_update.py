"""Changing a value, also in the middle of another change (V19), and figures about it (V21)."""

from __future__ import annotations

import operator
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import assert_no_checkpoints, wait_all_tasks_blocked

from trio_event import MemoryValue, UnsetError, atomic, compose, select

from ..helpers.calls import Call

if TYPE_CHECKING:
    from collections.abc import Callable


def is_big(number: int) -> bool:
    return number > 10


async def test_update_sets_what_the_function_makes() -> None:
    """V19: it returns the version, as set does, and is no checkpoint."""
    value = MemoryValue(1)
    with assert_no_checkpoints():
        assert value.update(lambda number: number + 1) == 2
    assert (value.peek(), value.version) == (2, 2)


def test_update_needs_data() -> None:
    """V2, V19: without any it is an error that says what to do, and nothing is changed."""
    value: MemoryValue[int] = MemoryValue()
    with pytest.raises(UnsetError, match=r"update\(\) was called .* has no data: set\(\) it"):
        value.update(abs)
    assert value.version == 0


def test_function_of_an_update_that_fails_changes_nothing() -> None:
    """V19: its exception leaves the update."""
    value = MemoryValue(0)
    with pytest.raises(ZeroDivisionError):
        value.update(lambda number: 1 // number)
    assert (value.peek(), value.version) == (0, 1)


def test_update_to_an_equal_value_is_none_with_eq() -> None:
    """V1, V19: eq is asked, as in set."""
    value = MemoryValue(1, eq=operator.eq)
    assert value.update(abs) == 1


def test_compare_and_set_sets_only_at_the_version() -> None:
    """V19: of all who have made something of one version, one succeeds."""
    value: MemoryValue[int] = MemoryValue()
    assert value.compare_and_set(0, 1)
    assert not value.compare_and_set(0, 2)
    assert value.compare_and_set(1, 3)
    assert (value.peek(), value.version) == (3, 2)


def test_compare_and_set_is_true_only_if_it_has_set() -> None:
    """V19: also where eq finds the values equal, the version goes on."""
    value = MemoryValue(1, eq=operator.eq)
    assert [value.compare_and_set(1, 1) for _ in range(2)] == [True, False]
    assert value.version == 2


@pytest.mark.parametrize("change", ["update", "compare_and_set"])
async def test_change_is_refused_where_set_is(change: str) -> None:
    """V9, V11, V19: in another thread, and after the end; the function is not called."""
    value = MemoryValue(1)
    called: list[int] = []
    calls: dict[str, Callable[[], object]] = {
        "update": partial(value.update, called.append),  # type: ignore[arg-type]
        "compare_and_set": partial(value.compare_and_set, 7, 2),
    }
    call = calls[change]
    with pytest.raises(RuntimeError, match=rf"{change}\(\) was called in another thread"):
        await trio.to_thread.run_sync(call)
    value.close()
    with pytest.raises(trio.ClosedResourceError, match=rf"{change}\(\) was called .* has ended"):
        call()
    assert (value.peek(), called) == (1, [])


async def test_set_in_a_predicate_of_wait_for_comes_after_the_set_under_way(
    nursery: trio.Nursery,
) -> None:
    """V19: all are told of the first set before anybody is told of the second."""
    value = MemoryValue(0)
    told: list[tuple[str, int]] = []

    def note_and_set(name: str, number: int) -> bool:
        told.append((name, number))
        if name == "b" and 0 < number < 3:
            version = value.version
            assert value.set(number + 1) == version + 1
            assert value.version == version
        return number == 3

    calls = [Call(nursery, partial(value.wait_for, partial(note_and_set, name))) for name in "abc"]
    watcher = value.watch()
    await wait_all_tasks_blocked()
    told.clear()
    value.set(1)
    assert value.peek() == 3
    assert [number for _, number in told] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [await call.result() for call in calls] == [3, 3, 3]
    assert await watcher.get() == 3


async def test_change_in_a_predicate_builds_on_what_is_to_be_set(nursery: trio.Nursery) -> None:
    """V19: update and compare_and_set know of the sets that wait for the end of the first."""
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

    waiting = Call(nursery, partial(value.wait_for, change))
    await wait_all_tasks_blocked()
    value.set(1)
    assert results == [3, 3, 4, False, True]
    assert await waiting.result() == 6
    assert value.version == 5


async def test_set_in_a_predicate_at_the_end_of_an_atomic_block_is_not_lost(
    nursery: trio.Nursery,
) -> None:
    """V18, V19: it is set when all have been told of the block, and before any later set."""
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

    calls = [
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
    """V18, V19: a later one does not overtake one that waits for the end of the block."""
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
    """V9, V19: those who are told of the set first get what they match."""
    value = MemoryValue(0)

    def close(number: int) -> bool:
        if number:
            value.close()
        return False

    closing = Call(nursery, partial(value.wait_for, close))
    matching = Call(nursery, partial(value.wait_for, bool))
    await wait_all_tasks_blocked()
    value.set(1)
    assert await matching.result() == 1
    with pytest.raises(trio.EndOfChannel):
        await closing.result()


async def test_set_of_another_source_in_a_predicate_is_asked_about(nursery: trio.Nursery) -> None:
    """V18, V19: a predicate on composed values that sets one of them sees that too."""
    first, second = MemoryValue(0), MemoryValue(0)
    asked: list[tuple[int, int]] = []

    def follow_suit(state: tuple[int, int]) -> bool:
        asked.append(state)
        if state[1] < state[0]:
            second.set(state[0])
        return state == (2, 2)

    waiting = Call(nursery, partial(compose(first, second).wait_for, follow_suit))
    await wait_all_tasks_blocked()
    first.set(2)
    assert asked == [(0, 0), (2, 0), (2, 2)]
    assert await waiting.result() == (2, 2)


async def test_set_in_a_transform_is_an_update_of_its_own() -> None:
    """V19: the get returns what was made of the value before, the next one of the value after."""
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
    """V19: likewise in what distinct compares."""
    value = MemoryValue(1)

    def key(number: int) -> int:
        if number == 1:
            value.set(2)
        return number

    watcher = value.distinct(key).watch()
    assert [await watcher.get() for _ in range(2)] == [1, 2]


def test_statistics_of_a_value_that_was_set() -> None:
    """V21: each set counts, and those that eq has suppressed."""
    value = MemoryValue(1, eq=operator.eq)
    for number in (1, 2, 2, 2, 3):
        value.set(number)
    statistics = value.statistics()
    assert (statistics.version, statistics.sets, statistics.suppressed) == (3, 6, 3)
    empty = MemoryValue[int]().statistics()
    assert (empty.version, empty.sets, empty.suppressed, empty.tasks_waiting) == (0, 0, 0, 0)


async def test_statistics_count_the_tasks_that_wait(nursery: trio.Nursery) -> None:
    """V21: each task once, whatever it waits with; idle watchers are not known."""
    value = MemoryValue(1)
    value.watch()
    watchers = [value.watch() for _ in range(4)]
    for watcher in watchers:
        await watcher.get()
    calls: list[Call[object]] = [
        Call(nursery, watchers[0].get),
        Call(nursery, watchers[1].get_update),
        Call(nursery, partial(select, watchers[2], watchers[3])),
        Call(nursery, partial(value.map(abs).wait_for, is_big)),
        Call(nursery, partial(compose(value, value).wait_version, 9)),
    ]
    await wait_all_tasks_blocked()
    assert value.statistics().tasks_waiting == 5
    for call in calls:
        await call.cancel()
    assert value.statistics().tasks_waiting == 0


async def test_statistics_count_those_that_were_called_until_they_run(
    nursery: trio.Nursery,
) -> None:
    """V21: a task that a set has called waits until its step."""
    value: MemoryValue[int] = MemoryValue()
    for _ in range(3):
        Call(nursery, value.watch().get)
    await wait_all_tasks_blocked()
    assert value.statistics().tasks_waiting == 3
    value.set(1)
    assert value.statistics().tasks_waiting == 2
    await wait_all_tasks_blocked()
    assert value.statistics().tasks_waiting == 0

"""Several values as one: ``compose`` (V18)."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_event import (
    BacklogDone,
    Composition,
    MemoryValue,
    ValueMap,
    compose,
    select,
)

from ..helpers.calls import Call, after_this_step, counting
from ..helpers.functions import is_even
from ..helpers.several import waiting


def add(parts: tuple[int, int]) -> int:
    return parts[0] + parts[1]


async def test_positions_make_a_tuple_and_names_a_composition() -> None:
    """V18: names are keys and attributes, in the order in which they were given."""
    first, second = MemoryValue(1), MemoryValue("b")
    assert await compose(first, second).watch().get() == (1, "b")
    named = await compose(number=first, text=second).watch().get()
    assert dict(named) == {"number": 1, "text": "b"}
    assert (named.number, named["text"], list(named), len(named)) == (1, "b", ["number", "text"], 2)


@pytest.mark.parametrize("named", [{}, {"second": MemoryValue(2)}], ids=["none", "both"])
def test_compose_takes_positions_or_names(named: dict[str, MemoryValue[int]]) -> None:
    """V18: no values at all, and a mixture, raise TypeError."""
    values = (MemoryValue(1),) if named else ()
    with pytest.raises(TypeError, match="either all by position or all by name"):
        compose(*values, **named)


def test_composition_is_immutable() -> None:
    """V18: it can be compared, hashed, copied and pickled, but not changed."""
    snapshot = Composition({"a": 1, "b": 2})
    with pytest.raises(AttributeError, match="'a' can't be changed: it is a snapshot"):
        snapshot.a = 2
    with pytest.raises(AttributeError, match="'a' can't be changed"):
        del snapshot.a
    with pytest.raises(AttributeError, match="'c' is none of the composed values a, b"):
        _ = snapshot.c
    assert snapshot == Composition({"b": 2, "a": 1})
    assert hash(snapshot) == hash(Composition({"b": 2, "a": 1}))
    assert snapshot == {"a": 1, "b": 2}
    assert copy.deepcopy(snapshot) == snapshot
    assert pickle.loads(pickle.dumps(snapshot)) == snapshot  # noqa: S301  it is ours
    assert repr(snapshot) == "Composition(a=1, b=2)"


async def test_composed_value_waits_for_data_of_all(nursery: trio.Nursery) -> None:
    """V2, V18: while one source has no data, the whole has none, and is at version 0."""
    first, second = MemoryValue(1), MemoryValue[int]()
    both = compose(first, second)
    watcher = both.watch()
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    first.set(2)
    await wait_all_tasks_blocked()
    assert not get.ended
    assert (both.version, both.peek(None), watcher.lag) == (0, None, 0)
    second.set(3)
    assert await get.result() == (2, 3)
    assert both.version == 3


async def test_composed_value_has_no_data_while_a_part_is_rejected(nursery: trio.Nursery) -> None:
    """V17, V18: an older state of that part would make a mixture."""
    first, second = MemoryValue(2), MemoryValue(1)
    watcher = compose(first.filter(is_even), second).watch()
    assert await watcher.get() == (2, 1)
    first.set(3)
    second.set(2)
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    assert not get.ended
    first.set(4)
    assert await get.result() == (4, 2)


async def test_diamond_never_shows_a_mixture(nursery: trio.Nursery) -> None:
    """V18: all parts that are derived of one value are of the same version of it."""
    value = MemoryValue(1)
    tens = value.map(lambda number: number * 10)
    diamond = compose(value, tens, compose(tens, value).map(add))
    asked: list[tuple[int, int, int]] = []

    def remember(parts: tuple[int, int, int]) -> bool:
        asked.append(parts)
        return False

    waiting: Call[object] = Call(nursery, partial(diamond.wait_for, remember))
    watcher = diamond.watch()
    for number in range(2, 5):
        await wait_all_tasks_blocked()
        value.set(number)
        assert await watcher.get() == (number, number * 10, number * 11)
    assert asked == [(n, n * 10, n * 11) for n in range(1, 5)]
    assert diamond.version == 4
    await waiting.cancel()


async def test_set_in_a_transform_makes_no_mixture() -> None:
    """V18, V19: all sources are read before anything is computed of them."""
    value = MemoryValue(1)

    def count(number: int) -> int:
        if number < 3:
            value.set(number + 1)
        return number * 10

    tens = value.map(count)
    watcher = compose(tens, value, tens.map(abs)).watch()
    assert [await watcher.get() for _ in range(3)] == [(10, 1, 10), (20, 2, 20), (30, 3, 30)]
    value.set(1)
    assert compose(compose(tens, value).map(add), value).map(add).peek() == 12


async def test_sets_without_a_checkpoint_between_are_seen_together(nursery: trio.Nursery) -> None:
    """V4, V18: a task that the first set has woken gets them all, in one update."""
    first, second = MemoryValue(1), MemoryValue(1)
    watcher = compose(first, second).watch()
    assert await watcher.get() == (1, 1)
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    first.set(2)
    second.set(2)
    assert await get.result() == (2, 2)
    assert not watcher.changed


async def test_distinct_has_an_effect_behind_compose_only() -> None:
    """V17, V18: each set of a source is an update of the snapshot."""
    first, second = MemoryValue(1), MemoryValue(1)
    watcher = compose(first.distinct(), second).watch()
    behind = compose(first, second).distinct().watch()
    assert await watcher.get() == await behind.get() == (1, 1)
    first.set(1)
    assert (watcher.changed, behind.changed) == (True, False)


async def test_rejected_snapshot_is_not_seen() -> None:
    """V6, V18: a plain get returns what the predicate of another has rejected."""
    watcher = compose(MemoryValue(1), MemoryValue(2)).watch()
    with pytest.raises(BacklogDone):
        await watcher.get(predicate=lambda parts: parts[0] > 1, backlog_only=True)
    assert await watcher.get() == (1, 2)


async def test_composed_value_goes_on_until_all_have_ended() -> None:
    """V9, V18: the last state of a closed source is a part of later snapshots."""
    first, second = MemoryValue(1), MemoryValue(1)
    watcher = compose(first, second).watch()
    first.close()
    assert await watcher.get() == (1, 1)
    second.set(2)
    assert await watcher.get() == (1, 2)
    second.close()
    with pytest.raises(trio.EndOfChannel):
        await watcher.get()


async def test_composed_value_fails_with_one_of_its_sources() -> None:
    """V9, V18: the get raises from the source's error, after what is unseen."""
    first, second = MemoryValue(1), MemoryValue(1)
    watcher = compose(first, second).watch()
    error = OSError("gone")
    first.fail(error)
    assert await watcher.get() == (1, 1)
    with pytest.raises(trio.BrokenResourceError) as broken:
        await watcher.get()
    assert broken.value.__cause__ is error


async def test_composed_value_ends_if_a_part_can_never_have_data() -> None:
    """V9, V18: a source that was closed without data, or with a rejected state, ends the whole."""
    empty, odd = MemoryValue[int](), MemoryValue(1)
    empty.close()
    odd.close()
    for part in (empty, odd.filter(is_even)):
        with pytest.raises(trio.EndOfChannel):
            await compose(MemoryValue(1), part).watch().get()


async def test_function_that_fails_is_no_lack_of_data() -> None:
    """V9, V17, V18: the get raises its exception, not the end of its source."""
    value = MemoryValue(0)
    value.close()
    watcher = compose(value.map(lambda number: 1 // number), MemoryValue(1)).watch()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await watcher.get()


async def test_source_of_many_parts_wakes_the_task_once(nursery: trio.Nursery) -> None:
    """V18: the task waits once for a source that occurs several times."""
    value = MemoryValue(1)
    watcher = compose(value, value.map(abs), compose(value, value)).watch()
    await watcher.get()
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    assert value.statistics().tasks_waiting == 1
    with counting() as counts:
        value.set(2)
        await wait_all_tasks_blocked()
    assert get.task is not None
    assert counts.steps[get.task] == 1


async def test_map_is_composed_as_a_whole() -> None:
    """V18, V20: at each change its part is a batch of all keys."""
    peers, limit = ValueMap({"a": 1}), MemoryValue(7)
    both = compose(peers, limit).map(lambda parts: ([at.key for at in parts[0]], parts[1]))
    watcher = both.watch()
    assert await watcher.get() == (["a"], 7)
    peers.set("b", 2)
    assert await watcher.get() == (["a", "b"], 7)
    limit.set(8)
    assert await watcher.get() == (["a", "b"], 8)


async def test_cancelled_get_and_select_of_composed_values_take_nothing(
    nursery: trio.Nursery,
) -> None:
    """V5, V14, V18: nothing is seen, and no wait is left."""
    first, second = MemoryValue(1), MemoryValue(1)
    watcher = compose(first, second).watch()
    with trio.CancelScope() as scope:
        after_this_step(scope.cancel)
        await select(watcher)
    assert scope.cancelled_caught
    assert await watcher.get() == (1, 1)
    call = Call(nursery, partial(select, watcher))
    await wait_all_tasks_blocked()
    assert waiting([first, second]) == 2
    await call.cancel()
    assert waiting([first, second]) == 0


async def test_repr_tells_the_sources() -> None:
    """V18: repr shows the sources of a composed value."""
    assert repr(compose(MemoryValue(1), MemoryValue(2))) == (
        "<composed of <MemoryValue 1 version 1>, <MemoryValue 2 version 1>>"
    )


async def test_what_was_there_before_a_watcher_is_not_missed() -> None:
    """V15, V18: this holds also if one of the values had no data when the watcher was made."""
    value, late = MemoryValue(0), MemoryValue[int]()
    for number in range(10):
        value.set(number)
    watcher = compose(value, late).watch()
    late.set(1)
    update = await watcher.get_update()
    assert (update.value, update.version, update.missed) == ((9, 1), 12, 0)
    value.set(10)
    value.set(11)
    assert (await watcher.get_update()).missed == 1

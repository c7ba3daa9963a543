"""Values that are derived at once: ``map``, ``filter``, ``distinct`` (V15, V17)."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_event import UNSET, BacklogDone, MemoryValue, UnsetError, compose, select

from ..helpers.calls import Call, counting
from ..helpers.functions import is_even, refuse_two


def parity(number: int) -> int:
    return number % 2


async def test_map_computes_what_is_taken_and_nothing_else() -> None:
    """V17: the function is called with what a watcher takes, not with what is replaced before."""
    value: MemoryValue[int] = MemoryValue()
    computed: list[int] = []

    def double(number: int) -> int:
        computed.append(number)
        return number * 2

    watcher = value.map(double).watch()
    for number in (1, 2, 3):
        value.set(number)
    assert computed == []
    assert await watcher.get() == 6
    assert computed == [3]


async def test_exception_of_a_function_is_raised_in_the_get_and_marks_nothing_seen() -> None:
    """V17: it is raised again until there is a newer value, as with a predicate."""
    value = MemoryValue(2)
    for derived in (
        value.map(refuse_two),
        value.filter(lambda number: bool(refuse_two(number))),
        value.distinct(refuse_two),
    ):
        value.set(2)
        watcher = derived.watch()
        for _ in range(2):
            with pytest.raises(ValueError, match="I don't like 2"):
                await watcher.get()
        with pytest.raises(ValueError, match="I don't like 2"):
            watcher.get_nowait()
        with pytest.raises(ValueError, match="I don't like 2"):
            _ = watcher.changed
        assert watcher.lag == 1
        value.set(3)
        assert await watcher.get() == 3


async def test_filtered_value_has_no_data_while_the_newest_is_rejected() -> None:
    """V2, V17: an older state that was accepted is not kept."""
    value = MemoryValue(2)
    even = value.filter(is_even)
    assert even.peek() == 2
    value.set(3)
    with pytest.raises(UnsetError, match=r"<Filtered of <MemoryValue 3 version 2>> has no data"):
        even.peek()
    watcher = even.watch()
    assert not watcher.changed
    with pytest.raises(trio.WouldBlock):
        watcher.get_nowait()
    with pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)
    value.set(4)
    assert await watcher.get(backlog_only=True) == 4


async def test_filter_and_predicate_have_both_to_be_satisfied(nursery: trio.Nursery) -> None:
    """V6, V17: a value that one of them rejects is not seen."""
    value = MemoryValue(1)
    watcher = value.filter(is_even).watch()
    get = Call(nursery, partial(watcher.get, predicate=lambda number: number > 10))
    for number in (11, 2):
        await wait_all_tasks_blocked()
        value.set(number)
    await wait_all_tasks_blocked()
    await get.cancel()
    assert await watcher.get() == 2


async def test_rejected_last_value_of_a_filter_does_not_hold_up_the_end() -> None:
    """V9, V17: no later value can satisfy the filter."""
    value = MemoryValue(1)
    value.close()
    with pytest.raises(trio.EndOfChannel):
        await value.filter(is_even).watch().get()


async def test_distinct_skips_what_equals_the_value_returned_last(nursery: trio.Nursery) -> None:
    """V17: this holds also if another state was between; each watcher compares with its own."""
    value = MemoryValue(1)
    watcher = value.distinct().watch()
    assert await watcher.get() == 1
    get = Call(nursery, watcher.get)
    for number in (1, 1):
        value.set(number)
        await wait_all_tasks_blocked()
    value.set(2)
    value.set(1)
    await wait_all_tasks_blocked()
    assert not get.ended
    assert await value.distinct().watch().get() == 1
    value.set(2)
    assert await get.result() == 2
    value.set(1)
    assert await watcher.get() == 1


async def test_distinct_compares_keys() -> None:
    """V17: with a key, values are equal if their keys are."""
    value = MemoryValue(1)
    watcher = value.distinct(parity).watch()
    assert await watcher.get() == 1
    value.set(3)
    with pytest.raises(trio.WouldBlock):
        watcher.get_nowait()
    value.set(4)
    assert await watcher.get() == 4


async def test_distinct_does_not_take_none_for_nothing() -> None:
    """V2, V17: the first value is never a repetition, and None is a value."""
    value = MemoryValue[int | None](None)
    watcher = value.distinct().watch()
    assert await watcher.get() is None
    value.set(None)
    with pytest.raises(trio.WouldBlock):
        watcher.get_nowait()


async def test_repetition_is_seen_and_no_backlog() -> None:
    """V10, V15, V17: a repetition leaves nothing unseen."""
    value = MemoryValue(1)
    watcher = value.distinct().watch()
    assert await watcher.get() == 1
    value.set(1)
    with pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)
    assert (watcher.lag, watcher.changed) == (0, False)


async def test_rejected_value_is_not_what_distinct_compares_with() -> None:
    """V6, V17: a value that the predicate rejects was not returned."""
    value = MemoryValue(1)
    watcher = value.distinct().watch()
    assert await watcher.get() == 1
    value.set(2)
    with pytest.raises(BacklogDone):
        await watcher.get(predicate=lambda number: number > 2, backlog_only=True)
    assert await watcher.get() == 2


async def test_missed_counts_versions_whatever_became_of_them() -> None:
    """V15, V17: replaced, rejected and repeated versions count."""
    value = MemoryValue(2)
    watchers = [value.filter(is_even).watch(), value.distinct().watch()]
    for watcher in watchers:
        assert (await watcher.get_update()).missed == 0
    value.set(3)
    value.set(2)
    for watcher in watchers:
        assert watcher.changed is (watcher is watchers[0])
    value.set(4)
    update = await watchers[0].get_update()
    assert (update.version, update.missed, update.previous) == (4, 2, 2)
    update = await watchers[1].get_update()
    assert (update.version, update.missed, update.previous) == (4, 2, 2)


async def test_watcher_that_is_new_has_missed_nothing() -> None:
    """V15: versions before watch() do not count, later ones do."""
    value = MemoryValue(1)
    for number in (2, 3):
        value.set(number)
    watcher = value.map(abs).watch()
    assert watcher.lag == 1
    value.set(4)
    assert watcher.lag == 2
    update = await watcher.get_update()
    assert (update.version, update.missed, update.previous) == (4, 1, UNSET)
    composed = compose(value, value.throttle(1)).watch()
    assert (await composed.get_update()).missed == 0


async def test_wait_version_of_a_filtered_value_waits_for_data(nursery: trio.Nursery) -> None:
    """V15, V17: it waits while the newest state is rejected."""
    value = MemoryValue(1)
    waiting = Call(nursery, partial(value.filter(is_even).wait_version, 1))
    await wait_all_tasks_blocked()
    value.set(4)
    assert await waiting.result() == 4


async def test_derived_value_costs_a_set_nothing() -> None:
    """V8, V17: while no task waits, a set computes nothing and wakes no task."""
    value = MemoryValue(0)
    derived = value.map(refuse_two).filter(is_even).distinct()
    watchers = [derived.watch() for _ in range(10)]
    for watcher in watchers:
        await watcher.get()
    with counting() as counts:
        assert value.set(2) == 2
    assert not counts.scheduled
    assert value.statistics().tasks_waiting == 0


async def test_derived_values_are_selected_like_others(nursery: trio.Nursery) -> None:
    """V14, V17: this holds for each kind; a rejected or repeated state does not end the wait."""
    value, other = MemoryValue(2), MemoryValue(1)
    watchers = (value.filter(is_even).watch(), other.distinct().watch(), other.map(str).watch())
    taken = [await select(*watchers) for _ in range(3)]
    assert sorted(taken, key=repr) == [(0, 2), (1, 1), (2, "1")]
    call = Call(nursery, partial(select, *watchers[:2]))
    await wait_all_tasks_blocked()
    value.set(3)
    other.set(1)
    await wait_all_tasks_blocked()
    assert not call.ended
    other.set(2)
    assert await call.result() == (1, 2)


async def test_repr_tells_what_a_value_is_made_of() -> None:
    """V17: repr shows the sources of a derived value."""
    derived = MemoryValue(1).map(abs).debounce(1)
    assert repr(derived) == "<Debounced of <Mapped of <MemoryValue 1 version 1>>>"

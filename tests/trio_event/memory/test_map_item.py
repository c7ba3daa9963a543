"""One key of a map, as a value (V23). What holds for every value is in ``contract``."""

from __future__ import annotations

import copy
import gc
import pickle
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_event import (
    ABSENT,
    UNSET,
    Absent,
    MemoryValue,
    UnsetError,
    ValueMap,
    atomic,
    compose,
    follow,
    select,
)

from ..helpers.calls import Call, counting
from ..helpers.functions import anything
from ..helpers.internals import DELETES_KEPT, check_journal, entries_kept, oldest_delete, waits_for
from ..helpers.threads import call_in_other_run

if TYPE_CHECKING:
    from trio_event import ValueWatch

State = int | Absent


def come_and_go(peers: ValueMap[str, int], times: int = 3 * DELETES_KEPT) -> None:
    """Leave so many deletes behind that the map drops all older ones."""
    for number in range(times):
        peers.set(f"passing {number}", number)
        peers.delete(f"passing {number}")


def test_absent_is_one_constant() -> None:
    """V23: it stays itself when it is pickled and copied."""
    assert isinstance(ABSENT, Absent)
    assert repr(ABSENT) == "ABSENT"
    for again in (
        copy.copy(ABSENT),
        copy.deepcopy([ABSENT])[0],
        pickle.loads(pickle.dumps(ABSENT)),  # noqa: S301  our own
    ):
        assert again is ABSENT


async def test_item_is_absent_while_its_key_is_not_there() -> None:
    """V23: never there, deleted, there again: each is an update, with its key's own version."""
    peers = ValueMap({"other": 0})
    item = peers.item("a")
    watcher = item.watch()
    begin = item.version
    assert (item.peek(), await watcher.get()) == (ABSENT, ABSENT)
    for change, state in (
        (partial(peers.set, "a", 1), 1),
        (partial(peers.apply, {"a": 1, "other": 1}), 1),
        (partial(peers.delete, "a"), ABSENT),
        (partial(peers.replace_all, {"a": 2}), 2),
        (partial(peers.replace_all, {}), ABSENT),
    ):
        change()
        update = await watcher.get_update()
        assert (update.value, item.peek(), update.missed) == (state, state, 0)
    assert item.version == begin + 5


def test_item_of_a_map_without_data_has_none() -> None:
    """V2, V23: the first change of the map, whatever it changes, makes it known."""
    for change, state in (({"a": 1}, 1), ({"b": 1}, ABSENT), ({}, ABSENT)):
        peers: ValueMap[str, int] = ValueMap()
        item = peers.item("a")
        with pytest.raises(UnsetError):
            item.peek()
        assert item.version == 0
        peers.replace_all(change)
        assert (item.peek(), item.version) == (state, 1)
        assert (peers.item("b").peek(), peers.item("b").version) == (change.get("b", ABSENT), 1)


async def test_item_has_no_update_when_other_keys_change(nursery: trio.Nursery) -> None:
    """V23: a task that waits for one key is not woken by changes of others."""
    peers = ValueMap({"a": 1, "b": 1})
    watcher = peers.item("a").watch()
    await watcher.get()
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    with counting() as counts:
        peers.set("b", 2)
        peers.apply({"b": 3, "c": 4})
        come_and_go(peers)
        await wait_all_tasks_blocked()
        assert get.task not in counts.steps
    assert (watcher.lag, watcher.changed) == (0, False)
    peers.set("a", 1)
    assert await get.result() == 1


async def test_present_is_the_value_while_the_key_is_there(nursery: trio.Nursery) -> None:
    """V17, V23: as of filter, there is nothing while the key is absent, and no older state."""
    peers: ValueMap[str, int] = ValueMap({})
    present = peers.item("a").present()
    get = Call(nursery, present.watch().get)
    await wait_all_tasks_blocked()
    assert present.peek(None) is None
    peers.set("a", 1)
    assert (await get.result(), present.peek()) == (1, 1)
    peers.delete("a")
    assert present.peek(None) is None
    with pytest.raises(trio.WouldBlock):
        present.watch().get_nowait()
    peers.set("a", 2)
    assert compose(present, peers.item("b")).peek() == (2, ABSENT)


async def test_composed_items_are_of_one_version(nursery: trio.Nursery) -> None:
    """V18, V23: no get, predicate, follow or select sees one key of a change without the other."""
    peers: ValueMap[str, int] = ValueMap()
    pair = compose(peers.item("a"), peers.item("b"))
    states: set[tuple[State, State]] = set()

    def remember(state: tuple[State, State]) -> bool:
        states.add(state)
        return False

    async def show(state: tuple[State, State]) -> None:
        states.add(state)
        await trio.sleep_forever()

    calls = [
        Call(nursery, partial(pair.wait_for, remember)),
        Call(nursery, partial(pair.map(remember).wait_for, anything)),
        Call(nursery, partial(follow, pair, show, latest=True)),
        Call(nursery, partial(peers.item("b").wait_for, lambda _: remember(pair.peek()))),
        Call(nursery, partial(peers.wait_for, lambda _: remember(pair.peek()))),
    ]
    watcher = pair.watch()
    for number in range(20):
        await wait_all_tasks_blocked()
        if number % 3:
            peers.apply({"a": number, "b": number})
        else:
            peers.replace_all({})
            come_and_go(peers)
        remember(watcher.get_nowait())
    assert {(a, b) for a, b in states if a != b} == set()
    assert {a for a, _ in states} > {ABSENT, 1, 2, 4, 5}
    for call in calls:
        await call.cancel()


async def test_item_and_map_are_composed_of_one_version(nursery: trio.Nursery) -> None:
    """V18, V23: the batch of all keys has the item's state."""
    peers: ValueMap[str, int] = ValueMap()
    both = compose(peers, peers.item("a"))
    asked: list[bool] = []

    def agree(_: object) -> bool:
        batch, state = both.peek()
        asked.append({change.key: change.new for change in batch}.get("a", ABSENT) == state)
        return False

    Call(nursery, partial(both.wait_for, agree))
    await wait_all_tasks_blocked()
    for change in ({"a": 1}, {"b": 1}, {"a": 2, "b": 2}):
        peers.apply(change)
    peers.delete("a")
    assert asked == [True] * 4
    nursery.cancel_scope.cancel()


async def test_item_misses_no_delete_that_the_map_has_dropped() -> None:
    """V20, V23: an item has each change of its key once, whatever the map remembers."""
    peers = ValueMap({"a": 1})
    item = peers.item("a")
    late, early = item.watch(), item.watch()
    assert await early.get() == 1
    everything = peers.watch()
    await everything.get()
    peers.delete("a")
    deleted = peers.version
    version = item.version
    come_and_go(peers)
    assert oldest_delete(peers) >= deleted
    assert [await early.get(), await late.get()] == [ABSENT, ABSENT]
    come_and_go(peers)
    assert (early.changed, late.changed, item.version) == (False, False, version)
    peers.set("a", 2)
    assert [await early.get(), await late.get(), peers["a"]] == [2, 2, 2]
    assert [(change.key, change.new) for change in await everything.get()] == [("a", 2)]
    check_journal(peers)


async def test_map_tells_of_the_delete_of_an_item_that_it_has_dropped() -> None:
    """V20, V23: that somebody has an item of the key changes nothing for watchers of the map."""
    peers = ValueMap({"a": 1, "b": 1})
    item = peers.item("a")
    slow = peers.watch()
    await slow.get()
    peers.delete("a")
    come_and_go(peers)
    first, *_ = await slow.get()
    assert (first.key, first.old, first.new) == ("a", 1, UNSET)
    assert item.peek() is ABSENT
    peers.set("a", 3)
    assert [(each.key, each.new) for each in await slow.get()] == [("a", 3)]


def test_same_item_is_returned_while_somebody_has_it() -> None:
    """V8, V23: the map does not keep it, and a later one has no lower version."""
    peers = ValueMap({"a": 1})
    item = peers.item("a")
    assert peers.item("a") is item
    for _ in range(5):
        peers.set("a", 2)
    version = item.version
    del item
    gc.collect()
    come_and_go(peers)
    assert peers.item("a").version >= version


def test_items_that_are_gone_leave_nothing_behind() -> None:
    """V8, V23: neither those of keys that were never there, nor of deleted ones."""
    peers: ValueMap[str, int] = ValueMap({})
    for number in range(20 * DELETES_KEPT):
        assert peers.item(f"never {number}").peek() is ABSENT
    check_journal(peers)
    assert entries_kept(peers) <= 2 * DELETES_KEPT
    items = [peers.item(f"kept {number}") for number in range(3 * DELETES_KEPT)]
    come_and_go(peers)
    assert all(peers.item(f"kept {number}") is item for number, item in enumerate(items))
    assert entries_kept(peers) >= len(items)
    items.clear()
    gc.collect()
    come_and_go(peers, 8 * DELETES_KEPT)
    assert entries_kept(peers) <= 2 * DELETES_KEPT
    check_journal(peers)


async def test_item_ends_with_its_map(nursery: trio.Nursery) -> None:
    """V9, V23: that goes for one that is made after the end as well."""
    error = OSError("gone")
    for end in (ValueMap.close, lambda peers: peers.fail(error)):
        peers = ValueMap({"a": 1})
        watcher = peers.item("a").watch()
        await watcher.get()
        get = Call(nursery, watcher.get)
        await wait_all_tasks_blocked()
        end(peers)
        late = peers.item("b").watch()
        assert await late.get() is ABSENT
        for again in (get.result, late.get):
            with pytest.raises((trio.EndOfChannel, trio.BrokenResourceError)) as ended:
                await again()
            assert ended.value.__cause__ in (None, error)
        assert repr(peers.item("a")) in (
            "<item 'a' failed 1 version 1>",
            "<item 'a' closed 1 version 1>",
        )


async def test_item_belongs_to_the_run_of_its_map(nursery: trio.Nursery) -> None:
    """V11, V23: another run can neither make one nor wait for one; every thread can read."""
    peers = ValueMap({"a": 1})
    item = peers.item("a")

    async def intrude() -> None:
        with pytest.raises(RuntimeError, match=r"item\(\) .*another thread .*from_thread"):
            peers.item("a")
        watcher = item.watch()
        assert await watcher.get() == 1
        with pytest.raises(RuntimeError, match="belongs to another Trio run"):
            await watcher.get()
        assert item.peek() == 1

    await call_in_other_run(intrude)
    assert waits_for(item) == 0
    get = Call(nursery, item.watch().get)
    assert await get.result() == 1


def test_item_passes_with_its_map_from_run_to_run() -> None:
    """V11, V23: each run waits for it."""
    peers = ValueMap({"a": 0})
    item = peers.item("a")

    async def main() -> int | Absent:
        watcher = item.watch()
        await watcher.get()
        async with trio.open_nursery() as nursery:
            get = Call(nursery, watcher.get)
            await wait_all_tasks_blocked()
            peers.set("a", peers["a"] + 1)
            return await get.result()

    assert [trio.run(main), trio.run(main)] == [1, 2]


async def test_predicate_of_an_item_may_change_the_map(nursery: trio.Nursery) -> None:
    """V19, V23: each change is asked about, in no recursion."""
    peers = ValueMap({"a": 0})
    item = peers.item("a")

    def grow(state: State) -> bool:
        assert not isinstance(state, Absent)
        if state and state < 3000:
            peers.set("a", state + 1)
        return state == 3000

    waiting: list[Call[object]] = [Call(nursery, partial(item.wait_for, grow)) for _ in range(2)]
    await wait_all_tasks_blocked()
    peers.set("a", 1)
    assert [await call.result() for call in waiting] == [3000, 3000]


async def test_atomic_block_holds_items_and_other_values(nursery: trio.Nursery) -> None:
    """V18, V23: two changes of a map and a set of a value are one step."""
    peers, value = ValueMap({"a": 0, "b": 0}), MemoryValue(0)
    asked: list[tuple[State, State, int]] = []

    def remember(state: tuple[State, State, int]) -> bool:
        asked.append(state)
        return False

    together = compose(peers.item("a"), peers.item("b"), value)
    Call(nursery, partial(together.wait_for, remember))
    await wait_all_tasks_blocked()
    with atomic():
        peers.set("a", 1)
        value.set(1)
        peers.set("b", 1)
    assert asked == [(0, 0, 0), (1, 1, 1)]
    nursery.cancel_scope.cancel()


async def test_items_are_selected(nursery: trio.Nursery) -> None:
    """V14, V23: a change of two keys is one update of each."""
    peers: ValueMap[str, int] = ValueMap({})
    watchers = {key: peers.item(key).watch() for key in "ab"}
    for watcher in watchers.values():
        await watcher.get()
    call = Call(nursery, partial(select, **watchers))
    await wait_all_tasks_blocked()
    peers.apply({"a": 1, "b": 2})
    assert dict([await call.result(), await select(**watchers)]) == {"a": 1, "b": 2}


class Meddler:
    """A key that has an item made of another key when it is hashed."""

    def __init__(self, peers: ValueMap[object, int], items: list[ValueWatch[State]]) -> None:
        self.peers, self.items, self.is_on = peers, items, False

    def __hash__(self) -> int:
        if self.is_on:
            self.is_on = False
            self.items.append(self.peers.item(0))
        return 1


def test_item_that_a_key_makes_while_the_map_drops_deletes_is_kept() -> None:
    """V19, V23: it has the next change of its key."""
    peers: ValueMap[object, int] = ValueMap({})
    items: list[ValueWatch[State]] = []
    meddler = Meddler(peers, items)
    peers.set(meddler, 1)
    for number in range(4 * DELETES_KEPT):
        meddler.is_on = not items and number >= DELETES_KEPT
        peers.set(number, number)
        peers.delete(number)
    (item,) = items
    peers.set(0, 7)
    assert item.peek() == 7

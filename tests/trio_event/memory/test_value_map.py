"""Values under keys, and batches of their changes (V20)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import assert_checkpoints, assert_no_checkpoints, wait_all_tasks_blocked

from trio_event import (
    UNSET,
    BacklogDone,
    Change,
    Unset,
    ValueMap,
    atomic,
    compose,
    select,
)

from ..helpers.calls import Call, after_this_step
from ..helpers.internals import check_journal, oldest_delete, tasks_waiting
from ..helpers.maps import apply, flat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_event import Change, Unset

    from ..helpers.maps import Batch

    Flat = list[tuple[str, int | Unset, int | Unset]]


async def test_first_batch_has_all_keys() -> None:
    """V3, V20: it has them as they are at the get, in the order of their last change."""
    peers = ValueMap({"a": 1, "b": 2})
    watcher = peers.watch()
    peers.set("a", 3)
    peers.set("c", 4)
    assert flat(await watcher.get()) == [("b", UNSET, 2), ("a", UNSET, 3), ("c", UNSET, 4)]
    assert peers.mapping() == {"a": 3, "b": 2, "c": 4}
    assert (len(peers), peers.version) == (3, 3)


async def test_batch_has_one_change_for_each_key() -> None:
    """V20: a change goes from what the watcher knew to what is now."""
    peers = ValueMap({"a": 1, "b": 2, "c": 3})
    watcher = peers.watch()
    await watcher.get()
    for number in (4, 5):
        peers.set("a", number)
    peers.delete("b")
    peers.set("d", 6)
    assert flat(await watcher.get()) == [("a", 1, 5), ("b", 2, UNSET), ("d", UNSET, 6)]
    with pytest.raises(trio.WouldBlock):
        watcher.get_nowait()


async def test_set_of_an_equal_value_is_a_change() -> None:
    """V1, V20: this holds also for the same object."""
    peers = ValueMap({"a": 1})
    watcher = peers.watch()
    await watcher.get()
    peers.set("a", 1)
    assert flat(await watcher.get()) == [("a", 1, 1)]


async def test_key_that_came_and_went_is_no_change(nursery: trio.Nursery) -> None:
    """V20: no batch is empty, and the wait goes on."""
    peers: ValueMap[str, int] = ValueMap()
    watcher = peers.watch()
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    peers.set("a", 1)
    peers.delete("a")
    await wait_all_tasks_blocked()
    assert not get.ended
    assert watcher.lag == 0
    peers.set("b", 2)
    assert flat(await get.result()) == [("b", UNSET, 2)]
    update = peers.watch()
    assert (await update.get_update()).missed == 0


async def test_key_that_was_deleted_and_set_again_is_one_change() -> None:
    """V20: a watcher that knew the key gets its new value."""
    peers = ValueMap({"a": 1})
    watcher = peers.watch()
    await watcher.get()
    peers.delete("a")
    peers.set("a", 2)
    assert flat(await watcher.get()) == [("a", 1, 2)]


async def test_update_counts_the_versions_that_a_batch_makes_up_for() -> None:
    """V15, V20: versions that left no change count too."""
    peers = ValueMap({"a": 1})
    watcher = peers.watch()
    assert (await watcher.get_update()).missed == 0
    peers.set("b", 1)
    peers.delete("b")
    assert not watcher.changed
    peers.set("c", 1)
    update = await watcher.get_update()
    assert (update.version, update.missed) == (4, 2)
    assert update.previous is not UNSET
    assert flat(update.previous) == [("a", UNSET, 1)]


def test_delete_of_a_missing_key_is_an_error() -> None:
    """V20: it changes nothing."""
    peers = ValueMap({"a": 1})
    with pytest.raises(KeyError, match="b"):
        peers.delete("b")
    assert peers.version == 1


async def test_replace_all_sends_only_the_difference() -> None:
    """V20: deletes come first, in the old order, then the rest in the new, at one version."""
    peers = ValueMap({"a": 1, "b": 2, "c": 3, "d": 4})
    watcher = peers.watch()
    await watcher.get()
    assert peers.replace_all({"e": 5, "b": 2, "d": 6}) == 2
    assert flat(await watcher.get()) == [
        ("a", 1, UNSET),
        ("c", 3, UNSET),
        ("e", UNSET, 5),
        ("d", 4, 6),
    ]
    assert peers.replace_all({"b": 2, "d": 6, "e": 5}) == 2
    assert not watcher.changed


class Incomparable:
    def __eq__(self, other: object) -> bool:
        msg = "don't compare me"
        raise ValueError(msg)

    def __hash__(self) -> int:
        return 1


def test_comparison_that_fails_in_replace_all_changes_nothing() -> None:
    """V20: replace_all raises its exception; set compares nothing."""
    peers: ValueMap[str, object] = ValueMap({"a": 1, "b": Incomparable()})
    with pytest.raises(ValueError, match="don't compare me"):
        peers.replace_all({"b": 2})
    assert (peers.version, list(peers.mapping())) == (1, ["a", "b"])
    peers.set("b", Incomparable())
    assert peers.version == 2


def test_key_that_has_no_hash_changes_nothing() -> None:
    """V20: set raises Python's TypeError."""
    peers: ValueMap[object, int] = ValueMap()
    with pytest.raises(TypeError, match="unhashable"):
        peers.set([], 1)
    assert (peers.version, len(peers)) == (0, 0)


async def test_mapping_is_a_copy() -> None:
    """V20: it does not change, and can't be changed."""
    peers = ValueMap({"a": 1})
    before = peers.mapping()
    peers.set("a", 2)
    assert before == {"a": 1}
    with pytest.raises(TypeError):
        before["a"] = 3  # type: ignore[index]


async def test_rejected_batch_is_part_of_the_next() -> None:
    """V6, V20: a batch that the predicate rejects is not seen, and not lost."""
    peers = ValueMap({"a": 1})
    watcher = peers.watch()
    for _ in range(2):
        with pytest.raises(BacklogDone):
            await watcher.get(predicate=lambda batch: len(batch) > 1, backlog_only=True)
    peers.set("b", 2)
    assert flat(await watcher.get(predicate=lambda batch: len(batch) > 1)) == [
        ("a", UNSET, 1),
        ("b", UNSET, 2),
    ]


async def test_cancelled_get_of_a_batch_has_taken_nothing(nursery: trio.Nursery) -> None:
    """V5, V20: this holds at its checkpoint and while it waits."""
    peers = ValueMap({"a": 1})
    watcher = peers.watch()
    with trio.CancelScope() as scope:
        after_this_step(scope.cancel)
        await watcher.get()
    assert scope.cancelled_caught
    assert flat(await watcher.get()) == [("a", UNSET, 1)]
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    await get.cancel()
    peers.delete("a")
    assert flat(await watcher.get()) == [("a", 1, UNSET)]


async def test_each_watcher_of_a_map_has_its_own_old_states(nursery: trio.Nursery) -> None:
    """V14, V20: watchers of a map can be selected."""
    peers = ValueMap({"a": 1})
    early = peers.watch()
    await early.get()
    peers.set("a", 2)
    late = peers.watch()
    assert flat(await early.get()) == [("a", 1, 2)]
    index, first = await select(early, late)
    assert (index, flat(first)) == (1, [("a", UNSET, 2)])
    call = Call(nursery, partial(select, early=early, late=late))
    await wait_all_tasks_blocked()
    peers.delete("a")
    _, batch = await call.result()
    assert flat(batch) == [("a", 2, UNSET)]


async def test_atomic_changes_of_a_map_are_one_batch(nursery: trio.Nursery) -> None:
    """V18, V20: a predicate of wait_for gets one batch too."""
    peers: ValueMap[str, int] = ValueMap()
    sizes: list[int] = []

    def remember(batch: Sequence[Change[str, int]]) -> bool:
        sizes.append(len(batch))
        return False

    waiting: Call[object] = Call(nursery, partial(peers.wait_for, remember))
    get = Call(nursery, peers.watch().get)
    await wait_all_tasks_blocked()
    with atomic():
        peers.set("a", 1)
        peers.set("b", 2)
    assert sizes == [2]
    assert flat(await get.result()) == [("a", UNSET, 1), ("b", UNSET, 2)]
    await waiting.cancel()


async def test_change_in_a_predicate_of_wait_for_is_asked_about(nursery: trio.Nursery) -> None:
    """V19, V20: a predicate may change the map while it is asked about a change."""
    peers = ValueMap({"a": 1})

    def grow(batch: Sequence[Change[str, int]]) -> bool:
        if len(batch) == 2:
            assert peers.set("c", 3) == 3
        return len(batch) == 3

    watcher = peers.watch()
    await watcher.get()
    get = Call(nursery, watcher.get)
    waiting: list[Call[Batch]] = [Call(nursery, partial(peers.wait_for, grow)) for _ in range(2)]
    await wait_all_tasks_blocked()
    peers.set("b", 2)
    assert [len(await call.result()) for call in waiting] == [3, 3]
    assert flat(await get.result()) == [("b", UNSET, 2), ("c", UNSET, 3)]
    assert not watcher.changed


async def test_wait_version_of_a_map_returns_all_there_is(nursery: trio.Nursery) -> None:
    """V15, V20: the batch may be empty, and the call is always a checkpoint."""
    peers = ValueMap({"a": 1})
    waiting = Call(nursery, partial(peers.wait_version, 3))
    await wait_all_tasks_blocked()
    peers.set("b", 2)
    await wait_all_tasks_blocked()
    assert not waiting.ended
    peers.delete("a")
    assert flat(await waiting.result()) == [("b", UNSET, 2)]
    peers.delete("b")
    with assert_checkpoints():
        assert await peers.wait_version(4) == ()
    with trio.CancelScope() as scope:
        scope.cancel()
        await peers.wait_version(4)
    assert scope.cancelled_caught
    peers.close()
    with pytest.raises(trio.EndOfChannel):
        await peers.wait_version(5)


async def test_cancelled_wait_version_of_a_map_leaves_nothing_behind(
    nursery: trio.Nursery,
) -> None:
    """V5, V15, V20: no wait is left of one that is cancelled while it waits."""
    peers = ValueMap({"a": 1})
    waiting = Call(nursery, partial(peers.wait_version, 2))
    await wait_all_tasks_blocked()
    assert tasks_waiting(peers) == 1
    await waiting.cancel()
    assert waiting.cancelled
    assert tasks_waiting(peers) == 0


async def test_unset_is_no_value_of_a_key() -> None:
    """V20: each way to set UNSET raises TypeError, names delete(), and changes nothing."""
    peers: ValueMap[str, object] = ValueMap({"a": 1})
    for change in (
        partial(peers.set, "a", UNSET),
        partial(peers.set, "b", UNSET),
        partial(peers.replace_all, {"b": 2, "a": UNSET}),
        partial(ValueMap, {"a": UNSET}),
    ):
        with pytest.raises(TypeError, match=r"given UNSET for '\w', .*: delete\(\) the key"):
            change()
    assert (dict(peers.mapping()), peers.version) == ({"a": 1}, 1)


async def test_mapping_that_is_known_to_be_empty_has_data() -> None:
    """V20: a map has data if it was made or replaced with an empty mapping; a new one has none."""
    unknown: ValueMap[str, int] = ValueMap()
    assert (unknown.version, unknown.peek(None)) == (0, None)
    assert [unknown.replace_all({}) for _ in range(2)] == [1, 1]
    for empty in (unknown, ValueMap[str, int]({})):
        assert (empty.version, empty.peek()) == (1, ())
        with trio.fail_after(60):
            assert await compose(empty).watch().get() == ((),)
        with pytest.raises(trio.WouldBlock):
            empty.watch().get_nowait()


async def test_map_may_be_changed_in_its_own_thread_only() -> None:
    """V11, V20: another thread gets an error that says so, and changes nothing."""
    peers = ValueMap({"a": 1})
    for method in (
        partial(peers.set, "b", 2),
        partial(peers.delete, "a"),
        partial(peers.replace_all, {"a": 1}),
        partial(peers.fail, OSError()),
        peers.close,
    ):
        with pytest.raises(RuntimeError, match=r"another thread .*<ValueMap of 1 keys, version 1>"):
            await trio.to_thread.run_sync(method)
    await trio.to_thread.run_sync(trio.from_thread.run_sync, peers.set, "b", 2)
    assert peers.mapping() == {"a": 1, "b": 2}


async def test_ended_map_refuses() -> None:
    """V9, V20: after the end every change raises, and close does nothing."""
    peers = ValueMap({"a": 1})
    watcher = peers.watch()
    with assert_no_checkpoints():
        peers.close()
        peers.close()
    for method in (
        partial(peers.set, "b", 2),
        partial(peers.delete, "b"),
        partial(peers.replace_all, {"a": 1}),
        partial(peers.fail, OSError()),
    ):
        with pytest.raises(trio.ClosedResourceError, match=r"<ValueMap .* make a new mapping"):
            method()
    assert flat(await watcher.get()) == [("a", UNSET, 1)]
    with pytest.raises(trio.EndOfChannel):
        await watcher.get()


async def test_watcher_that_missed_dropped_deletes_is_told_of_them() -> None:
    """V20: the journal drops deletes, and each watcher finds them all the same."""
    peers = ValueMap({str(number): number for number in range(1000)})
    known: dict[str, int] = {}
    slow, slower = peers.watch(), peers.watch()
    apply(await slow.get(), known)
    early = dict(known)
    for number in range(990):
        peers.delete(str(number))
        check_journal(peers)
        if number == 100:
            apply(await slow.get(), known)
    peers.set("990", 7)
    peers.set("5", 8)
    apply(await slow.get(), known)
    assert known == peers.mapping()
    assert oldest_delete(peers) > 101
    apply(await slower.get(), (fresh := dict[str, int]()))
    assert fresh == peers.mapping() != early


async def test_journal_remembers_no_key_for_ever() -> None:
    """V20: keys that come and go leave no more entries than the map is large."""
    peers: ValueMap[str, int] = ValueMap()
    for number in range(10_000):
        peers.set(str(number), number)
        peers.delete(str(number))
    check_journal(peers)
    assert repr(peers) == "<ValueMap of 0 keys, version 20000>"

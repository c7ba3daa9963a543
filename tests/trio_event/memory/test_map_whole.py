"""All that there is in a map, as a batch, which is made when it is read (V20)."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_event import UNSET, Change, ValueMap, compose

from ..helpers.calls import Call
from ..helpers.maps import flat

if TYPE_CHECKING:
    from trio_event import Unset

Batch = Sequence[Change[str, int]]


async def test_whole_is_an_immutable_sequence() -> None:
    """V20: it equals the tuple of its changes, in the order of the keys."""
    peers = ValueMap({"a": 1, "b": 2})
    peers.watch()
    whole = peers.peek()
    first, second = Change("a", UNSET, 1), Change("b", UNSET, 2)
    assert whole == (first, second) == tuple(whole)
    assert (len(whole), whole[0], whole[1:], list(reversed(whole))) == (
        2,
        first,
        (second,),
        [second, first],
    )
    assert (first in whole, whole.index(second), whole.count(first)) == (True, 1, 1)
    assert hash(whole) == hash((first, second))
    assert repr(whole) == repr((first, second))
    assert pickle.loads(pickle.dumps(whole)) == copy.deepcopy(whole) == whole  # noqa: S301  our own
    assert whole == peers.peek() == ValueMap({"a": 1, "b": 2}).peek()


async def test_whole_that_is_kept_stays_as_it_was() -> None:
    """V3, V20: whatever is changed before it is read, and however often it is changed."""
    peers = ValueMap({"a": 1, "b": 2, "c": 3})
    peers.watch()
    kept: list[tuple[Sequence[Change[str, int]], list[tuple[str, int | Unset, int | Unset]]]] = []

    def keep() -> None:
        expected: list[tuple[str, int | Unset, int | Unset]] = [
            (key, UNSET, value) for key, value in peers.items()
        ]
        kept.append((peers.peek(), expected))

    for change in (
        partial(peers.set, "a", 4),
        partial(peers.set, "d", 5),
        partial(peers.delete, "b"),
        partial(peers.set, "b", 6),
        partial(peers.apply, {"a": UNSET, "d": 7, "e": 8}),
        partial(peers.replace_all, {}),
        partial(peers.set, "a", 9),
    ):
        keep()
        change()
        peers.set("d", 10)
        peers.delete("d")
    keep()
    for whole, expected in reversed(kept):
        assert len(whole) == len(expected)
        assert flat(whole) == expected
    for whole, expected in kept:
        assert flat(whole) == expected


async def test_two_wholes_that_are_kept_unread_are_each_of_their_version() -> None:
    """V20: the first is made before the second is, and both miss what is set after them."""
    peers = ValueMap({"a": 1, "b": 1})
    peers.watch()
    first = peers.peek()
    peers.set("a", 2)
    second = peers.peek()
    peers.set("b", 3)
    assert flat(first) == [("a", UNSET, 1), ("b", UNSET, 1)]
    assert flat(second) == [("a", UNSET, 2), ("b", UNSET, 1)]


async def test_map_may_be_changed_while_a_whole_is_read() -> None:
    """V20: an iteration over a batch goes on over what it began with."""
    peers = ValueMap({"a": 1, "b": 2})
    peers.watch()
    for change in peers.peek():
        peers.delete(change.key)
    assert len(peers) == 0


async def test_hold_of_a_map_returns_what_was_there_at_the_end_of_its_time(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """V16, V20: the batch is that of the last state that satisfied in time."""
    peers = ValueMap({"a": 1, "b": 2})
    waiting: Call[Batch] = Call(
        nursery, partial(peers.wait_for, lambda batch: len(batch) >= 2, held_for=3)
    )
    await wait_all_tasks_blocked()
    await trio.sleep(2)
    peers.apply({"b": UNSET, "c": 3})
    await trio.sleep(1)
    peers.set("c", 4)
    assert flat(await waiting.result()) == [("a", UNSET, 1), ("c", UNSET, 3)]
    assert autojump_clock.current_time() == 3


async def test_whole_is_read_in_another_thread_as_it_was() -> None:
    """V11, V20: a batch may be handed to a thread, and the map changed before it is read there."""
    peers = ValueMap({"a": 1, "b": 2})
    peers.watch()
    whole = peers.peek()
    peers.set("a", 3)
    peers.set("c", 4)
    assert await trio.to_thread.run_sync(list, whole) == [
        Change("a", UNSET, 1),
        Change("b", UNSET, 2),
    ]
    assert flat(whole) == [("a", UNSET, 1), ("b", UNSET, 2)]


class Data:
    """What can be weakly referenced."""


async def test_map_keeps_nothing_that_was_replaced() -> None:
    """V8, V20: neither for wholes that were read nor for those that are gone."""
    first = Data()
    gone = weakref.ref(first)
    peers: ValueMap[str, Data] = ValueMap({"a": first, "b": Data()})
    del first
    peers.watch()
    whole = peers.peek()
    assert len(list(whole)) == 2
    unread = peers.peek()
    peers.set("a", Data())
    await trio.lowlevel.checkpoint()
    del whole, unread
    gc.collect()
    assert gone() is None


async def test_composed_whole_is_that_of_its_instant() -> None:
    """V18, V20: a snapshot that is kept does not change with the map."""
    peers = ValueMap({"a": 1})
    watcher = compose(peers=peers).watch()
    before = await watcher.get()
    peers.set("a", 2)
    after = await watcher.get()
    assert (flat(before["peers"]), flat(after["peers"])) == ([("a", UNSET, 1)], [("a", UNSET, 2)])

"""Several sets and deletes of a map as one change (V20)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import assert_no_checkpoints, wait_all_tasks_blocked

from trio_event import ABSENT, UNSET, Change, Unset, ValueMap, atomic

from ..helpers.calls import Call
from ..helpers.maps import flat

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


async def test_apply_is_one_version_and_one_batch(nursery: trio.Nursery) -> None:
    """V20: a predicate of wait_for is asked about all of it at once."""
    peers = ValueMap({"a": 1, "b": 2})
    watcher = peers.watch()
    await watcher.get()
    asked: list[list[str]] = []

    def remember(batch: Sequence[Change[str, int]]) -> bool:
        asked.append(sorted(change.key for change in batch))
        return False

    waiting: Call[object] = Call(nursery, partial(peers.wait_for, remember))
    await wait_all_tasks_blocked()
    with assert_no_checkpoints():
        assert peers.apply({"c": 3, "a": UNSET, "b": 2}) == peers.version == 2
    assert asked == [["a", "b"], ["b", "c"]]
    assert flat(await watcher.get()) == [("c", UNSET, 3), ("a", 1, UNSET), ("b", 2, 2)]
    await waiting.cancel()


def test_delete_of_a_missing_key_is_no_change_in_apply() -> None:
    """V20: without any change the version is as it was, and a map without data has none still."""
    peers: ValueMap[str, int] = ValueMap()
    assert peers.apply({}) == peers.apply({"a": UNSET}) == 0
    assert peers.apply({"a": UNSET, "b": 1}) == 1
    assert peers.apply({"a": UNSET}) == peers.apply({}) == 1
    assert peers.apply({"b": UNSET}) == 2
    assert (dict(peers), peers.version) == ({}, 2)


async def test_apply_refuses_all_or_nothing() -> None:
    """V9, V11, V20: what set and delete refuse, apply refuses, and then changes nothing."""
    peers: ValueMap[str, object] = ValueMap({"a": 1})
    with pytest.raises(TypeError, match=r"apply\(\): changes=\[\('b', 2\)\] is not a mapping"):
        peers.apply([("b", 2)])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"given ABSENT for 'a', .*: UNSET deletes the key"):
        peers.apply({"b": 2, "a": ABSENT})
    with pytest.raises(RuntimeError, match=r"apply\(\) .*another thread .*from_thread"):
        await trio.to_thread.run_sync(peers.apply, {"b": 2})
    assert (dict(peers), peers.version) == ({"a": 1}, 1)
    peers.close()
    with pytest.raises(trio.ClosedResourceError, match=r"apply\(\) .* make a new mapping"):
        peers.apply({"b": 2})


async def test_apply_in_an_atomic_block_is_part_of_its_batch() -> None:
    """V18, V20: the batch has what the block has made of each key."""
    peers = ValueMap({"a": 1})
    watcher = peers.watch()
    await watcher.get()
    with atomic():
        peers.apply({"a": UNSET, "b": 2})
        peers.set("a", 3)
    assert flat(await watcher.get()) == [("b", UNSET, 2), ("a", 1, 3)]


class Meddler:
    """A key that changes the map when it is compared with another one."""

    def __init__(self, peers: ValueMap[object, int]) -> None:
        self.peers, self.is_on = peers, False

    def __hash__(self) -> int:
        return hash("a")

    def __eq__(self, other: object) -> bool:
        if self.is_on:
            self.is_on = False
            self.peers.delete("c")
        return False


def test_key_that_changes_the_map_in_apply_is_applied_after_that() -> None:
    """V19, V20: a delete of what the key itself has deleted is no change, and no error."""
    peers: ValueMap[object, int] = ValueMap({"a": 1, "c": 3})
    meddler = Meddler(peers)
    changes: dict[object, int | Unset] = {"c": UNSET, meddler: 2}
    meddler.is_on = True
    assert peers.apply(changes) == 3
    assert list(peers) == ["a", meddler]
    assert peers.apply({meddler: UNSET}) == 4
    assert list(peers) == ["a"]


@pytest.mark.parametrize("change", ["set", "replace_all", "ValueMap"])
def test_absent_is_no_value_of_a_key(change: str) -> None:
    """V20, V23: ABSENT says that a key is not there, so no key can have it."""
    peers: ValueMap[str, object] = ValueMap({"a": 1})
    calls: dict[str, Callable[[], object]] = {
        "set": partial(peers.set, "b", ABSENT),
        "replace_all": partial(peers.replace_all, {"b": ABSENT}),
        "ValueMap": partial(ValueMap, {"b": ABSENT}),
    }
    with pytest.raises(TypeError, match=r"given ABSENT for 'b', .*: delete\(\) the key"):
        calls[change]()
    assert (dict(peers), peers.version) == ({"a": 1}, 1)

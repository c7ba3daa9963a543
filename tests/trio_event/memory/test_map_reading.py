"""Reading a map as a mapping (V20)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import trio

from trio_event import UNSET, ValueMap, compose


def test_map_is_a_mapping_of_what_is_there_now() -> None:
    """V20: a key that was deleted is not there, and what is read is not a copy."""
    peers = ValueMap({"a": 1, "b": 2})
    keys = peers.keys()
    peers.delete("a")
    peers.set("c", 3)
    assert isinstance(peers, Mapping)
    assert (peers["b"], peers.get("c"), peers.get("a"), peers.get("a", 7)) == (2, 3, None, 7)
    assert ("b" in peers, "a" in peers, "never" in peers) == (True, False, False)
    assert (len(peers), list(peers), list(keys)) == (2, ["b", "c"], ["b", "c"])
    assert (list(peers.values()), list(peers.items())) == ([2, 3], [("b", 2), ("c", 3)])
    assert dict(peers) == peers.mapping() == {"b": 2, "c": 3}
    for missing in ("a", "never"):
        with pytest.raises(KeyError, match=missing):
            peers[missing]


def test_key_without_a_hash_is_refused_as_by_any_mapping() -> None:
    """V20: what a key raises is raised."""
    peers: ValueMap[object, int] = ValueMap()
    for read in (peers.__getitem__, peers.__contains__, peers.get, peers.item):
        with pytest.raises(TypeError, match="unhashable"):
            read([])


def test_map_is_equal_to_itself_only() -> None:
    """V18, V20: it is a value, so it is hashed and compared by identity."""
    peers, others = ValueMap({"a": 1}), ValueMap({"a": 1})
    assert peers == peers  # noqa: PLR0124  what is tested
    assert peers != others
    assert peers != {"a": 1}
    assert len({peers, others}) == 2
    assert len(compose(peers, others, peers).peek()) == 3


def test_map_can_be_copied_and_replaced_with_another() -> None:
    """V20: it is taken where a mapping is."""
    peers = ValueMap({"a": 1, "b": 2})
    copy = ValueMap(peers)
    peers.set("b", 3)
    assert dict(copy) == {"a": 1, "b": 2}
    assert copy.replace_all(peers) == 2
    assert dict(copy) == {"a": 1, "b": 3}


def test_iteration_that_the_map_outruns_raises() -> None:
    """V20: it is over before the next key comes or goes, as that of a dict; mapping() is a copy."""
    peers = ValueMap({"a": 1, "b": 2})
    for key in peers:
        peers.set(key, 5)
    keys = iter(peers)
    peers.delete(next(keys))
    with pytest.raises(RuntimeError, match="changed size"):
        next(keys)
    assert dict(peers) == {"b": 5}
    for key in peers.mapping():
        peers.delete(key)
    assert not peers


async def test_map_can_be_read_in_every_thread() -> None:
    """V11, V20: this goes for one key, the whole map and the newest batch."""
    peers = ValueMap({"a": 1})
    watcher = peers.watch()
    await watcher.get()

    def read() -> tuple[object, ...]:
        (change,) = peers.peek()
        return peers["a"], dict(peers), peers.mapping()["a"], change.new, change.old

    assert await trio.to_thread.run_sync(read) == (1, {"a": 1}, 1, 1, UNSET)

"""Maps of the keys with a prefix, in a real cluster of one member."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from trio_event import ABSENT, UNSET, Change, ValueWatch, compose, follow
from trio_event.etcd import Compare, DecodeError, Delete, EtcdClient, Json, Put, RefusedError, Text

from .helpers.servers import HANG, in_thread, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from .helpers.servers import Cluster


@pytest.fixture
async def client(node: Cluster) -> AsyncIterator[EtcdClient]:
    """A client of the cluster."""
    async with EtcdClient(node.endpoints) as entered:
        yield entered


@pytest.fixture
async def other(node: Cluster) -> AsyncIterator[EtcdClient]:
    """Another client, as another process has it."""
    async with EtcdClient(node.endpoints) as entered:
        yield entered


def pairs(batch: Sequence[Change[str, Any]]) -> dict[str, tuple[object, object]]:
    return {change.key: (change.old, change.new) for change in batch}


async def test_a_map_is_known_when_it_is_open(client: EtcdClient, prefix: str) -> None:
    """E11: its keys are what follows the prefix, and an empty one has data as well."""
    async with client.map(f"{prefix}none/", Text()) as empty:
        assert dict(empty) == {}
        assert empty.version == 1
        assert compose(empty).peek() == ((),)
    await client.put(f"{prefix}a", b"1")
    await client.put(f"{prefix}b/c", b"2")
    async with client.map(prefix, Text()) as opened:
        assert dict(opened) == {"a": "1", "b/c": "2"}
        assert (len(opened), "a" in opened, "z" in opened) == (2, True, False)
        with opened.watch() as watcher:
            batch = await watcher.get(backlog_only=True)
            assert pairs(batch) == {"a": (UNSET, "1"), "b/c": (UNSET, "2")}
        async with client.map(prefix, Text()) as again:
            assert again is opened
        assert opened != {"a": "1", "b/c": "2"}  # as any value, it is equal to itself only
        assert {opened: 1}[opened] == 1
        assert opened.health.peek().state == "current"
        assert repr(opened).startswith(f"<EtcdMap {prefix!r} of 2 keys revision ")


async def test_a_map_that_may_not_be_read_fails(client: EtcdClient, prefix: str) -> None:
    """V9, E6: its watchers are told why."""
    async with client.map(prefix, Text()) as opened:
        watching: Any = client._watching
        (watch,) = watching.watches
        watching.fail(watch, RefusedError("of the cluster"))
        with pytest.raises(trio.BrokenResourceError):
            await opened.wait_version(2)
        assert opened.health.peek().state == "failed"


async def test_changes_come_in_batches(client: EtcdClient, other: EtcdClient, prefix: str) -> None:
    """E2: what a transaction has done is one version and one batch."""
    async with client.map(prefix, Text()) as opened, other.map(prefix, Text()) as writing:
        with opened.watch() as watcher:
            await writing.put("a", "1")
            await opened.wait_revision(await writing.put("b", "1"))
            assert pairs(await watcher.get()) == {"a": (UNSET, "1"), "b": (UNSET, "1")}
            version = opened.version
            result = await other.transaction([], [Put(f"{prefix}a", b"2"), Delete(f"{prefix}b")])
            await opened.wait_revision(result.revision)
            assert opened.version == version + 1
            assert pairs(await watcher.get()) == {"a": ("1", "2"), "b": ("1", UNSET)}
            await opened.wait_revision(await writing.delete("a"))
            assert pairs(await watcher.get()) == {"a": ("2", UNSET)}


async def test_items_are_never_a_mixture(
    client: EtcdClient, other: EtcdClient, prefix: str
) -> None:
    """E2: two keys that one transaction has written are seen together, a thousand times."""
    seen: list[tuple[object, object]] = []
    asked: list[tuple[object, object]] = []
    batches: list[dict[str, tuple[object, object]]] = []
    async with client.map(prefix, Text()) as opened:
        both = compose(opened.item("a"), opened.item("b"))

        def ask(state: tuple[object, object]) -> bool:
            asked.append(state)
            return False

        async def watch() -> None:
            with both.watch() as watcher:
                async for state in watcher:
                    seen.append(state)  # noqa: PERF401  it has no end

        async def watch_batches() -> None:
            with opened.watch() as watcher:
                async for batch in watcher:
                    assert len(batch) == 2
                    batches.append(pairs(batch))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            nursery.start_soon(watch_batches)
            nursery.start_soon(both.wait_for, ask)
            await wait_all_tasks_blocked()
            revision = 0
            for i in range(1000):
                data = b"%d" % i
                puts = [Put(f"{prefix}a", data), Put(f"{prefix}b", data)]
                revision = (await other.transaction([], puts)).revision
            await opened.wait_revision(revision)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert seen[-1] == ("999", "999")
    assert all(a == b for a, b in seen)
    assert asked == [(ABSENT, ABSENT), *[(str(i), str(i)) for i in range(1000)]]
    # No revision is in two batches: each has both keys, and begins where the one before has ended.
    assert all(batch["a"] == batch["b"] for batch in batches)
    states = [UNSET, *(batch["a"][1] for batch in batches)]
    assert [batch["a"][0] for batch in batches] == states[:-1]
    assert (states[-1], len(set(states))) == ("999", len(states))


async def test_an_item_is_the_value_of_one_key(client: EtcdClient, prefix: str) -> None:
    """E4: ABSENT while it is not there, and present() while it is."""
    async with client.map(prefix, Text()) as opened:
        item: ValueWatch[Any] = opened.item("a")
        assert item.peek() is ABSENT
        await opened.wait_revision(await opened.put("a", "1"))
        assert item.peek() == "1"
        assert await opened.item("a").present().watch().get() == "1"


async def test_a_map_replaces_the_difference(client: EtcdClient, prefix: str) -> None:
    """E7: what is equal is not written; more than a hundred keys are several steps."""
    async with client.map(prefix, Json(int)) as opened:
        wanted = {f"{i:03}": i for i in range(250)}
        first = await opened.put("gone", 1)
        revision = await opened.replace_all(wanted)
        assert revision == first + 3
        await opened.wait_revision(revision)
        assert dict(opened) == wanted
        assert await opened.replace_all(wanted) == revision
        wanted["000"] = 1000
        assert await opened.replace_all(wanted) == revision + 1
        with pytest.raises(TypeError, match=r"replace_all\(\): mapping=1 is not a mapping"):
            await opened.replace_all(1)  # type: ignore[arg-type]  # the mistake


async def test_writes_of_a_map_are_checkpoints(client: EtcdClient, prefix: str) -> None:
    """E7, E9: always, and what is cancelled before it begins is not done."""
    async with client.map(prefix, Text()) as opened:
        with assert_checkpoints():
            await opened.put("a", "1")
        with assert_checkpoints():
            await opened.replace_all({"b": "1"})
        with assert_checkpoints():
            revision = await opened.delete("b")
        with assert_checkpoints():
            await opened.wait_revision(revision)
        for method, arguments in (
            (opened.put, ("a", "1")),
            (opened.delete, ("b",)),
            (opened.replace_all, ({"a": "1"},)),
        ):
            with trio.CancelScope() as scope:
                scope.cancel()
                await method(*arguments)
            assert scope.cancelled_caught
        assert (await client.get_range(prefix)).items == ()


async def test_a_map_can_not_be_followed_with_latest(client: EtcdClient, prefix: str) -> None:
    """V22, E2: changes would be lost, as of a map in memory."""

    async def never(_: object) -> None:
        raise AssertionError

    async with client.map(prefix, Text()) as opened:
        with pytest.raises(ValueError, match="latest"):
            await follow(opened, never, latest=True)


async def test_bad_data_of_one_key_raise_until_they_are_good(
    client: EtcdClient, prefix: str
) -> None:
    """E6: the batch is not seen meanwhile, and then is whole."""
    async with client.map(prefix, Json(int)) as opened:
        with opened.watch() as watcher:
            await opened.wait_revision(await opened.put("a", 1))
            await watcher.get()
            await opened.put("b", 2)
            await opened.wait_revision(await client.put(f"{prefix}a", b"{"))
            with pytest.raises(DecodeError) as caught:
                await watcher.get()
            assert caught.value.key == f"{prefix}a".encode()
            with pytest.raises(DecodeError):
                opened["a"]
            with pytest.raises(DecodeError):
                opened.item("a").peek()
            assert opened["b"] == 2
            await opened.wait_revision(await opened.put("a", 3))
            assert pairs(await watcher.get()) == {"a": (1, 3), "b": (UNSET, 2)}


async def test_bad_data_of_one_key_are_skipped(
    client: EtcdClient, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """E6: the others of a thousand go on, and a key that is no UTF-8 counts as bad data."""
    wanted = {f"{i:04}": i for i in range(1000)}
    async with client.map(prefix, Json(int), on_decode_error="skip") as opened:
        await opened.wait_revision(await opened.replace_all(wanted))
        with caplog.at_level(logging.ERROR, "trio_event.etcd"):
            await client.put(f"{prefix}0000", b"{")
            await client.put(prefix.encode() + b"\xff", b"1")
            await opened.wait_revision(await opened.put("0001", 5))
        assert dict(opened) == {**wanted, "0001": 5}
        assert len(caplog.records) == 2
        await opened.wait_revision(await opened.put("0000", 6))
        assert opened["0000"] == 6
    async with client.map(prefix, Json(int)) as strict:
        with pytest.raises(DecodeError, match="no UTF-8"):
            await strict.watch().get()


async def test_a_codec_may_not_make_what_is_no_data(client: EtcdClient, prefix: str) -> None:
    """E4, E6: that a key is not there is said by the cluster alone."""

    class Odd:
        def encode(self, value: str) -> bytes:
            return value.encode()

        def decode(self, data: bytes) -> str:
            return ABSENT if data else ""  # type: ignore[return-value]  # the mistake

    await client.put(f"{prefix}a", b"1")
    async with client.map(prefix, Odd()) as opened:
        with pytest.raises(DecodeError, match="which is no data"):
            opened["a"]


async def test_ten_thousand_keys_are_read_and_followed(
    client: EtcdClient, other: EtcdClient, prefix: str
) -> None:
    """E1: page by page, and a batch has what has changed."""
    for start in range(0, 10_000, 100):
        puts = [Put(f"{prefix}{i:05}", b"%d" % i) for i in range(start, start + 100)]
        await other.transaction([], puts)
    async with client.map(prefix, Json(int)) as opened:
        assert len(opened) == 10_000
        with opened.watch() as watcher:
            assert len(await watcher.get()) == 10_000
            await opened.wait_revision(await opened.put("00000", -1))
            assert pairs(await watcher.get()) == {"00000": (0, -1)}


async def test_after_a_compaction_exactly_the_difference_comes(
    each_binary: Path, tmp_path: Path
) -> None:
    """E3: added, changed, deleted, deleted and put again; once, in one batch."""
    with running(each_binary, tmp_path / "etcd") as cluster:
        (member,) = cluster.members
        client = EtcdClient(cluster.endpoints, timeout=HANG)
        async with client, client.map("g/", Text()) as opened:
            for key in ("changed", "same", "gone", "again"):
                await opened.wait_revision(await opened.put(key, "old"))
            with opened.watch() as watcher:
                await watcher.get()
                cut_off(client)
                await opened.put("changed", "new")
                await opened.put("added", "new")
                await opened.delete("gone")
                await opened.delete("again")
                await opened.put("again", "old")
                await opened.put("brief", "new")
                revision = await opened.delete("brief")
                await in_thread(lambda: cluster.control("compaction", str(revision)))
                await in_thread(member.kill)
                await in_thread(member.restart)
                version = opened.version
                await opened.wait_revision(revision)
                await client.get("g/same")  # over a new connection, so that the next write is
                assert opened.version == version + 1
                assert pairs(await watcher.get()) == {
                    "changed": ("old", "new"),
                    "added": (UNSET, "new"),
                    "gone": ("old", UNSET),
                    "again": ("old", "old"),
                }
                await opened.wait_revision(await opened.put("same", "new"))
                assert pairs(await watcher.get()) == {"same": ("old", "new")}


def cut_off(client: EtcdClient) -> None:
    """Lose what comes from now on, on this stream."""
    session: Any = client._watching._session  # type: ignore[union-attr]  # it is there
    session._stream._sink = lambda _: None


async def test_a_comparison_may_use_the_keys_of_a_map(client: EtcdClient, prefix: str) -> None:
    """E7: transactions and maps see the same keys."""
    async with client.map(prefix, Text()) as opened:
        revision = await opened.put("a", "1")
        compare = Compare(f"{opened.prefix}a", "mod_revision", "==", revision)
        assert (await client.transaction([compare], [Delete(f"{opened.prefix}a")])).succeeded

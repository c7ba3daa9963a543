"""Values of keys in a real cluster of one member."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from trio_event import ABSENT, Absent, BacklogDone, compose
from trio_event.etcd import (
    Bytes,
    DecodeError,
    EtcdClient,
    EtcdValue,
    Json,
    RefusedError,
    Text,
)

from .helpers.servers import HANG, in_thread, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
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


# Health


async def test_nothing_is_current_when_the_client_was_left(node: Cluster, prefix: str) -> None:
    """E5: health is stale then, of the client and of its values, and has ended."""
    async with EtcdClient(node.endpoints) as client:
        async with client.value(f"{prefix}left", Text()) as left:
            pass
        async with client.value(f"{prefix}a", Text()) as value:
            several = [client.health, value.health, left.health]
            for health in several:
                await health.wait_for(lambda each: each.state == "current")
    for health in several:
        with health.watch() as watcher:
            newest = await watcher.get()
            assert (newest.state, newest.reason) == ("stale", "the client was left")
            with pytest.raises(trio.EndOfChannel):
                await watcher.get()


# Opening


async def test_a_value_is_known_when_it_is_open(client: EtcdClient, prefix: str) -> None:
    """E11: its data are those of the cluster, also for a get that does not wait."""
    revision = await client.put(f"{prefix}a", b"1")
    async with client.value(f"{prefix}a", Text()) as value:
        assert value.peek() == "1"
        assert value.version == 1
        assert value.revision >= revision
        with value.watch() as watcher:
            assert await watcher.get(backlog_only=True) == "1"
            with pytest.raises(BacklogDone):
                await watcher.get(backlog_only=True)


async def test_a_key_that_is_not_there_is_known_to_be_absent(
    client: EtcdClient, prefix: str
) -> None:
    """E4, E11: absence is data."""
    async with client.value(f"{prefix}a", Text()) as value:
        assert value.peek() is ABSENT
        assert value.version == 1


async def test_what_is_opened_twice_is_one_value(client: EtcdClient, prefix: str) -> None:
    """E11: and one watch, until the last one leaves; another codec has a value of its own."""
    key = f"{prefix}a"
    async with client.value(key, Text()) as first:
        async with client.value(key, Text()) as second:
            assert second is first
        await first.wait_revision(await first.put("1"))
        assert first.peek() == "1"
        async with client.value(key, Bytes()) as third:
            assert third.peek() == b"1"
    assert repr(first).startswith(f"<EtcdValue closed {key!r} '1' revision ")


async def test_leaving_a_value_ends_its_watchers(client: EtcdClient, prefix: str) -> None:
    """E9: after the last data; and the scope may be entered again, with a new value."""
    async with client.value(f"{prefix}a", Text()) as value:
        watcher = value.watch()
    assert await watcher.get() is ABSENT
    with pytest.raises(trio.EndOfChannel):
        await watcher.get()
    with pytest.raises(trio.EndOfChannel):
        await value.wait_revision(10**9)
    async with client.value(f"{prefix}a", Text()) as again:
        assert again is not value


async def test_the_server_watches_what_is_open(each_binary: Path, tmp_path: Path) -> None:
    """E9: its own figures say so: none without values, and none when all is left."""
    name = "etcd_debugging_mvcc_watcher_total"
    with running(each_binary, tmp_path / "etcd") as cluster:
        (member,) = cluster.members
        async with EtcdClient(cluster.endpoints) as client:
            async with client.value("a", Text()), client.value("b", Text()) as b:
                await b.wait_revision(await b.put("1"))
                assert await trio.to_thread.run_sync(member.metric, name) == 2
            # The server takes what is sent on a stream in order.
            async with client.value("c", Text()) as c:
                await c.wait_revision(await c.put("1"))
                assert await trio.to_thread.run_sync(member.metric, name) == 1


async def test_five_hundred_values_are_open_on_one_stream(client: EtcdClient, prefix: str) -> None:
    """E1: within a second."""
    opened = 0
    all_open = trio.Event()

    async def open_one(number: int) -> None:
        nonlocal opened
        async with client.value(f"{prefix}{number}", Text()) as value:
            assert value.peek() is ABSENT
            opened += 1
            if opened == 500:
                all_open.set()
            await all_open.wait()

    with trio.fail_after(HANG):
        async with trio.open_nursery() as nursery:
            for number in range(500):
                nursery.start_soon(open_one, number)


async def test_opening_may_be_cancelled(prefix: str) -> None:
    """E9, E11: while no member answers it is tried until the caller's deadline."""
    async with EtcdClient(["127.0.0.1:1"]) as client:
        with trio.move_on_after(0.1) as scope:
            async with client.value(f"{prefix}a", Text()):
                raise AssertionError
        assert scope.cancelled_caught
        assert client.health.peek().state == "connecting"


async def test_values_end_when_the_client_is_left(node: Cluster, prefix: str) -> None:
    """E9: in good order."""
    async with EtcdClient(node.endpoints) as client:
        manager = client.value(f"{prefix}a", Text())
        value = await manager.__aenter__()
        watcher = value.watch()
        await watcher.get()
    with pytest.raises(trio.EndOfChannel):
        await watcher.get()
    await manager.__aexit__(None, None, None)


async def test_what_leaves_the_body_of_a_client_is_not_wrapped(node: Cluster) -> None:
    """E9: the client's own task does not show."""
    with pytest.raises(ValueError, match="of the user"):
        await leave_by_error(node)


async def leave_by_error(node: Cluster) -> None:
    async with EtcdClient(node.endpoints):
        raise ValueError("of the user")


# Following


async def test_changes_of_others_come(client: EtcdClient, other: EtcdClient, prefix: str) -> None:
    """E2, E4: puts, a delete, and a put again."""
    key = f"{prefix}a"
    async with client.value(key, Text()) as value:
        for expected in ("1", "", ABSENT, "2"):
            if isinstance(expected, Absent):
                revision = await other.delete(key)
            else:
                revision = await other.put(key, expected.encode())
            await value.wait_revision(revision)
            assert value.peek() == expected
        assert value.version == 5


async def test_wait_for_sees_each_change(
    client: EtcdClient, other: EtcdClient, prefix: str
) -> None:
    """E2: also those that a watcher would skip."""
    key = f"{prefix}a"
    seen: list[object] = []
    async with client.value(key, Text()) as value, trio.open_nursery() as nursery:

        def look(data: str | Absent) -> bool:
            seen.append(data)
            return data == "9"

        nursery.start_soon(value.wait_for, look)
        await wait_all_tasks_blocked()
        for i in range(10):
            await other.put(key, b"%d" % i)
    assert seen == [ABSENT, *map(str, range(10))]


async def test_a_revision_of_another_key_is_reached_as_well(
    client: EtcdClient, other: EtcdClient, prefix: str
) -> None:
    """E1: a process can be told to wait for whatever the cluster has done."""
    async with client.value(f"{prefix}a", Text()) as value:
        revision = await other.put(f"{prefix}b", b"1")
        with trio.fail_after(HANG):
            await value.wait_revision(revision)
        assert value.revision >= revision
        assert value.version == 1


async def test_values_are_composed_and_derived_like_others(client: EtcdClient, prefix: str) -> None:
    """E4: present() is the value while the key is there."""
    async with client.value(f"{prefix}a", Text()) as a, client.value(f"{prefix}b", Text()) as b:
        both = compose(a.present(), b.map(repr))
        await a.wait_revision(await a.put("1"))
        assert both.peek() == ("1", "ABSENT")
        await a.wait_revision(await a.delete())
        assert a.peek() is ABSENT
        with a.present().watch() as watcher:
            with trio.move_on_after(0) as scope:
                await watcher.get()
            assert scope.cancelled_caught


# Writing


async def test_compare_and_set_needs_the_newest_version(
    client: EtcdClient, other: EtcdClient, prefix: str
) -> None:
    """E7: of the value here, and of the key there."""
    key = f"{prefix}a"
    async with client.value(key, Text()) as value:
        assert await value.compare_and_set(1, "1")
        await value.wait_version(2)
        assert not await value.compare_and_set(1, "2")
        async with other.value(key, Text()) as same:
            assert await same.compare_and_set(same.version, "3")
            # What the other one has done may be known here already.
            assert not await value.compare_and_set(2, "4")
            await value.wait_version(3)
        assert value.peek() == "3"


async def test_an_absent_key_is_created_once(
    client: EtcdClient, other: EtcdClient, prefix: str
) -> None:
    """E4, E7: the version of ABSENT is one like any other."""
    key = f"{prefix}a"
    async with client.value(key, Text()) as one, other.value(key, Text()) as two:
        results = [await one.compare_and_set(1, "1"), await two.compare_and_set(1, "2")]
    assert results == [True, False]


async def test_updates_of_many_are_all_made(
    client: EtcdClient, other: EtcdClient, prefix: str
) -> None:
    """E7: each begins from what the others have stored."""
    key = f"{prefix}a"

    async def count(value: EtcdValue[int]) -> None:
        for _ in range(10):
            await value.update(lambda number: 1 if number is ABSENT else number + 1)

    codec = Json(int)
    async with client.value(key, codec) as one, other.value(key, codec) as two:
        async with trio.open_nursery() as nursery:
            for value in (one, two, one, two):
                nursery.start_soon(count, value)
        final = await client.get(key)
    assert final is not None
    assert final.value == b"40"


async def test_writes_and_waits_are_checkpoints(client: EtcdClient, prefix: str) -> None:
    """E7, E9: always, and what is cancelled before it begins is not done."""
    async with client.value(f"{prefix}a", Text()) as value:
        with assert_checkpoints():
            revision = await value.put("1")
        with assert_checkpoints():
            await value.wait_revision(revision)
        with assert_checkpoints():
            await value.wait_revision(revision)
        with assert_checkpoints():
            assert await value.compare_and_set(value.version, "2")
        with assert_checkpoints():
            assert not await value.compare_and_set(1, "3")
        await value.wait_version(3)
        with assert_checkpoints():
            await value.wait_revision(await value.update(lambda _: "4"))
        assert value.peek() == "4"
        for method, arguments in (
            (value.put, ("5",)),
            (value.delete, ()),
            (value.compare_and_set, (4, "5")),
            (value.update, (lambda _: "5",)),
        ):
            with trio.CancelScope() as scope:
                scope.cancel()
                await method(*arguments)
            assert scope.cancelled_caught
        with assert_checkpoints():
            await value.wait_revision(await value.delete())
        assert value.version == 5


async def test_a_wait_for_a_revision_may_be_cancelled(client: EtcdClient, prefix: str) -> None:
    """E9: also while it asks the cluster; the value goes on."""
    async with client.value(f"{prefix}a", Text()) as value:
        for seconds in (0, 0.1, 0.251, 0.252, 0.3):
            with trio.move_on_after(seconds) as scope:
                await value.wait_revision(10**9)
            assert scope.cancelled_caught
        await value.wait_revision(await value.put("1"))
        assert value.peek() == "1"


# Decoding


@attrs.frozen
class Config:
    color: str
    sizes: tuple[int, ...] = ()


async def test_bad_data_raise_in_the_get_until_they_are_good_again(
    client: EtcdClient, prefix: str
) -> None:
    """E6: the error names key, revision and bytes; the value goes on."""
    key = f"{prefix}a"
    async with client.value(key, Json(Config)) as value:
        await value.wait_revision(await value.put(Config("red", (1, 2))))
        assert value.peek() == Config("red", (1, 2))
        watcher = value.watch()
        bad = await client.put(key, b"{")
        await value.wait_revision(bad)
        with pytest.raises(DecodeError, match="that can't be decoded"):
            await watcher.get()
        with pytest.raises(DecodeError) as caught:
            await watcher.get()
        assert (caught.value.key, caught.value.revision, caught.value.raw) == (
            key.encode(),
            bad,
            b"{",
        )
        await value.wait_revision(await value.put(Config("green")))
        assert await watcher.get() == Config("green")


async def test_bad_data_may_be_skipped(
    client: EtcdClient, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """E6: the last good data stay, and an error is logged."""
    key = f"{prefix}a"
    async with client.value(key, Json(int), on_decode_error="skip") as value:
        await value.wait_revision(await value.put(1))
        with caplog.at_level(logging.ERROR, "trio_event.etcd"):
            await value.wait_revision(await client.put(key, b'"text"'))
        assert value.peek() == 1
        assert value.version == 2
        await value.wait_revision(await value.put(2))
        assert value.peek() == 2
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    async with client.value(f"{prefix}b", Json(int), on_decode_error="skip") as value:
        await client.put(f"{prefix}b", b"{")
    async with client.value(f"{prefix}b", Json(int), on_decode_error="skip") as value:
        assert value.peek() is ABSENT


async def test_a_codec_that_makes_no_bytes_is_told(client: EtcdClient, prefix: str) -> None:
    """E6: nothing is sent."""

    class Odd:
        def encode(self, value: str) -> bytes:
            return value  # type: ignore[return-value]  # the mistake

        def decode(self, data: bytes) -> str:
            return data.decode()

    async with client.value(f"{prefix}a", Odd()) as value:
        with pytest.raises(
            TypeError, match=r"the codec of '.*' has made 'x' of 'x', which is no b"
        ):
            await value.put("x")
    with pytest.raises(TypeError, match="is no codec: pass an object with encode"):
        async with client.value(f"{prefix}a", Text):  # type: ignore[arg-type]  # the mistake
            raise AssertionError
    with pytest.raises(ValueError, match="on_decode_error='no' is neither"):
        async with client.value(f"{prefix}a", Text(), on_decode_error="no"):  # type: ignore[arg-type]
            raise AssertionError


# Refusals


async def open_value(client: EtcdClient, key: str) -> None:
    async with client.value(key, Text()):
        pass


async def test_a_key_that_may_not_be_read_is_told_and_disturbs_no_other(
    each_binary: Path, tmp_path: Path
) -> None:
    """E6, E8: the one value is refused when it is opened."""
    with running(each_binary, tmp_path / "etcd") as cluster:
        await in_thread(lambda: cluster.require_users(app="app/"))
        client = EtcdClient(cluster.endpoints, user="app", password="app")  # noqa: S106
        async with client, client.value("app/a", Text()) as allowed:
            denied = pytest.raises(RefusedError, match="'sys/a': user 'app' has no permission")
            with trio.fail_after(HANG), denied:
                await open_value(client, "sys/a")
            await allowed.wait_revision(await allowed.put("1"))
            assert allowed.health.peek().state == "current"


async def test_a_wrong_password_is_told_when_a_value_is_opened(
    binary: Path, tmp_path: Path
) -> None:
    """E6, E11: at once."""
    with running(binary, tmp_path / "etcd") as cluster:
        await in_thread(lambda: cluster.require_users(app="app/"))
        async with EtcdClient(cluster.endpoints, user="app", password="no") as client:  # noqa: S106
            with (
                trio.fail_after(HANG),
                pytest.raises(RefusedError, match="check user= and password="),
            ):
                await open_value(client, "app/a")


async def test_a_value_is_opened_on_a_stream_whose_token_has_expired(
    each_binary: Path, tmp_path: Path
) -> None:
    """E8: the stream is opened anew, and nothing is stale meanwhile."""
    with running(
        each_binary, tmp_path / "etcd", "--auth-token-ttl=2", "--log-level=debug"
    ) as cluster:
        await in_thread(lambda: cluster.require_users(app="app/"))
        client = EtcdClient(cluster.endpoints, user="app", password="app")  # noqa: S106
        async with client, client.value("app/a", Text()) as first:
            states: set[str] = set()

            async def record() -> None:
                async for health in client.health.watch():
                    states.add(health.state)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(record)
                await cluster.members[0].wait_logged("deleted a simple token")
                async with client.value("app/b", Text()) as second:
                    await second.wait_revision(await second.put("2"))
                    assert second.peek() == "2"
                await first.wait_revision(await first.put("1"))
                nursery.cancel_scope.cancel()
            assert states == {"current"}

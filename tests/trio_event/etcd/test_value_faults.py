"""Values while members of a real cluster die, freeze and lose their quorum, and history is lost."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trio_event import UNSET
from trio_event.etcd import Bytes, EtcdClient, Text

from .helpers.network import Network
from .helpers.servers import BINARIES, HANG, in_thread, may_be_killed, running
from .helpers.writing import Progress, Record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from trio_event.etcd import Health
    from trio_event.etcd._wire._seam import Connection

    from .helpers.servers import Cluster, Member

pytestmark = pytest.mark.processes

WRITERS = (1, 16)
"""How many write, by turns."""


@pytest.fixture(scope="module")
def cluster(each_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three members; each test leaves them as they were."""
    with running(each_binary, tmp_path_factory.mktemp("etcd"), members=3) as made:
        yield made


def followed_by(client: EtcdClient, cluster: Cluster) -> Member:
    endpoint = client.health.peek().endpoint
    return next(member for member in cluster.members if member.endpoint == endpoint)


async def wait_followed(client: EtcdClient, *, other_than: Member) -> None:
    """Wait until another member is followed."""
    with client.health.watch() as watcher:
        await watcher.get(
            predicate=lambda health: (
                health.state == "current" and health.endpoint != other_than.endpoint
            )
        )


async def kill(client: EtcdClient, cluster: Cluster, progress: Progress) -> None:
    member = followed_by(client, cluster)
    await in_thread(member.kill)
    await wait_followed(client, other_than=member)
    await progress.wait_more(50)
    await in_thread(member.restart)


async def terminate(client: EtcdClient, cluster: Cluster, progress: Progress) -> None:
    member = followed_by(client, cluster)
    member.terminate()
    await wait_followed(client, other_than=member)
    await progress.wait_more(50)
    await in_thread(member.kill)
    await in_thread(member.restart)


async def freeze(client: EtcdClient, cluster: Cluster, progress: Progress) -> None:
    member = followed_by(client, cluster)
    member.freeze()
    try:
        with trio.fail_after(HANG):
            await wait_followed(client, other_than=member)
    finally:
        member.thaw()
    await progress.wait_more(50)


async def lose_quorum(client: EtcdClient, cluster: Cluster, _: Progress) -> None:
    member = followed_by(client, cluster)
    others = [each for each in cluster.members if each is not member]
    # It asks the only member that answers, again and again.
    asking, attempts = EtcdClient([member.endpoint]), Progress()
    connect = asking._connect_to_watch

    def count(endpoint: str) -> Connection:
        attempts.count()
        return connect(endpoint)

    asking._connect_to_watch = count
    states: list[str] = []

    def note(health: Health) -> bool:
        states.append(health.state)
        return health.state == "current"

    async with asking, trio.open_nursery() as nursery:
        await asking.health.wait_for(lambda health: health.state == "current")
        member.log.clear()
        for other in others:
            other.freeze()
        try:
            await member.wait_logged("lost leader")
            with trio.fail_after(HANG):
                for each in (client, asking):
                    await each.health.wait_for(lambda health: health.state == "stale")
                nursery.start_soon(asking.health.wait_for, note)
                await attempts.wait_more(5)
            assert set(states) == {"stale"}
        finally:
            for other in others:
                other.thaw()
        # The nursery waits until it is current.


async def kill_leader(_: EtcdClient, cluster: Cluster, progress: Progress) -> None:
    leader = await trio.to_thread.run_sync(cluster.find_leader)
    await in_thread(leader.end_abruptly)
    await progress.wait_more(50)
    await in_thread(leader.restart)


async def restart_all(_: EtcdClient, cluster: Cluster, __: Progress) -> None:
    for member in cluster.members:
        await in_thread(member.kill)
    for member in cluster.members:
        member.start()
    for member in cluster.members:
        await in_thread(member.is_ready)


FAULTS = (kill, terminate, freeze, kill_leader, lose_quorum, restart_all)


@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_is_lost_and_nothing_comes_twice(
    each_binary: Path,
    cluster: Cluster,
    prefix: str,
    fault: Callable[[EtcdClient, Cluster, Progress], Awaitable[None]],
) -> None:
    """E2, E5, E6: each acknowledged write is applied once, whole and in order, in each fault."""
    if fault in {kill, restart_all} and not may_be_killed(each_binary):
        pytest.skip("the members may differ afterwards")
    turn = FAULTS.index(fault) + list(BINARIES.values()).index(each_binary)
    progress = Progress()
    async with EtcdClient(cluster.endpoints) as client, EtcdClient(cluster.endpoints) as writer:
        async with trio.open_nursery() as nursery:
            records: list[Record] = [await nursery.start(follow_pair, client, f"{prefix}pair/")]
            for i in range(1, WRITERS[turn % 2]):
                records.append(await nursery.start(follow_one, client, f"{prefix}{i}"))  # noqa: PERF401  await
            async with trio.open_nursery() as writers:
                for record in records:
                    writers.start_soon(record.write, writer, progress)
                await progress.wait_more(100)
                await fault(client, cluster, progress)
                await progress.wait_more(100)
                progress.is_over = True
            with trio.fail_after(HANG):
                for record in records:
                    await record.wait_followed()
            nursery.cancel_scope.cancel()
        for record in records:
            record.check()


async def test_a_member_that_lags_behind_delivers_nothing_twice(
    cluster: Cluster, prefix: str
) -> None:
    """E2, E5: it is followed when it has what the others have acknowledged, and not before."""
    endpoints = cluster.endpoints
    async with EtcdClient(endpoints[:2]) as client, client.value(f"{prefix}a", Bytes()) as value:
        followed = followed_by(client, cluster)
        lagging, other = (member for member in cluster.members if member is not followed)
        if lagging.endpoint == endpoints[2]:
            lagging, other = other, lagging
        record, progress = Record(value), Progress()
        writer = EtcdClient([followed.endpoint, other.endpoint])
        async with writer, trio.open_nursery() as nursery:
            nursery.start_soon(record.write, writer, progress)
            await progress.wait_more(10)
            lagging.freeze()
            try:
                # The leader sends at most 512 messages to a member that acknowledges none.
                await progress.wait_more(700)
                await record.wait_followed()
                followed.freeze()
                other.freeze()
            finally:
                lagging.thaw()
            try:
                async with EtcdClient([lagging.endpoint], timeout=HANG) as reader:
                    stored = await reader.get(value.key, serializable=True)
                assert stored is not None
                newest = value.peek()
                assert isinstance(newest, bytes)
                assert int(stored.value) < int(newest)
                # It is asked, and is not followed.
                with client.health.watch() as watcher, trio.fail_after(HANG):
                    health = await watcher.get(
                        predicate=lambda health: health.endpoint == lagging.endpoint
                    )
                assert health.state == "stale"
            finally:
                other.thaw()
            await in_thread(followed.end_abruptly)
            with trio.fail_after(HANG):
                await wait_followed(client, other_than=followed)
            await progress.wait_more(100)
            progress.is_over = True
        with trio.fail_after(HANG):
            await record.wait_followed()
        record.check()
    await in_thread(followed.restart)


@pytest.mark.parametrize(
    "direction", [{"up"}, {"down"}, {"up", "down"}], ids=lambda names: "+".join(sorted(names))
)
async def test_what_came_while_the_network_was_cut_comes_once(
    node: Cluster, prefix: str, direction: set[str]
) -> None:
    """E2, E5: values are stale meanwhile, also if one direction is left, and nothing is lost."""
    network = Network(node.endpoints)
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        client, writer = EtcdClient(network.endpoints), EtcdClient(node.endpoints)
        async with client, writer, client.value(f"{prefix}a", Bytes()) as value:
            record = Record(value)
            record.acknowledged[1] = await writer.put(value.key, b"1")
            network.cut(**dict.fromkeys(direction, True))
            for number in range(2, 10):
                record.acknowledged[number] = await writer.put(value.key, b"%d" % number)
            with client.health.watch() as watcher, trio.fail_after(HANG):
                await watcher.get(predicate=lambda health: health.state == "stale")
            network.mend()
            with trio.fail_after(HANG):
                await value.wait_revision(record.acknowledged[9])
            record.check()
        nursery.cancel_scope.cancel()


async def follow_one(client: EtcdClient, key: str, *, task_status: trio.TaskStatus[Record]) -> None:
    """Keep a value open."""
    async with client.value(key, Bytes()) as value:
        task_status.started(Record(value))
        await trio.sleep_forever()


async def follow_pair(
    client: EtcdClient, prefix: str, *, task_status: trio.TaskStatus[Record]
) -> None:
    """Keep a map of two keys open, which are written together."""
    async with client.map(prefix, Bytes()) as pair:
        task_status.started(Record(pair))
        await trio.sleep_forever()


async def test_what_was_compacted_while_cut_off_is_found_by_a_read(
    each_binary: Path, tmp_path: Path
) -> None:
    """E3: the newest data come, once, and the stream goes on behind them."""
    with running(each_binary, tmp_path / "etcd") as cluster:
        (member,) = cluster.members
        client = EtcdClient(cluster.endpoints, timeout=HANG)
        async with client, client.value("a", Text()) as value:
            await client.put("same", b"1")
            async with client.value("same", Text()) as same:
                await value.wait_revision(await value.put("1"))
                session: Any = client._watching._session  # type: ignore[union-attr]  # it is there
                session._stream._sink = lambda _: None  # what comes from now on is lost
                await value.put("2")
                revision = await value.put("3")
                await in_thread(lambda: cluster.control("compaction", str(revision)))
                await in_thread(member.kill)
                await in_thread(member.restart)
                await value.wait_revision(revision)
                await client.get("a")  # over a new connection, so that the next write is
                assert (value.peek(), value.version) == ("3", 3)
                assert same.version == 1
                await value.wait_revision(await value.put("4"))
                assert value.version == 4


@pytest.mark.parametrize("behind", [0, 1, 2])
async def test_a_compaction_where_an_idle_value_resumes_changes_nothing(
    each_binary: Path, tmp_path: Path, behind: int
) -> None:
    """E3: at the revision of its data, at the one from which it resumes, or behind that."""
    with running(each_binary, tmp_path / "etcd") as cluster:
        (member,) = cluster.members
        client = EtcdClient(cluster.endpoints, timeout=HANG)
        async with client, client.value("idle", Text()) as value:
            revision = await value.put("1")
            await value.wait_revision(revision)
            version = value.version
            for _ in range(3):
                await client.put("other", b"")
            await in_thread(lambda: cluster.control("compaction", str(revision + behind)))
            await in_thread(member.end_abruptly)
            await in_thread(member.restart)
            await client.get("idle")  # over a new connection, so that the next write is
            await value.wait_revision(await value.put("2"))
            assert (value.peek(), value.version) == ("2", version + 1)


async def test_a_restored_backup_is_noticed(each_binary: Path, tmp_path: Path) -> None:
    """E3: revisions have gone back, and values are those of the cluster, also where equal."""
    with running(each_binary, tmp_path / "etcd") as cluster:
        (member,) = cluster.members
        backup = tmp_path / "backup"
        client = EtcdClient(cluster.endpoints, timeout=HANG)
        async with client, client.value("a", Text()) as value:
            await value.put("old")
            await in_thread(member.kill)
            await in_thread(lambda: shutil.copytree(cluster.folder, backup))
            await in_thread(member.restart)
            await client.get("a")  # over a new connection, so that the next write is
            for i in range(20):
                await value.put(str(i))
            await value.wait_revision(await value.put("newest"))
            await in_thread(member.kill)
            await in_thread(lambda: shutil.rmtree(cluster.folder))
            await in_thread(lambda: shutil.copytree(backup, cluster.folder))
            await in_thread(member.restart)
            with trio.fail_after(HANG):
                await value.wait_for(lambda data: data == "old")
            await client.get("a")
            with trio.fail_after(HANG):
                await value.put("new")
                await value.wait_for(lambda data: data == "new")
            assert "gone back" in client.health.peek().reason


@pytest.mark.parametrize("writes", [0, 20], ids=["behind", "ahead"])
async def test_another_cluster_with_a_backup_is_noticed(
    each_binary: Path, tmp_path: Path, writes: int
) -> None:
    """E3: a map is as the cluster's, and each key has changed: its revision means another one."""
    with running(each_binary, tmp_path / "etcd") as cluster:
        (member,) = cluster.members
        network = Network(cluster.endpoints)
        async with trio.open_nursery() as nursery:
            await nursery.start(network.run)
            client = EtcdClient(network.endpoints, timeout=HANG)
            async with client, client.map("m/", Text()) as followed:
                for key in ("same", "back", "changed"):
                    await followed.put(key, "saved")
                snapshot = tmp_path / "snapshot"
                await in_thread(lambda: cluster.control("snapshot", "save", str(snapshot)))
                revision = await followed.put("changed", "lost")
                await followed.put("added", "lost")
                for _ in range(10):
                    await followed.put("back", "lost")
                await followed.wait_revision(await followed.delete("back"))
                network.cut(up=True, down=True)
                await in_thread(member.kill)
                await in_thread(member.restore, snapshot)
                await in_thread(member.restart)
                async with EtcdClient(cluster.endpoints, timeout=HANG) as writer:
                    assert await writer.put("m/changed", b"other") == revision
                    for _ in range(writes):
                        await writer.put("m/new", b"other")
                with followed.watch() as watcher:
                    await watcher.get()
                    network.mend()
                    with trio.fail_after(HANG):
                        batch = await watcher.get()
                assert {change.key: (change.old, change.new) for change in batch} == {
                    "same": ("saved", "saved"),
                    "back": (UNSET, "saved"),
                    "changed": ("lost", "other"),
                    "added": ("lost", UNSET),
                } | ({"new": (UNSET, "other")} if writes else {})
                assert "another cluster" in client.health.peek().reason
                await client.get("m/same")  # over a new connection, so that the next write is
                await followed.wait_revision(await followed.put("same", "newest"))
                assert followed["same"] == "newest"
            nursery.cancel_scope.cancel()

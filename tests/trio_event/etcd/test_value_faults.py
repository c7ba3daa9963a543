"""Values while members of a real cluster die, freeze and lose their quorum, and history is lost."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, final

import pytest
import trio

from trio_event.etcd import Bytes, EtcdClient, EtcdError, Text, UnknownOutcomeError

from .helpers.servers import HANG, in_thread, running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

    from trio_event.etcd import EtcdValue, KeyValue

    from .helpers.servers import Cluster, Member

WRITERS = 4


@pytest.fixture(scope="module")
def cluster(each_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three members; each test leaves them as they were."""
    with running(each_binary, tmp_path_factory.mktemp("etcd"), members=3) as made:
        yield made


@final
class Record:
    """What is written to a key and what is applied to its value, as numbers that grow."""

    def __init__(self, value: EtcdValue[bytes]) -> None:
        self.value = value
        self.acknowledged: dict[int, int] = {}
        self.unknown: set[int] = set()
        self.applied: list[tuple[int, int]] = []
        apply = value._kept.apply

        def record(revision: int, changes: Mapping[bytes, KeyValue | None]) -> None:
            self.applied += [
                (item.mod_revision, int(item.value)) for item in changes.values() if item
            ]
            apply(revision, changes)

        value._kept.apply = record  # type: ignore[method-assign]  # it is looked at, not changed

    async def write(self, client: EtcdClient, progress: Progress) -> None:
        """Write number after number, until it is enough."""
        number = 0
        while not progress.is_over:
            number += 1
            try:
                revision = await client.put(self.value.key, b"%d" % number)
                self.acknowledged[number] = revision
                progress.count()
            except UnknownOutcomeError:
                self.unknown.add(number)
            except EtcdError:
                pass

    def check(self) -> None:
        """Nothing is lost, nothing comes twice, and all is in order."""
        revisions = [revision for revision, _ in self.applied]
        numbers = [number for _, number in self.applied]
        assert revisions == sorted(set(revisions))
        assert len(numbers) == len(set(numbers))
        assert not set(self.acknowledged) - set(numbers), "lost"
        assert set(numbers) <= set(self.acknowledged) | self.unknown
        assert self.acknowledged.items() <= {number: at for at, number in self.applied}.items()


@final
class Progress:
    """How many writes were acknowledged."""

    def __init__(self) -> None:
        self.is_over = False
        self._done = 0
        self._changed = trio.Event()

    def count(self) -> None:
        self._done += 1
        self._changed.set()
        self._changed = trio.Event()

    async def wait_more(self, count: int) -> None:
        """Wait for so many more than now."""
        goal = self._done + count
        while self._done < goal:
            await self._changed.wait()


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
    for other in others:
        other.freeze()
    try:
        with client.health.watch() as watcher, trio.fail_after(HANG):
            await watcher.get(predicate=lambda health: health.state == "stale")
    finally:
        for other in others:
            other.thaw()


async def restart_all(_: EtcdClient, cluster: Cluster, __: Progress) -> None:
    for member in cluster.members:
        await in_thread(member.kill)
    for member in cluster.members:
        member.start()
    for member in cluster.members:
        await in_thread(member.is_ready)


@pytest.mark.parametrize("fault", [kill, terminate, freeze, lose_quorum, restart_all])
async def test_nothing_is_lost_and_nothing_comes_twice(
    cluster: Cluster,
    prefix: str,
    fault: Callable[[EtcdClient, Cluster, Progress], Awaitable[None]],
) -> None:
    """E2, E5, E6: each acknowledged write is applied once and in order, whatever happens."""
    progress = Progress()
    async with EtcdClient(cluster.endpoints) as client, EtcdClient(cluster.endpoints) as writer:
        async with trio.open_nursery() as nursery:
            records: list[Record] = [
                await nursery.start(follow_one, client, f"{prefix}{i}") for i in range(WRITERS)
            ]
            async with trio.open_nursery() as writers:
                for record in records:
                    writers.start_soon(record.write, writer, progress)
                await progress.wait_more(100)
                await fault(client, cluster, progress)
                await progress.wait_more(100)
                progress.is_over = True
            with trio.fail_after(HANG):
                for record in records:
                    await record.value.wait_revision(max(record.acknowledged.values()))
            nursery.cancel_scope.cancel()
        for record in records:
            record.check()


async def follow_one(client: EtcdClient, key: str, *, task_status: trio.TaskStatus[Record]) -> None:
    """Keep a value open."""
    async with client.value(key, Bytes()) as value:
        task_status.started(Record(value))
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

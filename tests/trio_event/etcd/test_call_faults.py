"""Calls while members of a real cluster die, freeze and lose their quorum."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, final

import pytest
import trio

from trio_event.etcd import EtcdClient, UnavailableError, UnknownOutcomeError

from .helpers.servers import HANG, in_thread, may_be_killed, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .helpers.servers import Cluster, Member

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def cluster(each_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three members; each test leaves them as they were."""
    with running(each_binary, tmp_path_factory.mktemp("etcd"), members=3) as made:
        yield made


def used_by(client: EtcdClient, cluster: Cluster) -> Member:
    """Return the member that the client asks now."""
    return next(m for m in cluster.members if m.endpoint == client._rotation.current)


async def test_calls_go_on_at_once_when_a_member_dies(cluster: Cluster, prefix: str) -> None:
    """E6: the next member is asked without a pause, in less than an election takes."""
    async with EtcdClient(cluster.endpoints, timeout=HANG) as client:
        await client.put(f"{prefix}a", b"1")
        member = used_by(client, cluster)
        await in_thread(member.kill)
        with trio.fail_after(HANG):
            stored = await client.get(f"{prefix}a")
        assert stored is not None
        assert used_by(client, cluster) is not member
        await in_thread(member.restart)


async def test_a_read_leaves_a_frozen_member(cluster: Cluster, prefix: str) -> None:
    """E6: after two seconds, by another member."""
    async with EtcdClient(cluster.endpoints, timeout=HANG) as client:
        await client.put(f"{prefix}a", b"1")
        member = used_by(client, cluster)
        member.freeze()
        try:
            with trio.fail_after(HANG):
                assert await client.get(f"{prefix}a", serializable=True) is not None
        finally:
            member.thaw()


async def test_without_a_quorum_a_write_is_not_made(cluster: Cluster, prefix: str) -> None:
    """E5, E7: a member that knows of no leader refuses it, so that it is certain."""
    async with EtcdClient(cluster.endpoints, timeout=2) as client:
        await client.put(f"{prefix}a", b"1")
        member = used_by(client, cluster)
        others = [each for each in cluster.members if each is not member]
        member.log.clear()
        for other in others:
            other.freeze()
        try:
            await member.wait_logged("lost leader")
            with pytest.raises(UnavailableError):
                await client.put(f"{prefix}b", b"1")
        finally:
            for other in others:
                other.thaw()
    async with EtcdClient(cluster.endpoints, timeout=HANG) as client:
        stored = await client.get_range(prefix)
        assert [item.value for item in stored.items] == [b"1"]


@final
class Writes:
    """Writes of several tasks, each to a key of its own, and how they have ended."""

    def __init__(self, client: EtcdClient, prefix: str) -> None:
        self.done: dict[str, int] = {}
        self.failed: set[str] = set()
        self.unknown: set[str] = set()
        self._client = client
        self._prefix = prefix
        self._progress = trio.Condition()

    async def make(self, name: str) -> None:
        """Make sixty, some of them with a deadline that is too short."""
        for i in range(60):
            key = f"{self._prefix}{name}/{i}"
            outcome = self.unknown  # of what is cancelled
            with trio.move_on_after(0.003 if i % 10 == 9 else float("inf")):
                try:
                    self.done[key] = await self._client.put(key, b"1")
                    outcome = set()
                except UnknownOutcomeError:
                    pass
                except UnavailableError:
                    outcome = self.failed
            outcome.add(key)
            async with self._progress:
                self._progress.notify_all()

    async def wait_done(self, count: int) -> None:
        async with self._progress:
            while len(self.done) < count:
                await self._progress.wait()

    async def wait_unknown(self) -> None:
        async with self._progress:
            while not self.unknown:
                await self._progress.wait()


async def disturb(client: EtcdClient, cluster: Cluster, writes: Writes, *, kills: bool) -> None:
    """Freeze the member that is used, then kill another one, then end a third by a signal."""
    await writes.wait_done(50)
    member = used_by(client, cluster)
    member.freeze()
    await writes.wait_unknown()
    member.thaw()
    await writes.wait_done(150)
    if kills:
        member = used_by(client, cluster)
        await in_thread(member.kill)
        await in_thread(member.restart)
    await writes.wait_done(250)
    member = used_by(client, cluster)
    member.terminate()
    await writes.wait_done(300)
    await in_thread(member.kill)
    await in_thread(member.restart)


async def test_no_write_is_made_twice_or_lost(
    each_binary: Path, cluster: Cluster, prefix: str
) -> None:
    """E7: a success was applied once, a failure never, and an unknown outcome at most once."""
    kills = may_be_killed(each_binary)
    async with EtcdClient(cluster.endpoints) as client:
        writes = Writes(client, prefix)
        async with trio.open_nursery() as nursery:
            for name in "abcdefgh":
                nursery.start_soon(writes.make, name)
            nursery.start_soon(partial(disturb, client, cluster, writes, kills=kills))
    async with EtcdClient(cluster.endpoints, timeout=HANG) as client:
        found = await client.get_range(prefix)
    applied = {item.key.decode(): item for item in found.items}
    for item in applied.values():
        assert item.mod_revision == item.create_revision, "applied twice"
    assert {key: applied[key].mod_revision for key in writes.done if key in applied} == writes.done
    assert not writes.failed & set(applied)
    assert set(applied) <= set(writes.done) | writes.unknown

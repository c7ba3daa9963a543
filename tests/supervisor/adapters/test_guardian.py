"""No program outlives this process, however that ends (S24, S7)."""

from __future__ import annotations

import os
import pty
import shutil
import signal as signals
import subprocess
import sys
import termios
import warnings
from contextlib import ExitStack, suppress
from fcntl import ioctl
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisor.adapters import command
from supervisor.adapters._guardian import SCRIPT, Guardian, close_in_forks, guardian

from ..helpers.programs import WAITS, Watched, Written, running, written
from ..helpers.services import ENVIRONMENT, SERVICES, end_of, next_line, service

if TYPE_CHECKING:
    from collections.abc import Iterator

SHELLS = [shell for shell in ("dash", "bash") if shutil.which(shell)]


@pytest.fixture(autouse=True)
def _clock_that_stands_still(mock_clock: MockClock) -> MockClock:
    return mock_clock


@pytest.fixture
def lines() -> Iterator[Written]:
    with written() as handler:
        yield handler


@pytest.fixture
def ours() -> Iterator[Guardian]:
    """Make a guardian of the test's own."""
    made = Guardian()
    yield made
    end(made)


def end(made: Guardian) -> None:
    """Let go of a guardian, and wait for its end."""
    if made.pid is not None:
        for each in [*close_in_forks]:
            if each is made._socket:
                close_in_forks.discard(each)
                each.close()
        os.waitpid(made.pid, 0)


def a_group(stack: ExitStack) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own."""
    process = subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True)
    stack.enter_context(process)
    stack.callback(process.kill)
    return process


# The end of this process


@pytest.mark.parametrize("how", [signals.SIGKILL, signals.SIGSEGV])
def test_no_program_outlives_a_process_that_is_killed(how: signals.Signals) -> None:
    """S24: its children neither, which ignore each signal that they can."""
    with service("commands.py", "run") as process:
        pids = map(int, next_line(process).split())
        with Watched(*pids) as programs:
            assert programs.alive == 3
            process.send_signal(how)
            programs.wait()


def test_no_program_outlives_a_process_that_leaves_at_once() -> None:
    """S24: by os._exit()."""
    with service("commands.py", "leave") as process:
        with Watched(*map(int, next_line(process).split())) as programs:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            programs.wait()
        assert process.wait() == 3


def test_a_stop_of_the_process_ends_its_programs_first() -> None:
    """S24, S22: under main, with SIGKILL when the grace is over."""
    with (
        service("commands.py", "ignore") as process,
        Watched(*map(int, next_line(process).split())) as programs,
    ):
        process.terminate()
        status, log = end_of(process)
        assert programs.alive == 0
    assert status == 0
    (warning,) = [each["message"] for each in log if each["level"] == "WARNING"]
    assert "had not ended, and got SIGKILL" in warning


def test_a_stop_of_the_process_gives_a_program_its_own_grace() -> None:
    """S24, S22: without grace= at run(), it gets the signal, and ends by itself."""
    with service("commands.py", "signal") as process:
        assert next_line(process) == "up"
        process.terminate()
        assert next_line(process) == "got SIGTERM"
        status, log = end_of(process)
    assert (status, [each for each in log if each["level"] == "WARNING"]) == (0, [])


def test_ctrl_c_at_a_terminal_does_not_reach_the_programs() -> None:
    """S24: it is for this process, which stops them by their stop signal."""
    ours, theirs = pty.openpty()

    def become_foreground() -> None:
        os.setsid()
        ioctl(0, termios.TIOCSCTTY, 0)
        signals.signal(signals.SIGINT, signals.SIG_DFL)

    process = subprocess.Popen(
        [sys.executable, SERVICES / "commands.py", "signal"],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
        preexec_fn=become_foreground,  # noqa: PLW1509  this process has no other threads that lock
    )
    os.close(theirs)
    with os.fdopen(ours, "r+b", buffering=0) as terminal, process:
        assert terminal.readline().split() == [b"up"]
        terminal.write(b"\x03")
        said = b""
        with suppress(OSError):  # EIO: nobody has the other end any more
            while some := terminal.read(1000):
                said += some
        assert process.wait() == 0
    assert b"got SIGTERM" in said


# The guardian


async def test_one_guardian_serves_all_programs(lines: Written) -> None:
    """S24: it is started at the first, and goes on; it is no process of any group of theirs."""
    async with running(command(WAITS)):
        await lines.next()
        first = guardian.pid
        assert first is not None
        assert os.getsid(first) == first
    async with running(command(WAITS)):
        await lines.next()
        assert guardian.pid == first


async def test_a_guardian_that_was_killed_is_replaced(lines: Written) -> None:
    """S24: at the next start, and the next one knows the programs that run."""
    one, other = command(WAITS), command(WAITS)
    async with running(one):
        await lines.next()
        assert guardian.pid is not None
        with Watched(guardian.pid) as killed:
            os.kill(guardian.pid, signals.SIGKILL)
            killed.wait()
            async with running(other):
                await lines.next()
                assert killed.alive == 0
                assert guardian._groups == {one.pid, other.pid}
        assert guardian._groups == {one.pid}


def test_a_guardian_kills_the_groups_that_are_left(ours: Guardian) -> None:
    """S24: and no group that was removed."""
    with ExitStack() as stack:
        groups = [a_group(stack) for _ in range(3)]
        for group in groups:
            ours.add(group.pid)
        ours.remove(groups[1].pid)
        end(ours)
        assert [groups[number].wait() for number in (0, 2)] == [-signals.SIGKILL] * 2
        assert groups[1].poll() is None
        ours.pid = None


def test_a_guardian_that_does_not_read_is_replaced(ours: Guardian) -> None:
    """S24: it is killed, so that it does not kill what is alive when it goes on."""
    with ExitStack() as stack:
        group = a_group(stack)
        ours.add(group.pid)
        assert ours.pid is not None
        with Watched(ours.pid) as first:
            os.kill(ours.pid, signals.SIGSTOP)
            before = ours.pid
            while ours.pid == before:
                ours.add(group.pid)
            assert first.alive == 0
        assert group.poll() is None
        end(ours)
        assert group.wait() == -signals.SIGKILL
        ours.pid = None


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_runs_in_any_shell(shell: str) -> None:
    """S24: dash and bash differ in what their kill takes."""
    with ExitStack() as stack:
        left, removed, last = (a_group(stack) for _ in range(3))
        told = "".join(f"+ {each.pid}\n" for each in (left, removed, last)) + f"- {removed.pid}\n"
        subprocess.run([shell, "-c", SCRIPT], input=told.encode(), check=True, env={})
        assert (left.wait(), last.wait()) == (-signals.SIGKILL, -signals.SIGKILL)
        assert removed.poll() is None


@pytest.mark.parametrize("signal", [signals.SIGINT, signals.SIGTERM, signals.SIGHUP])
def test_a_guardian_ignores_what_a_shell_sends(signal: signals.Signals, ours: Guardian) -> None:
    """S24: as kill does to all processes of a user."""
    with ExitStack() as stack:
        group = a_group(stack)
        ours.add(group.pid)
        assert ours.pid is not None
        with Watched(ours.pid) as process:
            # It has read, and so has set its traps.
            ours.remove(group.pid)
            ours.add(group.pid)
            wait_until_read(ours)
            os.kill(ours.pid, signal)
            end(ours)
            assert group.wait() == -signals.SIGKILL
            assert process.alive == 0
        ours.pid = None


def wait_until_read(made: Guardian) -> None:
    """Wait until a guardian has begun to read what it was told."""
    assert made._socket is not None
    with Path(f"/proc/{made.pid}/status").open() as status:
        while not any(
            line.startswith("SigIgn:") and int(line[7:], 16) & 1 << 14 for line in status
        ):
            status.seek(0)


# Forks


def test_a_process_that_is_forked_does_not_hold_the_guardian() -> None:
    """S24: when we are killed, the programs are, though a child of ours lives on."""
    code = """
        import os, signal, sys, trio, supervisor
        from supervisor import Signal
        from supervisor.adapters import command
        sleeper = command(["sleep", "1000"])
        async def root():
            supervisor.run("sleeper", sleeper)
            supervisor.signal(Signal.HEALTHY)
            while sleeper.pid is None:
                await trio.sleep(0.001)
            child = os.fork()
            if not child:
                signal.pause()
            print(sleeper.pid, child, flush=True)
            await trio.sleep_forever()
        trio.run(supervisor.supervise, root)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", dedent(code)], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        program, child = map(int, process.stdout.readline().split())
        with Watched(program) as programs, Watched(child) as children:
            process.kill()
            programs.wait()
            assert children.alive == 1
            os.kill(child, signals.SIGKILL)


async def test_a_process_that_is_forked_has_a_guardian_of_its_own(lines: Written) -> None:
    """S24: it closes ours, and what it collects as garbage does not touch ours."""
    async with running(command(WAITS)):
        await lines.next()
        before = guardian.pid
        read, write = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
            child = os.fork()
        if not child:
            ours = Guardian()
            ours.add(os.getpid())
            ours.remove(os.getpid())
            state = (guardian.pid, len(guardian._groups), ours.pid not in (None, before))
            os.write(write, repr(state).encode())
            os._exit(0)
        os.waitpid(child, 0)  # noqa: ASYNC222  it ends at once
        assert os.read(read, 1000) == b"(None, 0, True)"
        os.close(read)
        os.close(write)
        assert guardian.pid == before
        assert before is not None
        os.kill(before, 0)
    await wait_all_tasks_blocked()


# The first process of a container


def has_namespaces() -> bool:
    unshare = shutil.which("unshare")
    if unshare is None:
        return False
    command = [unshare, "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "true"]
    return not subprocess.run(command, check=False, capture_output=True).returncode


@pytest.mark.skipif(not has_namespaces(), reason="this machine allows no PID namespace")
def test_the_first_process_of_a_container_reaps_what_a_program_leaves() -> None:
    """S24: orphans of a program that have become its children."""
    namespace = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    ended = subprocess.run(
        [*namespace, "--kill-child", sys.executable, SERVICES / "orphans.py", "5"],
        check=False,
        capture_output=True,
        env=ENVIRONMENT,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "this is process 1; 5 restarts, 15 processes, 0 left\n"

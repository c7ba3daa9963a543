"""Programs as runnables (S24): real ones, on a clock that stands still."""

from __future__ import annotations

import logging
import os
import pickle
import re
import signal as signals
import socket
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import GroupState, NodeState, RunError, Signal
from supervisor.adapters import Command, CommandError, command
from supervisor.testing import Remote, open_harness

# Behind all other places, so that the packages which are tested stay those of the wheel.
sys.path.append(str(Path(__file__).parents[3]))

from benchmarks.soak.commands import serve_by_nginx

from ..helpers.backoffs import AT_ONCE, STEADY
from ..helpers.programs import (
    IGNORES,
    IGNORES_WITH_CHILDREN,
    LEAVES_GROUP,
    WAITS,
    Watched,
    Written,
    python,
    running,
    written,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _clock_that_stands_still(mock_clock: MockClock) -> MockClock:
    """No second passes unless the test says so, however long a program takes."""
    return mock_clock


@pytest.fixture
def lines() -> Iterator[Written]:
    with written() as handler:
        yield handler


async def end_of_command(program: Command) -> BaseException:
    """Run it as a root, and return what it dies of."""
    try:
        await supervisor.supervise(program, propagate=True)
    except Exception as error:  # noqa: BLE001  the test judges it
        return error
    raise AssertionError("it has not died")


def nodes_state(tree: supervisor.Supervisor) -> NodeState:
    return tree.snapshot().nodes["root.program"].state


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


# Readiness


async def test_a_program_is_healthy_when_it_runs(lines: Written) -> None:
    """S24: its pid is known then; it is the leader of a session and group of its own."""
    program = command(WAITS)
    assert (program.pid, program.grace) == (None, 10.0)
    assert repr(program).endswith(", not running>")
    async with running(program) as (_, handle):
        await handle.wait_healthy()
        pid = program.pid
        assert pid is not None
        assert repr(program).endswith(f", pid {pid}>")
        assert (os.getsid(pid), os.getpgid(pid)) == (pid, pid)
        assert await lines.next() == "up"
    assert program.pid is None


async def test_a_program_that_can_not_be_executed_was_never_healthy(tmp_path: Path) -> None:
    """S24: that a shell has started says nothing of the program."""
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    states: list[str] = []

    class States:
        def notify_node_state(self, _dn: str, state: NodeState) -> None:
            states.append(state.name)

        def notify_node_gone(self, _dn: str) -> None: ...

    for _ in range(20):
        with pytest.raises(CommandError) as caught:
            await supervisor.supervise(command([script]), propagate=True, metrics=States())
        assert caught.value.status in {126, 127}
        assert f"{str(script)!r} could not be executed: it ended with status " in str(caught.value)
        assert any(str(script) in line for line in caught.value.lines)
    assert set(states) == {"NEW", "DEAD"}


STEPS = """
    import signal, sys
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    for line in ("starting", "it listens on port 5432"):
        print(line, file=getattr(sys, sys.argv[1]))
        signal.sigwait({signal.SIGUSR1})
"""


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_a_line_tells_that_a_program_is_ready(stream: str, lines: Written) -> None:
    """S24: a regular expression, which is searched in the lines of both streams."""
    program = command(python(STEPS, stream), ready_line=r"port \d+$")
    async with running(program) as (tree, handle):
        assert await lines.next() == "starting"
        await wait_all_tasks_blocked()
        assert nodes_state(tree) is NodeState.NEW
        program.send_signal(signals.SIGUSR1)
        await handle.wait_healthy()
        assert lines.lines == ["starting", "it listens on port 5432"]
        assert {vars(record)["stream"] for record in lines.records} == {stream}
        assert {vars(record)["pid"] for record in lines.records} == {program.pid}


@pytest.mark.parametrize("with_host", [False, True])
async def test_a_port_tells_that_a_program_is_ready(
    with_host: bool,  # noqa: FBT001  pytest passes it by name
    mock_clock: MockClock,
    lines: Written,
) -> None:
    """S24: it is tried every 0.1 s, until it accepts."""
    mock_clock.rate = 1.0
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        program = command(WAITS, ready_port=("localhost", port) if with_host else port)
        async with running(program) as (tree, handle):
            await lines.next()
            await wait_all_tasks_blocked(cushion=0.02)
            assert nodes_state(tree) is NodeState.NEW
            listener.listen()
            await handle.wait_healthy()


async def test_a_function_tells_that_a_program_is_ready() -> None:
    """S24: the node is HEALTHY when it returns; it is called when the program runs."""
    asked, ready = trio.Event(), trio.Event()

    async def wait_ready() -> None:
        assert program.pid is not None
        supervisor.logger().info("asked")
        asked.set()
        await ready.wait()

    program = command(WAITS, ready=wait_ready)
    async with running(program) as (tree, handle):
        await asked.wait()
        assert nodes_state(tree) is NodeState.NEW
        ready.set()
        await handle.wait_healthy()


async def test_what_ready_raises_is_what_the_node_dies_of(lines: Written) -> None:
    """S24: in no group; the program is killed."""

    async def fail() -> None:
        await lines.next()
        raise LookupError("no such table")

    error = await end_of_command(command(WAITS, ready=fail))
    assert (type(error), str(error)) == (LookupError, "no such table")


@pytest.mark.parametrize("kind", ["ready_line", "ready_port", "ready"])
async def test_an_exit_before_readiness_is_a_death(kind: str) -> None:
    """S24: like any other."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        ways: dict[str, Any] = {
            "ready_line": "never",
            "ready_port": unused.getsockname()[1],
            "ready": trio.sleep_forever,
        }
        error = await end_of_command(command(python("raise SystemExit(3)"), **{kind: ways[kind]}))
    assert isinstance(error, CommandError)
    assert error.status == 3


@pytest.mark.parametrize(
    "options",
    [{"ready_line": "never"}, {"ready_port": 1}, {"ready": trio.sleep_forever}, {"oneshot": True}],
    ids=str,
)
async def test_a_program_that_does_not_become_ready_in_time_is_killed(
    options: dict[str, Any], lines: Written, mock_clock: MockClock
) -> None:
    """S24, S20: start_timeout= bounds all kinds."""
    program = command(WAITS, **options)
    async with running(program, start_timeout=30.0) as (tree, _):
        await lines.next()
        assert program.pid is not None
        with Watched(program.pid) as process:
            mock_clock.jump(31.0)
            while not tree.snapshot().nodes["root.program"].crashes:
                await wait_all_tasks_blocked()
            assert process.alive == 0
        (crash,) = tree.snapshot().nodes["root.program"].crashes
        assert crash.error.startswith("StartTimeoutError")


# Death


async def test_an_exit_that_nobody_asked_for_is_a_death(caplog: pytest.LogCaptureFixture) -> None:
    """S24: the error has what there is to know, and its message is one line."""
    code = (
        "import sys; [print(n) for n in range(30)]; print('no disk', file=sys.stderr); sys.exit(3)"
    )
    program = command(python(code))
    error = await end_of_command(program)
    assert isinstance(error, CommandError)
    assert (error.status, error.signal) == (3, None)
    assert error.argv == tuple(python(code))
    assert len(error.lines) == 20
    assert {*error.lines} - {"no disk"} <= {str(number) for number in range(9, 30)}
    assert re.fullmatch(r"'[^']+' ended with status 3 after \d+\.\d s", str(error))
    assert error.__notes__[0].splitlines() == ["its last lines:", *error.lines[-5:]]
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "ended with status 3" in record.getMessage().splitlines()[0]


async def test_a_death_by_a_signal_names_it() -> None:
    """S24: also one that has no name."""
    for number, name in ((signals.SIGSEGV, "SIGSEGV"), (signals.SIGRTMIN + 2, "signal 36")):
        error = await end_of_command(
            command(python(f"import os; os.kill(os.getpid(), {number:d})"))
        )
        assert isinstance(error, CommandError)
        assert (error.status, error.signal) == (None, number)
        assert f" was ended by {name} after " in str(error)
        assert not [note for note in getattr(error, "__notes__", []) if "last lines" in note]


async def test_an_exit_with_status_0_is_a_death_too() -> None:
    """S24: and the message says what may have been meant."""
    error = await end_of_command(command(["true"]))
    assert isinstance(error, CommandError)
    assert error.status == 0
    assert "'true' ended with status 0 after 0" in str(error)
    assert str(error).endswith(": a command is expected to run on: oneshot=True says otherwise")


async def test_a_program_that_died_restarts_as_another_process(lines: Written) -> None:
    """S24, S9: in the next incarnation."""
    program = command(WAITS)
    async with running(program, backoff=AT_ONCE) as (tree, handle):
        pids = []
        for _ in range(3):
            await lines.next()
            await handle.wait_healthy()
            pids.append(program.pid)
            program.send_signal(signals.SIGKILL)
        await lines.next()
        assert len({*pids}) == 3
        assert tree.snapshot().nodes["root.program"].incarnation == 4


# Start failures


async def test_a_missing_program_is_named_with_the_path(tmp_path: Path) -> None:
    """S24: the PATH that was searched is the child's."""
    env = {"PATH": f"{tmp_path}:/nowhere"}
    error = await end_of_command(command(["server"], env=env))
    assert isinstance(error, FileNotFoundError)
    assert str(error) == f"[Errno 2] no such program in PATH={tmp_path}:/nowhere: 'server'"
    error = await end_of_command(command(["./server"], cwd=tmp_path))
    assert str(error) == "[Errno 2] no such program: './server'"


async def test_a_program_that_is_not_executable_is_named(tmp_path: Path) -> None:
    """S24: as a PermissionError, which is another mistake."""
    (tmp_path / "server").write_text("#!/bin/sh\n")
    error = await end_of_command(command(["server"], env={"PATH": str(tmp_path)}))
    assert isinstance(error, PermissionError)
    assert str(error) == f"[Errno 13] the program is not executable in PATH={tmp_path}: 'server'"
    error = await end_of_command(command([tmp_path / "server"]))
    assert str(error) == f"[Errno 13] the program is not executable: '{tmp_path}/server'"


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """S24: one that is not there, and one that is a file."""
    error = await end_of_command(command(["true"], cwd=tmp_path / "no"))
    assert isinstance(error, FileNotFoundError)
    assert str(error) == f"[Errno 2] no such folder as cwd=: '{tmp_path}/no'"
    (tmp_path / "file").touch()
    error = await end_of_command(command(["true"], cwd=tmp_path / "file"))
    assert isinstance(error, NotADirectoryError)


async def test_a_program_is_found_from_its_folder(tmp_path: Path, lines: Written) -> None:
    """S24: by a relative path, and by a PATH that is relative."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "server"
    script.write_text("#!/bin/sh\necho here $0 $PWD\n")
    script.chmod(0o755)
    await supervisor.supervise(command(["bin/server"], cwd=tmp_path, oneshot=True))
    env = {"PATH": "bin"}
    await supervisor.supervise(command(["server"], cwd=tmp_path, env=env, oneshot=True))
    assert lines.lines == [f"here bin/server {tmp_path}"] * 2


async def test_a_start_that_fails_backs_off(
    tmp_path: Path, lines: Written, mock_clock: MockClock
) -> None:
    """S24, S9: it is a death; when the program is there, it runs."""
    program = command(["server"], env={"PATH": f"{tmp_path}:/bin:/usr/bin"})
    async with running(program, backoff=STEADY) as (tree, _):
        await wait_all_tasks_blocked()
        assert len(tree.snapshot().nodes["root.program"].crashes) == 1
        script = tmp_path / "server"
        script.write_text("#!/bin/sh\necho up\nexec sleep 1000\n")
        script.chmod(0o755)
        mock_clock.jump(1.0)
        assert await lines.next() == "up"


async def test_a_process_that_can_not_be_watched_is_not_left(
    monkeypatch: pytest.MonkeyPatch, lines: Written
) -> None:
    """S24: as where there are no more file descriptors: its shell has not become the program."""

    def fail(_pid: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", fail)
    error = await end_of_command(command(WAITS))
    assert str(error) == "[Errno 24] Too many open files"
    assert lines.lines == []


async def test_one_command_is_in_one_place(lines: Written) -> None:
    """S24: the other node dies, and its error names the first."""
    program = command(WAITS)
    async with running(program) as (tree, handle):
        await lines.next()
        error = await end_of_command(program)
        assert isinstance(error, RunError)
        assert re.search(r"pid \d+> is root\.program already: call command\(\) for", str(error))
        assert nodes_state(tree) is NodeState.HEALTHY
        await handle.stop()
        await lines_of_one_run(program, lines)


async def lines_of_one_run(program: Command, lines: Written) -> None:
    """Run it in another tree, until its first line."""
    async with running(program):
        await lines.next()


# Stopping


async def test_a_stop_asks_by_a_signal(lines: Written, caplog: pytest.LogCaptureFixture) -> None:
    """S24, S21: to the whole group; what the program exits with is no error."""
    code = """
        import os, signal, sys
        def stop(signum, frame):
            os.write(1, f"{who} got {signal.Signals(signum).name}\\n".encode())
            os._exit(5)
        for each in (signal.SIGTERM, signal.SIGQUIT):
            signal.signal(each, stop)
        who = "leader"
        child = os.fork()
        if not child:
            who = "child"
            os.write(1, b"up\\n")
            while True: signal.pause()
        os.waitpid(child, 0)
        while True: signal.pause()
    """
    program = command(python(code), stop_signal=signals.SIGQUIT)
    async with running(program) as (tree, handle):
        assert await lines.next() == "up"
        await handle.stop()
        node = tree.snapshot().nodes["root.program"]
        assert (node.state, node.stop_error) == (NodeState.CANCELED, None)
    assert "child got SIGQUIT" in lines.lines or "leader got SIGQUIT" in lines.lines
    assert warnings(caplog) == []


@pytest.mark.parametrize("given", [None, 3.0])
async def test_what_does_not_end_in_its_grace_is_killed(
    given: float | None,
    lines: Written,
    mock_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S24, S21: the leader and all of its group, with one warning; a number at run() wins."""
    program = command(IGNORES_WITH_CHILDREN, grace=4.0)
    async with running(program, grace=given) as (tree, handle), trio.open_nursery() as nursery:
        with Watched(*map(int, (await lines.next()).split())) as processes:
            pid = program.pid
            nursery.start_soon(handle.stop)
            await wait_all_tasks_blocked()
            mock_clock.jump((given or 4.0) - 0.1)
            await wait_all_tasks_blocked(cushion=0.02)
            assert processes.alive == 3
            mock_clock.jump(0.2)
            await handle.wait_ended()
            assert processes.alive == 0
        assert tree.snapshot().nodes["root.program"].stop_error is None
    (warning,) = warnings(caplog)
    assert re.fullmatch(f"'[^']+', process {pid}, had not ended, and got SIGKILL", warning)


async def test_nginx_serves_and_stops_and_leaves_nothing(mock_clock: MockClock) -> None:
    """S24: a master with two workers, which finish their requests at SIGQUIT."""
    mock_clock.rate = 1.0
    assert await serve_by_nginx(1) == []


async def test_what_a_leader_leaves_is_killed_at_its_exit(
    lines: Written, caplog: pytest.LogCaptureFixture
) -> None:
    """S24: without a warning, for the program has ended as it was asked to."""
    code = """
        import os, signal
        if not os.fork():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            print(os.getpid())
            while True: signal.pause()
        signal.pause()
    """
    async with running(command(python(code))) as (_, handle):
        with Watched(int(await lines.next())) as child:
            await handle.stop()
            assert child.alive == 0
    assert warnings(caplog) == []


async def test_a_stop_during_the_start_ends_it() -> None:
    """S24, S21: whatever the process is at that moment."""
    for steps in range(12):
        program = command(WAITS)
        async with running(program) as (_, handle):
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            await handle.stop()
            assert (program.pid, handle.state) == (None, GroupState.STOPPED)


SAYS_BYE = python(
    """
    import os, signal
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    print(os.getpid())
    signal.sigwait({signal.SIGTERM})
    print("bye")
    """
)


async def test_a_stop_of_the_tree_gives_a_program_its_own_grace(lines: Written) -> None:
    """S24, S21: no grace= was passed, and it ends by itself."""
    async with running(command(SAYS_BYE)) as (tree, _):
        await lines.next()
        await tree.stop()
    assert lines.lines[1:] == ["bye"]


async def test_a_restart_of_its_group_waits_for_the_end(lines: Written) -> None:
    """S24, S7, S21: the old processes are gone before the new one starts, which has its grace."""
    mate, program = Remote(), command(SAYS_BYE)
    async with open_harness(partial(run_both, mate, program), patience=60.0):
        await mate.become_healthy()
        with Watched(int(await lines.next())) as first:
            await mate.die()
            assert await lines.next() == "bye"
            with Watched(int(await lines.next())) as second:
                assert (first.alive, second.alive) == (0, 1)
                await mate.become_healthy()


async def run_both(mate: Remote, program: Command) -> None:
    supervisor.run_group({"mate": mate, "program": program}, backoff=AT_ONCE)
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


async def test_an_operator_restarts_a_program(lines: Written) -> None:
    """S24, S19: with its grace, and without backoff."""
    program = command(WAITS)
    async with running(program) as (tree, handle):
        await lines.next()
        await handle.restart()
        await lines.next()
        assert tree.snapshot().nodes["root.program"].incarnation == 2


async def test_a_signal_is_for_the_leader(lines: Written) -> None:
    """S24: as SIGHUP, by which many read their configuration again."""
    code = """
        import os, signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        child = os.fork()
        if child:
            print("up")
            signal.sigwait({signal.SIGHUP})
            os.kill(child, 0)
            print("reloads", signal.SIGHUP in signal.sigpending())
        signal.pause()
    """
    program = command(python(code))
    with pytest.raises(RunError, match=r"not running> has no process that could get SIGHUP"):
        program.send_signal(signals.SIGHUP)
    async with running(program) as (_, handle):
        await lines.next()
        program.send_signal(signals.SIGHUP)
        assert await lines.next() == "reloads False"
        await handle.stop()
        with pytest.raises(RunError):
            program.send_signal(signals.SIGHUP)
    with pytest.raises(ValueError, match=r"send_signal\(\): sig=0 is not a signal"):
        program.send_signal(0)


async def test_a_signal_that_is_not_permitted_is_logged(
    monkeypatch: pytest.MonkeyPatch, lines: Written, caplog: pytest.LogCaptureFixture
) -> None:
    """S24: as where a program runs as another user; the stop goes on, and waits for it."""
    program = command(WAITS)
    kill = os.killpg

    def refuse(group: int, signal: int) -> None:
        if signal == signals.SIGTERM:
            raise PermissionError
        kill(group, signal)

    monkeypatch.setattr(os, "killpg", refuse)
    async with running(program) as (_, handle), trio.open_nursery() as nursery:
        await lines.next()
        pid = program.pid
        nursery.start_soon(handle.stop)
        await wait_all_tasks_blocked()
        program.send_signal(signals.SIGTERM)
    assert warnings(caplog) == [
        f"can't send SIGTERM to process group {pid}: it runs as another user"
    ]


# Cancellation


@pytest.mark.parametrize("kind", ["", "ready_line", "ready_port", "ready", "oneshot"])
async def test_a_cancellation_kills_at_once(
    kind: str, lines: Written, caplog: pytest.LogCaptureFixture
) -> None:
    """S24, S12: cancelled here, in each wait for readiness, and when there is none."""
    ways: dict[str, Any] = {
        "": {},
        "ready_line": {"ready_line": "never"},
        "ready_port": {"ready_port": ("127.0.0.1", 1)},
        "ready": {"ready": trio.sleep_forever},
        "oneshot": {"oneshot": True},
    }
    with trio.CancelScope() as scope, ExitStack() as opened:
        async with running(command(IGNORES_WITH_CHILDREN, **ways[kind])):
            pids = map(int, (await lines.next()).split())
            processes = opened.enter_context(Watched(*pids))
            opened.callback(lambda: alive.append(processes.alive))
            alive: list[int] = []
            await wait_all_tasks_blocked()
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert alive == [0]
    assert scope.cancelled_caught
    assert len(warnings(caplog)) == 1


async def test_a_cancellation_while_a_port_does_not_answer_kills_at_once(lines: Written) -> None:
    """S24, S12: cancelled here, in the attempt to connect, to a listener whose backlog is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as opened:
        for _ in range(2):
            client = opened.enter_context(socket.socket())
            client.setblocking(False)  # noqa: FBT003  it is positional
            client.connect_ex(listener.getsockname())
        program = command(IGNORES, ready_port=listener.getsockname()[1])
        with trio.CancelScope() as scope:
            async with running(program) as (tree, _):
                await lines.next()
                await wait_all_tasks_blocked(cushion=0.05)
                assert nodes_state(tree) is NodeState.NEW
                scope.cancel()
    assert (scope.cancelled_caught, program.pid) == (True, None)


@pytest.mark.parametrize("steps", range(0, 12, 2))
async def test_a_cancellation_at_each_step_of_the_start_leaves_nothing(
    steps: int, lines: Written
) -> None:
    """S24, S12: cancelled here, at the start of the process and while it becomes the program."""
    program = command(IGNORES)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.supervise, program)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            scope.cancel()
    assert program.pid is None
    assert "guarded" not in lines.lines


async def test_a_cancellation_while_a_process_waits_for_a_thread_starts_nothing() -> None:
    """S24, S12: cancelled here, where Trio starts processes in a thread."""
    limiter = trio.to_thread.current_default_thread_limiter()
    before = limiter.total_tokens
    limiter.total_tokens = 1
    await limiter.acquire()
    try:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(supervisor.supervise, command(WAITS))
                await wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancelled_caught
    finally:
        limiter.release()
        limiter.total_tokens = before


async def test_a_cancellation_at_the_end_lets_it_end(
    tmp_path: Path, lines: Written, mock_clock: MockClock
) -> None:
    """S24, S12: cancelled here, while a pipe is read that somebody holds."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.supervise, command([*LEAVES_GROUP, str(fifo)]))
            assert [await lines.next() for _ in range(2)] == ["before", "last"]
            await wait_all_tasks_blocked(cushion=0.05)
            scope.cancel()
            await wait_for_deadline(mock_clock)
    with fifo.open("w"):
        pass
    assert lines.lines == ["before", "last", "part"]


async def wait_for_deadline(mock_clock: MockClock) -> None:
    """Let the second pass in which a pipe is read on."""
    with trio.CancelScope(shield=True):
        await wait_all_tasks_blocked(cushion=0.05)
        mock_clock.jump(1.1)


# One-shot programs


async def test_the_work_of_a_one_shot_program_is_done_at_its_exit(lines: Written) -> None:
    """S24, S20: it is NEW until then, and what is ordered after it waits."""
    began = trio.Event()

    async def after() -> None:
        began.set()
        supervisor.signal(Signal.HEALTHY)
        await supervisor.wait_stop_requested()

    migrate = command(
        python(
            """
            import signal
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
            print("up")
            signal.sigwait({signal.SIGUSR1})
            """
        ),
        oneshot=True,
    )

    async def root() -> None:
        supervisor.run_group({"migrate": migrate, "after": after}, ordered=True)
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async with open_harness(root, patience=60.0) as tree:
        await lines.next()
        await wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root.migrate"].state is NodeState.NEW
        assert not began.is_set()
        migrate.send_signal(signals.SIGUSR1)
        await began.wait()
        assert tree.snapshot().nodes["root.migrate"].state is NodeState.DONE


async def test_a_one_shot_program_that_fails_is_a_death() -> None:
    """S24: the message has no hint then, and the node was not HEALTHY."""
    error = await end_of_command(command(["sh", "-c", "echo oh; exit 4"], oneshot=True))
    assert isinstance(error, CommandError)
    assert (error.status, error.lines) == (4, ("oh",))
    assert str(error).endswith(" s")


async def test_a_one_shot_program_that_is_stopped_is_no_error(lines: Written) -> None:
    """S24, S21: like any other."""
    async with running(command(WAITS, oneshot=True)) as (tree, handle):
        await lines.next()
        await handle.stop()
        node = tree.snapshot().nodes["root.program"]
        assert (node.state, node.stop_error) == (NodeState.CANCELED, None)


# Environment


async def environment(lines: Written, **options: Any) -> dict[str, str]:  # noqa: ANN401  they are command()'s
    """Return the environment that a program gets."""
    code = "import os; [print(f'{n}={v}') for n, v in os.environ.items()]"
    await supervisor.supervise(command(python(code), oneshot=True, **options))
    return dict(line.split("=", 1) for line in lines.lines)


async def test_a_program_gets_our_environment(
    lines: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S24: as it is when it starts, without what systemd has set for this process alone."""
    for name in (
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "OURS",
    ):
        monkeypatch.setenv(name, "1")
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    expected = {name: value for name, value in os.environ.items() if "\n" not in value}
    for name in [*expected]:
        if name.startswith(("NOTIFY_", "WATCHDOG_", "LISTEN_")):
            del expected[name]
    got = await environment(lines)
    assert got["OURS"] == "1"
    assert expected.items() - got.items() <= {("PWD", os.environ.get("PWD", ""))}
    assert got.keys() - expected.keys() <= {"PYTHONUNBUFFERED", "PWD", "LC_CTYPE"}
    assert got["PYTHONUNBUFFERED"] == "1"


async def test_an_environment_that_is_given_is_all(tmp_path: Path, lines: Written) -> None:
    """S24: but for PWD, and PYTHONUNBUFFERED unless that is given."""
    given = {"TEXT": "ä=b", "PYTHONUNBUFFERED": "", "LC_ALL": "C.UTF-8"}
    got = await environment(lines, env=given, cwd=tmp_path)
    assert got == {**given, "PWD": str(tmp_path)}


async def test_a_program_reads_nothing_and_has_its_arguments_as_they_are(lines: Written) -> None:
    """S24: no shell looks at them, and its stdin is /dev/null."""
    arguments = ["$HOME", "*", "a  b", "'", '"', "\\", "", "-e", "\x81\x88ä", "line\nend"]
    code = "import sys; print(sys.argv[1:]); print(repr(sys.stdin.read()))"
    await supervisor.supervise(command(python(code, *arguments), oneshot=True))
    assert lines.lines == [repr(arguments), "''"]


async def test_no_file_of_ours_is_open_in_a_program(lines: Written) -> None:
    """S24: neither what tells the guardian of our end, nor what starts the program."""
    code = "import os; print(sorted(os.listdir('/proc/self/fd'))[:-1])"
    await supervisor.supervise(command(python(code), oneshot=True))
    assert lines.lines == ["['0', '1', '2']"]


# Output


async def test_what_a_process_that_left_the_group_holds_is_closed(
    tmp_path: Path,
    lines: Written,
    mock_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S24: a second after the leader's exit, and all that this has written is logged."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    program = command([*LEAVES_GROUP, str(fifo)])
    async with running(program) as (tree, _):
        assert [await lines.next() for _ in range(2)] == ["before", "last"]
        await wait_all_tasks_blocked(cushion=0.05)
        assert tree.snapshot().nodes["root.program"].crashes == ()
        pid = vars(lines.records[0])["pid"]
        await wait_for_deadline(mock_clock)
        assert await lines.next() == "part"
        await wait_all_tasks_blocked()
        (crash,) = tree.snapshot().nodes["root.program"].crashes
    with fifo.open("w"):
        pass
    assert "CommandError" in crash.error
    assert [each for each in warnings(caplog) if "is closed" in each] == [
        f"{stream} of process {pid} is closed: a process that has left its group holds it"
        for stream in ("stdout", "stderr")
    ]


async def test_all_that_a_program_writes_is_logged_in_order(lines: Written) -> None:
    """S24: at its exit too, when more is in the pipe than was read."""
    code = "import sys; sys.stdout.write(''.join(f'{n}\\n' for n in range(30_000)))"
    await supervisor.supervise(command(python(code), oneshot=True))
    assert lines.lines == [str(number) for number in range(30_000)]


async def test_what_a_killed_program_has_written_is_logged(lines: Written) -> None:
    """S24, S12: as far as it got to the pipe."""
    code = """
        import os, signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        print("up")
        signal.sigwait({signal.SIGTERM})
        print("the last word")
        while True: signal.pause()
    """
    with trio.CancelScope() as scope:
        async with running(command(python(code))) as (_, handle), trio.open_nursery() as nursery:
            await lines.next()
            nursery.start_soon(handle.stop)
            assert await lines.next() == "the last word"
            scope.cancel()
    assert lines.lines == ["up", "the last word"]


async def test_a_line_can_be_parsed(lines: Written) -> None:
    """S24: into a level and a message, or into itself."""

    def parse(line: str) -> tuple[int, str] | None:
        level, _, message = line.partition(": ")
        return (getattr(logging, level), message) if message else None

    program = ["sh", "-c", "echo WARNING: the disk is full; echo plain; echo ERROR: it burns"]
    await supervisor.supervise(command(program, oneshot=True, parse=parse))
    assert [(record.levelname, record.getMessage()) for record in lines.records] == [
        ("WARNING", "the disk is full"),
        ("INFO", "plain"),
        ("ERROR", "it burns"),
    ]


@pytest.mark.parametrize("wrong", ["raises", "text", "level"])
async def test_a_parser_that_fails_is_asked_once(
    wrong: str, lines: Written, caplog: pytest.LogCaptureFixture
) -> None:
    """S24: that is logged; no line is lost; the next incarnation asks it again."""
    asked: list[str] = []

    def parse(line: str) -> Any:  # noqa: ANN401  it is wrong
        asked.append(line)
        if wrong == "raises":
            raise LookupError(line)
        return "text" if wrong == "text" else ("INFO", line)

    program = command(["sh", "-c", "echo one; echo two"], oneshot=True, parse=parse)
    for _ in range(2):
        await supervisor.supervise(program)
    assert asked == ["one", "one"]
    assert lines.lines == ["one", "two"] * 2
    reports = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert [each.getMessage() for each in reports] == [
        "parse= failed on 'one', and is not asked again"
    ] * 2
    assert all(each.exc_info for each in reports)


async def test_a_handler_that_fails_ends_the_program(lines: Written) -> None:
    """S24, S5: the node dies of what it raised, and no process is left."""

    class Fails(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            if record.getMessage() == "up":
                raise LookupError("no such field")
            return True

    program = command(WAITS)
    logger = logging.getLogger("supervisor.node.root")
    fails = Fails()
    logger.addFilter(fails)
    try:
        error = await end_of_command(program)
    finally:
        logger.removeFilter(fails)
    assert isinstance(error, LookupError)
    assert (program.pid, lines.lines) == (None, [])


# Arguments


def generate() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"argv": "nginx -c x"}, TypeError, r"argv='nginx -c x' is one text: .* shlex\.split\(\)"),
        ({"argv": b"nginx"}, TypeError, r"argv=b'nginx' is one text"),
        ({"argv": 5}, TypeError, "argv=5 is not a list of strings"),
        ({"argv": ["nginx", 5]}, TypeError, "argv has 5, which is not a str or a path"),
        ({"argv": []}, ValueError, r"argv=\[\] has no program"),
        ({"argv": [""]}, ValueError, r"argv=\[''\] has no program"),
        ({"argv": ["a\0b"]}, ValueError, r"argv has 'a\\x00b', in which there is a NUL"),
        ({"cwd": "a\0b"}, ValueError, "cwd has .* NUL"),
        ({"cwd": 5}, TypeError, "cwd has 5"),
        ({"env": ["A=B"]}, TypeError, "env=.* is not a mapping of names to texts"),
        ({"env": {"A": 5}}, TypeError, "env has 5"),
        ({"env": {"A": "\0"}}, ValueError, "env has .* NUL"),
        ({"env": {"a.b": "c"}}, ValueError, "env has 'a.b', which a shell does not pass on: let"),
        ({"env": {"IFS": "c"}}, ValueError, "env has 'IFS', which a shell does not pass on: let"),
        ({"ready_line": "("}, ValueError, r"ready_line='\(' is no regular expression: missing \)"),
        ({"ready_line": 5}, TypeError, "ready_line=5 is not a str"),
        ({"ready_port": 0}, ValueError, "ready_port=0 is not a port, .* from 1 to 65535"),
        ({"ready_port": ("::1", 70000)}, ValueError, r"ready_port=\('::1', 70000\) is not a port"),
        ({"ready_port": "80"}, TypeError, "ready_port='80' is not a port"),
        ({"ready_port": True}, TypeError, "ready_port=True is not a port"),
        ({"ready": 5}, TypeError, "5, which is not an async function for ready="),
        ({"ready": generate}, TypeError, "which is not an async function for ready="),
        ({"parse": 5}, TypeError, "5, which is not a function for parse="),
        ({"parse": trio.sleep}, TypeError, "which is async: pass a function for parse=, which no"),
        ({"oneshot": 1}, TypeError, "oneshot=1 is not a bool"),
        ({"stop_signal": 0}, ValueError, r"stop_signal=0 is not a signal, such as signal\.SIGTERM"),
        ({"stop_signal": 99}, ValueError, "stop_signal=99 is not a signal"),
        ({"stop_signal": "TERM"}, TypeError, "stop_signal='TERM' is not a signal"),
        ({"grace": -1}, ValueError, "grace=-1 is not a number of seconds of at least 0"),
        ({"ready_line": "x", "ready_port": 1}, ValueError, "ready_line= and ready_port=: pass one"),
        ({"ready": trio.sleep, "oneshot": True}, ValueError, "ready= and oneshot=True: pass one"),
    ],
)
def test_a_wrong_argument_is_refused_at_the_call(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """S24, S2: the message names it, and says what to pass."""
    with pytest.raises(error, match=rf"command\(\).*{message}"):
        command(**{"argv": ["true"], **options})


def test_a_system_without_pidfds_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """S24: at the call."""
    monkeypatch.delattr(os, "pidfd_open")
    with pytest.raises(NotImplementedError, match=r"command\(\) needs Linux 5\.3 or later"):
        command(["true"])


def test_an_error_can_be_pickled() -> None:
    """S24: with all that it says."""
    error = CommandError(("server",), -11, 1.0, ["one"])
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  it is our own
    assert (str(copy), copy.__dict__) == (str(error), error.__dict__)

"""A program in a process group of its own, from its start until nothing of it is left (S24)."""

from __future__ import annotations

import logging
import os
import signal as signals
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisor.adapters._guardian import guardian
from supervisor.adapters._process_group import (
    ProcessGroup,
    _group_of,
    _members,
    _wait_for_member,
    name_of,
    passes_on,
    start,
)

from ..helpers.programs import IGNORES_WITH_CHILDREN, WAITS, Watched, python

if TYPE_CHECKING:
    from collections.abc import Sequence

LOGGER = logging.getLogger("test_process_group")


async def begun(argv: Sequence[str]) -> ProcessGroup:
    group = await start(argv, None, os.environ, LOGGER)
    group.begin()
    return group


async def pids_of(group: ProcessGroup) -> list[int]:
    """Return the pids that a program writes as one line."""
    line = b""
    while not line.endswith(b"\n"):
        line += await group.stdout.receive_some()
    return [*map(int, line.split())]


def name_of_process(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")


def open_files() -> set[str]:
    return {*os.listdir("/proc/self/fd")}  # noqa: PTH208  their names are what counts


# Start


async def test_a_program_that_has_not_begun_never_runs() -> None:
    """S24: the guardian does not know its group yet, so it is a shell that waits."""
    group = await start(["sh", "-c", "echo up"], None, os.environ, LOGGER)
    other = await begun(["sh", "-c", "echo up"])
    with closing(group), closing(other):
        assert await other.stdout.receive_some() == b"up\n"
        await other.end()
        assert group.pid not in guardian._groups
        assert await group.end() == -signals.SIGKILL
        assert await group.stdout.receive_some() == b""


async def test_a_program_has_begun_when_it_is_executed() -> None:
    """S24: not when it soon will be; the guardian has known its group before."""
    for _ in range(20):
        group = await begun(["sleep", "1000"])
        with closing(group):
            assert group.pid in guardian._groups
            assert await group.wait_begun()
            assert name_of_process(group.pid) == "sleep"
            await group.end()
        assert group.pid not in guardian._groups


@pytest.mark.parametrize("how", ["a bad interpreter", "killed"])
async def test_what_is_not_executed_has_not_begun(how: str, tmp_path: Path) -> None:
    """S24: that its shell has gone is no sign of a start."""
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    group = await start([str(script)], None, os.environ, LOGGER)
    with closing(group):
        if how == "killed":
            os.kill(group.pid, signals.SIGKILL)
            await group.wait_ended()
        group.begin()
        assert not await group.wait_begun()
        status = await group.end()
    assert status in ({-signals.SIGKILL} if how == "killed" else {126, 127})


async def test_waits_are_cancelled() -> None:
    """S24: cancelled here, in the waits for the start and for the end; the group goes on."""
    group = await start(WAITS, None, os.environ, LOGGER)
    with closing(group):
        for wait in (group.wait_begun, group.wait_ended):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(wait)
                    await wait_all_tasks_blocked()
                    scope.cancel()
            assert scope.cancelled_caught
        group.begin()
        assert await group.wait_begun()
        assert not group.has_ended
        await group.end()


async def test_no_file_is_left() -> None:
    """S24: neither of a program that has run nor of one that can't be started."""

    async def run() -> None:
        group = await begun(["true"])
        with closing(group):
            await group.wait_ended()
            await group.end()
        with pytest.raises(NotADirectoryError):
            await start(["true"], "/dev/null", os.environ, LOGGER)

    await run()  # the first program starts the guardian, whose socket stays
    before = open_files()
    await run()
    assert open_files() <= before


# End


async def test_nothing_of_a_group_is_alive_at_its_end() -> None:
    """S24, S7: whatever its processes ignore; the status is the leader's."""
    group = await begun(IGNORES_WITH_CHILDREN)
    with closing(group), Watched(*await pids_of(group)) as processes:
        assert processes.alive == 3
        assert not group.has_ended
        assert await group.end() == -signals.SIGKILL
        assert processes.alive == 0
        assert group.has_ended


async def test_what_a_leader_leaves_is_dead_at_the_end() -> None:
    """S24, S7: the leader has exited, and its status is known, before the others are killed."""
    code = """
        import os, signal
        child = os.fork()
        if child:
            print(child)
            os._exit(3)
        while True: signal.pause()
    """
    group = await begun(python(code))
    with closing(group), Watched(*await pids_of(group)) as child:
        await group.wait_ended()
        assert child.alive == 1
        assert await group.end() == 3
        assert child.alive == 0


async def test_a_process_of_another_group_is_not_killed() -> None:
    """S24: a number may be another's by the time when it is looked at."""
    group = await begun(["sleep", "1000"])
    with closing(group), Watched(group.pid) as process:
        await _wait_for_member(group.pid, group.pid + 1, LOGGER)
        assert process.alive == 1
        await group.end()
        assert process.alive == 0
        await _wait_for_member(group.pid, group.pid, LOGGER)  # nobody has this number


async def test_a_process_that_can_not_be_killed_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """S24: it runs as another user, and the log says so."""

    def refuse(_pidfd: int, _signal: int) -> None:
        raise PermissionError

    group = await begun(["sleep", "1000"])
    with closing(group):
        monkeypatch.setattr(signals, "pidfd_send_signal", refuse)
        await _wait_for_member(group.pid, group.pid, LOGGER)
        await group.end()
    assert caplog.messages == [f"process {group.pid} of group {group.pid} runs on as another user"]


async def test_members_are_found_whatever_their_names_are() -> None:
    """S24: a name may look like the fields after it; what is gone is in no group."""
    code = """
        import signal
        open("/proc/self/comm", "w").write(") S 1 1 (")
        print(__import__("os").getpid())
        signal.pause()
    """
    group = await begun(python(code))
    with closing(group):
        assert await pids_of(group) == [group.pid]
        assert _members(group.pid) == {group.pid}
        await group.end()
    assert _group_of(Path(f"/proc/{group.pid}")) is None
    assert _members(group.pid) == set()


# Names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("PATH", True),
        ("_a1", True),
        ("a.b", False),
        ("1a", False),
        ("", False),
        ("A\n", False),
        ("Ä", False),
        ("IFS", False),
    ],
)
def test_a_shell_passes_on_what_it_can_name(name: str, *, expected: bool) -> None:
    """S24: the others are refused by command()."""
    assert passes_on(name) is expected


def test_a_signal_without_a_name_is_a_number() -> None:
    """S24: in what is logged."""
    assert name_of(signals.SIGTERM) == "SIGTERM"
    assert name_of(signals.SIGRTMIN + 2) == "signal 36"

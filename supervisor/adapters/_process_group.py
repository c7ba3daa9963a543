"""A program in a process group of its own, from its start until nothing of it is left (S24).

- *Start.* A shell is started first, in a new session, which waits for a line on its stdin. It gets
  the line when its group has been registered with the guardian, and becomes the program: pid,
  group and session stay. If this process is killed before, the shell reads an end, and ends. So
  there is no moment in which the program runs and nobody would kill it.
- *Begin.* The shell's stdin is a socket, and its last copy is closed when the program is executed:
  shells keep a copy, which is closed then, for the case that they have to undo the redirection.
  So the end of the socket tells that the program runs, not that it soon will. A shell that could
  not execute it has closed the socket, too, by its exit; it has no memory left then.
- *End.* The leader is not reaped until the rest of the group has been killed and the guardian has
  removed it: so long its number can't be another's. What remains are orphans that are dying, and
  the node is to end after them: they are found in ``/proc``, and waited for by their pidfds, as
  they may be nobody's or our children (ours if this is the first process of a container).
- *Nothing escapes by a fork.* ``SIGKILL`` to a group reaches all of it: the kernel lets no fork of
  a process complete to which a signal is pending.

A shell does not pass on variables whose names it can't have, or has its own use for.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import signal as signals
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import trio

from ._guardian import close_in_forks, guardian

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping, Sequence

STUB: Final = 'read -r line && exec "$@" </dev/null'

OWN_NAMES: Final = {"IFS", "OPTIND", "PPID"}
"""Variables that a shell sets."""

# Fields of /proc/PID/stat, counted from the state: the process group, and the bytes of memory.
_GROUP: Final = 2
_SIZE: Final = 20

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def passes_on(name: str) -> bool:
    """Return whether a shell passes a variable of this name on to what it executes."""
    return _IDENTIFIER.fullmatch(name) is not None and name not in OWN_NAMES


def check_program(program: str, cwd: str | None, env: Mapping[str, str]) -> None:
    """Raise what is wrong with a program, which a shell would tell only as an exit.

    Raises:
        FileNotFoundError: if it is not there, or the folder is not.
        NotADirectoryError: if the folder is none.
        PermissionError: if it can't be executed.
    """
    folder = Path(cwd or "")
    if not folder.is_dir():
        if folder.exists():
            raise NotADirectoryError(errno.ENOTDIR, "cwd= is no folder", cwd)
        raise FileNotFoundError(errno.ENOENT, "no such folder as cwd=", cwd)
    # What is relative, in PATH too, is so to the folder in which the program starts.
    search = env.get("PATH", os.defpath)
    has_folder = "/" in program
    places = [folder / each / program for each in ([""] if has_folder else search.split(":"))]
    files = [place for place in places if place.is_file()]
    if any(os.access(file, os.X_OK) for file in files):
        return
    where = "" if has_folder else f" in PATH={search}"
    if files:
        raise PermissionError(errno.EACCES, f"the program is not executable{where}", program)
    raise FileNotFoundError(errno.ENOENT, f"no such program{where}", program)


@final
class ProcessGroup:
    """A program that is started, with all processes that stay in its group.

    Attributes:
        pid: The leader's, which is also the number of the group.
        stdout: What the group writes there.
        stderr: As ``stdout``.
    """

    def __init__(self, process: trio.Process, start: socket.socket, logger: logging.Logger) -> None:
        """Make one; users get theirs from :func:`start`."""
        assert isinstance(process.stdout, trio.lowlevel.FdStream)
        assert isinstance(process.stderr, trio.lowlevel.FdStream)
        self.pid: Final = process.pid
        self.stdout: Final = process.stdout
        self.stderr: Final = process.stderr
        self._process = process
        self._start = start
        self._logger = logger
        self._pidfd = os.pidfd_open(process.pid)

    def begin(self) -> None:
        """Let the shell become the program: from now on, the guardian knows the group."""
        guardian.add(self.pid)
        with contextlib.suppress(BrokenPipeError):  # the shell was killed, which its exit tells
            self._start.send(b"\n")

    async def wait_begun(self) -> bool:
        """Wait until the program runs, and return whether it does: it may not, or not any more."""
        await trio.lowlevel.wait_readable(self._start)
        return not self.has_ended and not _is_exiting(self.pid)

    async def wait_ended(self) -> None:
        """Wait until the leader has ended. It is not reaped yet."""
        await trio.lowlevel.wait_readable(self._pidfd)

    @property
    def has_ended(self) -> bool:
        """Whether the leader has."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def send_signal(self, signal: int) -> None:
        """Send a signal to all processes of the group."""
        try:
            os.killpg(self.pid, signal)
        except PermissionError:
            self._logger.warning(
                "can't send %s to process group %d: it runs as another user",
                name_of(signal),
                self.pid,
            )

    async def end(self) -> int:
        """Kill what is left, wait until nothing of it is alive, and return the leader's status.

        It is not to be cancelled. It takes as long as the kernel needs to kill.
        """
        self.send_signal(signals.SIGKILL)
        await self.wait_ended()
        guardian.remove(self.pid)
        status = await self._process.wait()
        await _wait_for_rest(self.pid, self._logger)
        return status

    def close(self) -> None:
        """Close all files."""
        _close(self._start)
        self.stdout.close()
        self.stderr.close()
        os.close(self._pidfd)


async def start(
    argv: Sequence[str], cwd: str | None, env: Mapping[str, str], logger: logging.Logger
) -> ProcessGroup:
    """Start the shell that becomes the program with ``begin()``.

    Its ``end()`` and ``close()`` are to follow.
    """
    ours, theirs = socket.socketpair()
    with contextlib.ExitStack() as on_failure:
        for each in (ours, theirs):
            close_in_forks.add(each)
        on_failure.callback(_close, ours)
        try:
            process = await trio.lowlevel.open_process(
                ["/bin/sh", "-c", STUB, "sh", *argv],
                stdin=theirs.fileno(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=cwd,
                env=env,
                start_new_session=True,
            )
        finally:
            _close(theirs)
        try:
            group = ProcessGroup(process, ours, logger)
        except BaseException:  # nobody else has the process
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
            raise
        on_failure.pop_all()
    return group


def _close(end: socket.socket) -> None:
    close_in_forks.discard(end)
    end.close()


def name_of(signal: int) -> str:
    """Return what a signal is called."""
    try:
        return signals.Signals(signal).name
    except ValueError:  # a real-time signal
        return f"signal {signal}"


def _is_exiting(pid: int) -> bool:
    """Return whether a process is on its way out: it gives up its memory before its files."""
    try:
        fields = _fields(Path(f"/proc/{pid}"))
    except FileNotFoundError:  # there is no /proc, for we have not reaped it
        return False
    return fields[_SIZE] == "0"


async def _wait_for_rest(group: int, logger: logging.Logger) -> None:
    """Wait until no process of a group is alive, after all were killed, and reap those of ours."""
    await trio.lowlevel.checkpoint()
    seen: set[int] = set()
    while _exists(group):
        # The host may have thousands of processes.
        members = await trio.to_thread.run_sync(_members, group, limiter=trio.CapacityLimiter(1))
        if members <= seen:
            break
        for pid in members - seen:
            await _wait_for_member(pid, group, logger)
        seen |= members
        _reap(group)


def _reap(group: int) -> None:
    """Reap the processes of a group that have become our children."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG) != (0, 0):
            pass


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _members(group: int) -> set[int]:
    """Return the pids of a group's processes, those included that have ended and are not reaped."""
    return {int(each.name) for each in Path("/proc").glob("[0-9]*") if _group_of(each) == group}


def _group_of(process: Path) -> int | None:
    try:
        return int(_fields(process)[_GROUP])
    except OSError:  # it has been reaped meanwhile
        return None


async def _wait_for_member(pid: int, group: int, logger: logging.Logger) -> None:
    """Wait until a process of a group is dead, unless we can't kill it."""
    await trio.lowlevel.checkpoint()
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # It may be another one of the same number, or /proc be that of another namespace.
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(pid) == group:
                signals.pidfd_send_signal(pidfd, signals.SIGKILL)
                await trio.lowlevel.wait_readable(pidfd)
    except PermissionError:
        logger.warning("process %d of group %d runs on as another user", pid, group)
    finally:
        os.close(pidfd)


def _fields(process: Path) -> list[str]:
    """Return what the kernel says of a process, from its state on."""
    # Its name may hold anything, but it is the only field in parentheses.
    return (process / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()

"""What ends the programs of this process when it is killed (S24).

A process that is killed, or that leaves by ``os._exit()``, ends nothing. So another one watches it,
the *guardian*: a shell that reads which process groups there are from a socket. Only this process
has the other end of that. When the socket ends, so has the process, and the guardian kills the
groups that are left. It polls nothing, and needs no rights.

- *What the kernel offers was rejected.* ``PR_SET_PDEATHSIG`` belongs to the thread that starts a
  process, and Trio's worker threads end when they are idle. ``PR_SET_CHILD_SUBREAPER`` would make
  every orphan of the application ours.
- *No moment is left out.* A program starts only when its group has been registered: see
  ``_process_group``.
- *A number that is free again is not killed.* A group is removed while its leader is not reaped
  yet, so nobody else can have the number.
- *Forks.* A process that this one forks has a copy of the socket, which would keep the guardian
  waiting after our death. It closes it at once, and starts a guardian of its own if it needs one.
- *A guardian that has died* is found at the next start, and another one is told of all groups. It
  ignores the signals that a terminal or a shell sends, and is in a session of its own.

It is a socket, not a pipe, since writing to a pipe that nobody reads sends ``SIGPIPE``.
"""

from __future__ import annotations

import contextlib
import os
import signal as signals
import socket
import subprocess
import threading
from typing import Final, final

# dash takes no "--" before a negative number.
SCRIPT: Final = """
trap '' INT TERM HUP
all=' '
while read -r what group; do
  case $what in
    +) all="$all$group " ;;
    -) all="${all%% $group *} ${all#* $group }" ;;
  esac
done
for group in $all; do kill -9 "-$group"; done
"""

NAME: Final = "trio-supervisor-guardian"
"""What the guardian is called in the list of processes."""


@final
class Guardian:
    """The guardian of this process, which is started when it is needed first."""

    def __init__(self) -> None:
        """Make one that is not started yet."""
        self.pid: int | None = None
        self._socket: socket.socket | None = None
        self._groups: set[int] = set()
        # Trio may run in several threads.
        self._lock = threading.Lock()

    def add(self, group: int) -> None:
        """Have a process group killed when this process has ended."""
        with self._lock:
            self._groups.add(group)
            if not self._tell(f"+ {group}\n"):
                self._start()

    def remove(self, group: int) -> None:
        """Take back what ``add()`` did."""
        with self._lock:
            self._groups.discard(group)
            # Another guardian is not told of it.
            self._tell(f"- {group}\n")

    def forget(self) -> None:
        """Begin anew, in a process that was forked: the guardian is its parent's."""
        self.__init__()

    def _tell(self, text: str) -> bool:
        """Send it a few bytes, and return whether it lives and reads."""
        if self._socket is None:
            return False
        try:
            self._socket.send(text.encode())
        except OSError:  # it has died, or has been stopped for so long that the socket is full
            return False
        return True

    def _start(self) -> None:
        self._end()
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as on_failure:
            on_failure.callback(ours.close)
            process = subprocess.Popen(  # noqa: S603  it is our own
                ["/bin/sh", "-c", SCRIPT, NAME],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={},
                start_new_session=True,
            )
            on_failure.pop_all()
        # It is to outlive this process, and Popen would warn of that.
        process.returncode = 0
        ours.setblocking(False)  # noqa: FBT003  it is positional
        close_in_forks.add(ours)
        self.pid, self._socket = process.pid, ours
        for group in self._groups:
            self._tell(f"+ {group}\n")

    def _end(self) -> None:
        """Kill a guardian that does not read, before the end of its socket tells it to kill."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self.pid, signals.SIGKILL)
                os.waitpid(self.pid, 0)
        if self._socket is not None:
            close_in_forks.discard(self._socket)
            self._socket.close()


guardian: Final = Guardian()

close_in_forks: Final[set[socket.socket]] = set()
"""Sockets whose end tells of the end of this process, so no process that it forks may keep them."""


def _after_fork() -> None:
    while close_in_forks:
        close_in_forks.pop().close()
    guardian.forget()


os.register_at_fork(after_in_child=_after_fork)

"""A service manager that reads notifications, and processes that get sockets as it passes them."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from .services import ENVIRONMENT, SERVICES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_numbers = itertools.count()

# Replaces itself by a program, with sockets from 3 on.
LAUNCH = """
import fcntl, os, sys
fds = [int(text) for text in sys.argv[1].split(",")]
kept = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in fds]
for fd in fds:
    os.close(fd)
for number, fd in enumerate(kept, 3):
    os.dup2(fd, number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class Manager:
    """Reads what services send to its socket."""

    def __init__(self, address: str | Path) -> None:
        path = str(address)
        self.variable = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{path[1:]}" if path.startswith("@") else path)

    def next(self) -> str:
        """Wait for a notification."""
        return self.socket.recv(65536).decode()

    def waiting(self) -> list[str]:
        """Read all notifications that have come."""
        found: list[str] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.socket.recv(65536, socket.MSG_DONTWAIT).decode())
        return found

    def fill(self) -> None:
        """Let so many notifications wait that there is no room for one more."""
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
            contextlib.suppress(BlockingIOError),
        ):
            while True:
                sender.sendto(b"X_FULL=1", socket.MSG_DONTWAIT, self.socket.getsockname())


@contextlib.contextmanager
def open_manager(address: str | Path | None = None) -> Iterator[Manager]:
    """Read notifications at a path, or at an abstract address that nobody else has."""
    manager = Manager(address or f"@supervisor-test-{os.getpid()}-{next(_numbers)}")
    with manager.socket:
        yield manager


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """Be told what this process has to tell."""
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    with open_manager() as opened:
        monkeypatch.setenv("NOTIFY_SOCKET", opened.variable)
        yield opened


@contextlib.contextmanager
def activated(
    name: str, *sockets: socket.socket, names: str | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a service that gets these sockets; a test that fails leaves no process behind."""
    fds = [each.fileno() for each in sockets]
    environment = {**ENVIRONMENT, **({} if names is None else {"LISTEN_FDNAMES": names})}
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, ",".join(map(str, fds)), str(SERVICES / name)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=fds,
        env=environment,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()

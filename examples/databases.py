"""PostgreSQL and Redis in a tree, each if it is installed, on Unix sockets in a folder.

Each is ready when it says so. Then a client asks it for something, once::

    initdb ─→ postgres ─→ psql        redis-server ─→ redis-cli

PostgreSQL does not run as root. If you are root, say as whom: ``--user nobody``.
"""

from __future__ import annotations

import argparse
import logging
import os
import pwd
import re
import shutil
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path

import supervisor
from supervisor import Signal
from supervisor.adapters import command


def folders_in(parent: Path) -> list[str]:
    """Find the programs of each version, the newest first: 16 is above 9.6."""
    folders = parent.glob("*/bin")

    def version(folder: Path) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", folder.parent.name)]

    return [str(folder) for folder in sorted(folders, key=version, reverse=True)]


# Debian has the programs of PostgreSQL in folders that are not in PATH.
FOLDERS = folders_in(Path("/usr/lib/postgresql"))

LEVELS = {
    "LOG": logging.INFO,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
    "FATAL": logging.CRITICAL,
    "PANIC": logging.CRITICAL,
}


def parse(line: str) -> tuple[int, str] | None:
    """Make a level and a message of what PostgreSQL logs."""
    kind, _, message = line.partition(":  ")
    return (LEVELS[kind], message) if kind in LEVELS else None


async def postgres(folder: Path, as_user: list[str]) -> None:
    """Make the files of the database unless they are there, and serve it."""
    data = folder / "postgres"
    if not data.exists():
        initdb = command(
            [*as_user, "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"],
            oneshot=True,
        )
        await supervisor.run("initdb", initdb).wait_healthy()
    server = command(
        [*as_user, "postgres", "-D", data, "-k", folder, "-h", "", "-c", "log_line_prefix="],
        ready_line="ready to accept connections",
        stop_signal=signal.SIGINT,  # at SIGTERM it would wait until its clients have left
        parse=parse,
    )
    client = command(["psql", "-h", folder, "-U", "postgres", "-c", "SELECT 1"], oneshot=True)
    supervisor.run_group({"server": server, "client": client}, ordered=True)
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


async def redis(folder: Path, as_user: list[str]) -> None:
    """Serve a database that is kept in memory."""
    path = folder / "redis"
    server = command(
        [*as_user, "redis-server", "--port", "0", "--unixsocket", path, "--save", ""],
        ready_line="(?i)ready to accept connections",
    )
    client = command(["redis-cli", "-s", path, "PING"], oneshot=True)
    supervisor.run_group({"server": server, "client": client}, ordered=True)
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


async def root(installed: set[str], folder: Path, as_user: list[str]) -> None:
    """Start what is installed, and be done."""
    for name, runnable in (("postgres", postgres), ("redis-server", redis)):
        if name in installed:
            supervisor.run(runnable.__name__, partial(runnable, folder, as_user))
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


def main() -> None:
    """Run what is installed, in a folder that is removed."""
    parser = argparse.ArgumentParser(description="Run PostgreSQL and Redis, if they are installed.")
    parser.add_argument("--user", help="as whom they run, if you are root")
    user = parser.parse_args().user
    try:
        group = None if user is None else pwd.getpwnam(user).pw_gid
    except KeyError:
        parser.error(f"argument --user: there is no user {user!r}")
    os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *FOLDERS])
    installed = {name for name in ("postgres", "redis-server") if shutil.which(name)}
    if not installed:
        sys.exit("neither PostgreSQL nor Redis is installed here")
    if "postgres" in installed and user is None and os.geteuid() == 0:
        parser.error("PostgreSQL does not run as root: pass another user, as in --user nobody")
    with tempfile.TemporaryDirectory() as folder:
        as_user = []
        if user is not None:
            shutil.chown(folder, user)
            as_user = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
        supervisor.main(root, installed, Path(folder), as_user)


if __name__ == "__main__":
    main()

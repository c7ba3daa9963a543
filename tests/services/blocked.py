"""The command line, with a root of this module's: ``python blocked.py run __main__:root``."""

from __future__ import annotations

import sys

import trio

import supervisor
from supervisor import Signal
from supervisor._process._command_line import main


def say(text: object) -> None:
    """Print a line that a test waits for."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def child() -> None:
    """Block the loop until the test has read the log, and end when it has read of the end."""
    supervisor.signal(Signal.HEALTHY)
    say("blocking")
    sys.stdin.readline()
    await trio.to_thread.run_sync(sys.stdin.readline)
    supervisor.signal(Signal.DONE)


async def root() -> None:
    """Have that child."""
    supervisor.run("child", child)
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


if __name__ == "__main__":
    main()

"""A service that tells its manager how it is: ``python notified.py ROOT``."""

from __future__ import annotations

import sys

import trio

import supervisor
from supervisor import Signal


def say(text: object) -> None:
    """Print a line that a test waits for."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def serve() -> None:
    """Serve until it is stopped, once the test has said so."""
    await trio.to_thread.run_sync(sys.stdin.readline)
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


async def blocking() -> None:
    """Block the loop at the test's demand, for as long as it wants."""
    supervisor.signal(Signal.HEALTHY)
    await trio.to_thread.run_sync(sys.stdin.readline)
    say("blocks")
    sys.stdin.readline()
    say("blocks still")
    sys.stdin.readline()
    await trio.sleep_forever()


async def block() -> None:
    """Have that child."""
    supervisor.run("child", blocking)
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


if __name__ == "__main__":
    supervisor.main(globals()[sys.argv[1]], blocked_after=0.01)

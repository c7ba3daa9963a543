"""Services with sidecars: ``python sidecars.py ROOT SIDECAR``."""

from __future__ import annotations

import sys
import time

import trio

import supervisor
from supervisor import Signal


def say(text: object) -> None:
    """Print a line that a test waits for."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def serve() -> None:
    """Serve until it is stopped."""
    supervisor.signal(Signal.HEALTHY)
    say("serving")
    await trio.sleep_forever()


async def linger() -> None:
    """Take its time to stop, until it is cancelled."""
    supervisor.signal(Signal.HEALTHY)
    say("serving")
    await supervisor.wait_stop_requested()
    await trio.sleep_forever()


linger.grace = 3600.0  # type: ignore[attr-defined]  # the attribute that the tree reads


async def finish() -> None:
    """Be done when the test says so."""
    supervisor.signal(Signal.HEALTHY)
    say("serving")
    await trio.to_thread.run_sync(sys.stdin.readline)
    supervisor.signal(Signal.DONE)


async def stay() -> None:
    """Do not end when it is cancelled."""
    supervisor.signal(Signal.HEALTHY)
    try:
        await trio.sleep_forever()
    finally:
        say("staying")
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()


async def block() -> None:
    """Block the loop when it is stopped."""
    supervisor.signal(Signal.HEALTHY)
    try:
        await trio.sleep_forever()
    finally:
        say("blocking")
        time.sleep(3600)  # noqa: ASYNC251  it is what is wrong here


async def be_slow() -> None:
    """Use all the time that it gets to stop."""
    supervisor.signal(Signal.HEALTHY)
    await supervisor.wait_stop_requested()
    say("slow")
    await trio.sleep_forever()


be_slow.grace = 3600.0  # type: ignore[attr-defined]  # the attribute that the tree reads


if __name__ == "__main__":
    made = {"beside": globals()[sys.argv[2]]}
    supervisor.main(globals()[sys.argv[1]], sidecars=lambda _: made)

"""Services that end in various ways: ``python endings.py NAME [TIMEOUT]``."""

from __future__ import annotations

import logging
import sys

import trio

import supervisor
from supervisor import RestartLimit, Signal


async def finish() -> None:
    """Be done."""
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


async def give_up() -> None:
    """Die once too often."""
    raise OSError("the disk is full")


async def misname() -> None:
    """Give a child a name that none can have, with a limit that does not end it."""
    supervisor.run("Bad Name", serve)


async def leave() -> None:
    """Have a child leave the process with a status of its own."""
    supervisor.run("leaver", sys.exit, 7)
    await serve()


async def serve() -> None:
    """Serve until it is stopped."""
    supervisor.signal(Signal.HEALTHY)
    sys.stdout.write("serving\n")
    sys.stdout.flush()
    await trio.sleep_forever()


async def lose_the_log() -> None:
    """Serve, with a log that takes nothing any more."""

    class Full(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("no space left", record.getMessage())

    logging.getLogger().addHandler(Full())
    await serve()


async def linger() -> None:
    """Serve, and when stopped take until a line comes."""
    try:
        await serve()
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(sys.stdin.readline)


async def stay() -> None:
    """Serve for ever, whatever happens."""
    with trio.CancelScope(shield=True):
        await serve()


async def wait_for_restart() -> None:
    """Have a child that waits for a restart that is far away."""
    patient = supervisor.Backoff(initial=3600.0, maximum=3600.0)
    supervisor.run("patient", give_up, backoff=patient)
    await serve()


if __name__ == "__main__":
    name, timeout = (*sys.argv[1:], "30")[:2]
    limit = None if name == "misname" else RestartLimit(0, within=1.0)
    supervisor.main(globals()[name], limit=limit, timeout=float(timeout))

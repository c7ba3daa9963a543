"""Services that are asked for something: ``python asked.py NAME [RELOAD [DRAIN]]``."""

from __future__ import annotations

import contextvars
import signal as signals
import sys
import time

import trio

import supervisor
from supervisor import Signal

place = contextvars.ContextVar[str]("place")


def say(text: object) -> None:
    """Print a line that a test waits for."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def read_line() -> str:
    """Wait for a line from the test."""
    line: str = await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
    return line.strip()


async def idle() -> None:
    """Be healthy until it is stopped."""
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


async def serve() -> None:
    """Serve, with a value in its context."""
    place.set("the root")
    child = supervisor.run("child", idle)
    await child.wait_healthy()
    supervisor.signal(Signal.HEALTHY)
    say("serving")
    await trio.sleep_forever()


async def block() -> None:
    """Have a child that blocks the loop until the test has read the log, and serve then."""

    async def child() -> None:
        supervisor.signal(Signal.HEALTHY)
        say("serving")
        sys.stdin.readline()
        await trio.sleep_forever()

    supervisor.run("child", child)
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


async def finish_on_line() -> None:
    """Be done when a line comes."""
    supervisor.signal(Signal.HEALTHY)
    say("serving")
    await read_line()
    supervisor.signal(Signal.DONE)


async def stop_itself() -> None:
    """Request the stop of the tree for each line."""
    supervisor.signal(Signal.HEALTHY)
    say("serving")
    while True:
        supervisor.current_supervisor().request_stop(await read_line())


async def stop_and_block() -> None:
    """Request the stop, and keep the loop from carrying it out."""
    supervisor.signal(Signal.HEALTHY)
    supervisor.current_supervisor().request_stop("a test")
    time.sleep(3600)  # noqa: ASYNC251  it is what is wrong here


async def die_for_long() -> None:
    """Die once, and wait for the restart for ever."""
    raise OSError("the disk is full")


# What SIGHUP calls


def note() -> None:
    """Say who calls, and in which context."""
    supervisor.logger().info("new configuration")
    say(f"{supervisor.current_dn()} at {place.get()}")


async def wait_for_line() -> None:
    """Take until a line comes."""
    say("reloading")
    try:
        say(f"reloaded {await read_line()}")
    except trio.Cancelled:
        say("cancelled")
        raise


async def fail() -> None:
    """Find a mistake in the configuration."""
    async with trio.open_nursery():
        raise ValueError("line 3 is wrong")


def leave() -> None:
    """End the process."""
    sys.exit(7)


async def stay() -> None:
    """Take for ever, whatever happens."""
    say("reloading")
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()


def main(name: str, reload: str = "", drain: str = "0") -> None:
    """Run the service of that name."""
    name, _, how = name.partition(":")
    if how == "ignoring":
        signals.signal(signals.SIGUSR1, signals.SIG_IGN)
    supervisor.main(
        globals()[name],
        reload=globals()[reload] if reload else None,
        dump_signal=None if how == "mute" else signals.SIGUSR1,
        backoff=supervisor.Backoff(initial=3600.0, maximum=3600.0),
        drain=float(drain),
        timeout=0.0 if name == "stop_and_block" else 30.0,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])

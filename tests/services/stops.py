"""Services that are stopped under difficulties: ``python stops.py NAME [TIMEOUT]``."""

from __future__ import annotations

import ctypes
import os
import signal as signals
import sys
import threading
import time
import warnings
from typing import NoReturn

import trio

import supervisor
from supervisor import RestartLimit, Signal


def say(text: object) -> None:
    """Print a line that a test waits for."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def block() -> None:
    """Have a child whose task blocks the loop, in a nursery of its own, with output unwritten."""

    async def busy() -> None:
        say("serving")  # in the step that never ends
        sys.stdout.write("unwritten\n")
        time.sleep(3600)  # noqa: ASYNC251  it is what is wrong here

    async def child() -> None:
        async with trio.open_nursery() as nursery:
            supervisor.signal(Signal.HEALTHY)
            nursery.start_soon(busy)

    supervisor.run("child", child)
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


async def log_unread() -> None:
    """Log more than a pipe holds, which nobody reads."""
    supervisor.signal(Signal.HEALTHY)
    say("serving")
    supervisor.logger().info("x" * 1_000_000)


async def clean_up() -> None:
    """Say what happens at the stop, and what after the cancellation."""
    supervisor.signal(Signal.HEALTHY)
    say("serving")
    await supervisor.wait_stop_requested()
    say("stopping")
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(sys.stdin.readline)
        say("cleaned up")


async def finish_with_signal() -> None:
    """Get a signal in the step in which all is done."""
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)
    os.kill(os.getpid(), signals.SIGTERM)


async def give_up_with_signal() -> None:
    """Get a signal in the step in which it dies once too often."""
    os.kill(os.getpid(), signals.SIGTERM)
    raise OSError("the disk is full")


async def finish() -> None:
    """Be done."""
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


async def give_up() -> NoReturn:
    """Die once too often."""
    raise OSError("the disk is full")


async def leave_thread() -> None:
    """Be done, but leave a thread for which the process waits."""
    threading.Thread(target=sys.stdin.readline, name="reader").start()
    await finish()


async def fork() -> None:
    """Serve beside a forked child, and say how that ends."""
    supervisor.signal(Signal.HEALTHY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of a fork beside threads
        child = os.fork()
    if not child:
        say(os.getpid())
        while True:
            signals.pause()
    _, status = await trio.to_thread.run_sync(os.waitpid, child, 0)
    say(os.waitstatus_to_exitcode(status))
    await trio.sleep_forever()


async def handle_itself() -> None:
    """Handle the first SIGHUP itself."""
    supervisor.signal(Signal.HEALTHY)
    with trio.open_signal_receiver(signals.SIGHUP) as received:
        say("serving")
        async for _ in received:
            say("reloaded")
            break
    say("no longer")
    await trio.sleep_forever()


async def serve() -> None:
    """Serve until it is stopped."""
    supervisor.signal(Signal.HEALTHY)
    say("serving")
    await trio.sleep_forever()


class Substitute:
    """A standard error that does not tell whether it is a terminal."""

    def write(self, text: str) -> None:
        """Write to where it went before."""
        os.write(2, text.encode())

    def flush(self) -> None:
        """Do nothing: all was written."""


async def say_done() -> None:
    """Log, say so, and be done."""
    supervisor.logger().error("logged")
    say("done")
    await finish()


def block_in_c() -> None:
    """Take a lock twice in a C function, in which Python runs no signal handler."""
    python = ctypes.CDLL(None)  # not ctypes.pythonapi, whose functions keep the interpreter's lock
    python.PyThread_allocate_lock.restype = ctypes.c_void_p
    lock = ctypes.c_void_p(python.PyThread_allocate_lock())
    python.PyThread_acquire_lock(lock, 1)
    say("ended")
    python.PyThread_acquire_lock(lock, 1)


def main(name: str, timeout: float = 30.0) -> None:
    """Run the service of that name."""
    if name.endswith(":ignoring"):
        signals.signal(signals.SIGHUP, signals.SIG_IGN)
    root = name.partition(":")[0]
    if name.endswith(":closed"):
        sys.stderr.close()
    elif name.endswith(":substitute"):
        sys.stderr = Substitute()
    try:
        supervisor.main(
            globals()[root],
            limit=RestartLimit(0, within=1.0),
            timeout=timeout,
            grace=3600.0 if root == "clean_up" else 0.0,
        )
    finally:
        if name.endswith(":late"):
            say("ended")
            sys.stdin.readline()
        elif name.endswith(":late_in_c"):
            block_in_c()


if __name__ == "__main__":
    main(sys.argv[1], *map(float, sys.argv[2:]))

"""A service with programs: ``python commands.py WHAT``.

A program prints its pid and those of its children; the service prints that line.
"""

from __future__ import annotations

import logging
import os
import sys
from textwrap import dedent

import trio

import supervisor
from supervisor import Signal
from supervisor.adapters import command

PROGRAM = """
import os, signal, sys
for each in (signal.SIGTERM, signal.SIGINT):
    signal.signal(each, signal.SIG_IGN)
children = []
for _ in range(2):
    child = os.fork()
    if not child:
        break
    children.append(child)
if len(children) == 2:
    print(os.getpid(), *children)
while True:
    signal.pause()
"""

TELLS_SIGNAL = """
import signal
got = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
signal.pthread_sigmask(signal.SIG_BLOCK, got)
print("up")
print("got", signal.Signals(signal.sigwait(got)).name)
"""


class Printed(logging.Handler):
    """Prints what the programs write."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record of a program."""
        if hasattr(record, "stream"):
            sys.stdout.write(f"{record.getMessage()}\n")
            sys.stdout.flush()


async def root() -> None:
    """Start the program, and be done."""
    what = sys.argv[1]
    code = TELLS_SIGNAL if what == "signal" else dedent(PROGRAM)
    program = command([sys.executable, "-uISc", code])
    supervisor.run("program", program, grace=0.5 if what == "ignore" else None)
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)
    await trio.lowlevel.checkpoint()
    if what == "leave":
        await trio.to_thread.run_sync(sys.stdin.readline)
        os._exit(3)


if __name__ == "__main__":
    logging.getLogger("supervisor").addHandler(Printed())
    logging.getLogger("supervisor").setLevel(logging.INFO)
    supervisor.main(root)

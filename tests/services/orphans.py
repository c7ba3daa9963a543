"""The first process of a container: ``python orphans.py RESTARTS``.

It restarts a program whose two grandchildren are orphans, and prints how many processes are left.
"""

from __future__ import annotations

import logging
import os
import sys

import trio

import supervisor
from supervisor import Signal
from supervisor.adapters import command

PROGRAM = """
import os, signal
read, write = os.pipe()
if not os.fork():
    for _ in range(2):
        if not os.fork():
            os.write(write, b"%d " % os.getpid())
            while True:
                signal.pause()
    os._exit(0)
os.wait()
pids = b""
while pids.count(b" ") < 2:
    pids += os.read(read, 100)
print(os.getpid(), pids.decode())
signal.pause()
"""


class Pids(logging.Handler):
    """Sends the pids that the programs print."""

    def __init__(self, send: trio.MemorySendChannel[str]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send what a program has written."""
        if hasattr(record, "stream"):
            self._send.send_nowait(record.getMessage())


async def main(restarts: int) -> None:
    """Restart the program, and tell what is left of it."""
    send, receive = trio.open_memory_channel[str](10)
    logger = logging.getLogger("supervisor")
    logger.addHandler(Pids(send))
    logger.setLevel(logging.INFO)
    handles: list[supervisor.Handle] = []
    pids: set[str] = set()

    async def root() -> None:
        handles.append(supervisor.run("program", command([sys.executable, "-uISc", PROGRAM])))
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    async with supervisor.open_supervisor(root):
        pids.update((await receive.receive()).split())
        for _ in range(restarts - 1):
            await handles[0].restart()
            pids.update((await receive.receive()).split())
    # Those that have ended and are not reaped are there, too.
    left = pids.intersection(os.listdir("/proc"))  # noqa: PTH208  their names are what counts
    counts = f"{restarts} restarts, {len(pids)} processes, {len(left)} left"
    print(f"this is process {os.getpid()}; {counts}")  # noqa: T201  a test reads it


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))

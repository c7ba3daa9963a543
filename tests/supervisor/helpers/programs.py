"""Programs that tests run by ``command()``: what they do, write, and leave."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import sys
from textwrap import dedent
from typing import TYPE_CHECKING, Self

import trio

import supervisor
from supervisor import Signal
from supervisor.testing import open_harness

from .backoffs import LONG

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from supervisor import Handle, Supervisor


def python(code: str, *arguments: object) -> list[str]:
    """Return the command line of a small program."""
    return [sys.executable, "-uISc", dedent(code), *map(str, arguments)]


WAITS = python("import signal; print('up'); signal.pause()")
"""Says that it is up, and waits for a signal, which ends it."""

IGNORES = python(
    """
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("up")
    while True:
        signal.pause()
    """
)
"""Says that it is up, and ignores SIGTERM."""

IGNORES_WITH_CHILDREN = python(
    """
    import os, signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
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
)
"""Prints its pid and those of its two children. None of the three heeds SIGTERM."""

LEAVES_GROUP = python(
    """
    import os, sys
    print("before")
    ready, told = os.pipe()
    if not os.fork():
        os.setsid()
        os.write(told, b"x")
        open(sys.argv[1]).read()
        os._exit(0)
    os.read(ready, 1)
    print("last")
    print("part", end="")
    """
)
"""Exits, but a child has left the session and holds the pipes until a FIFO, its argument, ends."""


class Written(logging.Handler):
    """What programs write, as it is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self._send, self._receive = trio.open_memory_channel[str](100_000)

    def emit(self, record: logging.LogRecord) -> None:
        if hasattr(record, "stream"):
            self.records.append(record)
            self._send.send_nowait(record.getMessage())

    @property
    def lines(self) -> list[str]:
        return [record.getMessage() for record in self.records]

    async def next(self) -> str:
        """Wait for the next line."""
        return await self._receive.receive()


@contextlib.contextmanager
def written() -> Iterator[Written]:
    """Collect what the programs of all nodes write."""
    logger = logging.getLogger("supervisor.node")
    handler = Written()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


class Watched:
    """Processes, by whatever number they may have later."""

    def __init__(self, *pids: int) -> None:
        self._pidfds = [os.pidfd_open(pid) for pid in pids]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pidfd in self._pidfds:
            os.close(pidfd)

    @property
    def alive(self) -> int:
        """How many are alive now."""
        poll = select.poll()
        for pidfd in self._pidfds:
            poll.register(pidfd, select.POLLIN)
        return len(self._pidfds) - len(poll.poll(0))

    def wait(self) -> None:
        """Wait until all are dead."""
        for pidfd in self._pidfds:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            poll.poll()


@contextlib.asynccontextmanager
async def running(
    program: Callable[[], Awaitable[object]], **options: object
) -> AsyncIterator[tuple[Supervisor, Handle]]:
    """Run it in a tree, as ``root.program``, which has not begun yet."""
    handles: list[Handle] = []
    started = trio.Event()
    options = {"backoff": LONG, **options}

    async def root() -> None:
        handles.append(supervisor.run("program", program, **options))  # type: ignore[arg-type]
        supervisor.signal(Signal.HEALTHY)
        started.set()
        await trio.sleep_forever()

    async with open_harness(root, patience=60.0) as tree:
        await started.wait()
        yield tree, handles[0]

"""Ctrl-C at any time, between any two lines of the package: nothing hangs or is left (S11)."""

from __future__ import annotations

import gc
import logging
import os
import signal
import signal as signals
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
import trio
from trio.lowlevel import enable_ki_protection
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, Pool, Signal
from supervisor._tasks import _incarnation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

PACKAGE = str(Path(supervisor.__file__).parent)


HALF_A_SECOND = Backoff(initial=0.5, factor=1.0, jitter=0.0)


class Interruption:
    """Sends a SIGINT to this thread before the line of the package with a certain number."""

    def __init__(self, number: int, *, within: str = PACKAGE) -> None:
        self._number = number
        self._within = within
        self.lines = 0

    def __call__(self, frame: FrameType, event: str, _: object) -> Interruption | None:
        """Be the trace function of all frames, and of those in the package also of their lines."""
        if not frame.f_code.co_filename.startswith(self._within):
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self._number:
                signals.raise_signal(signals.SIGINT)
        return self


class Service:
    """A tree in which there is a bit of everything, for some seconds."""

    def __init__(self) -> None:
        self.alive = 0

    async def work(self, life: float, *, crash: bool = False) -> None:
        self.alive += 1
        try:
            supervisor.signal(Signal.HEALTHY)
            await trio.sleep(life)
            if crash:
                raise OSError
            supervisor.signal(Signal.DONE)
        finally:
            self.alive -= 1

    async def wait_for_stop(self) -> None:
        self.alive += 1
        try:
            supervisor.signal(Signal.HEALTHY)
            await supervisor.wait_stop_requested()
            await trio.sleep(0.5)
        finally:
            self.alive -= 1

    async def inner(self) -> NoReturn:
        members = {"a": partial(self.work, 1.0, crash=True), "b": partial(self.work, 99.0)}
        supervisor.run_group(members, ordered=True, start_timeout=5.0)
        supervisor.run("late", self.wait_for_stop, grace=1.0)
        pool = supervisor.run_pool("pool")
        supervisor.signal(Signal.HEALTHY)
        await pool.wait_healthy()
        await self.use(pool)
        await trio.sleep_forever()

    async def use(self, pool: Pool) -> None:
        pool.run("short", self.work, 0.25)
        pool.run("long", self.work, 99.0)
        await pool.stop("long")

    async def root(self) -> None:
        inner = supervisor.run("inner", self.inner, grace=0.25)
        await inner.wait_healthy()
        work = supervisor.run("work", self.work, 3.0)
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(2.0)
        await inner.restart()
        await work.stop()
        supervisor.signal(Signal.DONE)

    async def open(self) -> None:
        async with supervisor.open_supervisor(self.root, backoff=HALF_A_SECOND) as tree:
            await trio.sleep(4.0)
            await tree.stop(timeout=3.0)

    async def end_at_once(self) -> None:
        await supervisor.supervise(partial(self.work, 0.0))

    async def supervise(self) -> None:
        with trio.move_on_after(4.0):
            await supervisor.supervise(self.root, backoff=HALF_A_SECOND)


@pytest.fixture
def _ctrl_c() -> Iterator[None]:
    """Let a SIGINT raise KeyboardInterrupt, whatever has started these tests."""
    before = signals.signal(signals.SIGINT, signals.default_int_handler)
    yield
    signals.signal(signals.SIGINT, before)


def run(
    way: Callable[[Service], Awaitable[object]],
    service: Service,
    interruption: Interruption,
    *,
    only_at_checkpoints: bool,
) -> None:
    """Run the service in one of its ways, and interrupt it."""
    tracer = sys.gettrace()
    sys.settrace(interruption)
    try:
        trio.run(
            way,
            service,
            clock=MockClock(autojump_threshold=0),
            restrict_keyboard_interrupt_to_checkpoints=only_at_checkpoints,
        )
    finally:
        sys.settrace(tracer)


@pytest.mark.usefixtures("_ctrl_c")
@pytest.mark.parametrize("only_at_checkpoints", [False, True])
@pytest.mark.parametrize("way", [Service.open, Service.supervise])
def test_an_interruption_ends_all(
    way: Callable[[Service], Awaitable[object]], *, only_at_checkpoints: bool
) -> None:
    """S11: it leaves trio.run() as KeyboardInterrupt, when all runnables have cleaned up.

    No coroutine is left that was never awaited.
    """
    whole = Interruption(0)
    run(way, Service(), whole, only_at_checkpoints=only_at_checkpoints)
    # Trio's shuffling of tasks makes some lines more or less.
    for number in range(1, whole.lines - 100, 71):
        service = Service()
        with pytest.raises(KeyboardInterrupt):
            run(way, service, Interruption(number), only_at_checkpoints=only_at_checkpoints)
        assert service.alive == 0
    gc.collect()  # the warnings of what was never awaited come now


@pytest.mark.usefixtures("_ctrl_c")
def test_an_interruption_before_the_first_step_leaves_no_coroutine() -> None:
    """S11: the runnable has been called, and is closed. No warning says it was never awaited."""
    whole = Interruption(0, within=_incarnation.__file__)
    run(Service.end_at_once, Service(), whole, only_at_checkpoints=False)
    for number in range(1, whole.lines + 1):
        with pytest.raises(KeyboardInterrupt):
            run(
                Service.end_at_once,
                Service(),
                Interruption(number, within=_incarnation.__file__),
                only_at_checkpoints=False,
            )
    gc.collect()  # the warnings come now


@enable_ki_protection
def interrupt() -> None:
    """Send a SIGINT where it has to wait for Trio's main task."""
    signals.raise_signal(signals.SIGINT)


@pytest.mark.usefixtures("_ctrl_c")
@pytest.mark.parametrize("times", [1, 2])
def test_an_interruption_of_the_last_wait_waits_for_the_tasks(times: int) -> None:
    """S11, S12: it leaves as it is, however often, as soon as the last task has ended."""
    ends = []

    async def child() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                for _ in range(times):
                    await trio.sleep(1.0)
                    interrupt()
                await trio.sleep(1.0)
            ends.append(trio.current_time())

    async def root() -> None:
        supervisor.run("child", child)
        await trio.sleep_forever()

    async def main() -> None:
        try:
            with trio.move_on_after(1.0):
                await supervisor.supervise(root)
        finally:
            ends.append(trio.current_time())

    with pytest.raises(KeyboardInterrupt):
        trio.run(main, clock=MockClock(autojump_threshold=0))
    assert ends == [2.0 + times, 2.0 + times]


# In a process of its own


PROGRAM = """
import signal, sys, trio, supervisor
from supervisor import Signal

signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal's foreground

def work():  # CPython 3.13 may skip a `finally` right around a loop like this one
    while True:
        pass

async def child(busy):
    try:
        supervisor.signal(Signal.HEALTHY)
        await trio.testing.wait_all_tasks_blocked()
        print("ready", flush=True)
        if busy:
            work()
        await trio.sleep_forever()
    finally:
        print("child cleaned up", flush=True)

async def other():
    try:
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()
    finally:
        print("other cleaned up", flush=True)

async def root():
    supervisor.run("child", child, sys.argv[1] == "busy")
    supervisor.run_group({"a": other, "b": other})
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)

try:
    trio.run(supervisor.supervise, root)
except KeyboardInterrupt:
    print("KeyboardInterrupt", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT to one process")
@pytest.mark.parametrize("state", ["idle", "busy"])
def test_ctrl_c_leaves_after_the_clean_ups(state: str) -> None:
    """S11: a SIGINT, in Trio's wait or in a runnable's busy loop, ends with KeyboardInterrupt."""
    package = Path(supervisor.__file__).parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", "import trio.testing\n" + PROGRAM, state],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(package)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate()
    *clean_ups, end = output.splitlines()
    assert end == "KeyboardInterrupt"
    assert sorted(clean_ups) == ["child cleaned up", "other cleaned up", "other cleaned up"]
    assert errors == ""
    assert process.returncode == 0


async def test_ctrl_c_can_not_come_while_observers_are_told() -> None:
    """S11, S30, S32: the events of a step are delivered to the end."""
    told: list[tuple[str, bool]] = []

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append((record.levelname, trio.lowlevel.currently_ki_protected()))

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        supervisor.set_ready(False, "no broker")  # noqa: FBT003  it is what the function is for
        with supervisor.stop_scope():
            await trio.sleep_forever()

    logger, notes = logging.getLogger("supervisor"), Notes(logging.INFO)
    logger.addHandler(notes)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        async with supervisor.open_supervisor(root):
            await wait_all_tasks_blocked()
    finally:
        logger.removeHandler(notes)
        logger.setLevel(level)
    assert {protected for _, protected in told} == {True}
    assert [each for each, _ in told].count("WARNING") == 1

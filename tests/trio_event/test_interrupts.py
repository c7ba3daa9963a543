"""Ctrl-C at any moment of a call: all other tasks are woken (V1, V5)."""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_event import MemoryValue, Watcher, atomic, compose, select

from .helpers.calls import Call
from .helpers.several import waiting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from types import FrameType

    from trio.lowlevel import Task

    Trace = Callable[[FrameType, str, object], "Trace | None"]
    Action = Callable[[], Awaitable[object]]


# Trio runs the tasks of one batch in random order.
ROUNDS = 10


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    """Keep out what is hooked into the collector, which may run at any moment."""
    gc.disable()
    yield
    gc.enable()


@final
class Interrupt(trio.abc.Instrument):
    """Ctrl-C at one of the moments at which Python notices it in the tasks of a nursery.

    These are the beginning of a function and the return of a built-in one.
    """

    def __init__(self, moment: int) -> None:
        self.nursery: trio.Nursery | None = None
        self.moment = moment
        self.left = moment

    def before_task_step(self, task: Task) -> None:
        if self.nursery is not None and task.parent_nursery is self.nursery:
            sys.setprofile(self._profile)

    def after_task_step(self, task: Task) -> None:
        if task.parent_nursery is self.nursery:
            sys.setprofile(None)

    def _profile(self, _frame: object, event: str, _arg: object) -> None:
        if event in {"call", "c_return"}:
            self.left -= 1
            if self.left == 0:
                signal.raise_signal(signal.SIGINT)


@final
class Case:
    """Two values for which other tasks wait, and a call that concerns them."""

    def __init__(self) -> None:
        self.values: tuple[MemoryValue[int], ...] = (MemoryValue(), MemoryValue())
        self.watchers: list[Watcher[object]] = []

    def get(self) -> Action:
        self.watchers = [self.values[0].watch()]
        return self.watchers[0].get

    def get_with_a_predicate(self) -> Action:
        self.watchers = [self.values[0].watch()]
        return partial(self.watchers[0].get, predicate=lambda number: number == 2)

    def get_backlog(self) -> Action:
        self.values[0].set(0)
        self.watchers = [self.values[0].watch()]
        return partial(self.watchers[0].get, backlog_only=True)

    def get_of_a_derived_value(self) -> Action:
        self.watchers = [compose(*self.values).watch()]
        return self.watchers[0].get

    def select(self) -> Action:
        self.watchers = [value.watch() for value in self.values]
        return partial(select, *self.watchers)

    def set(self) -> Action:
        async def set_both() -> None:
            for value in self.values:
                value.set(1)

        return set_both

    def compare_and_set(self) -> Action:
        async def set_both() -> None:
            for value in self.values:
                value.compare_and_set(0, 1)

        return set_both

    def set_at_once(self) -> Action:
        async def set_both() -> None:
            with atomic():
                for value in self.values:
                    value.set(1)

        return set_both

    async def run(self, call: Action, interrupt: Interrupt) -> None:
        """Make the call beside tasks that wait, and set what they wait for."""

        async def interrupted() -> None:
            try:
                async with trio.open_nursery() as interrupt.nursery:
                    interrupt.nursery.start_soon(call)
            except* KeyboardInterrupt:
                pass

        async with trio.open_nursery() as nursery:
            others = [Call(nursery, value.watch().get) for value in self.values * 2]
            await wait_all_tasks_blocked()
            nursery.start_soon(interrupted)
            await wait_all_tasks_blocked()
            for other, value in zip(others, self.values * 2, strict=True):
                assert other.ended == (value.version > 0), "a set has not woken all"
            for number in (1, 2):
                for value in self.values:
                    value.set(number)
                await wait_all_tasks_blocked()
            assert all(other.ended for other in others), "a task waits in vain"
            nursery.cancel_scope.cancel()
        assert waiting(self.values) == 0
        for watcher in self.watchers:
            with contextlib.suppress(trio.WouldBlock):
                watcher.get_nowait()
            with pytest.raises(trio.WouldBlock):
                watcher.get_nowait()


async def run_case(kind: Callable[[Case], Action], interrupt: Interrupt) -> None:
    """Run in a task of its own: Trio brings a Ctrl-C that comes too late to the main task."""
    case, done = Case(), trio.Event()

    async def in_a_task() -> None:
        await case.run(kind(case), interrupt)
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_a_task)
        while not done.is_set():
            try:
                await done.wait()
            except KeyboardInterrupt:
                continue


@pytest.mark.parametrize(
    "kind",
    [
        Case.get,
        Case.get_with_a_predicate,
        Case.get_backlog,
        Case.get_of_a_derived_value,
        Case.select,
        Case.set,
        Case.compare_and_set,
        Case.set_at_once,
    ],
    ids=lambda kind: kind.__name__,
)
def test_interrupted_at_any_moment(kind: Callable[[Case], Action]) -> None:
    """V1, V5: no task waits in vain, no wait is left, and the watchers work on."""
    interrupt = Interrupt(0)
    # How many moments a call has depends on the order of tasks.
    while interrupt.left < ROUNDS:
        interrupt = Interrupt(interrupt.moment + 1)
        trio.run(run_case, kind, interrupt, instruments=[interrupt])
    assert interrupt.moment > 2 * ROUNDS


async def set_at_once(value: MemoryValue[int], moment: int) -> bool:
    """Set a value in an atomic block, with Ctrl-C at one line of its source."""
    left = moment

    def trace(frame: FrameType, event: str, _: object) -> Trace | None:
        nonlocal left
        if event == "line":
            left -= 1
            if left == 0:
                signal.raise_signal(signal.SIGINT)
        return trace if frame.f_code.co_filename == atomic.__code__.co_filename else None

    block = atomic()
    before = sys.gettrace()
    try:
        sys.settrace(trace)
        with block:
            value.set(1)
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return left <= 0


def test_atomic_block_interrupted_at_any_line() -> None:
    """V1, V18: no block stays open, and the tasks that wait are woken for all that was set."""

    async def in_a_task(moment: int, fired: list[bool]) -> None:
        value = MemoryValue(0)
        async with trio.open_nursery() as nursery:
            waiting: Call[object] = Call(nursery, partial(value.wait_for, bool))
            get = Call(nursery, partial(value.watch().get, predicate=bool))
            await wait_all_tasks_blocked()
            fired.append(await set_at_once(value, moment))
            await wait_all_tasks_blocked()
            assert waiting.ended == get.ended == (value.version > 1), "a set has woken no task"
            value.set(2)
            await wait_all_tasks_blocked()
            assert waiting.ended
            assert get.ended
            nursery.cancel_scope.cancel()

    async def main(moment: int, fired: list[bool]) -> None:
        done = trio.Event()

        async def run() -> None:
            await in_a_task(moment, fired)
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            while not done.is_set():
                try:
                    await done.wait()
                except KeyboardInterrupt:
                    continue

    fired = [True]
    while fired[-1]:
        trio.run(main, len(fired), fired)
    assert len(fired) > ROUNDS

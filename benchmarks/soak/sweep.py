"""A fault sweep: a small tree's whole life again and again, disturbed at each point in turn.

SQLite's tests let each allocation fail in turn. Here Ctrl-C comes at each point where CPython looks
for signals, in whatever frame; and a cancellation or a stop at each step of a task. Whenever it
comes, what was asked for is what happens, and nothing is left.

CPython looks for signals when a function or coroutine begins or goes on, after each call, and when
a loop jumps back. A trace function counts these points, and sends the signal at one of them. Where
Trio protects a frame from Ctrl-C, it comes when the main task waits next; so of such points, one in
each step of a task stands for all of them.
"""

from __future__ import annotations

import dis
import functools
import gc
import inspect
import random
import signal as signals
import sys
import warnings
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, final

import attrs
import trio
from trio.lowlevel import currently_ki_protected
from trio.testing import MockClock

import supervisor
from supervisor import RestartLimitExceeded, Supervisor
from supervisor.testing import HarnessError

from .life import ONCE, Ending, Life

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from types import CodeType, FrameType

    Way = Callable[[Life], Awaitable[object]]
    # Chooses of the points from 1 to a number.
    Points = Callable[[int], Iterable[int]]

WAYS: Final[tuple[Way, ...]] = (Life.supervise, Life.open, Life.open_harness)


# Where


@functools.cache
def offsets_of(code: CodeType) -> frozenset[int]:
    """Return where in ``code`` CPython looks for signals."""
    found = set()
    after_call = False
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        begins = name == "RESUME" and (instruction.arg or 0) & 3 < 2  # not after an await
        loops = name == "JUMP_BACKWARD" or name.startswith("POP_JUMP_BACKWARD")
        # Not between the call of an async function and its first step either.
        called = after_call and name != "GET_AWAITABLE"
        if called or begins or loops:
            found.add(instruction.offset)
        after_call = name.startswith("CALL")
    return frozenset(found)


# What the callback of a weak reference raises, Python can't raise anywhere.
_CALLBACKS: Final = ("_weakrefset", "weakref")


@final
class Interruption(trio.abc.Instrument):
    """Sends some SIGINTs to this thread, from the point with a certain number on."""

    def __init__(self, number: int, *, times: int = 1, apart: int = 1) -> None:
        self._numbers = {number + each * apart for each in range(times)} if number else set()
        self._is_new_step = True
        self.points = 0
        self.where = "at"

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002  Trio's
        self._is_new_step = True

    def __call__(self, frame: FrameType, event: str, _: object) -> Interruption | None:
        """Trace a frame, if it is not protected."""
        if frame.f_globals.get("__name__") in _CALLBACKS:
            return None
        if event == "call" and currently_ki_protected():  # it looks at this frame's callers
            if self._is_new_step:
                self._is_new_step = False
                self._count(frame)
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "call" and frame.f_code.co_flags & inspect.CO_GENERATOR:
            return self  # it may go on in order to be closed, and looks for no signal then
        if event in ("call", "opcode") and frame.f_lasti in offsets_of(frame.f_code):
            self._count(frame)
        return self

    def _count(self, frame: FrameType) -> None:
        self.points += 1
        if self.points in self._numbers:
            self._numbers.remove(self.points)
            self.where += f" {frame.f_code.co_qualname}:{frame.f_lineno}"
            if not self._numbers:
                sys.settrace(None)
            signals.raise_signal(signals.SIGINT)


@final
class Steps(trio.abc.Instrument):
    """Calls a function before the step of a task with a certain number, and another before each."""

    def __init__(
        self, number: int, act: Callable[[], object], each: Callable[[], object] | None = None
    ) -> None:
        self._number = number
        self._act = act
        self._each = each
        self.steps = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002  Trio's
        self.steps += 1
        if self._each is not None:
            self._each()
        if self.steps == self._number:
            self._act()


# What comes of it


@attrs.define
class Attempt:
    """A life that was disturbed, and what came of it."""

    life: Life
    error: BaseException | None = None
    faults: list[str] = attrs.field(factory=list)

    def check(
        self,
        *expected: type[BaseException] | None,
        with_it: type[BaseException] | None = None,
    ) -> None:
        """Add a fault unless it ended with one of these, and nothing is left.

        What comes in the step in which the tree gives up leaves ``with_it``, in a group.
        """
        kind = None if self.error is None else type(self.error)
        if isinstance(self.error, BaseExceptionGroup) and with_it is not None:
            parts = sorted(type(part).__name__ for part in self.error.exceptions)
            wanted = sorted(each.__name__ for each in (*expected, with_it) if each is not None)
            if parts == wanted:
                kind = expected[0]
        if kind not in expected:
            self.faults.append(f"it ended with {self.error!r}")
        if self.life.alive:
            self.faults.append(f"{self.life.alive} runnables are left")


def ignore_unstarted() -> None:
    """Ignore coroutines that never began: Ctrl-C came between a runnable's call and its step."""
    warnings.filterwarnings("ignore", "coroutine '.*' was never awaited", RuntimeWarning)


class Watched(Protocol):
    """Where it is noted what came of something."""

    error: BaseException | None
    faults: list[str]


@contextmanager
def watched(attempt: Watched) -> Iterator[None]:
    """Note how the block ends, and whatever Python has to tell but to raise."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda args: attempt.faults.append(
        f"unraisable: {args.exc_value!r} in {args.object!r}"
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ignore_unstarted()
            try:
                yield
            except BaseException as error:  # noqa: BLE001  it is looked at
                attempt.error = error
    finally:
        sys.unraisablehook = hook


def interrupt(
    way: Way, ending: Ending, interruption: Interruption, *, only_at_checkpoints: bool
) -> Attempt:
    """Live a life, with Ctrl-C in it."""
    attempt = Attempt(Life(ending, 1.0))
    run = partial(
        trio.run,
        way,
        attempt.life,
        clock=MockClock(autojump_threshold=0),
        instruments=[interruption],
        restrict_keyboard_interrupt_to_checkpoints=only_at_checkpoints,
    )
    interrupt_run(attempt, interruption, run)
    return attempt


def interrupt_run(attempt: Watched, interruption: Interruption, run: Callable[[], object]) -> None:
    """Let Ctrl-C come into a run of Trio, and into nothing around it; note how it ends."""
    handler = signals.signal(signals.SIGINT, signals.default_int_handler)
    tracer = sys.gettrace()
    try:
        with watched(attempt):
            sys.settrace(interruption)
            try:
                run()
            finally:
                sys.settrace(tracer)
    finally:
        signals.signal(signals.SIGINT, handler)


def undisturbed(way: Way, ending: Ending) -> tuple[type[BaseException] | None, ...]:
    """Return how a life may end that nothing disturbs."""
    if ending is not Ending.GIVE_UP:
        return (None,)
    return (HarnessError if way is Life.open_harness else RestartLimitExceeded,)


def sweep_interrupts(
    way: Way, ending: Ending, points: Points, *, only_at_checkpoints: bool
) -> Iterator[str]:
    """Yield the faults that Ctrl-C shows at the points that ``points`` chooses of so many."""
    whole = Interruption(0)
    attempt = interrupt(way, ending, whole, only_at_checkpoints=only_at_checkpoints)
    attempt.check(*undisturbed(way, ending))
    assert attempt.life.is_whole
    yield from attempt.faults
    for number in points(whole.points):
        for times, apart in ((1, 1), (2, random.choice((1, 10, 100, 1000)))):
            interruption = Interruption(number, times=times, apart=apart)
            attempt = interrupt(way, ending, interruption, only_at_checkpoints=only_at_checkpoints)
            # Trio shuffles its tasks: a life may have fewer points than the first one had.
            missed = interruption.points < number
            if missed:
                attempt.check(*undisturbed(way, ending))
            else:
                gave_up = RestartLimitExceeded if ending is Ending.GIVE_UP else None
                attempt.check(KeyboardInterrupt, with_it=gave_up)
            for fault in attempt.faults:
                yield (
                    f"{way.__name__}, {ending.name}, {times} SIGINT from point {number} on "
                    f"({interruption.where}): {fault}"
                )
            del attempt
    with warnings.catch_warnings():
        ignore_unstarted()
        gc.collect()


# At the steps of tasks


async def cancelled(way: Way, life: Life, scope: trio.CancelScope) -> None:
    """Live a life in a scope that is cancelled some time."""
    with scope:
        await way(life)


async def stopped(life: Life, opened: list[Callable[[], None]]) -> None:
    """Live a life beside which the tree is stopped some time."""
    try:
        async with trio.open_nursery() as nursery:
            try:
                async with supervisor.open_supervisor(
                    life.root, backoff=life.backoff, limit=ONCE
                ) as tree:
                    opened.append(lambda: nursery.start_soon(stop, tree, life))
                    await trio.sleep(4.0)
            finally:
                opened.clear()  # later the nursery is closed
    except* RestartLimitExceeded as group:
        raise group.exceptions[0] from None


async def stop(tree: Supervisor, life: Life) -> None:
    """Stop the tree, which is over then."""
    await tree.stop(timeout=3.0)
    if life.alive:
        raise RuntimeError("it has not stopped")
    await tree.stop(timeout=0.0)


def cancel_at(way: Way, ending: Ending, number: int) -> tuple[Attempt, int]:
    """Live a life that is cancelled at a step; return what came of it, and its number of steps."""
    attempt = Attempt(Life(ending, 1.0))
    scope = trio.CancelScope()
    steps = Steps(number, scope.cancel)
    with watched(attempt):
        trio.run(
            cancelled,
            way,
            attempt.life,
            scope,
            clock=MockClock(autojump_threshold=0),
            instruments=[steps],
        )
    return attempt, steps.steps


def stop_at(ending: Ending, number: int) -> tuple[Attempt, int]:
    """Live a life that is stopped at a step; return what came of it, and its number of steps."""
    attempt = Attempt(Life(ending, 1.0))
    opened: list[Callable[[], None]] = []
    steps = Steps(number, lambda: opened[0]() if opened else None)
    with watched(attempt):
        trio.run(
            stopped,
            attempt.life,
            opened,
            clock=MockClock(autojump_threshold=0),
            instruments=[steps],
        )
    return attempt, steps.steps


def sweep_steps(points: Points) -> Iterator[str]:
    """Yield the faults that a cancellation or a stop shows at the steps that ``points`` chooses."""
    for ending in Ending:
        attempts: list[tuple[str, Way, Callable[[int], tuple[Attempt, int]]]] = [
            (f"cancelled in {way.__name__}", way, functools.partial(cancel_at, way, ending))
            for way in WAYS
        ]
        attempts.append(("stopped", Life.open, functools.partial(stop_at, ending)))
        for what, way, live in attempts:
            _, whole = live(0)
            for number in points(whole):
                attempt, _ = live(number)
                attempt.check(None, *undisturbed(way, ending))
                for fault in attempt.faults:
                    yield f"{ending.name}, {what} at step {number}: {fault}"

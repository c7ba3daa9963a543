"""How tasks wait for the next set of a value, and are woken.

The problem: one ``set`` may concern a hundred thousand waiting tasks, and must not
block the producer for the time it takes to wake them; ``set`` is called from tasks
that have other things to do. And a task may wait on a thousand values at once.

A :class:`Line` is the queue of a value: the tasks that wait for it *now*. Watchers that
are not waiting are in no line. A :class:`Waiter` is one task's wait, in one line or in
many. ``Line.call`` wakes one waiter, the leader; in its own step, the leader wakes
the rest of the waiters that were called with it. So a call costs the same
however many wait, and the last of them runs no later than if the caller had woken
them all itself.

The invariants:

- A waiter is woken at most once: whoever wakes it, or cancels it, takes its ``task`` first.
- Those who were called are moved out of the line at once (``_called``). A leader that
  scanned the line itself would find tasks that have run and wait again, and wake
  them for ever.
- A task that was woken can't be cancelled before its step, so the leader always gets to wake
  the rest. One that is cancelled while called, but not yet woken, steps out
  and wakes the rest as well, in place of the leader: it does no harm to be early.
- So as long as anybody is in ``_called``, there is a task that will take them out in its next step.
  Those who are called meanwhile are added to them, and need no leader of their own.
- Ctrl-C comes before or after each method that moves waiters, never in the middle of one.

Rejected: a memory channel per watcher, as upstream has (a set then costs as much as there
are watchers, idle or not, and hands a waiting one the value of the first of
two sets, not of the second); ``trio.Event`` and ``trio.lowlevel.ParkingLot`` (each set wakes
every task itself, at two to three times the cost of a bare ``reschedule``).
"""

from __future__ import annotations

import math
from threading import get_ident
from typing import TYPE_CHECKING, Any, NoReturn, final

import outcome
import trio
from trio.lowlevel import (
    Abort,
    current_task,
    enable_ki_protection,
    reschedule,
    wait_task_rescheduled,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Generator
    from contextlib import AbstractContextManager

    from trio.lowlevel import Task


@final
class _Woken(outcome.Outcome[None]):
    """What each woken task gets. One object serves all: an ``outcome.Value`` serves once."""

    __slots__ = ()

    def unwrap(self) -> None:
        return None

    def send(self, gen: Generator[Any, None, Any]) -> NoReturn:
        raise NotImplementedError

    async def asend(self, agen: AsyncGenerator[Any, None]) -> NoReturn:
        raise NotImplementedError


_WOKEN = _Woken()


@final
class Waiter:
    """One task's wait, until any of the lines that it joined is called.

    A waiter is the abort function of its own wait: a bound method would be one more object for
    each task that waits.
    """

    __slots__ = ("task",)

    def __init__(self) -> None:
        # None before the wait, and again as soon as its end is settled.
        self.task: Task | None = None

    async def park(self) -> None:
        """Wait until woken."""
        self.task = current_task()
        await wait_task_rescheduled(self)

    @enable_ki_protection
    def wake(self) -> bool:
        """Wake the task, if it is still waiting; return whether it was."""
        task = self.task
        if task is None:
            return False
        self.task = None
        reschedule(task, _WOKEN)
        return True

    @enable_ki_protection
    def __call__(self, _: object) -> Abort:
        """Give up the wait, because the task is cancelled."""
        self.task = None
        return Abort.SUCCEEDED


@final
class Listening:
    """Has ``listener``, which must not raise, called by each call of the lines meanwhile."""

    __slots__ = ("_lines", "_listener")

    def __init__(self, lines: Collection[Line], listener: Callable[[], object]) -> None:
        self._lines = lines
        self._listener = listener

    @enable_ki_protection
    def __enter__(self) -> None:
        for line in self._lines:
            if line._listeners is None:
                line._listeners = {}
            line._listeners[self] = self._listener

    @enable_ki_protection
    def __exit__(self, *_: object) -> None:
        for line in self._lines:
            assert line._listeners is not None
            del line._listeners[self]


@final
class Line:
    """The waiters of a value, and those who want to know of each set while it happens."""

    __slots__ = ("_called", "_listeners", "_waiting", "after", "calling")

    def __init__(self) -> None:
        self._waiting: dict[Waiter, None] = {}
        # Called and not yet woken; the leader is not among them.
        self._called: dict[Waiter, None] = {}
        self._listeners: dict[Listening, Callable[[], object]] | None = None
        # The listeners are being told: a set by one of them has to wait for the others.
        self.calling = False
        # What they have left to be done after it, if an atomic block is what has called the line.
        self.after: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._waiting) + len(self._called) + len(self._listeners or ())

    def join(self, waiter: Waiter) -> None:
        """Be woken by the next call."""
        self._waiting[waiter] = None

    @enable_ki_protection
    def leave(self, waiter: Waiter) -> None:
        """Be in the line no longer; each waiter does this in its first step after its wait."""
        self._waiting.pop(waiter, None)
        if self._called:
            called, self._called = self._called, {}
            for other in called:
                # As Waiter.wake() does; a call of it would be a fifth of the cost of waking.
                task = other.task
                if task is not None:
                    other.task = None
                    reschedule(task, _WOKEN)

    def listening(self, listener: Callable[[], object]) -> Listening:
        """Have ``listener``, which must not raise, called by each call meanwhile."""
        return Listening((self,), listener)

    @enable_ki_protection
    def call(self) -> None:
        """Wake all waiters, and tell all listeners, that there is something new."""
        if _blocks and (lines := _blocks.get(get_ident())) is not None:
            lines[self] = None  # the end of the block will call it
            return
        if self._listeners:
            self.calling = True
            try:
                for listener in tuple(self._listeners.values()):
                    listener()
            finally:
                self.calling = False
        if self._called:
            # Their leader has yet to run, and will wake these as well.
            self._called.update(self._waiting)
            self._waiting.clear()
            return
        waiting = self._waiting
        while waiting:
            leader, _ = waiting.popitem()
            task = leader.task
            if task is not None:
                leader.task = None
                reschedule(task, _WOKEN)
                if waiting:
                    self._called, self._waiting = waiting, {}
                return


async def wait_in_lines(lines: Collection[Line], waiter: Waiter, deadline: float) -> None:
    """Wait with ``waiter`` until one of the lines is called, or the deadline has come."""
    for line in lines:
        line.join(waiter)
    waiter.task = current_task()
    try:
        if deadline == math.inf:
            await wait_task_rescheduled(waiter)
        else:
            with trio.CancelScope(deadline=deadline):
                await wait_task_rescheduled(waiter)
    finally:
        _leave_all(lines, waiter)


@enable_ki_protection
def _leave_all(lines: Collection[Line], waiter: Waiter) -> None:
    for line in lines:
        line.leave(waiter)


# By thread, the lines to be called at the end of the ``atomic`` block that it is in.
_blocks: dict[int, dict[Line, None]] = {}


def atomic() -> AbstractContextManager[None]:
    """Make several sets one step, for everybody who waits for one of the values.

    Whoever waits, by whatever means, is told when the block ends: a predicate of ``wait_for`` on
    composed values sees all sets or none. There must be no ``await`` in the block, for
    others would see half of it. If it raises, what was set stays set. It is a matter of one
    thread: what another sets, with ``set_from_thread``, comes in a step of its own.

    Checkpoints:
        Never.

    Example::

        with atomic():
            host.set("example.org")
            port.set(443)
    """
    return _Block()


@final
class _Block:
    """An ``atomic`` block, which Ctrl-C neither leaves open nor ends without the calls."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        # None where an outer block is the step.
        self._lines: dict[Line, None] | None = None

    @enable_ki_protection
    def __enter__(self) -> None:
        thread = get_ident()
        if thread not in _blocks:
            _blocks[thread] = self._lines = {}

    @enable_ki_protection
    def __exit__(self, *_: object) -> None:
        if self._lines is not None:
            del _blocks[get_ident()]
            _call_all(self._lines)


def _call_all(lines: Collection[Line]) -> None:
    """Call several lines, as if they were one."""
    for line in lines:
        line.calling = True  # those of one line may set the value of another
    for line in lines:
        line.call()
        line.calling = False
    for line in lines:
        if line.after is not None:
            line.after()

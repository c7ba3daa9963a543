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

Rejected: a memory channel per watcher, as upstream has (a set then costs as much as there
are watchers, idle or not, and hands a waiting one the value of the first of
two sets, not of the second); ``trio.Event`` and ``trio.lowlevel.ParkingLot`` (each set wakes
every task itself, at two to three times the cost of a bare ``reschedule``).
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, NoReturn, final

import outcome
from trio.lowlevel import (
    Abort,
    current_task,
    enable_ki_protection,
    reschedule,
    wait_task_rescheduled,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterator

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
    """One task's wait, until any of the lines that it joined is called."""

    __slots__ = ("task",)

    def __init__(self) -> None:
        # None before the wait, and again as soon as its end is settled.
        self.task: Task | None = None

    async def park(self) -> None:
        """Wait until woken."""
        self.task = current_task()
        await wait_task_rescheduled(self._abort)

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
    def _abort(self, _: object) -> Abort:
        self.task = None
        return Abort.SUCCEEDED


@final
class Line:
    """The waiters of a value, and those who want to know of each set while it happens."""

    __slots__ = ("_called", "_listeners", "_waiting", "calling")

    def __init__(self) -> None:
        self._waiting: dict[Waiter, None] = {}
        # Called and not yet woken: the leader has yet to run. None if there is no leader.
        self._called: dict[Waiter, None] | None = None
        self._listeners: dict[object, Callable[[], object]] | None = None
        # The listeners are being told: a set by one of them has to wait for the others.
        self.calling = False

    def __len__(self) -> int:
        return len(self._waiting) + len(self._called or ()) + len(self._listeners or ())

    def join(self, waiter: Waiter) -> None:
        """Be woken by the next call."""
        self._waiting[waiter] = None

    @enable_ki_protection
    def leave(self, waiter: Waiter) -> None:
        """Be in the line no longer; each waiter does this in its first step after its wait."""
        self._waiting.pop(waiter, None)
        called = self._called
        if called is not None:
            self._called = None
            called.pop(waiter, None)
            for other in called:
                other.wake()

    @contextlib.contextmanager
    def listening(self, listener: Callable[[], object]) -> Iterator[None]:
        """Have ``listener``, which must not raise, called by each call meanwhile."""
        key = object()
        if self._listeners is None:
            self._listeners = {}
        self._listeners[key] = listener
        try:
            yield
        finally:
            del self._listeners[key]

    @enable_ki_protection
    def call(self) -> None:
        """Wake all waiters, and tell all listeners, that there is something new."""
        if not (self._listeners or self._waiting):
            return
        if _batch.lines is not None:
            _batch.lines[self] = None  # the end of the block will call it
            return
        if self._listeners:
            self.calling = True
            try:
                for listener in tuple(self._listeners.values()):
                    listener()
            finally:
                self.calling = False
        if self._waiting:
            waiting, self._waiting = self._waiting, {}
            if self._called is None:
                while waiting:
                    leader, _ = waiting.popitem()
                    if leader.wake():
                        self._called = waiting
                        break
            else:
                self._called.update(waiting)


class _Batch(threading.local):
    """The lines to be called at the end of the thread's ``atomic`` block; None outside of one."""

    lines: dict[Line, None] | None = None


_batch = _Batch()


@contextlib.contextmanager
def atomic() -> Iterator[None]:
    """Make several sets one step, for everybody who waits for one of the values.

    Whoever waits, by whatever means, is told when the block ends: a predicate of ``wait_for`` on
    composed values sees all sets or none. There must be no ``await`` in the block, for
    others would see half of it. If it raises, what was set stays set.

    Checkpoints:
        Never.

    Example::

        with atomic():
            host.set("example.org")
            port.set(443)
    """
    if _batch.lines is not None:
        yield  # the outer block is the step
        return
    lines = _batch.lines = {}
    try:
        yield
    finally:
        _batch.lines = None
        for line in lines:
            line.call()

"""How tasks wait for the next set of a value, and are woken.

The problem: one ``set`` may concern a hundred thousand waiting tasks, and must not
block the producer for the time it takes to wake them; ``set`` is called from tasks
that have other things to do. And a task may wait on a thousand values at once.

A value has a :class:`WaitQueue`: the tasks that wait for it *now*. Watchers that are not
waiting are in no queue. A :class:`Waiter` is one task's wait, in one queue or in many.
``WaitQueue.notify`` wakes one waiter, the leader; in its own step, the leader wakes
the waiters that were notified with it. So ``notify`` costs the same however many wait,
and the last of them runs no later than if the caller had woken them all itself.

The invariants:

- A waiter is woken at most once: the function that wakes or cancels it takes its ``task`` first.
- Notified waiters leave the queue at once (for ``_notified``). A leader that scanned the
  queue itself would find tasks that have run and wait again, and wake them for ever.
- A woken task cannot be cancelled before its step, so the leader always wakes the rest.
  A notified waiter that is cancelled before it is woken leaves the queue and wakes the rest
  as well: waking them early does no harm.
- So while ``_notified`` is not empty, there is a task that empties it in its next step.
  Waiters that are notified meanwhile are added to it and need no leader of their own.
- Ctrl-C comes before or after each method that moves waiters, never in the middle of one.

Rejected: a memory channel per watcher, as in Monogon's ``osbase/event`` (a set then costs as
much as there are watchers, idle or not, and hands a waiting one the value of the first of
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
    """One task's wait, until any of the queues that it joined is notified.

    A waiter is the abort function of its own wait: a bound method would be one more object for
    each task that waits.
    """

    __slots__ = ("task",)

    def __init__(self) -> None:
        # None before the wait, and again as soon as its end is settled.
        self.task: Task | None = None

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
class Subscription:
    """Has each ``notify`` of some queues call ``callback``, which must not raise, while entered.

    It is for a task that waits for something else meanwhile, and for predicates that are asked
    in the middle of a set.
    """

    __slots__ = ("_callback", "_queues")

    def __init__(self, queues: Collection[WaitQueue], callback: Callable[[], object]) -> None:
        self._queues = queues
        self._callback = callback

    @enable_ki_protection
    def __enter__(self) -> None:
        for queue in self._queues:
            if queue._callbacks is None:
                queue._callbacks = {}
            queue._callbacks[self] = self._callback

    @enable_ki_protection
    def __exit__(self, *_: object) -> None:
        for queue in self._queues:
            assert queue._callbacks is not None
            del queue._callbacks[self]


@final
class WaitQueue:
    """The tasks that wait for a value now.

    A storage makes one, and calls :meth:`notify` after each change of the version and after the
    end. Watchers do the rest. Its length is the number of waits.
    """

    __slots__ = ("_callbacks", "_notified", "_waiting", "deferred", "notifying")

    def __init__(self) -> None:
        """Make an empty queue."""
        self._waiting: dict[Waiter, None] = {}
        # Notified and not yet woken; the leader is not among them.
        self._notified: dict[Waiter, None] = {}
        self._callbacks: dict[Subscription, Callable[[], object]] | None = None
        # The callbacks are being called: a set by one of them has to wait for the others.
        self.notifying: bool = False
        # What to do after the callbacks of an atomic block, with what they have set.
        self.deferred: Callable[[], None] | None = None

    def __len__(self) -> int:
        """Return how many waits there are, of tasks and of subscriptions (V21)."""
        return len(self._waiting) + len(self._notified) + len(self._callbacks or ())

    def join(self, waiter: Waiter) -> None:
        """Have the next ``notify`` wake ``waiter``."""
        self._waiting[waiter] = None

    @enable_ki_protection
    def leave(self, waiter: Waiter) -> None:
        """Take ``waiter`` out; its task does this in the first step after the wait.

        Those that were notified are woken, so nothing is lost with a cancelled one (V5).
        """
        self._waiting.pop(waiter, None)
        if self._notified:
            notified, self._notified = self._notified, {}
            for other in notified:
                # As Waiter.wake() does; a call of it would be a fifth of the cost of waking.
                task = other.task
                if task is not None:
                    other.task = None
                    reschedule(task, _WOKEN)

    @enable_ki_protection
    def notify(self) -> None:
        """Wake all tasks that wait: there is something new, or the end.

        It wakes one task itself, which wakes the others (V1). In an :func:`atomic` block this
        happens at the end of the block.

        Checkpoints:
            Never.
        """
        if _blocks and (queues := _blocks.get(get_ident())) is not None:
            queues[self] = None  # the end of the block will notify it
            return
        if self._callbacks:
            self.notifying = True
            try:
                for callback in tuple(self._callbacks.values()):
                    callback()
            finally:
                self.notifying = False
        if self._notified:
            # Their leader has yet to run, and will wake these as well.
            self._notified.update(self._waiting)
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
                    self._notified, self._waiting = waiting, {}
                return


async def wait(queues: Collection[WaitQueue], waiter: Waiter, until: float) -> None:
    """Wait until a queue is notified, the waiter is woken, or the time ``until`` has come.

    Every wait of the package's own is this one, but for that of ``MemoryWatcher.get``.
    """
    for queue in queues:
        queue.join(waiter)
    waiter.task = current_task()
    try:
        if until == math.inf:
            await wait_task_rescheduled(waiter)
        else:
            with trio.CancelScope(deadline=until):
                await wait_task_rescheduled(waiter)
    finally:
        _leave_all(queues, waiter)


@enable_ki_protection
def _leave_all(queues: Collection[WaitQueue], waiter: Waiter) -> None:
    for queue in queues:
        queue.leave(waiter)


# By thread, the queues to be notified at the end of the ``atomic`` block that it is in.
_blocks: dict[int, dict[WaitQueue, None]] = {}


def atomic() -> AbstractContextManager[None]:
    """Make several sets one step, for all that wait for one of the values (V18).

    The end of the block notifies them: a predicate of ``wait_for`` on composed values sees
    all sets or none. There must be no ``await`` in the block, for other tasks would see half
    of it. If the block raises, what was set stays set. A block belongs to one thread: what
    another thread sets, with ``set_from_thread``, comes in a step of its own.

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
    """An ``atomic`` block, which Ctrl-C neither leaves open nor ends without notifying."""

    __slots__ = ("_queues",)

    def __init__(self) -> None:
        # None in a block within a block, whose sets belong to the outer one.
        self._queues: dict[WaitQueue, None] | None = None

    @enable_ki_protection
    def __enter__(self) -> None:
        thread = get_ident()
        if thread not in _blocks:
            _blocks[thread] = self._queues = {}

    @enable_ki_protection
    def __exit__(self, *_: object) -> None:
        if self._queues is not None:
            del _blocks[get_ident()]
            _notify_all(self._queues)


def _notify_all(queues: Collection[WaitQueue]) -> None:
    """Notify several queues as if they were one."""
    for queue in queues:
        queue.notifying = True  # a callback of one queue may set the value of another
    for queue in queues:
        queue.notify()
        queue.notifying = False
    for queue in queues:
        if queue.deferred is not None:
            queue.deferred()

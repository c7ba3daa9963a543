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
- All waiters in a queue are tasks of the queue's run, and only in its thread they are moved (see
  ``_runs``). Subscriptions are called by ``_steps``.

Rejected: a memory channel per watcher, as in Monogon's ``osbase/event`` (a set then costs as
much as there are watchers, idle or not, and hands a waiting one the value of the first of
two sets, not of the second); ``trio.Event`` and ``trio.lowlevel.ParkingLot`` (each set wakes
every task itself, at two to three times the cost of a bare ``reschedule``).
"""

from __future__ import annotations

import math
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, final

import outcome
import trio
from trio.lowlevel import (
    Abort,
    current_task,
    enable_ki_protection,
    reschedule,
    wait_task_rescheduled,
)

from ._runs import NO_RUN, Run, current_run
from ._steps import Subscribed, call_subscriptions

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Generator

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

    # As that of a Run: a watcher that is in use is at home nowhere. See Watcher.
    thread: ClassVar[None] = None

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
    """Has each step of some queues call ``callback``, which must not raise, while entered.

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
            queue.check_wait()
        for queue in self._queues:
            if queue._callbacks is None:
                queue._callbacks = {}
            queue._callbacks[self] = self._callback

    @enable_ki_protection
    def __exit__(self, *_: object) -> None:
        for queue in self._queues:
            assert queue._callbacks is not None
            del queue._callbacks[self]


class WaitQueue(Subscribed):
    """The tasks that wait for a value now, and the Trio run that they belong to.

    A storage makes one, and calls :meth:`notify` after each change of the version and after the
    end. Watchers do the rest. Its length is the number of waits.
    """

    __slots__ = ("_notified", "_waiting")

    def __init__(self) -> None:
        """Make an empty queue."""
        super().__init__()
        self._waiting: dict[Waiter, None] = {}
        # Notified and not yet woken; the leader is not among them.
        self._notified: dict[Waiter, None] = {}

    def __len__(self) -> int:
        """Return how many waits there are, of tasks and of subscriptions (V21)."""
        return len(self._waiting) + len(self._notified) + len(self._callbacks or ())

    @enable_ki_protection
    def use(self) -> Run:
        """Let the calling Trio run have the queue, unless another one has it (V11).

        Returns:
            The calling run, if it has the queue now, or NO_RUN.
        """
        if self.run.thread is None and (here := current_run()) is not NO_RUN:
            with _binding:
                if self.run.thread is None:
                    self.run = here
        return self.run if self.run.thread == get_ident() else NO_RUN

    def is_elsewhere(self) -> bool:
        """Return whether the queue belongs to another run than the caller's."""
        return self.run.thread not in {None, get_ident()}

    def check_wait(self) -> None:
        """Raise if the queue belongs to another run than the calling task's."""
        if self.use() is NO_RUN:
            msg = "the value belongs to another Trio run: give each run a value of its own"
            raise RuntimeError(msg)

    def join(self, waiter: Waiter) -> None:
        """Have the next ``notify`` wake ``waiter``, which is of the queue's run."""
        self._waiting[waiter] = None

    @enable_ki_protection
    def leave(self, waiter: Waiter) -> None:
        """Take ``waiter`` out; its task does this in the first step after the wait.

        Those that were notified are woken, so nothing is lost with a cancelled one (V5, V8).
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

        It wakes one task itself, which wakes the others (V1). In an :func:`atomic` block,
        subscriptions are called at the end of the block.

        Raises:
            RuntimeError: if it is called in another thread than that of the Trio run which uses
                the value; nothing is touched then.

        Checkpoints:
            Never.
        """
        if get_ident() != self.run.thread and self.use() is NO_RUN and self.is_elsewhere():
            msg = (
                "notify() was called in another thread than that of the Trio run which uses the "
                "value: call it there, by trio.from_thread.run_sync()"
            )
            raise RuntimeError(msg)
        self.notify_here()

    def notify_here(self) -> None:
        """Do what :meth:`notify` does, where it is known that the queue is the caller's."""
        if self._callbacks:
            call_subscriptions(self.run, (self,))
        if self._waiting:
            self.wake()

    @enable_ki_protection
    def wake(self) -> None:
        """Wake all tasks that wait, of which there is one or more."""
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


# Two runs may begin to use a queue at once.
_binding: Final = Lock()


@enable_ki_protection
def notify_all(queues: Collection[WaitQueue]) -> None:
    """Notify several queues, which are of the caller's run, of one step."""
    called = [queue for queue in queues if queue._callbacks]
    if called:
        call_subscriptions(called[0].run, called)
    for queue in queues:
        if queue._waiting:
            queue.wake()


async def wait(queues: Collection[WaitQueue], waiter: Waiter, until: float) -> None:
    """Wait until a queue is notified, the waiter is woken, or the time ``until`` has come.

    Every wait of the package's own is this one, but for that of ``MemoryWatcher.get``. However it
    ends, nothing of it is left in the queues (V8).
    """
    thread = get_ident()
    for queue in queues:
        if queue.run.thread != thread:
            queue.check_wait()
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

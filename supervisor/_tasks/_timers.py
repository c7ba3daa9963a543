"""Calls at a later time: one task for all timers of a tree, and none when there are none.

Grace periods, start timeouts, a stop's budget and reports of stuck nodes are all the same
thing: a call at a given time, unless it is cancelled before. They are set and cancelled far more
often than they go off, so setting one starts no task of its own. It goes onto a heap, and one
task, which is started for the first and ends with the last, sleeps until the earliest. A
cancelled timer stays on the heap until its time, or until there are many of them.

The task is shielded: it must see the end of a tree that is cancelled from outside.
"""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING, Final, final

import trio
from trio.lowlevel import enable_ki_protection

if TYPE_CHECKING:
    from collections.abc import Callable


_CANCELLED_KEPT: Final = 64


@final
class Timer:
    """A call that is to be made at some time."""

    __slots__ = ("_timers", "call")

    def __init__(self, call: Callable[[], object], timers: Timers) -> None:
        self.call: Callable[[], object] | None = call
        self._timers: Timers = timers

    def cancel(self) -> None:
        """Don't make it."""
        if self.call is not None:
            self.call = None
            self._timers.tidy()


@final
class Timers:
    """All timers of one tree (S16)."""

    def __init__(self) -> None:
        # Where the task runs, as soon as the tree does.
        self._nursery: trio.Nursery | None = None
        self._heap: list[tuple[float, int, Timer]] = []
        self._serial = itertools.count()
        # At most how many of those on the heap were cancelled.
        self._cancelled = 0
        self._life: trio.CancelScope | None = None
        self._sleep: trio.CancelScope | None = None

    def set(self, seconds: float, call: Callable[[], object]) -> Timer:
        """Make ``call``, which must not raise, so many seconds from now."""
        timer = Timer(call, self)
        due = trio.current_time() + seconds
        heapq.heappush(self._heap, (due, next(self._serial), timer))
        if self._sleep is not None:
            if self._heap[0][2] is timer:  # to set a deadline costs more than all the rest
                self._sleep.deadline = due
        elif self._life is None:
            self._start()
        return timer

    def open(self, nursery: trio.Nursery) -> None:
        """Begin to make the calls, in a task of ``nursery``."""
        self._nursery = nursery
        if self._heap:
            self._start()

    def tidy(self) -> None:
        """Count a cancelled timer; drop the cancelled ones if they are many."""
        self._cancelled += 1
        if self._cancelled > max(_CANCELLED_KEPT, len(self._heap) // 2):
            self._heap = [entry for entry in self._heap if entry[2].call is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def close(self) -> None:
        """End, with all timers that are set; those that are set from now on never go off."""
        self._nursery = None
        self._heap.clear()
        if self._life is not None:
            self._life.cancel("the tree has ended")

    def _start(self) -> None:
        if self._nursery is not None:
            self._life = trio.CancelScope(shield=True)
            self._nursery.start_soon(self._run, self._life, name="timers")

    @enable_ki_protection
    async def _run(self, life: trio.CancelScope) -> None:
        with life:
            while self._heap:
                due, _, timer = self._heap[0]
                if timer.call is not None and due > trio.current_time():
                    with trio.CancelScope(deadline=due) as self._sleep:
                        await trio.sleep_forever()
                    self._sleep = None
                    continue
                heapq.heappop(self._heap)
                if timer.call is not None:
                    timer.call()
        self._life = None

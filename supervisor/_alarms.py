"""What a tree does later: one task for all its alarms, and none when there are none.

Graces, start timeouts, a stop's budget and reports of stuck nodes are all the same
thing, a call at a given time unless it has become needless. They are set and cancelled far more
often than they go off, so setting one starts no task of its own: it goes onto a heap, and one
task, which is started for the first and ends with the last, sleeps until the earliest. A
cancelled alarm stays on the heap until its time, which costs nothing until then.

The task is shielded: it must see the end of a tree that is cancelled from outside.
"""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING, final

import trio
from trio.lowlevel import enable_ki_protection

if TYPE_CHECKING:
    from collections.abc import Callable


@final
class Alarm:
    """A call that is to be made at some time."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], object]) -> None:
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        """Don't make it."""
        self.call = None


@final
class Alarms:
    """All alarms of one tree."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._heap: list[tuple[float, int, Alarm]] = []
        self._serial = itertools.count()
        self._life: trio.CancelScope | None = None
        self._sleep: trio.CancelScope | None = None

    def set(self, seconds: float, call: Callable[[], object]) -> Alarm:
        """Make ``call``, which must not raise, so many seconds from now."""
        alarm = Alarm(call)
        due = trio.current_time() + seconds
        heapq.heappush(self._heap, (due, next(self._serial), alarm))
        if self._life is None:
            self._life = trio.CancelScope(shield=True)
            self._nursery.start_soon(self._run, self._life, name="alarms")
        elif self._sleep is not None:
            self._sleep.deadline = min(self._sleep.deadline, due)
        return alarm

    def close(self) -> None:
        """End, whatever is set."""
        self._heap.clear()
        if self._life is not None:
            self._life.cancel("the tree has ended")

    @enable_ki_protection
    async def _run(self, life: trio.CancelScope) -> None:
        with life:
            while self._heap:
                due, _, alarm = self._heap[0]
                if alarm.call is not None and due > trio.current_time():
                    with trio.CancelScope(deadline=due) as self._sleep:
                        await trio.sleep_forever()
                    self._sleep = None
                    continue
                heapq.heappop(self._heap)
                if alarm.call is not None:
                    alarm.call()
        self._life = None

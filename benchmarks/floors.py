"""The same work by hand, on ``trio.lowlevel``: what everything is measured against.

A floor does not have to survive cancellation, to notice two sets in a row, or to be used by two
tasks at once. It does no more than what the figure is about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio.lowlevel import Abort, checkpoint, current_task, reschedule, wait_task_rescheduled

from .harness import clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.lowlevel import Task


class Box:
    """A value: a variable, and a list of the tasks that wait for it to be set."""

    def __init__(self) -> None:
        self.value = 0
        self.waiting: list[Task] = []

    def set(self, value: int) -> None:
        """Set the variable and wake all who wait."""
        self.value = value
        waiting, self.waiting = self.waiting, []
        for task in waiting:
            reschedule(task)

    async def get(self) -> int:
        """Wait for the next set."""
        self.waiting.append(current_task())
        await wait_task_rescheduled(lambda _: Abort.SUCCEEDED)
        return self.value

    async def watch(self, seen: Callable[[], object]) -> None:
        """Call ``seen`` after each set."""
        while True:
            await self.get()
            seen()


class Gate:
    """Tells one task when a number of others have passed, and when the last of them did."""

    def __init__(self) -> None:
        self._missing = 0
        self._task: Task | None = None
        self.opened_at = 0.0

    def close(self, tasks: int) -> None:
        """Open again when so many have passed."""
        self._missing = tasks

    def go_through(self) -> None:
        """Take note that one has passed."""
        self._missing -= 1
        if not self._missing:
            self.opened_at = clock()
            if self._task is not None:
                task, self._task = self._task, None
                reschedule(task)

    async def opened(self) -> None:
        """Wait until all have passed."""
        if self._missing <= 0:
            await checkpoint()
            return
        self._task = current_task()
        await wait_task_rescheduled(self._abort)

    def _abort(self, _: object) -> Abort:
        self._task = None
        return Abort.SUCCEEDED

"""The same work by hand, on ``trio.lowlevel``: the floors that the packages are measured against.

A floor does only what the figure is about. It need not survive cancellation, notice two sets in a
row, or work for two tasks at once.
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
        """Set the variable and wake all waiting tasks."""
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
    """Lets one task wait until a number of others have passed, and keeps the time of the last."""

    def __init__(self) -> None:
        self._missing = 0
        self._task: Task | None = None
        self.opened_at = 0.0

    def close(self, tasks: int) -> None:
        """Close the gate until so many tasks have passed."""
        self._missing = tasks

    def go_through(self) -> None:
        """Count one task as passed."""
        self._missing -= 1
        if not self._missing:
            self.opened_at = clock()
            if self._task is not None:
                task, self._task = self._task, None
                reschedule(task)

    async def wait_opened(self) -> None:
        """Wait until all tasks have passed."""
        if self._missing <= 0:
            await checkpoint()
            return
        self._task = current_task()
        await wait_task_rescheduled(self._abort)

    def _abort(self, _: object) -> Abort:
        self._task = None
        return Abort.SUCCEEDED

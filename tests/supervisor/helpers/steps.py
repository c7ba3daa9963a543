"""Counting the steps that tasks take: an idle tree takes none."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, final

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator


@final
class _Steps(trio.abc.Instrument):
    def __init__(self) -> None:
        self._own = trio.lowlevel.current_task()
        self.counted: Counter[str] = Counter()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is not self._own:
            self.counted[task.name] += 1


@contextlib.contextmanager
def count_steps() -> Iterator[Counter[str]]:
    """Count the steps that all tasks but the calling one take meanwhile, by their names."""
    steps = _Steps()
    trio.lowlevel.add_instrument(steps)
    try:
        yield steps.counted
    finally:
        trio.lowlevel.remove_instrument(steps)

"""Several values in memory at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trio_event import MemoryValue

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_event import Watcher


def make(count: int) -> tuple[list[MemoryValue[int]], list[Watcher[int]]]:
    """Make unset values, with a watcher of each."""
    values: list[MemoryValue[int]] = [MemoryValue() for _ in range(count)]
    return values, [value.watch() for value in values]


def unseen(watchers: list[Watcher[int]]) -> list[int]:
    """Take what each watcher has not seen; return the indexes of those that had a value."""
    found = []
    for index, watcher in enumerate(watchers):
        try:
            watcher.get_nowait()
        except trio.WouldBlock:
            pass
        else:
            found.append(index)
    return found


def waiting(values: Iterable[MemoryValue[int]]) -> int:
    """Count the waits for some values."""
    return sum(value.statistics().tasks_waiting for value in values)

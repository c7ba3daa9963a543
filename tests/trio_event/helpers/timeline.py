"""Setting values and recording updates at given times of the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio

if TYPE_CHECKING:
    from trio_event import Value, Watcher

T = TypeVar("T")


async def play(value: Value[T], *events: tuple[float, T]) -> None:
    """Set a value at each of these times."""
    for at, item in events:
        await trio.sleep_until(at)
        value.set(item)


async def record(watcher: Watcher[T], seen: list[tuple[float, T]]) -> None:
    """Record what a watcher returns, and when, until its value ends."""
    async for item in watcher:
        seen.append((trio.current_time(), item))  # noqa: PERF401  the test looks at it meanwhile

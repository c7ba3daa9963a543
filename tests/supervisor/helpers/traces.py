"""What a cancelled call leaves behind."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def check_that_cancelling_leaves_nothing(
    call: Callable[[], Awaitable[object]], after: float
) -> None:
    """Cancel ``call`` so many seconds after its start; check that nothing refers to its task."""
    tasks: list[weakref.ref[trio.lowlevel.Task]] = []

    async def run() -> None:
        tasks.append(weakref.ref(trio.lowlevel.current_task()))
        with trio.move_on_after(after) as scope:
            await call()
        assert scope.cancelled_caught

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
    await trio.lowlevel.checkpoint()  # Trio itself keeps the tasks of its last batch
    gc.collect()
    assert [task() for task in tasks] == [None]

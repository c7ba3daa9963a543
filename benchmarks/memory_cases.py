"""The memory of watchers and nodes, and the time of the import.

Bytes are counted with ``tracemalloc``, after a collection.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tracemalloc
from functools import partial
from typing import TYPE_CHECKING, Final

import trio
from trio.testing import wait_all_tasks_blocked

from trio_event import MemoryValue

from . import goals, trees
from .floors import Box
from .harness import Comparison, above, plain, ratio
from .trees import TreeSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from .harness import Figures, Scale

COUNTED: Final = 10_000


def comparisons(scale: Scale) -> Iterator[Comparison]:
    """Return the comparisons of this module."""
    size = min(COUNTED, scale.limit)
    yield watchers(size)
    yield leaves(size)
    yield imports()


def watchers(size: int) -> Comparison:
    """Count the bytes of watchers that don't wait, and of tasks that wait."""
    value: MemoryValue[int] = MemoryValue()
    box = Box()

    async def watch(_: int) -> None:
        await value.watch().get()

    async def wait(_: int) -> None:
        await box.get()

    return Comparison(
        "bytes of a watcher",
        {
            "idle": partial(count_idle, size),
            "waiting": partial(count_tasks, trees.bare, watch, size),
            "floor": partial(count_tasks, trees.bare, wait, size),
        },
        [
            plain("an idle watcher", "idle: bytes", "B", goals.IDLE_WATCHER),
            above(
                "a waiting watcher, above a bare task that waits",
                "waiting: bytes",
                "floor: bytes",
                "B",
                goals.WAITING_WATCHER,
            ),
        ],
        rounds=2,
    )


def leaves(size: int) -> Comparison:
    """Compare the bytes of leaves and of bare tasks."""

    async def leaf(_: int) -> None:
        await trio.sleep_forever()

    kinds = {
        "bare": trees.bare,
        "scoped": trees.bare_in_scopes,
        "lone": trees.lone,
        "member": trees.grouped,
    }
    return Comparison(
        "bytes of a leaf",
        {name: partial(count_tasks, kind, leaf, size) for name, kind in kinds.items()},
        [
            ratio(
                "memory of a leaf, lone, against bare",
                "lone: bytes",
                "bare: bytes",
            ),
            ratio(
                "memory of a leaf, lone, against bare in a scope each",
                "lone: bytes",
                "scoped: bytes",
                goals.LEAF_BYTES,
            ),
            ratio(
                f"memory of a leaf, in groups of {trees.MEMBERS}, against bare",
                "member: bytes",
                "bare: bytes",
                goals.LEAF_BYTES,
            ),
            plain("memory of a leaf, lone", "lone: bytes", "B"),
        ],
        rounds=2,
    )


def count_idle(size: int) -> Figures:
    """Count the bytes of a watcher that does not wait."""
    value = MemoryValue(1)
    idle: list[object] = [None] * size
    before = traced()
    for index in range(size):
        watcher = value.watch()
        watcher.get_nowait()
        idle[index] = watcher
    return {"bytes": (traced(before) - before) / size}


def count_tasks(
    kind: Callable[[TreeSpec], Awaitable[None]], leaf: Callable[[int], Awaitable[None]], size: int
) -> Figures:
    """Count the bytes of a task, with everything that belongs to it."""

    async def main() -> float:
        spec = TreeSpec(leaf, size)
        async with trio.open_nursery() as nursery:
            before = traced()
            nursery.start_soon(kind, spec)
            await wait_all_tasks_blocked()
            after = traced(before)
            nursery.cancel_scope.cancel()
        return (after - before) / size

    return {"bytes": trio.run(main)}


def traced(before: int | None = None) -> int:
    """Return how many bytes are in use; trace them from the first call to the second."""
    gc.collect()
    if before is None:
        tracemalloc.start()
    in_use, _ = tracemalloc.get_traced_memory()
    if before is not None:
        tracemalloc.stop()
    return in_use


def imports() -> Comparison:
    """Measure how much longer the import takes than that of Trio alone."""
    return Comparison(
        "import",
        {"ours": time_import},
        [plain("`import supervisor` above `import trio`", "ours: import", "ms", goals.IMPORT)],
    )


def time_import() -> Figures:
    """Import in a process of its own, which finds all modules compiled."""
    program = (
        "import time, trio; begin = time.process_time(); import supervisor; "
        "print(time.process_time() - begin)"
    )
    command = [sys.executable, "-c", program]
    # Where this is set, each process would compile the modules anew.
    env = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(command, check=True, capture_output=True, env=env)
    ended = subprocess.run(command, check=True, capture_output=True, env=env)
    return {"import": float(ended.stdout)}

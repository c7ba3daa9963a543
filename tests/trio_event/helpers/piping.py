"""Running pipes in trees."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, NodeSnapshot, Signal, Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    Runnables = Mapping[str, Callable[[], Awaitable[object]]]

AT_ONCE = Backoff(initial=0.0)


@asynccontextmanager
async def running(runnables: Runnables | Callable[[], Runnables]) -> AsyncIterator[Supervisor]:
    """Run a group in a tree; restarts take no time."""

    async def root() -> None:
        supervisor.run_group(runnables, backoff=AT_ONCE)
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)
        await trio.lowlevel.checkpoint()

    async with supervisor.open_supervisor(root) as tree:
        await wait_all_tasks_blocked()
        yield tree


def node(tree: Supervisor, name: str = "pipe") -> NodeSnapshot:
    """Return the snapshot of one of the runnables."""
    return tree.snapshot().nodes[f"root.{name}"]


async def received(channel: trio.MemoryReceiveChannel[int]) -> int:
    """Receive once all tasks wait."""
    await wait_all_tasks_blocked()
    return await channel.receive()

"""Trees that several test modules run."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor.testing import open_harness

from .backoffs import DOUBLING, STEADY
from .runnables import finish
from .transitions import TimedTransitions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from supervisor import Handle, Metrics, Pool, RestartLimit, Supervisor


@contextlib.asynccontextmanager
async def open_recorded(
    function: Callable[..., Handle], *args: object, **options: object
) -> AsyncIterator[tuple[Supervisor, Handle, TimedTransitions]]:
    """Run a tree whose root starts something; yield it with the handle and the transitions."""
    handles: list[Handle] = []
    transitions = TimedTransitions()

    async def root() -> None:
        handles.append(function(*args, **options))

    async with open_harness(root, backoff=DOUBLING, metrics=transitions, patience=60.0) as tree:
        await wait_all_tasks_blocked()
        yield tree, handles[0], transitions


@contextlib.asynccontextmanager
async def open_pool(
    *,
    max_children: int | None = None,
    limit: RestartLimit | None = None,
    metrics: Metrics | None = None,
) -> AsyncIterator[tuple[Supervisor, Pool]]:
    """Run a tree with the pool ``root.pool``, which is HEALTHY."""
    pools: list[Pool] = []

    async def root() -> None:
        pools.append(supervisor.run_pool("pool", max_children=max_children, limit=limit))

    async with open_harness(root, backoff=STEADY, metrics=metrics, patience=60.0) as tree:
        await tree.wait_settled()
        yield tree, pools[0]


def in_root(check: Callable[[], object], *, metrics: Metrics | None = None) -> None:
    """Call ``check`` in a root runnable; what it raises is raised here."""

    async def root() -> None:
        check()
        await finish()

    trio.run(partial(supervisor.supervise, root, propagate=True, metrics=metrics))

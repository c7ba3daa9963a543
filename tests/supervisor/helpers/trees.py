"""Trees that several test modules run."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import GaveUpError, GroupState, UnknownNameError
from supervisor.testing import Remote, open_harness

from .backoffs import DOUBLING, STEADY
from .runnables import finish, idle
from .transitions import TimedTransitions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

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
async def open_started(
    function: Callable[..., Handle], *args: object, **options: object
) -> AsyncIterator[tuple[Supervisor, Handle]]:
    """Run a tree whose root starts something, and yield it with the handle."""
    handles: list[Handle] = []

    async def root() -> None:
        handles.append(function(*args, **{"backoff": DOUBLING, **options}))
        supervisor.run("other", idle)  # so that the tree does not finish

    async with open_harness(root, patience=60.0) as tree:
        await wait_all_tasks_blocked()
        yield tree, handles[0]


@contextlib.asynccontextmanager
async def open_at_rest(how: GroupState, one: Remote) -> AsyncIterator[tuple[Pool, Handle]]:
    """Run a tree in which ``one`` is stopped in a pool, or is done as ``root.one``."""
    handles: list[Handle] = []
    pools: list[Pool] = []

    async def root() -> None:
        pools.append(supervisor.run_pool("pool"))
        if how is GroupState.FINISHED:
            handles.append(supervisor.run("one", one))

    async with open_harness(root):
        await wait_all_tasks_blocked()
        if how is GroupState.STOPPED:
            handles.append(pools[0].run("one", one))
        await one.become_healthy()
        await (one.be_done() if how is GroupState.FINISHED else handles[0].stop())
        await wait_all_tasks_blocked()
        assert handles[0].state is how
        yield pools[0], handles[0]


async def call_at_once(
    *operations: Callable[[], Awaitable[object]],
) -> tuple[list[str], list[str]]:
    """Begin all of these in one step, in any order; return the order, and those that raised."""
    begun: list[str] = []
    refused: list[str] = []

    async def operate(operation: Callable[[], Awaitable[object]]) -> None:
        begun.append(operation.__name__)
        try:
            await operation()
        except (GaveUpError, UnknownNameError):
            refused.append(operation.__name__)

    async with trio.open_nursery() as nursery:
        for operation in operations:
            nursery.start_soon(operate, operation)
    return begun, refused


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

"""Depth, breadth, age and the cost of each node, all of it counted and none of it timed."""

from __future__ import annotations

import gc
import logging
import sys
import tracemalloc
from functools import partial
from typing import TYPE_CHECKING, NoReturn, final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import InMemoryMetrics, Signal

from .helpers.backoffs import AT_ONCE
from .helpers.runnables import idle
from .helpers.steps import count_steps

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest
    from trio.testing import MockClock

    from supervisor import Handle

DEPTH = 10_000


@final
class Mortal:
    """A runnable that dies when it is told to."""

    def __init__(self) -> None:
        self.starts = 0
        self._die = trio.Event()

    async def __call__(self) -> NoReturn:
        self.starts += 1
        supervisor.signal(Signal.HEALTHY)
        await self._die.wait()
        self._die = trio.Event()
        raise OSError("as it was told")

    async def restart(self) -> None:
        """Let it die, and wait until all that follows from it has happened."""
        self._die.set()
        await wait_all_tasks_blocked()


@final
class Chain:
    """A root with one child, which has one child, and so on."""

    def __init__(self) -> None:
        self.starts = 0
        self.alive = 0
        self.top = Mortal()

    async def __call__(self, level: int = 0) -> None:
        self.starts += 1
        if level < DEPTH:
            supervisor.run("n", self, level + 1)
        self.alive += 1
        try:
            await (self.top() if level == 1 else idle())
        finally:
            self.alive -= 1


@pytest.mark.scale
async def test_a_chain_of_ten_thousand_starts_restarts_and_stops(autojump_clock: MockClock) -> None:
    """S7, S12, S21: only memory bounds the depth, also where levels stop one by one."""
    chain = Chain()
    async with supervisor.open_supervisor(chain, backoff=AT_ONCE) as tree:
        await wait_all_tasks_blocked()
        assert chain.alive == chain.starts == DEPTH + 1
        await chain.top.restart()
        assert (chain.alive, chain.starts) == (DEPTH + 1, 2 * DEPTH + 1)
        assert tree.ready()
        await tree.stop()
        assert chain.alive == 0
    assert autojump_clock.current_time() == 0.0


@pytest.mark.scale
async def test_a_chain_of_ten_thousand_can_be_cancelled() -> None:
    """S12: no exception crosses a nursery on its way through ten thousand of them."""
    chain = Chain()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(supervisor.supervise, chain))
        await wait_all_tasks_blocked()
        assert chain.alive == DEPTH + 1
        nursery.cancel_scope.cancel()
    assert chain.alive == 0


async def test_a_stop_keeps_no_reason_longer_than_it_takes() -> None:
    """S21: a reason contains a DN; those of a deep chain together would fill the memory."""
    depth = 1000
    peaks: list[int] = []

    async def level(number: int = 0) -> None:
        if number < depth:
            supervisor.run("n" * 64, level, number + 1)
        try:
            await idle()
        finally:
            peaks.append(tracemalloc.get_traced_memory()[1])

    async with supervisor.open_supervisor(level):
        await wait_all_tasks_blocked()
        tracemalloc.start()
    tracemalloc.stop()
    # The reasons have half a DN's 65 kB each on average: 32 MB. All else takes 4 MB.
    assert peaks[-1] < 8_000_000


async def steps_of_a_restart(siblings: int) -> int:
    """Count the steps of all tasks from a leaf's death until it runs again."""
    mortal = Mortal()

    async def root() -> None:
        for number in range(siblings):
            supervisor.run(f"idle{number}", idle)
        supervisor.run("mortal", mortal)
        await idle()

    async with supervisor.open_supervisor(root, backoff=AT_ONCE):
        await wait_all_tasks_blocked()
        with count_steps() as steps:
            await mortal.restart()
        assert mortal.starts == 2
    return steps.total()


@pytest.mark.scale
async def test_a_restart_takes_the_same_steps_among_any_number_of_siblings() -> None:
    """S16: it wakes no task that it does not concern."""
    assert await steps_of_a_restart(20_000) == await steps_of_a_restart(10)


async def test_a_wait_for_a_group_is_woken_when_the_last_member_is_healthy() -> None:
    """S19: the members before it do not wake the wait."""
    starts = {f"member{number}": trio.Event() for number in range(100)}
    handles: list[Handle] = []

    async def member(start: trio.Event) -> None:
        await start.wait()
        await idle()

    async def root() -> None:
        members = {name: partial(member, start) for name, start in starts.items()}
        handles.append(supervisor.run_group(members))
        await idle()

    async with supervisor.open_supervisor(root), trio.open_nursery() as nursery:
        await wait_all_tasks_blocked()
        nursery.start_soon(handles[0].wait_healthy)
        await wait_all_tasks_blocked()
        with count_steps() as steps:
            for start in starts.values():
                start.set()
                await wait_all_tasks_blocked()
        # One for each member, and one for the task that waits.
        assert steps.total() == 100 + 1


async def test_an_idle_tree_takes_no_steps(autojump_clock: MockClock) -> None:
    """S16: nothing in a thousand nodes wakes up in an hour."""

    async def branch() -> None:
        supervisor.run_group({f"member{number}": idle for number in range(9)})
        await idle()

    async def root() -> None:
        supervisor.run_pool("pool")
        for number in range(100):
            supervisor.run(f"branch{number}", branch, start_timeout=60.0)
        await idle()

    async with supervisor.open_supervisor(root) as tree:
        await tree.wait_ready()
        assert len(tree.snapshot().nodes) == 1002
        await trio.sleep(61.0)  # until the timeouts, which are of no use any more, are over
        with count_steps() as steps:
            await trio.sleep(3600.0)
        assert steps == {}
        assert autojump_clock.current_time() == 3661.0


async def test_the_steps_of_a_group_restart_are_linear_in_its_members() -> None:
    """S7: each further member costs as many steps as the one before."""

    async def steps_of(members: int) -> int:
        mortal = Mortal()

        async def root() -> None:
            rest = {f"idle{number}": idle for number in range(members - 1)}
            supervisor.run_group({"mortal": mortal, **rest})
            await idle()

        async with supervisor.open_supervisor(root, backoff=AT_ONCE):
            await wait_all_tasks_blocked()
            with count_steps() as steps:
                await mortal.restart()
        return steps.total()

    few, more, many = [await steps_of(members) for members in (10, 110, 1110)]
    # Two for each: one in which it is cancelled, one in which it starts.
    assert (more - few, many - more) == (2 * 100, 2 * 1000)


@pytest.mark.scale
async def test_restarts_leave_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
    mock_clock: object,  # noqa: ARG001  on a slow machine, a look for NEW nodes would come between
) -> None:
    """S14, S16: what a tree keeps of its past is bounded, however often a leaf restarts."""
    # Pytest would keep each record.
    monkeypatch.setattr(logging.getLogger("supervisor.node.root.mortal"), "disabled", True)
    mortal = Mortal()

    async def root() -> None:
        supervisor.run("mortal", mortal)
        supervisor.run_group({"a": idle, "b": idle})
        await idle()

    async with supervisor.open_supervisor(root, backoff=AT_ONCE, metrics=InMemoryMetrics()):
        await wait_all_tasks_blocked()

        async def grown(restarts: int) -> int:
            gc.collect()
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(restarts):
                await mortal.restart()
            gc.collect()
            return tracemalloc.get_traced_memory()[0] - before

        tracemalloc.start()
        await grown(1000)  # the last few crashes, alarms and caches come to their full size
        growth = await grown(4000)
        tracemalloc.stop()
        assert mortal.starts == 5001
        # Numbers have become longer, but not a single byte was kept of each restart.
        assert growth < 4000
        # To trace a hundred thousand would take half a minute; to count what is allocated, nothing.
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(94_999):
            await mortal.restart()
        gc.collect()
        assert mortal.starts == 100_000
        assert sys.getallocatedblocks() - before < 1000


async def scoped() -> None:
    with trio.CancelScope():
        await trio.sleep_forever()


async def bytes_of_each(start: Callable[[trio.Nursery], Awaitable[None] | None]) -> float:
    """Return how much memory each of the thousand things takes that ``start`` starts."""
    gc.collect()
    tracer = sys.gettrace()
    sys.settrace(None)  # to measure coverage makes each coroutine larger
    tracemalloc.start()
    async with trio.open_nursery() as nursery:
        before, _ = tracemalloc.get_traced_memory()
        start(nursery)
        await wait_all_tasks_blocked()
        gc.collect()
        used = tracemalloc.get_traced_memory()[0] - before
        nursery.cancel_scope.cancel()
    tracemalloc.stop()
    sys.settrace(tracer)
    return used / 1000


async def test_a_node_costs_little_more_memory_than_its_task() -> None:
    """S16: 1.5 kB above a task under a scope if alone in its group, 1.25 above a task if not."""

    async def alone() -> None:
        for number in range(1000):
            supervisor.run(f"leaf{number}", trio.sleep_forever)
        await idle()

    async def together() -> None:
        supervisor.run_group({f"leaf{number}": trio.sleep_forever for number in range(1000)})
        await idle()

    def tasks(fn: Callable[[], Awaitable[None]], nursery: trio.Nursery) -> None:
        for _ in range(1000):
            nursery.start_soon(fn)

    def tree(root: Callable[[], Awaitable[None]], nursery: trio.Nursery) -> None:
        nursery.start_soon(supervisor.supervise, root)

    bare = await bytes_of_each(partial(tasks, trio.sleep_forever))
    in_scope = await bytes_of_each(partial(tasks, scoped))
    # The objects: node, incarnation, group, its context and members; two coroutines, and the
    # context variable's place in the task's own context; names, and the parent's index of them.
    assert await bytes_of_each(partial(tree, alone)) - in_scope < 1500
    # A member shares group and context with the others.
    assert await bytes_of_each(partial(tree, together)) - bare < 1250

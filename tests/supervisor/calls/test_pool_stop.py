"""How children leave a pool: they are done, or they are stopped (S23)."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import (
    GaveUpError,
    GroupState,
    InMemoryMetrics,
    NodeState,
    Pool,
    RestartPolicy,
    Signal,
    UnknownNameError,
)
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import LONG, STEADY
from ..helpers.loggers import dns_with_loggers
from ..helpers.runnables import finish, idle
from ..helpers.traces import check_that_cancelling_leaves_nothing
from ..helpers.trees import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from trio.testing import MockClock

    from supervisor import Handle

# Done


async def test_a_child_that_is_done_vanishes_with_its_subtree() -> None:
    """S23: only when the last below it is done; then node, metrics, loggers are gone, name free."""
    leaf = Remote()
    metrics = InMemoryMetrics()

    async def child() -> None:
        supervisor.run("leaf", leaf)
        supervisor.logger().debug("one logger")
        supervisor.sub_logger("http").debug("and one below it")
        await finish()

    async with open_pool(metrics=metrics) as (tree, pool):
        here = set(metrics.nodes())
        handle = pool.run("vanishing", child)
        await leaf.become_healthy()
        everything = here | {"root.pool.vanishing", "root.pool.vanishing.leaf"}
        assert set(metrics.nodes()) == set(tree.snapshot().nodes) == everything
        assert dns_with_loggers("root.pool.vanishing") == {
            "root.pool.vanishing",
            "root.pool.vanishing.http",
        }
        await leaf.be_done()
        await wait_all_tasks_blocked()
        assert set(metrics.nodes()) == set(tree.snapshot().nodes) == here
        assert handle.state is GroupState.FINISHED
        assert not dns_with_loggers("root.pool.vanishing")
        pool.run("vanishing", idle)
        await wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root.pool.vanishing"].incarnation == 1


async def test_a_handle_of_a_child_that_is_done_brings_nothing_back() -> None:
    """S23, S19: the child has vanished; it was healthy, and it can't be restarted."""
    one = Remote()
    async with open_pool() as (_, pool):
        handle = pool.run("one", one)
        await one.become_healthy()
        await one.be_done()
        await wait_all_tasks_blocked()
        with pytest.raises(UnknownNameError, match=r"the pool root\.pool has no child 'one'"):
            await pool.stop("one")
        await handle.wait_healthy()
        await handle.stop()
        with pytest.raises(GaveUpError, match="it has finished"):
            await handle.restart()
        assert (len(pool), handle.state) == (0, GroupState.FINISHED)


async def test_children_of_a_pool_vanish_with_what_restarts_above_it(
    autojump_clock: MockClock,
) -> None:
    """S23: their names will not come back, so standard logging keeps nothing of them."""
    service = Remote()
    started = 0

    async def job() -> None:
        supervisor.logger().debug("one logger")
        await idle()

    async def root() -> None:
        supervisor.run("service", with_pool)

    async def with_pool() -> None:
        nonlocal started
        pool = supervisor.run_pool("pool")
        supervisor.run("feeder", feed, pool)
        await service()

    async def feed(pool: Pool) -> None:
        nonlocal started
        await pool.wait_healthy()
        started += 1
        pool.run(f"job{started}", job)
        await idle()

    async with open_harness(root, backoff=STEADY):
        for number in (1, 2, 3):
            await service.become_healthy()
            await wait_all_tasks_blocked()
            assert dns_with_loggers("root.service.pool.job") == {f"root.service.pool.job{number}"}
            await service.die()
    assert autojump_clock.current_time() == 2.0


@pytest.mark.scale
async def test_ten_thousand_jobs_leave_nothing_behind(autojump_clock: MockClock) -> None:
    """S23: no node, name, task, metric, logger or byte stays of jobs that are done."""
    metrics = InMemoryMetrics()

    async def job() -> None:
        supervisor.run("step", finish)
        supervisor.logger().debug("one logger")
        supervisor.sub_logger("part").debug("and one below it")
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(1.0)
        supervisor.signal(Signal.DONE)

    async def work_off(pool: Pool, numbers: range) -> None:
        for number in numbers:
            pool.run(f"job{number}", job)
            if number % 100 == 99:
                assert len(pool) == 100
                await trio.sleep(2.0)

    def count_objects() -> Counter[str]:
        """Count the objects of the kinds that a job is made of."""
        gc.collect()
        kinds = [type(each) for each in gc.get_objects()]
        modules = ("supervisor.", "logging", "trio.")
        kept = Counter(
            kind.__qualname__ for kind in kinds if str(kind.__module__).startswith(modules)
        )
        # Jobs use no threads; Trio keeps those of earlier tests for some seconds.
        del kept["WorkerThread"]
        return kept

    async with open_pool(metrics=metrics) as (tree, pool):

        def left() -> list[object]:
            nodes = list(tree.snapshot().nodes), list(metrics.nodes())
            tasks = trio.lowlevel.current_statistics().tasks_living
            return [*nodes, dns_with_loggers(f"{pool.dn}.job"), tasks]

        await work_off(pool, range(1_000))
        await trio.sleep(20.0)  # until nothing looks for nodes that stay NEW
        before, objects = left(), count_objects()
        assert before[:3] == [["root", "root.pool"], ["root", "root.pool"], set()]
        blocks = sys.getallocatedblocks()
        await work_off(pool, range(1_000, 10_000))
        await trio.sleep(20.0)
        assert left() == before
        # What is left of earlier tests may go meanwhile.
        assert not count_objects() - objects
        # Of each job, not even the smallest object is kept.
        assert sys.getallocatedblocks() - blocks < 9_000
        assert len(pool) == 0
        await work_off(pool, range(1_000))  # the names are free
    assert autojump_clock.current_time() == 260.0


# Stopped


@pytest.mark.parametrize("after", [0.0, 1.0])
async def test_a_cancelled_stop_stops_all_the_same(after: float, autojump_clock: MockClock) -> None:
    """S23: in a scope that has expired, or does in the wait; the name is free when it has ended."""
    one = Remote()
    async with open_pool() as (_, pool):
        handle = pool.run("one", one)
        await one.become_healthy()
        one.hang()
        await check_that_cancelling_leaves_nothing(partial(pool.stop, "one"), after)
        assert autojump_clock.current_time() == after
        assert (len(pool), handle.state) == (1, GroupState.STOPPING)
        one.release()
        await wait_all_tasks_blocked()
        assert (len(pool), handle.state, one.running) == (0, GroupState.STOPPED, 0)
        with pytest.raises(UnknownNameError):
            await pool.stop("one")


async def test_a_child_in_backoff_is_stopped_at_once(autojump_clock: MockClock) -> None:
    """S23, S9: it doesn't wait for the delay, and doesn't come back."""
    one = Remote()
    async with open_pool() as (_, pool):
        handle = pool.run("one", one, restart=RestartPolicy.ON_FAILURE, backoff=LONG)
        await one.die()
        await wait_all_tasks_blocked()
        assert handle.state is GroupState.BACKOFF
        await pool.stop("one")
        assert autojump_clock.current_time() == 0.0
        assert (len(pool), handle.state) == (0, GroupState.STOPPED)
        await trio.sleep(5000.0)
        assert one.incarnations == 1


async def test_a_stop_waits_for_a_child_that_hangs_and_for_its_grace(
    autojump_clock: MockClock,
) -> None:
    """S23, S21: it returns when the last task is gone, after which the name can be used again."""
    one = Remote()
    one.stop_slowly(3.0)
    async with open_pool() as (tree, pool):
        pool.run("one", one, grace=2.0)
        await one.become_healthy()
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(pool.stop, "one")
            await trio.sleep(4.0)
            assert one.running == 1
            with pytest.raises(ValueError, match=r"root\.pool\.one exists already"):
                pool.run("one", idle)
        assert autojump_clock.current_time() == 5.0
        pool.run("one", idle)
        await wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root.pool.one"].state is NodeState.HEALTHY


async def test_a_stop_reaches_what_lives_below_a_child_that_is_done(
    autojump_clock: MockClock,
) -> None:
    """S23, S6: a child that is DONE stays as long as its own children, and is stopped with them."""
    leaf = Remote()
    leaf.stop_slowly(1.0)
    metrics = InMemoryMetrics()

    async def parent() -> None:
        supervisor.run("leaf", leaf)
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async with open_pool(metrics=metrics) as (tree, pool):
        handle = pool.run("one", parent)
        await leaf.become_healthy()
        assert metrics.nodes()["root.pool.one"].state is NodeState.DONE
        assert len(pool) == 1
        await pool.stop("one")
        assert autojump_clock.current_time() == 1.0
        assert (handle.state, leaf.running) == (GroupState.STOPPED, 0)
        assert set(metrics.nodes()) == set(tree.snapshot().nodes) == {"root", "root.pool"}


async def test_a_name_can_be_used_as_soon_as_it_is_free(autojump_clock: MockClock) -> None:
    """S23: in the step in which stop returns; the new child is nothing to the old one's handle."""
    one, two = Remote(), Remote()
    async with open_pool() as (tree, pool):
        handle = pool.run("one", one)
        await one.become_healthy()
        await pool.stop("one")
        pool.run("one", two)
        await two.become_healthy()
        await handle.stop()
        with pytest.raises(GaveUpError, match=r"root\.pool\.one will not restart"):
            await handle.restart()
        with pytest.raises(GaveUpError, match=r"root\.pool\.one will not be healthy"):
            await handle.wait_healthy()
        assert (one.running, two.running, handle.state) == (0, 1, GroupState.STOPPED)
        assert tree.snapshot().nodes["root.pool.one"].incarnation == 1
    assert autojump_clock.current_time() == 0.0


async def test_a_child_that_an_operator_keeps_stopped_can_be_removed() -> None:
    """S23, S19: it keeps its name as long as it may come back, and no longer."""
    one = Remote()
    async with open_pool(max_children=1) as (tree, pool):
        handle = pool.run("one", one)
        await handle.stop()
        assert len(pool) == 1
        assert "root.pool.one" in tree.snapshot().nodes
        await pool.stop("one")
        assert len(pool) == 0
        assert "root.pool.one" not in tree.snapshot().nodes
        with pytest.raises(GaveUpError):
            await handle.restart()
        pool.run("one", one)
        await one.become_healthy()


@contextlib.asynccontextmanager
async def resting(how: GroupState, one: Remote) -> AsyncIterator[tuple[Pool, Handle]]:
    """Run a tree in which ``one`` was stopped, or is done, as ``root.one`` or in the pool."""
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


async def at_once(*operations: Callable[[], Awaitable[object]]) -> tuple[list[str], list[str]]:
    """Begin all of these in one step, in any order; return the order, and who was refused."""
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


async def test_a_pool_throws_out_a_child_that_is_about_to_come_back() -> None:
    """S19, S23: restart is refused, and when the pool's stop returns the name is free."""
    one = Remote()
    async with resting(GroupState.STOPPED, one) as (pool, handle):

        async def throw_out() -> None:
            await pool.stop("one")
            assert len(pool) == 0
            pool.run("one", one)

        async def restart() -> None:
            # In either order: what has been removed is refused, what was not comes to nothing.
            with pytest.raises(GaveUpError, match=r"root\.pool\.one will not restart"):
                await handle.restart()

        await at_once(restart, throw_out, restart)
        await one.become_healthy()
        assert (one.incarnations, one.running) == (2, 1)

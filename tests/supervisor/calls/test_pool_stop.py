"""The ends of pools and of their children (S23, S21, S10)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import (
    Backoff,
    GaveUpError,
    GroupState,
    InMemoryMetrics,
    NodeState,
    RestartLimit,
    RunError,
    Signal,
    UnknownNameError,
)
from supervisor.testing import Remote, open_harness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

    from supervisor import Pool, Supervisor

STEADY = Backoff(initial=1.0, factor=1.0, jitter=0.0)
LONG = Backoff(initial=1000.0, maximum=1000.0, jitter=0.0)
ONCE = RestartLimit(0, within=1.0)


@contextlib.asynccontextmanager
async def open_pool(
    metrics: InMemoryMetrics | None = None,
) -> AsyncIterator[tuple[Supervisor, Pool]]:
    """Run a tree with the pool ``root.pool``, which is HEALTHY."""
    pools: list[Pool] = []

    async def root() -> None:
        pools.append(supervisor.run_pool("pool"))
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    async with open_harness(root, backoff=STEADY, metrics=metrics, patience=60.0) as tree:
        await wait_all_tasks_blocked()
        yield tree, pools[0]


async def idle() -> None:
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


# Stopping a child


@pytest.mark.parametrize("after", [0.0, 1.0])
async def test_a_cancelled_stop_stops_all_the_same(after: float, autojump_clock: MockClock) -> None:
    """S23: in a scope that has expired, or does in the wait; the name is free when it has ended."""
    one = Remote()
    async with open_pool() as (_, pool):
        handle = pool.run("one", one)
        await one.become_healthy()
        one.hang()
        with trio.move_on_after(after) as scope:
            await pool.stop("one")
        assert scope.cancelled_caught
        assert autojump_clock.current_time() == after
        assert (len(pool), handle.state) == (1, GroupState.STOPPING)
        one.release()
        await wait_all_tasks_blocked()
        assert (len(pool), handle.state, one.running) == (0, GroupState.STOPPED, 0)


async def test_a_child_in_backoff_is_stopped_at_once(autojump_clock: MockClock) -> None:
    """S23, S9: it doesn't wait for the delay, and doesn't come back."""
    one = Remote()
    async with open_pool() as (_, pool):
        handle = pool.run("one", one, backoff=LONG)
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


async def test_a_child_that_an_operator_keeps_stopped_can_be_thrown_out() -> None:
    """S23, S19: it keeps its name as long as it may come back, and no longer."""
    one = Remote()
    async with open_pool() as (_, pool):
        handle = pool.run("one", one)
        await handle.stop()
        assert len(pool) == 1
        await pool.stop("one")
        assert len(pool) == 0
        with pytest.raises(GaveUpError):
            await handle.restart()
        pool.run("one", one)
        await one.become_healthy()


# The end of a pool


async def test_a_pool_that_restarts_begins_empty(autojump_clock: MockClock) -> None:
    """S23, S10: it dies of a child that gives up; the others are stopped, the last first."""
    ended: list[tuple[str, float]] = []
    failing = Remote()
    metrics = InMemoryMetrics()

    async def end_slowly() -> None:
        supervisor.signal(Signal.HEALTHY)
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1.0)
            ended.append((supervisor.current_dn(), trio.current_time()))

    async with open_pool(metrics=metrics) as (tree, pool):
        handles = [pool.run(name, end_slowly) for name in ("one", "two")]
        pool.run("failing", failing, limit=ONCE)
        await failing.die()
        await wait_all_tasks_blocked()
        for name in ("one", "three"):
            with pytest.raises(RunError, match=r"the pool root\.pool is not HEALTHY, but DEAD"):
                pool.run(name, idle)
        with pytest.raises(RunError, match=r"the pool root\.pool is not HEALTHY, but DEAD"):
            await pool.stop("one")
        assert len(pool) == 0
        await pool.wait_healthy()
        assert autojump_clock.current_time() == 3.0
        assert ended == [("root.pool.two", 1.0), ("root.pool.one", 2.0)]
        assert [handle.state for handle in handles] == [GroupState.STOPPED] * 2
        for handle in handles:
            with pytest.raises(GaveUpError):
                await handle.restart()
        assert set(metrics.nodes()) == set(tree.snapshot().nodes) == {"root", "root.pool"}
        pool.run("one", idle)
        await wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root.pool.one"].incarnation == 1


async def test_a_stop_of_a_child_returns_when_its_pool_ends(autojump_clock: MockClock) -> None:
    """S23: the pool restarts meanwhile; the child's tasks are gone, and nothing hangs."""
    hanging, failing = Remote(), Remote()
    hanging.stop_slowly(2.0)
    async with open_pool() as (tree, pool):
        pool.run("hanging", hanging)
        await hanging.become_healthy()
        pool.run("failing", failing, limit=ONCE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.stop, "hanging")
            await wait_all_tasks_blocked()
            await failing.die()
        assert (hanging.running, autojump_clock.current_time()) == (0, 2.0)
        await pool.wait_healthy()
        assert list(tree.snapshot().nodes) == ["root", "root.pool"]


async def test_a_pool_that_is_being_stopped_takes_no_child(autojump_clock: MockClock) -> None:
    """S23, S6: neither from a child that ends, nor from outside; nothing has been started."""
    refused: list[str] = []

    async with open_pool() as (tree, pool):

        async def start_at_the_end() -> None:
            supervisor.signal(Signal.HEALTHY)
            try:
                await trio.sleep_forever()
            finally:
                with pytest.raises(RunError, match=r"root\.pool") as caught:
                    pool.run("late", idle)
                refused.append(str(caught.value))

        pool.run("one", start_at_the_end)
        await wait_all_tasks_blocked()
        await tree.stop()
        with pytest.raises(RunError, match=r"root\.pool"):
            pool.run("later", idle)
        with pytest.raises(RunError, match=r"root\.pool"):
            await pool.stop("one")
        assert list(tree.snapshot().nodes) == ["root", "root.pool", "root.pool.one"]
    assert len(refused) == 1
    assert autojump_clock.current_time() == 0.0


async def test_children_are_stopped_in_reverse_order_within_their_graces(
    autojump_clock: MockClock,
) -> None:
    """S23, S21: each is asked when the one that was started after it is gone."""
    asked: dict[str, float] = {}

    async def polite() -> None:
        supervisor.signal(Signal.HEALTHY)
        await supervisor.wait_stop_requested()
        asked[supervisor.current_dn()] = trio.current_time()
        await trio.sleep_forever()

    async with open_pool() as (tree, pool):
        for name in ("one", "two", "three"):
            pool.run(name, polite, grace=2.0)
        await wait_all_tasks_blocked()
        await tree.stop()
        assert asked == {"root.pool.three": 0.0, "root.pool.two": 2.0, "root.pool.one": 4.0}
        assert autojump_clock.current_time() == 6.0

"""Pools that restart, and pools that are stopped (S23)."""

from __future__ import annotations

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
    Pool,
    RestartLimit,
    RestartPolicy,
    RunError,
    Signal,
)
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import AT_ONCE
from ..helpers.loggers import dns_with_loggers
from ..helpers.runnables import idle
from ..helpers.trees import open_pool

if TYPE_CHECKING:
    from trio.testing import MockClock

ONCE = RestartLimit(0, within=1.0)
RETRIED = RestartPolicy.ON_FAILURE


async def test_a_pool_that_restarts_begins_empty(autojump_clock: MockClock) -> None:
    """S23, S10: it dies when a child gives up; the others are stopped, the last one first."""
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
        pool.run("failing", failing, restart=RETRIED, limit=ONCE)
        await failing.die()
        await wait_all_tasks_blocked()
        for name in ("one", "three"):
            with pytest.raises(RunError, match=r"the pool root\.pool is not HEALTHY, but DEAD"):
                pool.run(name, idle)
        with pytest.raises(RunError, match=r"the pool root\.pool is not HEALTHY, but DEAD"):
            await pool.stop("one")
        assert len(pool) == 2  # they clean up
        await pool.wait_healthy()
        assert len(pool) == 0
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


async def test_a_pool_that_waits_for_its_restart_has_no_children(
    autojump_clock: MockClock,
) -> None:
    """S23: those of its last incarnation are gone, and no more can be started."""
    pools: list[Pool] = []
    remote = Remote()

    async def root() -> None:
        pools.append(supervisor.run_pool("pool", backoff=Backoff(initial=5.0, jitter=0.0)))

    async with open_harness(root) as tree:
        await tree.wait_settled()
        pools[0].run("child", remote, restart=RETRIED, limit=RestartLimit(0, within=1.0))
        pools[0].run("other", idle)
        await remote.die()
        await trio.sleep(1.0)
        assert (pools[0].state.name, len(pools[0])) == ("BACKOFF", 0)
        with pytest.raises(RunError, match=r"the pool root\.pool is not HEALTHY, but DEAD"):
            pools[0].run("late", idle)
        with pytest.raises(RunError, match="not HEALTHY, but DEAD"):
            await pools[0].stop("other")
        await pools[0].wait_healthy()
        assert autojump_clock.current_time() == 5.0


async def test_a_pool_that_restarts_forgets_the_loggers_of_its_children() -> None:
    """S23: names in a pool are used once, so their loggers would add up."""
    pools: list[Pool] = []
    remote = Remote()

    async def root() -> None:
        pools.append(supervisor.run_pool("pool"))

    async def child() -> None:
        supervisor.sub_logger("part")
        await remote()

    async with open_harness(root, backoff=AT_ONCE) as tree:
        await tree.wait_settled()
        pools[0].run("forgotten", child, restart=RETRIED, limit=RestartLimit(0, within=1.0))
        await remote.die()
        await pools[0].wait_healthy()
        assert len(pools[0]) == 0
        assert not dns_with_loggers("root.pool.forgotten")


async def test_a_stop_of_a_child_returns_when_its_pool_ends(autojump_clock: MockClock) -> None:
    """S23: the pool restarts meanwhile; the child's tasks are gone, and the call returns."""
    hanging, failing = Remote(), Remote()
    hanging.stop_slowly(2.0)
    async with open_pool() as (tree, pool):
        pool.run("hanging", hanging)
        await hanging.become_healthy()
        pool.run("failing", failing, restart=RETRIED, limit=ONCE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.stop, "hanging")
            await wait_all_tasks_blocked()
            await failing.die()
        assert (hanging.running, autojump_clock.current_time()) == (0, 2.0)
        await pool.wait_healthy()
        assert list(tree.snapshot().nodes) == ["root", "root.pool"]


async def test_a_pool_that_is_being_stopped_takes_no_child(autojump_clock: MockClock) -> None:
    """S23, S6: neither a child that ends nor the body can start one."""
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


async def test_children_are_stopped_in_reverse_order_with_their_grace(
    autojump_clock: MockClock,
) -> None:
    """S23, S21: each is asked when the one started after it is gone."""
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

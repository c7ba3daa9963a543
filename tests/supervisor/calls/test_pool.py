"""Pools: how children come into one, and vanish when they are done (S23)."""

from __future__ import annotations

import contextlib
import contextvars
import gc
import logging
import sys
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import (
    Backoff,
    DuplicateNameError,
    GroupState,
    InMemoryMetrics,
    InvalidNameError,
    NodeState,
    NotSupervisedError,
    PoolFullError,
    RestartLimit,
    RunError,
    Signal,
)
from supervisor.testing import Remote, open_harness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

    from supervisor import Metrics, Pool, Supervisor

NEW, HEALTHY = NodeState.NEW, NodeState.HEALTHY
STEADY = Backoff(initial=1.0, factor=1.0, jitter=0.0)
ONCE = RestartLimit(0, within=1.0)


@contextlib.asynccontextmanager
async def open_pool(
    *,
    max_children: int | None = None,
    limit: RestartLimit | None = None,
    metrics: Metrics | None = None,
) -> AsyncIterator[tuple[Supervisor, Pool]]:
    """Run a tree with the pool ``root.pool``, until it is HEALTHY and beyond."""
    pools: list[Pool] = []

    async def root() -> None:
        pools.append(supervisor.run_pool("pool", max_children=max_children, limit=limit))

    async with open_harness(root, backoff=STEADY, metrics=metrics) as tree:
        await tree.wait_settled()
        yield tree, pools[0]


async def idle() -> None:
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


async def be_done() -> None:
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


def incarnations(tree: Supervisor) -> dict[str, int]:
    return {dn: node.incarnation for dn, node in tree.snapshot().nodes.items()}


def node_loggers() -> set[str]:
    """Return what standard logging keeps of nodes."""
    known = logging.Logger.manager.loggerDict
    return {name for name in known if name.startswith("supervisor.node.root.")}


# Coming


async def test_each_child_restarts_by_itself(autojump_clock: MockClock) -> None:
    """S23: children join a HEALTHY pool at any time, each in a group of its own."""
    first, second = Remote(), Remote()
    async with open_pool() as (tree, pool):
        pool.run("first", first)
        await first.become_healthy()
        handle = pool.run("second", second, backoff=Backoff(initial=7.0, jitter=0.0))
        await second.become_healthy()
        await second.die()
        await second.become_healthy()
        assert autojump_clock.current_time() == 7.0
        assert incarnations(tree) == {
            "root": 1, "root.pool": 1, "root.pool.first": 1, "root.pool.second": 2
        }  # fmt: skip
        assert handle.dn == "root.pool.second"
        groups = {dn: node.group.dn for dn, node in tree.snapshot().nodes.items()}
        assert all(dn == group for dn, group in groups.items())


async def test_any_task_of_the_run_may_start_a_child() -> None:
    """S23: another runnable, the body of open_supervisor() and a worker by way of from_thread."""
    pools: list[Pool] = []

    async def other() -> None:
        await pools[0].wait_healthy()
        pools[0].run("of_a_runnable", idle)
        await idle()

    async def root() -> None:
        pools.append(supervisor.run_pool("pool"))
        supervisor.run("other", other)

    async with open_harness(root) as tree:
        await tree.wait_settled()
        pools[0].run("of_the_body", idle)
        run = partial(pools[0].run, "of_a_thread", idle)
        await trio.to_thread.run_sync(trio.from_thread.run_sync, run)
        await wait_all_tasks_blocked()
        assert {dn for dn in tree.snapshot().nodes if dn.startswith("root.pool.")} == {
            "root.pool.of_a_runnable", "root.pool.of_the_body", "root.pool.of_a_thread"
        }  # fmt: skip


async def test_another_thread_is_refused() -> None:
    """S23: a thread of its own, or with a Trio of its own, changes nothing and is told so."""
    async with open_pool() as (_, pool):
        pool.run("child", idle)
        with pytest.raises(NotSupervisedError, match=r"run\(\) of the pool root\.pool was called"):
            await trio.to_thread.run_sync(pool.run, "other", idle)
        with pytest.raises(NotSupervisedError, match=r"stop\(\) of the pool root\.pool was called"):
            await trio.to_thread.run_sync(trio.run, pool.stop, "child")
        assert len(pool) == 1


async def test_a_child_has_the_context_and_not_the_scope_of_its_starter() -> None:
    """S23: context variables are the starter's; its cancel scope and its end don't matter."""
    colour = contextvars.ContextVar("colour", default="none")
    seen: list[str] = []

    async def child() -> None:
        seen.extend((colour.get(), supervisor.current_dn()))
        await idle()

    async with open_pool() as (tree, pool):

        async def start_and_end() -> None:
            colour.set("green")
            pool.run("child", child)
            await be_done()

        pool.run("starter", start_and_end)
        with trio.CancelScope() as scope:
            pool.run("of_a_scope", idle)
            scope.cancel()
            await trio.sleep_forever()
        await wait_all_tasks_blocked()
        assert seen == ["green", "root.pool.child"]
        states = {dn: node.state for dn, node in tree.snapshot().nodes.items()}
        assert states["root.pool.child"] is states["root.pool.of_a_scope"] is HEALTHY


async def test_a_bad_call_leaves_nothing_behind() -> None:
    """S23, S2: a name that is taken or has a wrong form, and wrong arguments, start nothing."""
    async with open_pool() as (tree, pool):
        with pytest.raises(InvalidNameError, match=r"invalid name 'a\.b' under root\.pool"):
            pool.run("a.b", idle)
        pool.run("taken", idle)
        with pytest.raises(DuplicateNameError, match=r"root\.pool\.taken exists already"):
            pool.run("taken", idle)
        with pytest.raises(TypeError, match=r"run\('child'\) got 42"):
            pool.run("child", 42)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"grace=-1 is not"):
            pool.run("child", idle, grace=-1)
        with pytest.raises(ValueError, match=r"start_timeout=0 is not"):
            pool.run("child", idle, start_timeout=0)
        await wait_all_tasks_blocked()
        assert list(tree.snapshot().nodes) == ["root", "root.pool", "root.pool.taken"]


async def test_a_full_pool_takes_a_child_when_another_is_done() -> None:
    """S23: over max_children there is a PoolFullError; those in backoff count, the done don't."""
    remote, dying = Remote(), Remote()
    async with open_pool(max_children=2) as (_, pool):
        pool.run("one", remote)
        pool.run("two", dying)
        with pytest.raises(PoolFullError, match=r"its 2 children, and 'three' has to wait"):
            pool.run("three", idle)
        await dying.die()
        await wait_all_tasks_blocked()
        with pytest.raises(PoolFullError):
            pool.run("three", idle)
        await remote.become_healthy()
        await remote.be_done()
        await wait_all_tasks_blocked()
        pool.run("three", idle)
        await pool.stop("two")
        pool.run("four", idle)
        assert len(pool) == 2


@pytest.mark.parametrize("max_children", [0, -1])
async def test_a_pool_of_nobody_is_refused(max_children: int) -> None:
    """S23: max_children is above 0, and nothing was started where it is not."""

    async def root() -> None:
        with pytest.raises(ValueError, match=rf"max_children={max_children} of the pool 'pool'"):
            supervisor.run_pool("pool", max_children=max_children)
        supervisor.run_pool("pool", max_children=1)

    async with open_harness(root) as tree:
        await tree.wait_settled()


async def test_a_pool_is_started_as_any_child() -> None:
    """S23, S6: by a runnable that is NEW, under a name that is free."""
    with pytest.raises(NotSupervisedError, match=r"supervisor\.run_pool\(\) was called outside"):
        supervisor.run_pool("pool")

    async def root() -> None:
        supervisor.run_pool("pool")
        with pytest.raises(DuplicateNameError):
            supervisor.run_pool("pool")
        supervisor.signal(Signal.HEALTHY)
        with pytest.raises(RunError, match="root can't start children when HEALTHY"):
            supervisor.run_pool("late")

    async with open_harness(root) as tree:
        await tree.wait_settled()
        assert list(tree.snapshot().nodes) == ["root", "root.pool"]


# Going


async def test_a_child_that_is_done_vanishes_with_its_subtree() -> None:
    """S23: only when the last below it is done; then node, metrics, loggers are gone, name free."""
    leaf = Remote()
    metrics = InMemoryMetrics()
    before = node_loggers()

    async def child() -> None:
        supervisor.run("leaf", leaf)
        supervisor.logger().debug("one logger")
        supervisor.sub_logger("http").debug("and one below it")
        await be_done()

    async with open_pool(metrics=metrics) as (tree, pool):
        here = set(metrics.nodes())
        handle = pool.run("child", child)
        await leaf.become_healthy()
        everything = here | {"root.pool.child", "root.pool.child.leaf"}
        assert set(metrics.nodes()) == set(tree.snapshot().nodes) == everything
        assert {f"supervisor.node.root.pool.child{end}" for end in ("", ".http")} <= node_loggers()
        await leaf.be_done()
        await wait_all_tasks_blocked()
        assert set(metrics.nodes()) == set(tree.snapshot().nodes) == here
        assert handle.state is GroupState.FINISHED
        # Of the pool's own DN logging keeps a place, like of any node's.
        assert node_loggers() - before <= {"supervisor.node.root.pool"}
        pool.run("child", idle)
        await wait_all_tasks_blocked()
        assert incarnations(tree)["root.pool.child"] == 1


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
            jobs = {name for name in node_loggers() if ".job" in name}
            assert jobs == {f"supervisor.node.root.service.pool.job{number}"}
            await service.die()
    assert autojump_clock.current_time() == 2.0


async def test_ten_thousand_jobs_leave_nothing_behind(autojump_clock: MockClock) -> None:
    """S23: no node, name, task, metric, logger or byte stays of jobs that are done."""
    metrics = InMemoryMetrics()

    async def job() -> None:
        supervisor.run("step", be_done)
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

    def kept() -> Counter[str]:
        """Count the objects of the kinds that a job is made of."""
        gc.collect()
        kinds = [type(each) for each in gc.get_objects()]
        ours = (kind for kind in kinds if kind.__module__.startswith(("supervisor.", "logging")))
        return Counter(kind.__qualname__ for kind in ours)

    async with open_pool(metrics=metrics) as (tree, pool):

        def left() -> list[object]:
            known = (set(tree.snapshot().nodes), set(metrics.nodes()), node_loggers())
            return [*known, trio.lowlevel.current_statistics().tasks_living, kept()]

        await work_off(pool, range(1_000))
        before = left()
        blocks = sys.getallocatedblocks()
        await work_off(pool, range(1_000, 10_000))
        assert left() == before
        # Of each job, not even the smallest object is kept.
        assert sys.getallocatedblocks() - blocks < 9_000
        assert len(pool) == 0
    assert autojump_clock.current_time() == 200.0

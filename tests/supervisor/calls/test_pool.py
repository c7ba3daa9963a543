"""Starting pools, and children in them (S23)."""

from __future__ import annotations

import contextvars
import threading
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import (
    Backoff,
    DuplicateNameError,
    InvalidNameError,
    NotSupervisedError,
    Pool,
    PoolFullError,
    RestartLimit,
    RestartPolicy,
    RunError,
    Signal,
)
from supervisor.testing import Remote, open_harness

from ..helpers.runnables import finish, idle
from ..helpers.transitions import HEALTHY
from ..helpers.trees import open_pool

ONCE = RestartLimit(0, within=1.0)


async def test_each_child_restarts_by_itself(autojump_clock: MockClock) -> None:
    """S23: children join a HEALTHY pool at any time, each in a group of its own."""
    first, second = Remote(), Remote()
    async with open_pool() as (tree, pool):
        pool.run("first", first)
        await first.become_healthy()
        handle = pool.run(
            "second",
            second,
            restart=RestartPolicy.ON_FAILURE,
            backoff=Backoff(initial=7.0, jitter=0.0),
        )
        await second.become_healthy()
        await second.die()
        await second.become_healthy()
        assert autojump_clock.current_time() == 7.0
        assert {dn: node.incarnation for dn, node in tree.snapshot().nodes.items()} == {
            "root": 1, "root.pool": 1, "root.pool.first": 1, "root.pool.second": 2
        }  # fmt: skip
        assert handle.dn == "root.pool.second"
        groups = {dn: node.group.dn for dn, node in tree.snapshot().nodes.items()}
        assert all(dn == group for dn, group in groups.items())


async def test_any_task_of_the_run_may_start_a_child() -> None:
    """S23: another runnable, the body of open_supervisor(), and a thread with from_thread."""
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
    """S23: a thread without Trio, or with a run of its own, changes nothing and gets an error."""
    async with open_pool() as (_, pool):
        pool.run("child", idle)
        with pytest.raises(NotSupervisedError, match=r"run\(\) of the pool root\.pool was called"):
            await trio.to_thread.run_sync(pool.run, "other", idle)
        with pytest.raises(NotSupervisedError, match=r"stop\(\) of the pool root\.pool was called"):
            await trio.to_thread.run_sync(trio.run, pool.stop, "child")
        assert len(pool) == 1


async def test_a_child_has_the_context_but_not_the_scope_of_its_starter() -> None:
    """S23: it finds the starter's context variables; the starter's scope and end don't matter."""
    colour = contextvars.ContextVar("colour", default="none")
    seen: list[str] = []

    async def child() -> None:
        seen.extend((colour.get(), supervisor.current_dn()))
        await idle()

    async with open_pool() as (tree, pool):

        async def start_and_end() -> None:
            colour.set("green")
            pool.run("child", child)
            await finish()

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
    """S23: PoolFullError above max_children; children in backoff count, DONE ones don't."""
    remote, dying = Remote(), Remote()
    async with open_pool(max_children=2) as (_, pool):
        pool.run("one", remote)
        pool.run("two", dying, restart=RestartPolicy.ON_FAILURE)
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
async def test_a_pool_without_room_is_refused(max_children: int) -> None:
    """S23: max_children is above 0, and nothing has been started where it is not."""

    async def root() -> None:
        with pytest.raises(ValueError, match=rf"max_children={max_children} is not a whole number"):
            supervisor.run_pool("pool", max_children=max_children)
        supervisor.run_pool("pool", max_children=1)

    async with open_harness(root) as tree:
        await tree.wait_settled()


async def test_a_pool_is_started_like_any_child() -> None:
    """S23, S6: by a runnable that is NEW, with a name that is free."""
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


async def test_a_plain_thread_is_refused() -> None:
    """S23: also a thread that neither Trio nor a runnable has started."""
    pools: list[Pool] = []
    errors: list[Exception] = []

    async def root() -> None:
        pools.append(supervisor.run_pool("pool"))

    def run() -> None:
        try:
            pools[0].run("child", idle)
        except NotSupervisedError as error:
            errors.append(error)

    async with open_harness(root) as tree:
        await tree.wait_settled()
        thread = threading.Thread(target=run)
        thread.start()
        await trio.to_thread.run_sync(thread.join)
        assert len(pools[0]) == 0
    (error,) = errors
    assert str(error).startswith("run() of the pool root.pool was called in another thread")


async def test_a_pool_shows_its_name_state_and_size() -> None:
    """S23: its repr() counts the children, and its state is that of its own group."""
    pools: list[Pool] = []

    async def root() -> None:
        pools.append(supervisor.run_pool("pool"))

    async with open_harness(root) as tree:
        await tree.wait_settled()
        pools[0].run("child", idle)
        assert repr(pools[0]) == "<Pool root.pool: 1 running, 0 done, 0 failed>"
        assert pools[0].state.name == "RUNNING"
    assert pools[0].state.name == "STOPPED"

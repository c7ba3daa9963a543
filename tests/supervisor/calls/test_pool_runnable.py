"""A pool as a runnable: its place in a group, slots, closing, draining, counts (S29)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import (
    GaveUpError,
    GroupState,
    NodeState,
    Pool,
    PoolFullError,
    PoolStatistics,
    RestartPolicy,
    RestartRequested,
    RunError,
    Signal,
    SignalError,
    open_supervisor,
)
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import AT_ONCE, LONG, STEADY
from ..helpers.runnables import finish, idle
from ..helpers.traces import check_that_cancelling_leaves_nothing
from ..helpers.trees import open_pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock


async def die() -> None:
    raise OSError("broken")


# Its place in a group


async def test_a_pool_takes_its_place_in_a_group() -> None:
    """S29, S7: it restarts with the other members, and begins empty."""
    clients = Pool(max_children=10)
    server = Remote()

    async def root() -> None:
        supervisor.run_group({"clients": clients, "server": server})

    async with open_harness(root, backoff=AT_ONCE) as tree:
        await server.become_healthy()
        clients.run("one", idle)
        await wait_all_tasks_blocked()
        assert list(tree.snapshot().nodes) == [
            "root", "root.clients", "root.clients.one", "root.server"
        ]  # fmt: skip
        assert (clients.dn, len(clients)) == ("root.clients", 1)
        await server.die()
        await server.become_healthy()
        await wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root.clients"].incarnation == 2
        assert len(clients) == 0
        clients.run("one", idle)
        assert clients.statistics() == PoolStatistics(
            max_children=10, running=1, done=0, failed=0, stopped=1
        )


async def test_a_pool_starts_in_the_order_of_its_group() -> None:
    """S29, S20: what is ordered after it finds it HEALTHY."""
    clients = Pool()
    states: list[NodeState] = []

    async def server() -> None:
        states.append(supervisor.current_supervisor().snapshot().nodes["root.clients"].state)
        clients.run(None, idle)
        await idle()

    async def root() -> None:
        supervisor.run_group({"clients": clients, "server": server}, ordered=True)

    async with open_harness(root) as tree:
        await tree.wait_ready()
    assert states == [NodeState.HEALTHY]


async def test_a_pool_uses_up_no_grace(autojump_clock: MockClock) -> None:
    """S29, S21: it ends at the stop request, and its children get their own grace."""
    pool = Pool()

    async def child() -> None:
        supervisor.signal(Signal.HEALTHY)
        await supervisor.wait_stop_requested()
        await trio.sleep(1.0)

    async def root() -> None:
        supervisor.run_group({"pool": pool}, grace=100.0)

    async with open_harness(root) as tree:
        await tree.wait_settled()
        pool.run("child", child, grace=5.0)
        await wait_all_tasks_blocked()
    assert autojump_clock.current_time() == 1.0


async def test_a_runnable_may_end_as_a_pool() -> None:
    """S29: a wrapper sets up and calls the pool, which has the wrapper's place."""
    pool = Pool()
    set_up: list[int] = []

    async def wrapper() -> None:
        set_up.append(1)
        await pool()

    async def root() -> None:
        supervisor.run("wrapped", wrapper)

    async with open_harness(root) as tree:
        await pool.wait_healthy()
        pool.run("one", idle)
        await tree.wait_ready("root.wrapped.one")
    assert set_up == [1]


async def test_a_pool_can_not_be_in_two_places() -> None:
    """S29: the error names the first."""
    pool = Pool()

    async def root() -> None:
        supervisor.run("one", pool)
        supervisor.run("two", pool, backoff=LONG)

    async with open_harness(root) as tree:
        await wait_all_tasks_blocked()
        nodes = tree.snapshot().nodes
        (name,) = [each for each in ("one", "two") if nodes[f"root.{each}"].crashes]
        (other,) = {"one", "two"} - {name}
        (crash,) = nodes[f"root.{name}"].crashes
        assert crash.error == (
            f"RunError: root.{name} is a Pool that runs as root.{other}: make one for each"
        )
        assert nodes[f"root.{other}"].state is NodeState.HEALTHY


async def test_a_pool_can_not_be_two_members_of_a_group() -> None:
    """S2, S29: the error names both, at the call."""
    pool = Pool()
    errors: list[str] = []

    async def root() -> None:
        with pytest.raises(RunError) as raised:
            supervisor.run_group({"one": pool, "two": pool})
        errors.append(str(raised.value))
        supervisor.run("one", pool)
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async with open_harness(root) as tree:
        await tree.wait_ready()
        assert errors == ["the members one and two are the same Pool: make one for each"]
        assert list(tree.snapshot().nodes) == ["root", "root.one"]


async def test_a_runnable_with_children_can_not_be_a_pool() -> None:
    """S29: children of the two kinds would end in different ways."""

    async def parent() -> None:
        supervisor.run("child", idle)
        await Pool()()

    async def root() -> None:
        supervisor.run("parent", parent, backoff=LONG)

    async with open_harness(root) as tree:
        await wait_all_tasks_blocked()
        (crash,) = tree.snapshot().nodes["root.parent"].crashes
        assert "root.parent has children, and can't be a Pool: start it as a child" in crash.error


async def test_a_runnable_can_not_be_two_pools() -> None:
    """S29: the children of one would be counted by the other."""
    errors: list[str] = []

    async def both() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first)
            await first.wait_healthy()
            with pytest.raises(RunError) as caught:
                await Pool()()
            errors.append(str(caught.value))

    async def root() -> None:
        supervisor.run("both", both)
        await idle()

    first = Pool(max_children=1)
    async with open_supervisor(root):
        await wait_all_tasks_blocked()
        assert errors == ["root.both is a Pool already: start each as a child of its own"]
        first.run("one", idle)
        assert len(first) == 1


async def test_a_runnable_that_has_signalled_done_can_not_be_a_pool() -> None:
    """S29: it would take no child, and end by a signal that is not legal."""
    errors: list[str] = []

    async def late() -> None:
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)
        with pytest.raises(SignalError) as caught:
            await Pool()()
        errors.append(str(caught.value))

    async def root() -> None:
        supervisor.run("late", late)
        await idle()

    async with open_supervisor(root) as tree:
        await wait_all_tasks_blocked()
        assert errors == ["root.late has signalled DONE, and can't be a Pool any more"]
        assert tree.snapshot().nodes["root.late"].state is NodeState.DONE


async def test_a_pool_that_was_not_started_says_so() -> None:
    """S29: whatever is asked of it."""
    pool = Pool()
    assert repr(pool) == "<Pool, not started>"
    assert len(pool) == 0
    message = r"this pool was not started: pass it to run_group\(\) or run\(\), or call run_pool"
    for use in (
        lambda: pool.dn,
        lambda: pool.state,
        lambda: pool.run("one", idle),
        pool.close,
    ):
        with pytest.raises(RunError, match=message):
            use()
    for wait in (pool.drain, partial(pool.stop, "one")):
        with pytest.raises(RunError, match=message):
            await wait()


async def test_a_wait_for_health_does_not_wait_for_the_rest_of_the_group() -> None:
    """S29: a member of the same group may wait for the pool, from before its start."""
    clients = Pool()

    async def server() -> None:
        await clients.wait_healthy()
        clients.run("one", idle)
        await idle()

    async def root() -> None:
        supervisor.run_group({"server": server, "clients": clients})

    async with open_harness(root) as tree:
        await tree.wait_ready("root.clients.one")


async def test_a_wait_for_health_of_a_stopped_pool_ends() -> None:
    """S29, S19: as soon as it can't happen any more."""
    pool = Pool()
    handles: list[supervisor.Handle] = []

    async def root() -> None:
        handles.append(supervisor.run("pool", pool))

    async with open_harness(root):
        await pool.wait_healthy()
        await handles[0].stop()
        with pytest.raises(GaveUpError, match=r"root\.pool will take no children"):
            await pool.wait_healthy()
        await handles[0].restart()
        await pool.wait_healthy()
        pool.close()
        with pytest.raises(GaveUpError):
            await pool.wait_healthy()


async def test_a_wait_for_a_pool_that_never_starts_ends_with_its_place(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S29, S20: its group is stopped before the turn of the pool has come."""
    pool = Pool()
    handles: list[supervisor.Handle] = []

    async def root() -> None:
        handles.append(
            supervisor.run_group({"never": trio.sleep_forever, "pool": pool}, ordered=True)
        )
        await idle()

    async def wait() -> None:
        with pytest.raises(GaveUpError, match=r"root\.pool will take no children: it was stopped$"):
            await pool.wait_healthy()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)  # it is known to no tree yet
        await wait_all_tasks_blocked()
        async with open_supervisor(root):
            await wait_all_tasks_blocked()
            for use in (partial(pool.run, "one", idle), pool.close):
                with pytest.raises(
                    RunError, match=r"the pool root\.pool has not started: await its"
                ):
                    use()
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            await handles[0].stop()
            with pytest.raises(GaveUpError):
                await pool.wait_for_slot()


async def test_waits_for_a_pool_end_with_its_parent() -> None:
    """S29: the parent makes another one when it starts again."""
    pools: list[Pool] = []
    parent = Remote()

    async def run_parent() -> None:
        pools.append(Pool(max_children=1))
        supervisor.run("pool", pools[-1])
        await parent()

    async def root() -> None:
        supervisor.run("parent", run_parent)
        await idle()

    async def wait_for(pool: Pool) -> None:
        with pytest.raises(GaveUpError, match=r"root\.parent\.pool will take no children: it is"):
            await pool.wait_for_slot()

    async with (
        open_supervisor(root, backoff=AT_ONCE),
        trio.open_nursery() as nursery,
    ):
        await parent.become_healthy()
        await pools[0].wait_healthy()
        pools[0].run(None, idle)
        nursery.start_soon(wait_for, pools[0])
        await wait_all_tasks_blocked()
        await parent.die()
        await parent.become_healthy()
        await pools[1].wait_healthy()
        await wait_for(pools[0])


async def test_waits_for_a_pool_end_that_its_group_has_replaced() -> None:
    """S29, S8: the function of the group has made another one, or none."""
    made: list[Pool] = []
    other = Remote()

    def group() -> dict[str, Remote | Pool]:
        if len(made) == 2:
            return {"other": other}
        made.append(Pool(max_children=1))
        return {"pool": made[-1], "other": other}

    async def root() -> None:
        supervisor.run_group(group)
        await idle()

    async def wait_for(pool: Pool) -> None:
        message = r"root\.pool will take no children: the function of its group has put something"
        with pytest.raises(GaveUpError, match=message):
            await pool.wait_for_slot()

    async with (
        open_supervisor(root, backoff=AT_ONCE),
        trio.open_nursery() as nursery,
    ):
        await other.become_healthy()
        for pool in (0, 1):
            await made[pool].wait_healthy()
            made[pool].run(None, idle)
            nursery.start_soon(wait_for, made[pool])
            await wait_all_tasks_blocked()
            await other.die()
            await other.become_healthy()
            await wait_all_tasks_blocked()
            await wait_for(made[pool])
            message = r"the pool root\.pool was replaced by the function of its group"
            for use in (partial(made[pool].run, "one", idle), made[pool].close):
                with pytest.raises(RunError, match=message):
                    use()


async def test_waits_for_a_pool_that_is_called_end_when_another_has_its_place() -> None:
    """S29, S8: the runnables that call the two have one name."""
    made: list[Pool] = []
    other = Remote()

    async def call(pool: Pool) -> None:
        await pool()

    def group() -> dict[str, Callable[[], Awaitable[object]]]:
        made.append(Pool(max_children=1))
        return {"pool": partial(call, made[-1]), "other": other}

    async def root() -> None:
        supervisor.run_group(group)
        await idle()

    async with open_supervisor(root, backoff=AT_ONCE):
        await other.become_healthy()
        await made[0].wait_healthy()
        await other.die()
        await other.become_healthy()
        await made[1].wait_healthy()
        with pytest.raises(GaveUpError, match="has put something else in its place"):
            await made[0].wait_healthy()


async def test_a_wait_for_a_pool_says_why_its_group_has_failed() -> None:
    """S29, S26: its policy is not to start again."""
    pool, other = Pool(), Remote()

    async def root() -> None:
        supervisor.run_group({"pool": pool, "other": other}, restart=RestartPolicy.NEVER)
        await idle()

    async with open_supervisor(root):
        await other.become_healthy()
        await other.die()
        await wait_all_tasks_blocked()
        with pytest.raises(GaveUpError, match=r"children: root\.other died, and its policy is not"):
            await pool.wait_healthy()


# Numbered children


async def test_children_without_a_name_are_numbered() -> None:
    """S29: numbers that are names already are left out, and none is used again."""
    async with open_pool() as (_, pool):
        pool.run("2", idle)
        names = [pool.run(None, finish).dn for _ in range(3)]
        assert names == ["root.pool.1", "root.pool.3", "root.pool.4"]
        await wait_all_tasks_blocked()
        assert pool.run(None, finish).dn == "root.pool.5"


# Slots


async def test_the_number_of_a_child_is_no_name_of_a_sub_logger() -> None:
    """S29, S2: that is taken."""
    pool = Pool()

    async def runnable() -> None:
        supervisor.sub_logger("1")
        await pool()

    async def root() -> None:
        supervisor.run("pool", runnable)
        await idle()

    async with open_supervisor(root):
        await pool.wait_healthy()
        assert pool.run(None, idle).dn == "root.pool.2"


async def test_a_wait_for_a_slot_returns_when_a_child_has_ended() -> None:
    """S29: and a run() that follows finds it free, however many others wait."""
    remotes = [Remote(), Remote()]
    started: list[str] = []

    async def wait_and_run(name: str) -> None:
        await pool.wait_for_slot()
        pool.run(name, idle)
        started.append(name)

    async with open_pool(max_children=2) as (_, pool), trio.open_nursery() as nursery:
        await pool.wait_for_slot()
        for remote in remotes:
            pool.run(None, remote)
            await remote.become_healthy()
        for name in ("one", "two", "three"):
            nursery.start_soon(wait_and_run, name)
        await wait_all_tasks_blocked()
        assert started == []
        await remotes[0].be_done()
        await wait_all_tasks_blocked()
        assert len(started) == 1
        with pytest.raises(PoolFullError, match=r"as by wait_for_slot\(\)"):
            pool.run("four", idle)
        await remotes[1].die()
        await wait_all_tasks_blocked()
        assert len(started) == 2
        await pool.stop(started[0])
        await wait_all_tasks_blocked()
        assert len(started) == 3


@pytest.mark.parametrize("how", ["close", "stop"])
async def test_a_wait_for_a_slot_ends_with_the_pool(how: str) -> None:
    """S29: as soon as there can be none any more."""
    async with open_pool(max_children=1) as (tree, pool), trio.open_nursery() as nursery:
        pool.run("one", idle)

        async def wait() -> None:
            with pytest.raises(GaveUpError, match=r"root\.pool will take no children"):
                await pool.wait_for_slot()

        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        if how == "close":
            pool.close()
        else:
            await tree.stop_node("root.pool")


async def test_a_wait_for_a_slot_lasts_through_start_and_restart() -> None:
    """S29: so a loop need not know when its pool begins."""
    pool, other = Pool(max_children=1), Remote()
    started: list[int] = []

    async def feed() -> None:
        while True:
            await pool.wait_for_slot()
            pool.run(None, idle)
            started.append(1)

    async def root() -> None:
        supervisor.run_group({"other": other, "pool": pool})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        await wait_all_tasks_blocked()
        async with open_harness(root, backoff=AT_ONCE):
            await other.become_healthy()
            await wait_all_tasks_blocked()
            assert len(started) == 1
            await other.die()
            await other.become_healthy()
            await wait_all_tasks_blocked()
            assert len(started) == 2
            nursery.cancel_scope.cancel()


# Closing


async def test_a_closed_pool_is_done_when_it_is_empty() -> None:
    """S29, S13: so a tree can finish."""

    async def root() -> None:
        pool = Pool()
        supervisor.run("pool", pool)
        supervisor.run("feeder", feed, pool)
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async def feed(pool: Pool) -> None:
        supervisor.signal(Signal.HEALTHY)
        await pool.wait_healthy()
        for _ in range(3):
            pool.run(None, finish)
        pool.close()
        with pytest.raises(RunError, match=r"the pool root\.pool is closed, and takes no more"):
            pool.run(None, finish)
        pool.close()
        supervisor.signal(Signal.DONE)

    await supervisor.supervise(root)


async def test_an_empty_pool_is_done_at_once_when_it_is_closed() -> None:
    """S29: with no child ever, too."""
    async with open_pool() as (tree, pool):
        pool.close()
        await wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root.pool"].state is NodeState.DONE
        assert pool.state is GroupState.FINISHED


async def test_a_pool_that_restarts_is_open_again() -> None:
    """S29: the one who closed it has restarted, too."""
    pool, other = Pool(), Remote()

    async def root() -> None:
        supervisor.run_group({"pool": pool, "other": other})

    async with open_harness(root, backoff=AT_ONCE):
        await other.become_healthy()
        pool.run("one", idle)
        pool.close()
        assert repr(pool) == "<Pool root.pool: 1 running, 0 done, 0 failed, closed>"
        await other.die()
        await other.become_healthy()
        await pool.wait_healthy()
        pool.run("one", idle)


async def test_a_wait_for_a_pool_that_was_closed_lasts_through_the_restart() -> None:
    """S29: the pool is open again, although it starts later than the member that waits."""
    clients = Pool()
    outcomes: list[str] = []

    async def server() -> None:
        supervisor.signal(Signal.HEALTHY)
        await clients.wait_for_slot()
        outcomes.append("a slot")
        if len(outcomes) == 1:
            await clients.drain()
            raise RestartRequested("to start afresh")
        await trio.sleep_forever()

    async def root() -> None:
        supervisor.run_group({"server": server, "clients": clients}, ordered=True, backoff=LONG)
        await idle()

    async with open_supervisor(root) as tree:
        await wait_all_tasks_blocked()
        assert outcomes == ["a slot", "a slot"]
        assert not tree.snapshot().nodes["root.server"].crashes


async def test_a_wait_for_a_closed_pool_lasts_through_the_stop_before_a_restart(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S29: it is not given up while the group stops and starts again."""
    clients = Pool()
    server = Remote()
    outcomes: list[str] = []

    async def wait() -> None:
        await clients.wait_healthy()
        outcomes.append("healthy")

    async def root() -> None:
        supervisor.run_group({"server": server, "clients": clients})

    async with open_harness(root, backoff=STEADY) as tree, trio.open_nursery() as nursery:
        await server.become_healthy()
        clients.close()
        await server.die()
        await wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root.server"].group.state is GroupState.BACKOFF
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        await server.become_healthy()
        await wait_all_tasks_blocked()
        assert outcomes == ["healthy"]


async def test_a_drain_returns_when_the_last_child_has_ended() -> None:
    """S29: and no child begins meanwhile."""
    remotes = [Remote(), Remote()]
    async with open_pool() as (tree, pool), trio.open_nursery() as nursery:
        for remote in remotes:
            pool.run(None, remote)
            await remote.become_healthy()
        drained = trio.Event()

        async def drain() -> None:
            await pool.drain()
            drained.set()

        nursery.start_soon(drain)
        await wait_all_tasks_blocked()
        with pytest.raises(RunError):
            pool.run(None, idle)
        await remotes[0].be_done()
        await wait_all_tasks_blocked()
        assert not drained.is_set()
        await remotes[1].die()
        await drained.wait()
        assert "root.pool.2" not in tree.snapshot().nodes


async def test_a_drain_ends_when_the_pool_is_stopped() -> None:
    """S29: its children are gone then."""
    async with open_pool() as (tree, pool), trio.open_nursery() as nursery:
        pool.run(None, idle)
        nursery.start_soon(pool.drain)
        await wait_all_tasks_blocked()
        await tree.stop_node("root.pool")


async def test_a_pool_can_be_closed_and_drained_while_it_stops(
    autojump_clock: MockClock,
) -> None:
    """S29: the drain lasts until its children are gone, not until its group has ended."""
    pool = Pool()

    async def stop_slowly(seconds: float) -> None:
        supervisor.signal(Signal.HEALTHY)
        await supervisor.wait_stop_requested()
        await trio.sleep(seconds)

    async def feed() -> None:
        await pool.wait_healthy()
        pool.run(None, stop_slowly, 2.0, grace=10.0)
        supervisor.signal(Signal.HEALTHY)
        await supervisor.wait_stop_requested()
        pool.close()
        await pool.drain()
        times.append(autojump_clock.current_time())
        await trio.sleep(5.0)

    async def root() -> None:
        supervisor.run_group({"pool": pool, "feed": feed}, grace=100.0)
        await idle()

    times: list[float] = []
    async with open_supervisor(root) as tree:
        await tree.wait_settled()
    assert (times, autojump_clock.current_time()) == ([2.0], 7.0)


@pytest.mark.parametrize("how", ["done", "stopped"])
async def test_a_pool_that_has_ended_is_closed_and_drained(how: str) -> None:
    """S29: it takes no children, and has none."""
    async with open_pool() as (tree, pool):
        if how == "done":
            pool.close()
        else:
            await tree.stop_node("root.pool")
        await wait_all_tasks_blocked()
        pool.close()
        await pool.drain()


async def test_a_pool_that_is_about_to_start_again_is_not_closed(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S29: it would be open then, and its tree would not finish."""
    pool, other = Pool(), Remote()

    async def root() -> None:
        supervisor.run_group({"pool": pool, "other": other}, backoff=STEADY, ordered=True)
        await idle()

    message = r"of the pool root\.pool, which has ended and is about to start again"
    async with open_supervisor(root):
        await other.become_healthy()
        await other.die()
        await wait_all_tasks_blocked()
        with pytest.raises(RunError, match=rf"close\(\) {message}"):
            pool.close()
        with pytest.raises(RunError, match=rf"drain\(\) {message}"):
            await pool.drain()
        await pool.wait_healthy()
        pool.run(None, idle)


async def test_a_child_can_not_drain_its_own_pool() -> None:
    """S29: neither can a node below it; the pool stays open."""
    errors: list[str] = []

    async def drain() -> None:
        with pytest.raises(RunError) as caught:
            await pool.drain()
        errors.append(str(caught.value))
        await idle()

    async def parent() -> None:
        supervisor.run("below", drain)
        await idle()

    async with open_pool() as (_, pool):
        pool.run("one", drain)
        pool.run("two", parent)
        await wait_all_tasks_blocked()
        assert sorted(errors) == [
            f"{dn} called drain() of its own pool root.pool, and would wait for its own end: "
            "call close(), or let a node outside of the pool wait"
            for dn in ("root.pool.one", "root.pool.two.below")
        ]
        pool.run("three", idle)


async def test_who_is_not_in_a_pool_can_drain_it() -> None:
    """S29: the runnable that calls the pool, and a child of another one."""
    drained: list[str] = []
    pool, inner = Pool(), Pool()

    async def drain(drained_pool: Pool) -> None:
        supervisor.signal(Signal.HEALTHY)
        await drained_pool.drain()
        drained.append(supervisor.current_dn())
        supervisor.signal(Signal.DONE)

    async def call() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(inner)
            await inner.wait_healthy()
            inner.run("one", drain, pool)
            await inner.drain()
            drained.append(supervisor.current_dn())

    async def root() -> None:
        supervisor.run("pool", pool)
        await pool.wait_healthy()
        supervisor.run("inner", call)
        await idle()

    async with open_supervisor(root):
        await wait_all_tasks_blocked()
        assert drained == ["root.inner.one", "root.inner"]


@pytest.mark.parametrize("after", [0.0, 1.0])
@pytest.mark.parametrize("name", ["drain", "wait_for_slot"])
async def test_a_cancelled_wait_leaves_nothing(
    name: str, after: float, autojump_clock: MockClock
) -> None:
    """S29: cancelled at the checkpoint or in the wait."""
    async with open_pool(max_children=1) as (_, pool):
        pool.run(None, idle)
        await check_that_cancelling_leaves_nothing(getattr(pool, name), after)
        assert autojump_clock.current_time() == after


@pytest.mark.parametrize("after", [0.0, 1.0])
@pytest.mark.parametrize("is_started", [False, True])
async def test_a_cancelled_wait_for_health_leaves_nothing(
    after: float,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
    *,
    is_started: bool,
) -> None:
    """S29: before the pool is started, or while it waits for its restart."""
    pool, dying = Pool(), Remote()

    async def root() -> None:
        supervisor.run_group({"pool": pool, "dying": dying}, backoff=LONG)

    async with open_harness(root):
        await dying.become_healthy()
        await dying.die()
        await wait_all_tasks_blocked()
        await check_that_cancelling_leaves_nothing(
            (pool if is_started else Pool()).wait_healthy, after
        )


# Counts


async def test_children_that_end_with_the_pool_run_until_they_have_ended(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S29: each child is in exactly one of the counts, also within its grace."""

    async def end_slowly(seconds: float) -> None:
        supervisor.signal(Signal.HEALTHY)
        await supervisor.wait_stop_requested()
        await trio.sleep(seconds)

    async with open_pool() as (tree, pool):
        for seconds in (3.0, 1.0):  # the last is stopped first
            pool.run(None, end_slowly, seconds, grace=10.0)
        await tree.wait_settled()
        counts: list[tuple[int, int]] = []
        tree.request_stop("a test")
        for pause in (0.5, 1.0, 3.0):
            await trio.sleep(pause)
            statistics = pool.statistics()
            assert len(pool) == statistics.running
            counts.append((statistics.running, statistics.stopped))
        assert counts == [(2, 0), (1, 1), (0, 2)]


@pytest.mark.parametrize("how", ["cancelled", "stopped"])
async def test_a_child_that_is_kept_stopped_is_counted_when_the_pool_ends(how: str) -> None:
    """S29, S12: nothing of it runs that could be stopped or cancelled."""
    pool = Pool()

    async def root() -> None:
        supervisors.append(supervisor.current_supervisor())
        supervisor.run("pool", pool)
        await idle()

    supervisors: list[supervisor.Supervisor] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.supervise, root)
        await pool.wait_healthy()
        handle = pool.run("kept", idle)
        pool.run("running", idle)
        await handle.stop()
        assert pool.statistics().running == 2
        if how == "stopped":
            await pool.stop("running")
            supervisors[0].request_stop("a test")
        else:
            nursery.cancel_scope.cancel()
    statistics = pool.statistics()
    assert (statistics.running, statistics.stopped) == (0, 2)


async def test_what_has_become_of_children_is_counted() -> None:
    """S29: by how they ended, not by how often they died."""
    async with open_pool() as (_, pool):
        for _ in range(3):
            pool.run(None, finish)
        for _ in range(2):
            pool.run(None, die)
        pool.run("again", die, restart=RestartPolicy.ON_FAILURE, backoff=LONG)
        pool.run("stopped", idle)
        await wait_all_tasks_blocked()
        await pool.stop("stopped")
        assert pool.statistics() == PoolStatistics(
            max_children=None, running=1, done=3, failed=2, stopped=1
        )
        assert repr(pool) == "<Pool root.pool: 1 running, 3 done, 2 failed>"


async def test_tasks_of_a_pool_do_not_add_up() -> None:
    """S29: 10 000 children, of which every second one dies, leave nothing in the tree."""
    async with open_pool(max_children=100) as (tree, pool):
        for number in range(10_000):
            await pool.wait_for_slot()
            pool.run(None, die if number % 2 else finish)
        await pool.drain()
        await wait_all_tasks_blocked()
        assert list(tree.snapshot().nodes) == ["root", "root.pool"]
        assert tree.snapshot().nodes["root.pool"].incarnation == 1
        assert pool.statistics() == PoolStatistics(
            max_children=100, running=0, done=5_000, failed=5_000, stopped=0
        )

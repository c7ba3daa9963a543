"""What becomes of places and loggers of members that change with their group or their pool."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NoReturn

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, Pool, RestartLimit, RunError, Signal, UnknownNameError
from supervisor.testing import Remote, open_harness

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

    from supervisor import NodeState

AT_ONCE = Backoff(initial=0.0)


async def idle() -> None:
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


def has_logger(dn: str) -> bool:
    """Return whether somebody has asked for the logger of a node, who may have set it up."""
    return f"supervisor.node.{dn}" in logging.Logger.manager.loggerDict


async def test_new_members_take_the_place_of_the_old_ones() -> None:
    """S8, S21: a group that changes its members is still stopped in its turn."""
    ended = []
    remote = Remote()

    async def noting() -> None:
        try:
            await idle()
        finally:
            ended.append(supervisor.current_dn())

    rounds: list[dict[str, Callable[[], Awaitable[object]]]]
    rounds = [{"new": noting, "newer": noting}, {"old": remote}]

    async def root() -> None:
        supervisor.run("before", noting)
        supervisor.run_group(rounds.pop)
        supervisor.run("after", noting)

    async with open_harness(root, backoff=AT_ONCE) as tree:
        await remote.die()
        await wait_all_tasks_blocked()
        assert list(tree.snapshot().nodes) == [
            "root",
            "root.before",
            "root.new",
            "root.newer",
            "root.after",
        ]
    assert (ended[0], set(ended[1:3]), ended[3]) == (
        "root.after",
        {"root.new", "root.newer"},
        "root.before",
    )


async def test_a_member_that_never_came_does_not_vanish() -> None:
    """S16, S20: metrics hear nothing of one that was replaced before its turn."""
    seen, gone = set(), set()

    class Metrics:
        def notify_node_state(self, dn: str, _: NodeState) -> None:
            seen.add(dn)

        def notify_node_gone(self, dn: str) -> None:
            gone.add(dn)

    async def crash() -> NoReturn:
        raise OSError

    rounds = [{"first": idle, "other": idle}, {"first": crash, "waiting": idle}]

    async def root() -> None:
        supervisor.run_group(rounds.pop, ordered=True)

    async with open_harness(root, backoff=AT_ONCE, metrics=Metrics()) as tree:
        await tree.wait_ready("root.other")
    assert (seen, gone) == ({"root", "root.first", "root.other"}, set())


async def test_a_function_that_ends_the_set_up_gets_no_group() -> None:
    """S6, S8: it is a user's code, after which HEALTHY has to be asked for again."""
    errors = []

    def members() -> dict[str, Callable[[], Awaitable[object]]]:
        supervisor.signal(Signal.HEALTHY)
        return {"child": idle}

    async def root() -> None:
        with pytest.raises(RunError) as caught:
            supervisor.run_group(members)
        errors.append(str(caught.value))
        await trio.sleep_forever()

    async with open_harness(root) as tree:
        await tree.wait_settled()
        assert list(tree.snapshot().nodes) == ["root"]
    (error,) = errors
    assert error.startswith("root can't start children when HEALTHY")


async def test_a_function_may_start_other_children() -> None:
    """S8: those that it starts come before the group's, and all end with their parent."""
    starts = []

    async def noting() -> None:
        starts.append(supervisor.current_dn())
        await idle()

    def members() -> dict[str, Callable[[], Awaitable[object]]]:
        supervisor.run("helper", noting)
        return {"child": noting}

    async def root() -> None:
        supervisor.run_group(members)
        await idle()

    async with open_harness(root) as tree:
        await tree.wait_ready()
        assert list(tree.snapshot().nodes) == ["root", "root.helper", "root.child"]
        await wait_all_tasks_blocked()
        assert sorted(starts) == ["root.child", "root.helper"]


async def test_a_pool_that_restarts_forgets_the_loggers_of_its_children() -> None:
    """S23: names in a pool are used once; what logging keeps of them would pile up."""
    pools: list[Pool] = []
    remote = Remote()

    async def root() -> None:
        pools.append(supervisor.run_pool("pool"))

    async def child() -> None:
        supervisor.sub_logger("part")
        await remote()

    async with open_harness(root, backoff=AT_ONCE) as tree:
        await tree.wait_settled()
        pools[0].run("child", child, limit=RestartLimit(0, within=1.0))
        await remote.die()
        await pools[0].wait_healthy()
        assert len(pools[0]) == 0
        assert not has_logger("root.pool.child")
        assert not has_logger("root.pool.child.part")


async def test_other_nodes_keep_their_loggers_through_restarts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S17: a level that was set for a node holds for its next incarnation."""
    caplog.set_level(logging.DEBUG, "supervisor.node.root.parent.child")
    child, parent = Remote(), Remote()

    async def family() -> None:
        supervisor.run("child", child)
        await parent()

    async def root() -> None:
        supervisor.run("parent", family)

    async with open_harness(root, backoff=AT_ONCE):
        await child.become_healthy()
        await parent.die()
        await wait_all_tasks_blocked()
        await child.become_healthy()
        logger = logging.getLogger("supervisor.node.root.parent.child")
        assert logger.level == logging.DEBUG


async def test_a_pool_that_waits_for_its_restart_has_no_children(
    autojump_clock: MockClock,
) -> None:
    """S23: a pool begins empty; those of its last incarnation are gone, and no more come."""
    pools: list[Pool] = []
    remote = Remote()

    async def root() -> None:
        pools.append(supervisor.run_pool("pool", backoff=Backoff(initial=5.0, jitter=0.0)))

    async with open_harness(root) as tree:
        await tree.wait_settled()
        pools[0].run("child", remote, limit=RestartLimit(0, within=1.0))
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


async def test_a_pool_lets_a_child_go_that_was_kept_stopped() -> None:
    """S19, S23: stopped by its handle it stays, and stopped by the pool it vanishes."""
    pools: list[Pool] = []

    async def root() -> None:
        pools.append(supervisor.run_pool("pool", max_children=1))

    async with open_harness(root) as tree:
        await tree.wait_settled()
        handle = pools[0].run("child", idle)
        await tree.wait_settled()
        await handle.stop()
        assert "root.pool.child" in tree.snapshot().nodes
        await pools[0].stop("child")
        assert "root.pool.child" not in tree.snapshot().nodes
        pools[0].run("child", idle)


@pytest.mark.parametrize("seconds", [0.0, 1.0])
async def test_a_cancelled_stop_of_a_child_takes_place(
    autojump_clock: MockClock, seconds: float
) -> None:
    """S23: cancelled at its checkpoint or in its wait, it leaves nothing, and the child ends."""
    pools: list[Pool] = []
    remote = Remote()
    remote.stop_slowly(5.0)

    async def root() -> None:
        pools.append(supervisor.run_pool("pool"))

    async with open_harness(root) as tree:
        await tree.wait_settled()
        handle = pools[0].run("child", remote)
        await remote.become_healthy()
        with trio.move_on_after(seconds) as scope:
            await pools[0].stop("child")
        assert scope.cancelled_caught
        assert autojump_clock.current_time() == seconds
        assert not handle._group.changed
        await trio.sleep(6.0)
        assert len(pools[0]) == remote.running == 0
        with pytest.raises(UnknownNameError):
            await pools[0].stop("child")


async def test_a_pool_tells_its_name_state_and_size() -> None:
    """S23: its repr() counts the children, and its state is that of its own group."""
    pools: list[Pool] = []

    async def root() -> None:
        pools.append(supervisor.run_pool("pool"))

    async with open_harness(root) as tree:
        await tree.wait_settled()
        pools[0].run("child", idle)
        assert repr(pools[0]) == "<Pool root.pool of 1 children>"
        assert pools[0].state.name == "RUNNING"
    assert pools[0].state.name == "STOPPED"

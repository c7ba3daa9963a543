"""Whether a subtree is ready (S25)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import GroupState, Handle, NodeState, Signal, open_supervisor
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import STEADY
from ..helpers.runnables import finish, idle, start
from ..helpers.stop_times import StopTimes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock


async def end_late() -> None:
    """Take a second to end when a stop is requested."""
    supervisor.signal(Signal.HEALTHY)
    await supervisor.wait_stop_requested()
    await trio.sleep(1.0)


async def test_a_node_is_ready_when_healthy_or_done(autojump_clock: MockClock) -> None:
    """S25: not when NEW, not when DEAD or in backoff, and not when NEW again."""
    remote = Remote()
    seen: list[tuple[float, NodeState, bool]] = []
    async with open_harness(start, supervisor.run, "node", remote, backoff=STEADY) as tree:

        async def look() -> None:
            await wait_all_tasks_blocked()
            state = tree.snapshot().nodes["root.node"].state
            assert tree.ready("root.node") is tree.ready()
            seen.append((autojump_clock.current_time(), state, tree.ready()))

        await look()
        await remote.become_healthy()
        await look()
        await remote.die()
        await look()
        await trio.sleep(1.5)
        await look()
        await remote.become_healthy()
        await remote.be_done()
        await look()
    assert seen == [
        (0.0, NodeState.NEW, False),
        (0.0, NodeState.HEALTHY, True),
        (0.0, NodeState.DEAD, False),
        (1.5, NodeState.NEW, False),
        (1.5, NodeState.DONE, True),
    ]


async def test_a_subtree_is_ready_when_each_of_its_nodes_is() -> None:
    """S25: a node that is not ready counts for those above it, and for no others."""
    leaf = Remote()

    async def middle() -> None:
        supervisor.run("leaf", leaf)
        supervisor.run("other", idle)
        await finish()

    async def root() -> None:
        supervisor.run("middle", middle)
        supervisor.run("beside", idle)

    async with open_harness(root) as tree:
        await wait_all_tasks_blocked()
        dns = list(tree.snapshot().nodes)
        assert {dn for dn in dns if tree.ready(dn)} == {"root.beside", "root.middle.other"}
        await leaf.become_healthy()
        await wait_all_tasks_blocked()
        assert all(tree.ready(dn) for dn in dns)


@pytest.mark.parametrize("dn", ["root.nobody", "root.node.nobody"])
async def test_a_node_that_does_not_exist_is_not_ready(dn: str) -> None:
    """S25: its DN is no error, since it may exist later."""
    async with open_harness(start, supervisor.run, "node", idle) as tree:
        await tree.wait_settled()
        assert tree.ready()
        assert not tree.ready(dn)


async def test_a_finished_tree_is_ready() -> None:
    """S25: DONE counts as ready, also when no task runs any more."""
    async with supervisor.open_supervisor(finish) as tree:
        await wait_all_tasks_blocked()
        assert repr(tree) == "<Supervisor FINISHED>"
        assert tree.ready()
        await tree.wait_ready()


@pytest.mark.parametrize("stopped", ["root", "root.above", "root.above.node", "restart"])
async def test_nothing_is_ready_once_its_stop_is_requested(
    stopped: str, autojump_clock: MockClock
) -> None:
    """S25, S21: a stop of the node, an ancestor or the tree; though it is HEALTHY in its grace."""
    handles: dict[str, Handle] = {}

    async def above() -> None:
        handles["root.above.node"] = supervisor.run("node", end_late, grace=10.0)
        await finish()

    async def root() -> None:
        handles["root.above"] = supervisor.run("above", above)
        supervisor.run("beside", idle)

    async with open_harness(root) as tree:
        await tree.wait_settled()
        assert tree.ready()
        async with trio.open_nursery() as nursery:
            stop: Callable[[], Awaitable[None]]
            if stopped == "root":
                stop = tree.stop
            elif stopped == "restart":
                stop = handles["root.above.node"].restart
            else:
                stop = handles[stopped].stop
            nursery.start_soon(stop)
            await wait_all_tasks_blocked()
            assert tree.snapshot().nodes["root.above.node"].state is NodeState.HEALTHY
            for dn in ("root.above.node", "root.above", "root"):
                assert not tree.ready(dn)
            assert tree.ready("root.beside") is (stopped != "root")
        assert autojump_clock.current_time() == 1.0
        await wait_all_tasks_blocked()
        # Only what was restarted is ready again: what was stopped is missed.
        assert tree.ready() is (stopped == "restart")


async def test_a_subtree_with_a_stopped_node_is_not_ready() -> None:
    """S25, S19: until an operator restarts the node."""
    handles: list[Handle] = []

    async def root() -> None:
        handles.append(supervisor.run("node", idle))

    async with open_harness(root) as tree:
        await tree.wait_settled()
        await handles[0].stop()
        assert not tree.ready("root.node")
        assert not tree.ready()
        await handles[0].restart()
        await tree.wait_ready()
        assert tree.ready()


async def test_nothing_is_ready_when_the_tree_is_cancelled() -> None:
    """S25, S12: from the cancellation on, before any task has seen it."""
    with trio.CancelScope() as scope:
        async with open_harness(start, supervisor.run, "node", idle) as tree:
            await tree.wait_settled()
            assert tree.ready()
            scope.cancel()
            assert not tree.ready("root.node")
            assert not tree.ready()


async def test_a_member_waits_for_its_siblings_restart(autojump_clock: MockClock) -> None:
    """S25, S7: while its group is stopped and in backoff, no member is ready, DONE or not."""
    failing = Remote()
    group = {"failing": failing, "done": finish}
    async with open_harness(start, supervisor.run_group, group, backoff=STEADY) as tree:
        await failing.become_healthy()
        await tree.wait_ready()
        await failing.die()
        await wait_all_tasks_blocked()
        done = tree.snapshot().nodes["root.done"]
        assert (done.state, done.group.state) == (NodeState.DONE, GroupState.BACKOFF)
        assert not tree.ready("root.done")
        await trio.sleep(1.5)
        assert tree.ready("root.done")
        assert autojump_clock.current_time() == 1.5


async def test_an_ordered_group_is_not_ready_before_its_last_member(
    autojump_clock: MockClock,
) -> None:
    """S25, S20: a member that has not started is not ready, in later rounds as in the first."""
    first = Remote()
    group = {"first": first, "second": finish}
    run = partial(supervisor.run_group, ordered=True)
    async with open_harness(start, run, group, backoff=STEADY) as tree:
        for _ in range(3):
            await trio.sleep(1.5)
            assert tree.snapshot().nodes["root.first"].state is NodeState.NEW
            assert (tree.ready(), tree.ready("root.second")) == (False, False)
            await first.become_healthy()
            await tree.wait_ready()
            nodes = tree.snapshot().nodes
            assert nodes["root.second"].incarnation == nodes["root.first"].incarnation
            await first.die()
    assert autojump_clock.current_time() == 4.5


async def test_nothing_is_ready_below_a_member_that_waits_for_its_turn(
    autojump_clock: MockClock,
) -> None:
    """S25, S20: its children are those of its last incarnation, and will be removed."""
    first, second = Remote(), Remote()

    async def parent() -> None:
        supervisor.run("job", finish)
        await second()

    group = {"first": first, "second": parent}
    run = partial(supervisor.run_group, ordered=True)
    async with open_harness(start, run, group, backoff=STEADY) as tree:
        await first.become_healthy()
        await second.become_healthy()
        await tree.wait_ready("root.second.job")
        await first.die()
        await trio.sleep(1.0)
        await wait_all_tasks_blocked()
        nodes = tree.snapshot().nodes
        assert nodes["root.second.job"].state is NodeState.DONE
        assert nodes["root.first"].group.state is GroupState.RUNNING
        assert not tree.ready("root.second.job")
    assert autojump_clock.current_time() == 1.0


async def test_nothing_below_a_stop_is_ready_though_healthy(autojump_clock: MockClock) -> None:
    """S21, S25: a node that has not been asked itself is HEALTHY, and not ready any more."""
    dns = ("root", "root.child", "root.child.leaf")
    handles: list[Handle] = []

    async def child() -> None:
        supervisor.run("leaf", idle)
        await StopTimes().stay()

    async def root() -> None:
        handles.append(supervisor.run("child", child, grace=3.0))
        await StopTimes().stay()

    async with open_supervisor(root, grace=5.0) as tree, trio.open_nursery() as nursery:
        await tree.wait_ready()
        nursery.start_soon(handles[0].stop)
        await wait_all_tasks_blocked()
        assert [tree.ready(dn) for dn in dns] == [False, False, False]
        assert tree.snapshot().nodes["root.child.leaf"].state is NodeState.HEALTHY
        await handles[0].restart()
        await tree.wait_ready()
        nursery.start_soon(tree.stop)
        await wait_all_tasks_blocked()
        assert [tree.ready(dn) for dn in dns] == [False, False, False]
        states = [tree.snapshot().nodes[dn].state for dn in dns]
        assert states == [NodeState.HEALTHY] * 3
        assert autojump_clock.current_time() == 3.0

"""The members of a group stop, wait and start together (S7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import GroupState, NodeState, Signal
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import AT_ONCE, DOUBLING
from ..helpers.runnables import idle, start
from ..helpers.transitions import TimedTransitions

if TYPE_CHECKING:
    from trio.testing import MockClock


@pytest.mark.parametrize("state", [NodeState.NEW, NodeState.HEALTHY, NodeState.DONE])
async def test_sibling_of_a_failed_member_restarts_in_any_state(
    state: NodeState, autojump_clock: MockClock
) -> None:
    """S7: when a member dies, every other one starts again, those already DONE included."""
    failing = Remote()
    starts = []

    async def sibling() -> None:
        starts.append(autojump_clock.current_time())
        if state is not NodeState.NEW:
            supervisor.signal(Signal.HEALTHY)
        if state is NodeState.DONE:
            supervisor.signal(Signal.DONE)
        else:
            await trio.sleep_forever()

    group = {"sibling": sibling, "failing": failing}
    async with open_harness(start, supervisor.run_group, group, backoff=DOUBLING) as tree:
        await wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root.sibling"].state is state
        await failing.die()
        await failing.become_healthy()
        await wait_all_tasks_blocked()
        assert starts == [0.0, 1.0]
        assert tree.snapshot().nodes["root.sibling"].state is state


async def test_all_start_in_order_when_the_slowest_subtree_is_gone(
    autojump_clock: MockClock,
) -> None:
    """S7: each member's whole subtree ends, then comes the backoff, then all start in order."""
    failing, slow = Remote(), Remote()
    slow.stop_slowly(4.0)
    transitions = TimedTransitions()

    async def above_slow() -> None:
        supervisor.run("slow", slow)
        await idle()

    group = {"quick": idle, "failing": failing, "above": above_slow, "again": idle}
    async with open_harness(
        start, supervisor.run_group, group, backoff=DOUBLING, metrics=transitions
    ) as tree:
        await slow.become_healthy()
        await failing.die()
        await trio.sleep(3.0)
        assert tree.snapshot().nodes["root.quick"].group.state is GroupState.STOPPING
        assert (slow.running, failing.running) == (1, 0)
        await failing.become_healthy()
        assert autojump_clock.current_time() == 5.0
    starts = [(time, name) for time, name in transitions.starts if name in group]
    assert starts == [(time, name) for time in (0.0, 5.0) for name in group]


async def test_children_outlive_the_return_of_a_done_runnable() -> None:
    """S6: they end with its incarnation: here when its sibling dies and the group restarts."""
    leaf, sibling, starts = Remote(), Remote(), 0

    async def parent() -> None:
        nonlocal starts
        starts += 1
        supervisor.run("leaf", leaf)
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async def root() -> None:
        supervisor.run_group({"parent": parent, "sibling": sibling}, backoff=AT_ONCE)
        await idle()

    async with open_harness(root) as tree:
        await leaf.become_healthy()
        await sibling.become_healthy()
        assert tree.snapshot().nodes["root.parent"].state is NodeState.DONE
        assert leaf.running == 1
        leaf.hang()
        await sibling.die()
        await wait_all_tasks_blocked()
        assert (leaf.running, starts) == (1, 1)  # the next incarnation waits for the leaf
        leaf.release()
        await leaf.become_healthy()
        assert (leaf.incarnations, leaf.running, starts) == (2, 1, 2)

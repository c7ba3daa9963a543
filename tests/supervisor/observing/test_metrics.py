"""What metrics are told, and when (S16)."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import InMemoryMetrics, NodeState
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import AT_ONCE, LONG
from ..helpers.family import PARENT, A, B, Family
from ..helpers.runnables import idle, start, start_and_idle
from ..helpers.transitions import CANCELED, DEAD, DONE, HEALTHY, NEW, Transitions


async def test_metrics_see_every_transition_in_order_to_the_end_of_the_shutdown() -> None:
    """S16: called synchronously and in order, from the root's first NEW to the last CANCELED."""
    transitions, family = Transitions(), Family()
    async with supervisor.open_supervisor(family, metrics=transitions, backoff=AT_ONCE):
        await family.become_healthy()
        started = transitions.take()
        await family.a.die()
        await family.a.become_healthy()
        await family.b.become_healthy()
        restarted = transitions.take()
    stopped = transitions.take()
    assert started[:3] == [("root", NEW), (PARENT, NEW), ("root", HEALTHY)]
    assert started[3:] == [(A, NEW), (B, NEW), (PARENT, HEALTHY), (A, HEALTHY), (B, HEALTHY)]
    assert restarted == [
        (A, DEAD),
        (B, CANCELED),
        (A, NEW),
        (B, NEW),
        (A, HEALTHY),
        (B, HEALTHY),
    ]
    assert stopped[:2] == [("root", CANCELED), (PARENT, CANCELED)]
    # Members of one group are stopped side by side.
    assert sorted(stopped[2:]) == [(A, CANCELED), (B, CANCELED)]


async def test_nodes_are_gone_when_their_parent_starts_again() -> None:
    """S16: notify_node_gone() comes after a node's last state and before its parent's NEW."""
    transitions, family = Transitions(), Family()
    async with supervisor.open_supervisor(family, metrics=transitions, backoff=AT_ONCE):
        await family.become_healthy()
        transitions.take()
        await family.parent.die()
        await family.parent.become_healthy()
        seen = transitions.take()
    assert seen[0] == (PARENT, DEAD)
    assert sorted(seen[1:3]) == [(A, CANCELED), (B, CANCELED)]
    assert seen[3:] == [
        (A, None),
        (B, None),
        (PARENT, NEW),
        (A, NEW),
        (B, NEW),
        (PARENT, HEALTHY),
    ]


async def test_a_node_that_waits_for_its_restart_is_not_gone() -> None:
    """S16: during the backoff the dead node and those below it keep their last states."""
    metrics, family = InMemoryMetrics(), Family()
    async with supervisor.open_supervisor(family, metrics=metrics, backoff=LONG) as tree:
        await family.become_healthy()
        await family.parent.die()
        await wait_all_tasks_blocked()
        states = {dn: status.state for dn, status in metrics.nodes().items()}
        assert states == {"root": HEALTHY, PARENT: DEAD, A: CANCELED, B: CANCELED}
        assert tree.snapshot().nodes.keys() == states.keys()


async def test_the_states_that_a_tree_ends_with_are_kept() -> None:
    """S16: after the end no node is gone; DONE and CANCELED differ from DEAD."""
    metrics, family = InMemoryMetrics(), Family()
    async with supervisor.open_supervisor(family, metrics=metrics) as tree:
        await family.become_healthy()
        await family.parent.be_done()
        await wait_all_tasks_blocked()
    states = {dn: status.state for dn, status in metrics.nodes().items()}
    assert states == {"root": CANCELED, PARENT: DONE, A: CANCELED, B: CANCELED}
    assert {dn: node.state for dn, node in tree.snapshot().nodes.items()} == states


async def test_in_memory_metrics_show_states_and_since_when(autojump_clock: MockClock) -> None:
    """S16: nodes() is an immutable copy, which a worker thread may take as well."""
    metrics, remote = InMemoryMetrics(), Remote()
    async with open_harness(start, supervisor.run, "child", remote, metrics=metrics):
        await trio.sleep(3.0)
        before = metrics.nodes()
        await remote.become_healthy()
        now = autojump_clock.current_time()
        child = (await trio.to_thread.run_sync(metrics.nodes))["root.child"]
        assert (child.state, child.since) == (HEALTHY, now)
        assert (before["root.child"].state, before["root.child"].since) == (NEW, 0.0)
        with pytest.raises(TypeError):
            before["root.child"] = child  # type: ignore[index]
        assert repr(metrics) == "<InMemoryMetrics of 2 nodes>"


async def test_in_memory_metrics_forget_nodes_that_are_gone() -> None:
    """S16: such as a child that the next incarnation of its parent does not start."""
    metrics, remote, names = InMemoryMetrics(), Remote(), iter(["old", "new"])

    async def parent() -> None:
        supervisor.run(next(names), idle)
        await remote()

    async with open_harness(
        start, supervisor.run, "parent", parent, metrics=metrics, backoff=AT_ONCE
    ):
        await remote.die()
        await remote.become_healthy()
        assert metrics.nodes().keys() == {"root", PARENT, "root.parent.new"}


async def test_metrics_may_look_at_the_tree() -> None:
    """S16: a snapshot taken in a notification shows the transition that it is told of."""
    trees: list[supervisor.Supervisor] = []
    seen = []

    class Looking:
        def notify_node_state(self, dn: str, state: NodeState) -> None:
            for tree in trees:
                nodes = tree.snapshot().nodes
                assert nodes[dn].state is state
                seen.append((dn, len(nodes), tree.ready()))

        def notify_node_gone(self, dn: str) -> None:
            seen.append((dn, 0, trees[0].ready()))

    remote = Remote()

    async def parent() -> None:
        supervisor.run("child", idle)
        await remote()

    async with open_harness(
        start_and_idle, supervisor.run, "parent", parent, metrics=Looking(), backoff=AT_ONCE
    ) as tree:
        trees.append(tree)
        await remote.become_healthy()
        await tree.wait_ready()
        await remote.die()
        await wait_all_tasks_blocked()
        assert ("root.parent.child", 0, False) in seen
        trees.clear()
    assert ("root.parent.child", 3, True) in seen
    assert ("root.parent", 3, False) in seen

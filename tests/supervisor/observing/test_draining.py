"""A tree that will be stopped soon: nothing of it is ready, and nothing stops yet (S25)."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import GaveUpError, NodeState, open_supervisor
from supervisor.testing import Remote, open_harness

from ..helpers.internals import DrainBegun
from ..helpers.runnables import finish, idle, start


async def test_nothing_of_a_draining_tree_is_ready() -> None:
    """S25: from that moment on, neither the tree nor a node, though all serve as before."""
    async with open_harness(start, supervisor.run, "node", idle) as tree:
        await tree.wait_ready()
        tree._port.begin_drain("a test")
        assert [tree.ready(dn) for dn in ("root", "root.node")] == [False, False]
        assert tree.snapshot().nodes["root.node"].state is NodeState.HEALTHY
        assert repr(tree) == "<Supervisor RUNNING>"


async def test_a_wait_for_readiness_ends_with_a_drain() -> None:
    """S25: it raises as for a tree that is being stopped, now and later."""
    async with open_harness(start, supervisor.run, "node", Remote()) as tree:
        with pytest.RaisesGroup(GaveUpError, flatten_subgroups=True):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tree.wait_ready, "root.node")
                await wait_all_tasks_blocked()
                tree._port.begin_drain("a test")
        with pytest.raises(GaveUpError, match="root will not be ready: the tree is stopped"):
            await tree.wait_ready()


async def test_observers_are_told_of_a_drain() -> None:
    """S16, S25: right after the step, when nothing is ready any more."""
    seen: list[tuple[object, bool]] = []
    async with open_supervisor(finish) as tree:
        await tree.wait_ready()
        tree._port.add_observer(lambda event: seen.append((event, tree.ready())))
        tree._port.begin_drain("a test")
    assert seen == [(DrainBegun("a test"), False)]

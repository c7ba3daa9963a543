"""When groups, parents and a whole tree have finished (S13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import GaveUpError, GroupState, Handle, NodeState, Signal
from supervisor.testing import Remote, open_harness

from ..helpers.runnables import finish

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_group_is_finished_when_all_subtrees_are_done() -> None:
    """S13: with the last node below its members; the tree finishes with the root's group."""
    first, last = Remote(), Remote()

    async def done() -> None:
        supervisor.run("last", last)
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async def root() -> None:
        supervisor.run_group({"first": first, "done": done})
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async with supervisor.open_supervisor(root) as tree:
        await first.become_healthy()
        await last.become_healthy()
        await first.be_done()
        await wait_all_tasks_blocked()
        nodes = tree.snapshot().nodes
        assert {node.group.state for node in nodes.values()} == {GroupState.RUNNING}
        await last.be_done()
        await wait_all_tasks_blocked()
        nodes = tree.snapshot().nodes
        assert {node.group.state for node in nodes.values()} == {GroupState.FINISHED}
        assert {node.state for node in nodes.values()} == {NodeState.DONE}


async def test_a_child_that_has_finished_with_its_parent_cannot_restart() -> None:
    """S13, S19: where parent and children are done, there is no tree to restart a child in."""
    handles: list[Handle] = []

    async def child() -> None:
        await finish()

    async def parent() -> None:
        handles.append(supervisor.run("child", child))
        await finish()

    async def root() -> None:
        supervisor.run("parent", parent)

    async with open_harness(root) as tree:
        await wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root.parent"].group.state is GroupState.FINISHED
        with pytest.raises(GaveUpError, match=r"child will not restart: it has finished"):
            await handles[0].restart()
        await handles[0].wait_healthy()


async def test_a_tree_with_a_stopped_child_does_not_finish(autojump_clock: MockClock) -> None:
    """S13, S19: it finishes when the child has been restarted and is done."""
    one = Remote()
    handles: list[Handle] = []

    async def root() -> None:
        handles.append(supervisor.run("one", one))
        await finish()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.supervise, root)
        await one.become_healthy()
        await handles[0].stop()
        await trio.sleep(3600.0)
        await handles[0].restart()
        await one.become_healthy()
        await one.be_done()
    assert handles[0].state is GroupState.FINISHED
    assert autojump_clock.current_time() == 3600.0


@pytest.mark.parametrize("steps", range(4))
async def test_the_last_group_is_restarted_whole_or_not_at_all(
    steps: int, autojump_clock: MockClock
) -> None:
    """S13, S19: just before its parent ends, a restart keeps the parent running or is refused."""
    one = Remote()
    handles: list[Handle] = []

    async def parent() -> None:
        handles.append(supervisor.run("one", one))
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async def root() -> None:
        supervisor.run("parent", parent)

    async with open_harness(root) as tree:
        await one.become_healthy()
        await one.be_done()
        with trio.fail_after(60):
            while handles[0].state is not GroupState.FINISHED:
                await trio.lowlevel.checkpoint()
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        try:
            await handles[0].restart()
        except GaveUpError:
            assert one.incarnations == 1
        else:
            await one.become_healthy()
        await handles[0].stop()
        await wait_all_tasks_blocked()
        nodes = tree.snapshot().nodes
        kept = nodes["root.parent.one"].state is NodeState.CANCELED
        assert kept == (one.incarnations == 2)
        assert nodes["root.parent"].state is NodeState.DONE
        assert nodes["root.parent"].group.state is (
            GroupState.RUNNING if kept else GroupState.FINISHED
        )
    assert autojump_clock.current_time() == 0.0

"""The states as users see them: of a node that restarts, and of its group (S3)."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import GroupState, Signal
from supervisor.testing import Remote, open_harness

from ..helpers.runnables import idle
from ..helpers.transitions import DEAD, HEALTHY, NEW, Transitions


async def test_a_restart_begins_in_new() -> None:
    """S3: each incarnation of a node begins in NEW, whatever the last one ended in."""
    transitions, remote = Transitions(), Remote()
    quick = supervisor.Backoff(initial=0.0)

    async def root() -> None:
        supervisor.run("child", remote, backoff=quick)
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async with open_harness(root, metrics=transitions):
        await remote.become_healthy()
        await remote.die()
        await remote.become_healthy()
        states = [state for dn, state in transitions.seen if dn == "root.child"]
        assert states == [NEW, HEALTHY, DEAD, NEW, HEALTHY]


@pytest.mark.parametrize("grouped", [False, True])
async def test_a_group_is_stopping_until_the_children_of_the_dead_are_gone(
    *, grouped: bool
) -> None:
    """S3: RUNNING, STOPPING while tasks are joined, BACKOFF; the tree is not settled between."""
    parent, leaf = Remote(), Remote()
    patient = supervisor.Backoff(initial=1000.0, maximum=1000.0, jitter=0.0)

    async def middle() -> None:
        supervisor.run("leaf", leaf)
        await parent()

    async def root() -> None:
        members = {"middle": middle, "other": idle} if grouped else {"middle": middle}
        supervisor.run_group(members, backoff=patient)
        await idle()

    async with open_harness(root) as tree:

        async def state() -> GroupState:
            await wait_all_tasks_blocked()
            return tree.snapshot().nodes["root.middle"].group.state

        await leaf.become_healthy()
        leaf.hang()
        assert await state() is GroupState.RUNNING
        await parent.die()
        assert await state() is GroupState.STOPPING
        assert tree.snapshot().nodes["root.middle"].state is DEAD
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tree.wait_settled)
            await wait_all_tasks_blocked()
            assert len(nursery.child_tasks) == 1
            leaf.release()
        assert await state() is GroupState.BACKOFF

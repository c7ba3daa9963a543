"""The states as users see them: of a node that restarts, and of its group (S3)."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import GroupState, Signal
from supervisor.testing import Remote, open_harness

from ..helpers.runnables import idle
from ..helpers.transitions import CANCELED, DEAD, HEALTHY, LEGAL, NEW, Transitions

ILLEGAL = [
    (before, after) for before, after in product(NodeState, repeat=2) if after not in LEGAL[before]
]


def test_the_table_holds_the_legal_transitions_and_no_other() -> None:
    """S3: NEW → HEALTHY → DONE, DEAD or CANCELED; also NEW → DEAD/CANCELED, and DONE → DEAD."""
    assert {state: set(TRANSITIONS[state]) for state in NodeState} == LEGAL


def test_each_state_is_reached_from_new() -> None:
    """S3: no state is unreachable."""
    reached = {NEW}
    for _ in NodeState:
        reached |= {after for before in reached for after in TRANSITIONS[before]}
    assert reached == set(NodeState)


def test_only_the_end_of_an_incarnation_is_a_dead_end() -> None:
    """S3: every other state can become DEAD."""
    dead_ends = {state for state in NodeState if not TRANSITIONS[state]}
    assert dead_ends == {DEAD, CANCELED}
    assert all(DEAD in TRANSITIONS[state] for state in set(NodeState) - dead_ends)


def test_no_transition_leads_back() -> None:
    """S3: a restart begins a new incarnation; no transition returns to NEW or to itself."""
    assert not any(NEW in after for after in TRANSITIONS.values())
    assert not any(state in after for state, after in TRANSITIONS.items())


@pytest.mark.parametrize(("before", "after"), ILLEGAL)
async def test_an_illegal_transition_is_refused_and_changes_nothing(
    before: NodeState, after: NodeState
) -> None:
    """S3: the table is consulted before anything changes."""
    transitions = Transitions()
    async with open_harness(idle, metrics=transitions) as view:
        await view.wait_settled()
        tree, incarnation = view._tree, root_incarnation(view)
        actual, incarnation.state = incarnation.state, before
        seen, since = transitions.seen.copy(), incarnation.since

        with pytest.raises(
            AssertionError, match=f"root can't go from {before.name} to {after.name}"
        ):
            tree.move(incarnation, after, since + 1.0)

        assert incarnation.state is before
        assert incarnation.since == since
        assert transitions.seen == seen
        assert tree.settled
        incarnation.state = actual


async def test_a_restart_begins_in_new() -> None:
    """S3: each incarnation begins in NEW, in whatever state the last one ended."""
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
async def test_a_group_is_stopping_until_the_children_of_a_dead_member_are_gone(
    *, grouped: bool
) -> None:
    """S3: RUNNING, STOPPING while tasks are waited for, BACKOFF; a STOPPING tree is not settled."""
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

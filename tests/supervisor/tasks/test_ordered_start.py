"""Members that start one after the other (S20)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, GroupState, Handle, NodeState
from supervisor.testing import Remote, open_harness

from ..helpers.runnables import finish, idle
from ..helpers.transitions import TimedTransitions
from ..helpers.trees import open_recorded

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_a_death_in_the_chain_starts_it_anew(autojump_clock: MockClock) -> None:
    """S20: each member starts when the one before is HEALTHY, and waits through its crashes."""
    deaths = 0

    async def fails_twice() -> None:
        nonlocal deaths
        await trio.sleep(0.25)
        if deaths < 2:
            deaths += 1
            raise OSError("not yet")
        await idle()

    group = {"a": idle, "b": fails_twice, "c": idle, "d": fails_twice, "e": idle}
    async with open_recorded(supervisor.run_group, group, ordered=True) as (tree, _, transitions):
        await trio.sleep(1.0)
        assert list(tree.snapshot().nodes) == ["root", "root.a", "root.b"]
        await trio.sleep(10.0)
        assert list(tree.snapshot().nodes) == ["root", *(f"root.{name}" for name in group)]
        assert transitions.seen == [
            (0.0, "a", "NEW"),
            (0.0, "a", "HEALTHY"),
            (0.0, "b", "NEW"),
            (0.25, "b", "DEAD"),
            (0.25, "a", "CANCELED"),
            (1.25, "a", "NEW"),
            (1.25, "a", "HEALTHY"),
            (1.25, "b", "NEW"),
            (1.5, "b", "DEAD"),
            (1.5, "a", "CANCELED"),
            (3.5, "a", "NEW"),
            (3.5, "a", "HEALTHY"),
            (3.5, "b", "NEW"),
            (3.75, "b", "HEALTHY"),
            (3.75, "c", "NEW"),
            (3.75, "c", "HEALTHY"),
            (3.75, "d", "NEW"),
            (4.0, "d", "HEALTHY"),
            (4.0, "e", "NEW"),
            (4.0, "e", "HEALTHY"),
        ]
        assert autojump_clock.current_time() == 11.0


async def test_done_counts_like_healthy() -> None:
    """S20: a member whose work is over lets the next one start."""
    group = {"a": finish, "b": finish, "c": idle}
    async with open_recorded(supervisor.run_group, group, ordered=True) as (_, handle, transitions):
        await handle.wait_healthy()
        states = ["NEW", "HEALTHY", "DONE"]
        expected = [(name, state) for name in "abc" for state in states][:-1]
        assert [(name, state) for _, name, state in transitions.seen] == expected


async def test_a_death_of_an_early_member_keeps_the_later_ones_waiting(
    autojump_clock: MockClock,
) -> None:
    """S20: while the group waits for its backoff, no member starts because another was HEALTHY."""
    first, second = Remote(), Remote()
    group = {"first": first, "second": second, "third": idle}
    async with open_recorded(supervisor.run_group, group, ordered=True) as (tree, handle, _):
        await first.become_healthy()
        await first.die()
        await wait_all_tasks_blocked()
        assert handle.state is GroupState.BACKOFF
        await first.become_healthy()
        assert autojump_clock.current_time() == 1.0
        await second.become_healthy()
        await handle.wait_healthy()
        nodes = tree.snapshot().nodes
        assert [nodes[f"root.{name}"].incarnation for name in group] == [2, 2, 1]


@pytest.mark.parametrize("how", ["handle", "tree", "parent", "sibling", "outside"])
@pytest.mark.parametrize("grace", [0.0, {"first": 1.0}])
async def test_what_waits_for_its_turn_never_starts_after_a_stop(
    how: str, grace: float | dict[str, float], autojump_clock: MockClock
) -> None:
    """S12, S20: whatever stops the group while a member is awaited, the later ones stay away."""
    first, second, parent = Remote(), Remote(), Remote()
    handles: list[Handle] = []
    transitions = TimedTransitions()
    group: dict[str, Callable[[], Awaitable[object]]] = {
        "first": first,
        "second": second,
        "third": idle,
    }

    async def start() -> None:
        handles.append(supervisor.run_group(group, ordered=True, grace=grace))
        await parent()

    async def root() -> None:
        supervisor.run("parent", start, backoff=Backoff(initial=60.0, jitter=0.0))
        await idle()

    with trio.CancelScope() as outside:
        async with supervisor.open_supervisor(root, metrics=transitions) as tree:
            await first.become_healthy()
            await wait_all_tasks_blocked()
            if how == "outside":
                outside.cancel()
                await trio.lowlevel.checkpoint()
            elif how == "handle":
                await handles[0].stop()
            elif how == "tree":
                await tree.stop()
            else:
                await (parent if how == "parent" else second).die()
            await wait_all_tasks_blocked()
            assert "root.parent.third" not in tree.snapshot().nodes
            assert not tree.ready("root.parent.third")
    assert not [name for _, name, _ in transitions.seen if name == "parent.third"]
    assert (first.running, second.running) == (0, 0)
    asked = how != "outside" and grace
    assert autojump_clock.current_time() == (1.0 if asked else 0.0)


async def test_restart_starts_from_the_first() -> None:
    """S19, S20: the order is kept at each restart, an operator's as well."""
    first, second = Remote(), Remote()
    group = {"first": first, "second": second}
    async with open_recorded(supervisor.run_group, group, ordered=True) as (tree, handle, _):
        await first.become_healthy()
        await second.become_healthy()
        await handle.restart()
        await wait_all_tasks_blocked()
        assert (first.running, second.running) == (1, 0)
        node = tree.snapshot().nodes["root.second"]
        assert (node.state, node.incarnation) == (NodeState.CANCELED, 1)
        await first.become_healthy()
        await second.become_healthy()
        assert (first.incarnations, second.incarnations) == (2, 2)


async def test_the_tree_is_not_settled_in_the_middle_of_an_ordered_start() -> None:
    """S16, S20: between two members none is NEW, and yet there is more to come."""
    group = {f"m{number}": idle for number in range(20)}

    async def root() -> None:
        supervisor.run_group(group, ordered=True)
        await idle()

    async with supervisor.open_supervisor(root) as tree:
        await tree.wait_settled()
        states = [node.state for node in tree.snapshot().nodes.values()]
        assert states == [NodeState.HEALTHY] * 21


@pytest.mark.parametrize("stop", [False, True])
async def test_an_ordered_start_that_was_cut_short_is_settled(*, stop: bool) -> None:
    """S16, S20: where no member is to come for now, in BACKOFF or STOPPED, the tree is settled."""
    first = Remote()
    group = {"first": first, "second": idle}
    async with open_recorded(supervisor.run_group, group, ordered=True) as (tree, handle, _):
        await (handle.stop() if stop else first.die())
        await tree.wait_settled()
        assert handle.state is (GroupState.STOPPED if stop else GroupState.BACKOFF)


async def test_groups_are_ordered_by_wait_healthy(autojump_clock: MockClock) -> None:
    """S20: a parent that awaits one handle starts the next group when the first is healthy."""
    transitions = TimedTransitions()

    async def database() -> None:
        await trio.sleep(3.0)
        await idle()

    async def root() -> None:
        handle = supervisor.run("database", database)
        await handle.wait_healthy()
        supervisor.run("api", idle)

    async with open_harness(root, metrics=transitions) as tree:
        await trio.sleep(4.0)
        await tree.wait_ready()
        assert transitions.seen == [
            (0.0, "database", "NEW"),
            (3.0, "database", "HEALTHY"),
            (3.0, "api", "NEW"),
            (3.0, "api", "HEALTHY"),
        ]
        assert autojump_clock.current_time() == 4.0

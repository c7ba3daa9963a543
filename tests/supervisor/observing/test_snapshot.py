"""Snapshots of a tree (S16)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, GroupState

from ..helpers.family import PARENT, A, B, Family
from ..helpers.transitions import CANCELED, HEALTHY, NEW

if TYPE_CHECKING:
    from trio.testing import MockClock

TWO_SECONDS = Backoff(initial=2.0, factor=2.0, jitter=0.0)


async def test_a_snapshot_holds_all_nodes_each_before_its_children() -> None:
    """S16: in order of start; members of a group share what is shown of their group."""
    family = Family()
    async with supervisor.open_supervisor(family) as tree:
        await family.become_healthy()
        nodes = tree.snapshot().nodes
    assert list(nodes) == ["root", PARENT, A, B]
    assert [node.dn for node in nodes.values()] == list(nodes)
    assert nodes[A].group == nodes[B].group
    assert nodes[A].group.dn == "root.parent.{a,b}"
    assert nodes["root"].group.dn == "root"
    assert {node.group.state for node in nodes.values()} == {GroupState.RUNNING}


async def test_a_snapshot_does_not_change() -> None:
    """S16: it is immutable, and does not show what happens later."""
    family = Family()
    async with supervisor.open_supervisor(family) as tree:
        await wait_all_tasks_blocked()
        snapshot = tree.snapshot()
        await family.become_healthy()
        assert snapshot.nodes[A].state is NEW
        assert tree.snapshot().nodes[A].state is HEALTHY
    with pytest.raises(TypeError):
        del snapshot.nodes["root"]  # type: ignore[attr-defined]
    for frozen in (snapshot, snapshot.nodes[A], snapshot.nodes[A].group):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            frozen.dn = "other"  # type: ignore[union-attr,misc]


async def test_a_backoff_is_visible_with_its_deadline(autojump_clock: MockClock) -> None:
    """S3, S16: BACKOFF is a state of the group; the deadline is that of the next start."""
    family = Family()
    async with supervisor.open_supervisor(family, backoff=TWO_SECONDS) as tree:
        await family.become_healthy()
        await trio.sleep(1.5)
        await family.b.die()
        await wait_all_tasks_blocked()
        node = tree.snapshot().nodes[A]
        assert (node.state, node.since, node.incarnation) == (CANCELED, 1.5, 1)
        assert node.group.state is GroupState.BACKOFF
        assert (node.group.deadline, node.group.failures) == (3.5, 1)
        await family.a.become_healthy()
        node = tree.snapshot().nodes[A]
        assert (node.since, node.incarnation) == (3.5, 2)
        assert autojump_clock.current_time() == 3.5
        assert node.group.deadline is None


async def test_str_of_a_snapshot_is_a_picture(autojump_clock: MockClock) -> None:
    """S16: a line for each node: state, age, and the state of its group."""
    family = Family()
    async with supervisor.open_supervisor(family, backoff=TWO_SECONDS) as tree:
        await family.become_healthy()
        await trio.sleep(7.0)
        await family.a.die(ValueError("two\nlines"))
        await trio.sleep(0.5)
        picture = str(tree.snapshot())
        assert autojump_clock.current_time() == 7.5
    waiting = "group BACKOFF, restarts in 1.5 s"
    assert picture.splitlines() == [
        "root      HEALTHY   7.5 s",
        "  parent  HEALTHY   7.5 s",
        f"    a     DEAD      0.5 s  {waiting}  incarnation 1, last died of ValueError: two lines",
        f"    b     CANCELED  0.5 s  {waiting}",
    ]

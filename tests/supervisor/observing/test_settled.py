"""Waiting until a tree has settled (S16)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import GroupState
from supervisor.testing import Remote

from ..helpers.backoffs import LONG
from ..helpers.family import A, Family
from ..helpers.steps import count_steps

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_wait_settled_waits_until_no_node_is_new() -> None:
    """S16: a node that waits for its restart is settled."""
    family = Family()
    async with supervisor.open_supervisor(family, backoff=LONG) as tree:
        settled = trio.Event()

        async def watch() -> None:
            await tree.wait_settled()
            settled.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            for each in (family.parent, family.a, family.b):
                await wait_all_tasks_blocked()
                assert not settled.is_set()
                await each.become_healthy()
        assert settled.is_set()
        await family.a.die()
        await wait_all_tasks_blocked()
        await tree.wait_settled()
        assert tree.snapshot().nodes[A].group.state is GroupState.BACKOFF


async def test_wait_settled_takes_no_step_before_the_tree_has_settled(
    autojump_clock: MockClock,
) -> None:
    """S16: the waiting task takes one step in an hour, and an idle tree takes none."""
    family = Family()
    async with supervisor.open_supervisor(family, report_after=None) as tree:
        await family.parent.become_healthy()
        await family.a.become_healthy()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tree.wait_settled, name="waiter")
            await wait_all_tasks_blocked()
            with count_steps() as steps:
                await trio.sleep(3600.0)
                assert steps == {}
                await family.b.become_healthy()
                await wait_all_tasks_blocked()
            assert steps["waiter"] == 1
    assert autojump_clock.current_time() == 3600.0


async def test_wait_settled_returns_at_the_end_of_the_tree() -> None:
    """S16: a tree of which nothing is left is settled."""
    remote = Remote()
    async with trio.open_nursery() as nursery, supervisor.open_supervisor(remote) as tree:
        nursery.start_soon(tree.wait_settled)
        await wait_all_tasks_blocked()

"""Operations on groups of which nothing runs, or nothing will, and several at once (S19)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import GaveUpError, GroupState, NodeState, Signal, UnknownNameError
from supervisor.testing import Remote, open_harness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from trio.testing import MockClock

    from supervisor import Handle, Pool


@contextlib.asynccontextmanager
async def resting(how: GroupState, one: Remote) -> AsyncIterator[tuple[Pool, Handle]]:
    """Run a tree in which ``one`` was stopped, or is done, as ``root.one`` or in the pool."""
    handles: list[Handle] = []
    pools: list[Pool] = []

    async def root() -> None:
        pools.append(supervisor.run_pool("pool"))
        if how is GroupState.FINISHED:
            handles.append(supervisor.run("one", one))

    async with open_harness(root):
        await wait_all_tasks_blocked()
        if how is GroupState.STOPPED:
            handles.append(pools[0].run("one", one))
        await one.become_healthy()
        await (one.be_done() if how is GroupState.FINISHED else handles[0].stop())
        await wait_all_tasks_blocked()
        assert handles[0].state is how
        yield pools[0], handles[0]


async def at_once(*operations: Callable[[], Awaitable[object]]) -> tuple[list[str], list[str]]:
    """Begin all of these in one step, in any order; return the order, and who was refused."""
    begun: list[str] = []
    refused: list[str] = []

    async def operate(operation: Callable[[], Awaitable[object]]) -> None:
        begun.append(operation.__name__)
        try:
            await operation()
        except (GaveUpError, UnknownNameError):
            refused.append(operation.__name__)

    async with trio.open_nursery() as nursery:
        for operation in operations:
            nursery.start_soon(operate, operation)
    return begun, refused


@pytest.mark.parametrize("how", [GroupState.STOPPED, GroupState.FINISHED])
async def test_restarts_at_once_are_one(how: GroupState) -> None:
    """S19: all return when the members have been started, once; the group is as any that runs."""
    one = Remote()
    async with resting(how, one) as (_, handle):
        _, refused = await at_once(handle.restart, handle.restart, handle.restart)
        assert refused == []
        await one.become_healthy()
        assert handle.state is GroupState.RUNNING
        assert (one.incarnations, one.running) == (2, 1)
        await handle.stop()
        assert (handle.state, one.running) == (GroupState.STOPPED, 0)


@pytest.mark.parametrize("stops", [1, 2])
@pytest.mark.parametrize("how", [GroupState.STOPPED, GroupState.FINISHED])
async def test_the_last_of_several_operations_at_once_wins(how: GroupState, stops: int) -> None:
    """S19: also where the group had not yet begun to do as the first of them wished."""
    one = Remote()
    async with resting(how, one) as (_, handle):
        operations = [handle.stop] * stops + [handle.restart] * (3 - stops)
        begun, refused = await at_once(*operations)
        await wait_all_tasks_blocked()
        if begun[-1] == "restart":
            assert refused == []
            await one.become_healthy()
            assert (handle.state, one.running, one.incarnations) == (GroupState.RUNNING, 1, 2)
        else:
            assert refused == ["restart"] * (3 - stops)
            assert (handle.state, one.running, one.incarnations) == (GroupState.STOPPED, 0, 1)


async def test_a_pool_throws_out_a_child_that_is_about_to_come_back() -> None:
    """S19, S23: restart is refused, and when the pool's stop returns the name is free."""
    one = Remote()
    async with resting(GroupState.STOPPED, one) as (pool, handle):

        async def throw_out() -> None:
            await pool.stop("one")
            assert len(pool) == 0
            pool.run("one", one)

        async def restart() -> None:
            # In either order: what has been thrown out is refused, what was not comes to nothing.
            with pytest.raises(GaveUpError, match=r"root\.pool\.one will not restart"):
                await handle.restart()

        await at_once(restart, throw_out, restart)
        await one.become_healthy()
        assert (one.incarnations, one.running) == (2, 1)


@pytest.mark.parametrize("steps", range(4))
async def test_the_last_group_is_restarted_whole_or_not_at_all(
    steps: int, autojump_clock: MockClock
) -> None:
    """S13, S19: however short before the end of its finished parent, which then lives on."""
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
        with trio.fail_after(1.0):
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


async def test_a_member_that_is_cancelled_when_new_is_not_healthy(
    autojump_clock: MockClock,
) -> None:
    """S12, S19: when all is cancelled from outside, nobody is told that a group is healthy."""
    handles: list[Handle] = []
    above, slow = Remote(), Remote()
    above.stop_slowly(1.0)
    slow.stop_slowly(1.0)

    async def root() -> None:
        handles.append(supervisor.run_group({"new": Remote(), "slow": slow}))
        await above()

    async def wait() -> None:
        with pytest.raises(GaveUpError, match="ends with its parent"):
            await handles[0].wait_healthy()
        assert autojump_clock.current_time() == 0.0

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as outside:
            async with open_harness(root):
                await slow.become_healthy()
                nursery.start_soon(wait)
                await wait_all_tasks_blocked()
                outside.cancel()
                await trio.sleep_forever()

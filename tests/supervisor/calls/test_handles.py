"""Stopping and restarting what was started, by its handle (S19)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import (
    Backoff,
    GaveUpError,
    GroupState,
    Handle,
    NodeState,
    RestartLimit,
    Signal,
    UnknownNameError,
)
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import DOUBLING, LONG
from ..helpers.runnables import idle
from ..helpers.traces import check_that_cancelling_leaves_nothing

if TYPE_CHECKING:
    from trio.testing import MockClock

    from supervisor import Pool

ONCE = RestartLimit(0, within=1.0)


@contextlib.asynccontextmanager
async def running(
    function: Callable[..., Handle], *args: object, **options: object
) -> AsyncIterator[tuple[supervisor.Supervisor, Handle]]:
    """Run a tree whose root starts something, and yield it with the handle."""
    handles: list[Handle] = []

    async def root() -> None:
        handles.append(function(*args, **{"backoff": DOUBLING, **options}))
        supervisor.run("other", idle)

    async with open_harness(root, patience=60.0) as tree:
        await wait_all_tasks_blocked()
        yield tree, handles[0]


async def test_a_handle_tells_dn_and_state(autojump_clock: MockClock) -> None:
    """S19: the state is the group's, from the start to the end."""
    one, two = Remote(), Remote()
    two.stop_slowly(2.0)
    async with running(supervisor.run_group, {"one": one, "two": two}) as (_, handle):
        assert repr(handle) == f"<Handle {handle.dn} RUNNING>" == "<Handle root.{one,two} RUNNING>"
        await one.die()
        seen = []
        for _ in range(3):
            await trio.sleep(1.25)
            seen.append(handle.state.name)
        for remote in (one, two):
            await remote.become_healthy()
            await remote.be_done()
        await trio.sleep(2.25)
        assert [*seen, handle.state.name] == ["STOPPING", "BACKOFF", "RUNNING", "FINISHED"]
        assert autojump_clock.current_time() == 6.0


async def test_a_handle_tells_dn_and_state_through_the_life_of_its_group(
    autojump_clock: MockClock,
) -> None:
    """S19: a handle follows its group: RUNNING, STOPPING, BACKOFF, RUNNING, STOPPED."""
    a, b = Remote(), Remote()
    handles: list[Handle] = []

    async def root() -> None:
        steady = Backoff(initial=2.0, jitter=0.0)
        handles.append(supervisor.run_group({"a": a, "b": b}, backoff=steady))
        handles.append(supervisor.run("alone", idle))
        await idle()

    def states() -> list[str]:
        return [repr(handle) for handle in handles]

    alone = "<Handle root.alone RUNNING>"
    async with open_harness(root):
        await a.become_healthy()
        assert [handle.dn for handle in handles] == ["root.{a,b}", "root.alone"]
        assert states() == ["<Handle root.{a,b} RUNNING>", alone]
        b.hang()
        await a.die()
        await wait_all_tasks_blocked()
        assert states() == ["<Handle root.{a,b} STOPPING>", alone]
        b.release()
        await wait_all_tasks_blocked()
        assert states() == ["<Handle root.{a,b} BACKOFF>", alone]
        await a.become_healthy()
        assert autojump_clock.current_time() == 2.0
        assert states() == ["<Handle root.{a,b} RUNNING>", alone]
    assert states() == ["<Handle root.{a,b} STOPPED>", "<Handle root.alone STOPPED>"]
    assert {handle.state for handle in handles} == {GroupState.STOPPED}


@pytest.mark.parametrize(
    ("before", "after", "group"),
    [
        (NodeState.HEALTHY, NodeState.CANCELED, GroupState.STOPPED),
        (NodeState.DEAD, NodeState.DEAD, GroupState.STOPPED),
        (NodeState.DONE, NodeState.DONE, GroupState.FINISHED),
    ],
)
async def test_what_was_stopped_stays_stopped(
    before: NodeState, after: NodeState, group: GroupState, autojump_clock: MockClock
) -> None:
    """S19: at once, and whatever time and siblings do, until restart; what has FINISHED, has."""
    one, failing = Remote(), Remote()
    handles: list[Handle] = []

    async def root() -> None:
        handles.append(supervisor.run("one", one, backoff=LONG))
        supervisor.run("failing", failing, backoff=Backoff(initial=60.0, maximum=60.0, jitter=0.0))

    async with open_harness(root) as tree:
        await one.become_healthy()
        ends = {"DEAD": one.die, "DONE": one.be_done}
        if before.name in ends:
            await ends[before.name]()
        await wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root.one"].state is before
        await handles[0].stop()
        for seconds in (0.0, 3600.0):
            assert autojump_clock.current_time() == seconds
            node = tree.snapshot().nodes["root.one"]
            assert (node.state, node.group.state, node.group.deadline) == (after, group, None)
            assert (one.incarnations, one.running) == (1, 0)
            for _ in range(60):
                await failing.die()
            await failing.become_healthy()
        await handles[0].restart()
        await one.become_healthy()


async def test_what_was_stopped_starts_with_the_parents_next_incarnation(
    autojump_clock: MockClock,
) -> None:
    """S19: the parent starts another group; the old handle is of no more use."""
    parent, child = Remote(), Remote()
    handles: list[Handle] = []

    async def be_parent() -> None:
        handles.append(supervisor.run("child", child))
        await parent()

    async with running(supervisor.run, "parent", be_parent):
        await handles[0].stop()
        await parent.die()
        await child.become_healthy()
        assert autojump_clock.current_time() == 1.0
        assert [handle.state for handle in handles] == [GroupState.STOPPED, GroupState.RUNNING]
        with pytest.raises(GaveUpError, match="ends with its parent"):
            await handles[0].restart()
        assert child.incarnations == 2


@pytest.mark.parametrize(("name", "incarnation"), [("stop", 1), ("restart", 2)])
async def test_two_at_once_are_one_and_wait_for_the_old_tasks(
    name: str, incarnation: int, autojump_clock: MockClock
) -> None:
    """S7, S19: both return when the slowest member has ended, before which none starts."""
    slow = Remote()
    slow.stop_slowly(5.0)
    ends = []
    async with running(supervisor.run_group, {"slow": slow, "quick": idle}) as (tree, handle):

        async def operate() -> None:
            await getattr(handle, name)()
            ends.append(autojump_clock.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(operate)
            nursery.start_soon(operate)
            await trio.sleep(4.0)
            assert tree.snapshot().nodes["root.quick"].state is NodeState.CANCELED
        assert ends == [5.0, 5.0]
        await wait_all_tasks_blocked()
        node = tree.snapshot().nodes["root.quick"]
        assert (node.incarnation, node.group.operator_restarts) == (incarnation, incarnation - 1)
        assert node.state.name == ("CANCELED" if name == "stop" else "HEALTHY")


@pytest.mark.parametrize("restart", [False, True])
async def test_a_runnable_may_stop_or_restart_its_own_group(*, restart: bool) -> None:
    """S19: it is cancelled in the call, which takes place all the same."""
    asked = trio.Event()
    handles: list[Handle] = []
    reached: list[str] = []

    async def own() -> None:
        supervisor.signal(Signal.HEALTHY)
        await asked.wait()
        if not reached:
            reached.append("the call")
            await (handles[0].restart() if restart else handles[0].stop())
            reached.append("beyond it")
        await trio.sleep_forever()

    async with running(supervisor.run_group, {"own": own, "sibling": idle}) as (tree, handle):
        handles.append(handle)
        asked.set()
        await wait_all_tasks_blocked()
        assert reached == ["the call"]
        node = tree.snapshot().nodes["root.own"]
        assert (node.incarnation, node.crashes) == (2 if restart else 1, ())
        assert node.group.state is (GroupState.RUNNING if restart else GroupState.STOPPED)


@pytest.mark.parametrize(
    "state", [GroupState.RUNNING, GroupState.BACKOFF, GroupState.STOPPED, GroupState.FINISHED]
)
async def test_restart_starts_at_once_in_whatever_state(
    state: GroupState, autojump_clock: MockClock
) -> None:
    """S19: it skips the backoff, and counts as the operator's and not as a failure."""
    one = Remote()
    async with running(supervisor.run, "one", one, backoff=LONG) as (tree, handle):
        await one.become_healthy()
        ends = {"BACKOFF": one.die, "STOPPED": handle.stop, "FINISHED": one.be_done}
        if state.name in ends:
            await ends[state.name]()
        await wait_all_tasks_blocked()
        assert handle.state is state
        await handle.restart()
        node = tree.snapshot().nodes["root.one"]
        assert (node.state, node.incarnation) == (NodeState.NEW, 2)
        assert (node.group.state, node.group.deadline) == (GroupState.RUNNING, None)
        assert node.group.operator_restarts == 1
        assert node.group.failures == len(node.crashes) == (state is GroupState.BACKOFF)
        await one.become_healthy()
        assert (one.incarnations, one.running) == (2, 1)
        assert autojump_clock.current_time() == 0.0


@pytest.mark.parametrize("limit", [None, ONCE])
async def test_restart_calls_the_function_of_the_group_through_its_failures(
    limit: RestartLimit | None, autojump_clock: MockClock
) -> None:
    """S8, S19: it returns when that has made runnables, or fails when the group gives up."""
    handles: list[Handle] = []
    calls = []

    def make() -> dict[str, Callable[[], Awaitable[object]]]:
        calls.append(autojump_clock.current_time())
        if len(calls) in {2, 3}:
            raise OSError("no runnables")
        return {"one": idle}

    async def parent() -> None:
        handles.append(supervisor.run_group(make, backoff=DOUBLING, limit=limit))
        await idle()

    async with running(supervisor.run, "parent", parent, backoff=LONG) as (tree, _):
        if limit is None:
            await handles[0].restart()
            await handles[0].stop()
            await handles[0].restart()
            assert calls == [0.0, 0.0, 1.0, 3.0, 3.0]
            group = tree.snapshot().nodes["root.parent.one"].group
            assert (group.operator_restarts, group.failures) == (2, 2)
        else:
            with pytest.raises(GaveUpError, match=r"gave up: .*OSError: no runnables"):
                await handles[0].restart()
            assert handles[0].state is GroupState.FAILED


@pytest.mark.parametrize("last", ["stop", "restart"])
async def test_the_last_operation_wins(last: str) -> None:
    """S19: a restart that a stop overtakes raises at once; a stop that is overtaken returns."""
    one = Remote()
    outcomes: list[str] = []
    async with running(supervisor.run, "one", one) as (_, handle):

        async def operate(name: str) -> None:
            try:
                await getattr(handle, name)()
            except GaveUpError as error:
                outcomes.append(f"{name}: {error}")
            else:
                outcomes.append(f"{name} returned")

        one.hang()
        async with trio.open_nursery() as nursery:
            for name in ({"stop", "restart"} - {last}).pop(), last:
                nursery.start_soon(operate, name)
                await wait_all_tasks_blocked()
            refused = ["restart: root.one will not restart: it was stopped"]
            assert outcomes == (refused if last == "stop" else [])
            one.release()
        assert f"{last} returned" in outcomes
        await wait_all_tasks_blocked()
        assert (one.incarnations, one.running) == ((1, 0) if last == "stop" else (2, 1))


@pytest.mark.parametrize("after", [0.0, 1.0])
@pytest.mark.parametrize("name", ["stop", "restart", "wait_healthy"])
async def test_a_cancelled_call_leaves_nothing_and_takes_place(
    name: str, after: float, autojump_clock: MockClock
) -> None:
    """S19: cancelled at its checkpoint or in its wait, it is registered nowhere afterwards."""
    one = Remote()
    async with running(supervisor.run, "one", one) as (_, handle):
        one.hang()
        await check_that_cancelling_leaves_nothing(getattr(handle, name), after)
        assert autojump_clock.current_time() == after
        one.release()
        await wait_all_tasks_blocked()
        assert handle.state is (GroupState.STOPPED if name == "stop" else GroupState.RUNNING)
        assert one.incarnations == (2 if name == "restart" else 1)
        if name != "stop":
            await one.become_healthy()
            await handle.wait_healthy()


# Several operations at once


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
    """S19: this holds where the group had not yet begun to do what the first requested."""
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

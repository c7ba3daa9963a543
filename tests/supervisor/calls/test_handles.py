"""Stopping and restarting what was started, by its handle (S19)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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
)
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import DOUBLING, LONG
from ..helpers.runnables import idle
from ..helpers.traces import check_that_cancelling_leaves_nothing
from ..helpers.trees import call_at_once, open_at_rest, open_started

if TYPE_CHECKING:
    from trio.testing import MockClock


ONCE = RestartLimit(0, within=1.0)


async def test_a_handle_shows_dn_and_state(autojump_clock: MockClock) -> None:
    """S19: the state is that of the group, from start to end."""
    one, two = Remote(), Remote()
    two.stop_slowly(2.0)
    async with open_started(supervisor.run_group, {"one": one, "two": two}) as (_, handle):
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


async def test_a_handle_follows_the_states_of_its_group(
    autojump_clock: MockClock,
) -> None:
    """S19: RUNNING, STOPPING, BACKOFF, RUNNING, STOPPED."""
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
async def test_a_stopped_group_stays_stopped(
    before: NodeState, after: NodeState, group: GroupState, autojump_clock: MockClock
) -> None:
    """S19: neither time nor siblings restart it; a group that has FINISHED stays FINISHED."""
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


async def test_a_stopped_group_starts_with_the_parents_next_incarnation(
    autojump_clock: MockClock,
) -> None:
    """S19: the parent starts another group, and the old handle cannot restart its own."""
    parent, child = Remote(), Remote()
    handles: list[Handle] = []

    async def be_parent() -> None:
        handles.append(supervisor.run("child", child))
        await parent()

    async with open_started(supervisor.run, "parent", be_parent):
        await handles[0].stop()
        await parent.die()
        await child.become_healthy()
        assert autojump_clock.current_time() == 1.0
        assert [handle.state for handle in handles] == [GroupState.STOPPED, GroupState.RUNNING]
        with pytest.raises(GaveUpError, match="ends with its parent"):
            await handles[0].restart()
        assert child.incarnations == 2


@pytest.mark.parametrize(("name", "incarnation"), [("stop", 1), ("restart", 2)])
async def test_two_calls_at_once_act_once_and_wait_for_the_old_tasks(
    name: str, incarnation: int, autojump_clock: MockClock
) -> None:
    """S7, S19: both return when the slowest member has ended; no member starts before."""
    slow = Remote()
    slow.stop_slowly(5.0)
    ends = []
    async with open_started(supervisor.run_group, {"slow": slow, "quick": idle}) as (tree, handle):

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
    """S19: it is cancelled in the call, which takes effect."""
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

    async with open_started(supervisor.run_group, {"own": own, "sibling": idle}) as (tree, handle):
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
async def test_restart_starts_at_once_in_any_state(
    state: GroupState, autojump_clock: MockClock
) -> None:
    """S19: it skips the backoff, and counts as an operator's restart and not as a failure."""
    one = Remote()
    async with open_started(supervisor.run, "one", one, backoff=LONG) as (tree, handle):
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
    """S8, S19: it returns when the function has made runnables, or raises if the group gives up."""
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

    async with open_started(supervisor.run, "parent", parent, backoff=LONG) as (tree, _):
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
    """S19: a restart followed by a stop raises at once; a stop followed by a restart returns."""
    one = Remote()
    outcomes: list[str] = []
    async with open_started(supervisor.run, "one", one) as (_, handle):

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
async def test_a_cancelled_call_takes_effect_and_leaves_nothing(
    name: str, after: float, autojump_clock: MockClock
) -> None:
    """S19: cancelled at its checkpoint or in its wait, it is registered nowhere afterwards."""
    one = Remote()
    async with open_started(supervisor.run, "one", one) as (_, handle):
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


@pytest.mark.parametrize("how", [GroupState.STOPPED, GroupState.FINISHED])
async def test_several_restarts_at_once_start_the_group_once(how: GroupState) -> None:
    """S19: all return when the members have been started."""
    one = Remote()
    async with open_at_rest(how, one) as (_, handle):
        _, refused = await call_at_once(handle.restart, handle.restart, handle.restart)
        assert refused == []
        await one.become_healthy()
        assert handle.state is GroupState.RUNNING
        assert (one.incarnations, one.running) == (2, 1)
        await handle.stop()
        assert (handle.state, one.running) == (GroupState.STOPPED, 0)


@pytest.mark.parametrize("stops", [1, 2])
@pytest.mark.parametrize("how", [GroupState.STOPPED, GroupState.FINISHED])
async def test_the_last_of_several_operations_at_once_wins(how: GroupState, stops: int) -> None:
    """S19: also where the group has not begun to do what the first one asked for."""
    one = Remote()
    async with open_at_rest(how, one) as (_, handle):
        operations = [handle.stop] * stops + [handle.restart] * (3 - stops)
        begun, refused = await call_at_once(*operations)
        await wait_all_tasks_blocked()
        if begun[-1] == "restart":
            assert refused == []
            await one.become_healthy()
            assert (handle.state, one.running, one.incarnations) == (GroupState.RUNNING, 1, 2)
        else:
            assert refused == ["restart"] * (3 - stops)
            assert (handle.state, one.running, one.incarnations) == (GroupState.STOPPED, 0, 1)

"""A tree seen and steered from inside: its supervisor, its nodes by DN, how they ended (S28)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import (
    GaveUpError,
    GroupState,
    InvalidNameError,
    NodeState,
    NotSupervisedError,
    RestartLimit,
    RestartPolicy,
    Signal,
    StaleRunnableError,
    Supervisor,
    UnknownNameError,
    open_supervisor,
)
from supervisor.testing import Remote

from ..helpers.runnables import finish, idle
from ..helpers.traces import check_that_cancelling_leaves_nothing
from ..helpers.trees import open_started

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

ONCE = RestartLimit(0, within=1.0)


async def test_a_runnable_finds_its_supervisor() -> None:
    """S28: also in a task, a worker thread, and a tree inside of another."""
    found: list[Supervisor] = []
    inner: list[Supervisor] = []

    async def task() -> None:
        found.append(supervisor.current_supervisor())

    async def nested() -> None:
        inner.append(supervisor.current_supervisor())
        await finish()

    async def root() -> None:
        found.append(supervisor.current_supervisor())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task)
        found.append(await trio.to_thread.run_sync(supervisor.current_supervisor))
        await supervisor.supervise(nested)
        await idle()

    async with open_supervisor(root) as tree:
        await tree.wait_ready()
        assert [each is tree for each in found] == [True] * 3
        assert [each is tree for each in inner] == [False]


async def test_there_is_no_supervisor_outside_of_a_runnable() -> None:
    """S28, S1: nor for a task that has escaped."""
    with pytest.raises(NotSupervisedError, match="current_supervisor"):
        supervisor.current_supervisor()
    escaped: list[trio.Nursery] = []
    errors: list[Exception] = []

    async def late() -> None:
        await wait_all_tasks_blocked()
        with pytest.raises(StaleRunnableError) as caught:
            supervisor.current_supervisor()
        errors.append(caught.value)

    async def root() -> None:
        escaped[0].start_soon(late)
        await finish()

    async with trio.open_nursery() as nursery:
        escaped.append(nursery)
        await supervisor.supervise(root)
    assert len(errors) == 1


async def test_the_group_of_a_node_is_restarted_by_its_dn() -> None:
    """S28: the DNs of the group are returned, in their order."""
    one, two = Remote(), Remote()
    async with open_started(supervisor.run_group, {"one": one, "two": two}) as (tree, _):
        assert await tree.restart("root.two") == ("root.one", "root.two")
        await wait_all_tasks_blocked()
        assert (one.incarnations, two.incarnations) == (2, 2)
        assert tree.snapshot().nodes["root.one"].group.operator_restarts == 1
        assert await tree.stop_node("root.one") == ("root.one", "root.two")
        assert (one.running, two.running) == (0, 0)
        assert await tree.restart("root.one") == ("root.one", "root.two")
        await wait_all_tasks_blocked()
        assert (one.running, two.running) == (1, 1)


async def test_the_root_is_restarted_but_not_stopped_by_its_dn() -> None:
    """S28: for that there is stop()."""
    remote = Remote()
    async with open_supervisor(remote) as tree:
        await remote.become_healthy()
        assert await tree.restart("root") == ("root",)
        await remote.become_healthy()
        assert remote.incarnations == 2
        with pytest.raises(ValueError, match=r"root is the root: call stop\(\), which stops"):
            await tree.stop_node("root")


async def test_a_dn_that_is_not_there_is_named_with_what_is() -> None:
    """S28: the error shows the names at the place where the DN leaves the tree."""

    async def parent() -> None:
        for number in range(25):
            supervisor.run(f"child{number:02}", idle)
        await idle()

    async def root() -> None:
        supervisor.run("parent", parent)
        await idle()

    async with open_supervisor(root) as tree:
        await tree.wait_ready()
        for act in (tree.restart, tree.stop_node):
            with pytest.raises(UnknownNameError) as caught:
                await act("root.parent.child99.leaf")
            assert str(caught.value).startswith(
                "the tree has no node root.parent.child99.leaf; root.parent has child00, child01"
            )
            assert str(caught.value).endswith("child19 and 5 more")
            with pytest.raises(UnknownNameError, match=r"root\.parent\.child00 has no children"):
                await act("root.parent.child00.leaf")
            with pytest.raises(InvalidNameError):
                await act("no.root")


async def test_a_tree_shows_its_state() -> None:
    """S28: that of the root's group."""
    async with open_supervisor(idle) as tree:
        states = [tree.state]
        await tree.stop()
        states.append(tree.state)
    assert states == [GroupState.RUNNING, GroupState.STOPPED]


async def test_a_wait_for_the_end_returns_when_all_is_done() -> None:
    """S28, S13: the body of open_supervisor() can wait for its tree."""
    remote = Remote()

    async def root() -> None:
        supervisor.run("one", remote)
        await finish()

    async with open_supervisor(root) as tree, trio.open_nursery() as nursery:
        finished = trio.Event()

        async def wait() -> None:
            await tree.wait_finished()
            finished.set()

        nursery.start_soon(wait)
        await remote.become_healthy()
        await wait_all_tasks_blocked()
        assert not finished.is_set()
        await remote.be_done()
        await finished.wait()
        assert tree.state is GroupState.FINISHED
        await tree.wait_finished()


@pytest.mark.parametrize("how", ["stop", "cancel"])
async def test_a_wait_for_the_end_fails_when_the_tree_is_stopped(how: str) -> None:
    """S28: it could not happen any more."""
    async with trio.open_nursery() as nursery:

        async def wait(tree: Supervisor) -> None:
            with pytest.raises(GaveUpError, match="the tree will not finish: it is stopped, or"):
                await tree.wait_finished()

        with trio.CancelScope() as scope:
            async with open_supervisor(idle) as tree:
                nursery.start_soon(wait, tree)
                await wait_all_tasks_blocked()
                if how == "cancel":
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
                await tree.stop()


@pytest.mark.parametrize(
    ("how", "state"),
    [
        ("done", GroupState.FINISHED),
        ("died", GroupState.FAILED),
        ("stopped", GroupState.STOPPED),
        ("with its parent", GroupState.STOPPED),
    ],
)
async def test_a_handle_tells_how_its_group_has_ended(how: str, state: GroupState) -> None:
    """S28: as soon as nothing of it runs, and nothing will by itself."""
    remote = Remote()
    ends: list[GroupState] = []
    options = {"restart": RestartPolicy.NEVER, "backoff": None}
    async with trio.open_nursery() as nursery:

        async def wait(handle: supervisor.Handle) -> None:
            ends.append(await handle.wait_ended())

        async with open_started(supervisor.run, "one", remote, **options) as (_, handle):
            nursery.start_soon(wait, handle)
            await remote.become_healthy()
            await wait_all_tasks_blocked()
            assert not ends
            if how == "done":
                await remote.be_done()
            elif how == "died":
                await remote.die()
            elif how == "stopped":
                await handle.stop()
            await wait_all_tasks_blocked()
    assert ends == [state]


@pytest.mark.parametrize("after", [0.0, 1.0])
@pytest.mark.parametrize("name", ["wait_finished", "restart", "stop_node", "wait_ended"])
async def test_a_cancelled_call_leaves_nothing(
    name: str,
    after: float,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S28: cancelled at the checkpoint or in the wait; what acts takes effect all the same."""
    one = Remote()
    async with open_started(supervisor.run, "one", one) as (tree, handle):
        one.hang()
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "wait_finished": tree.wait_finished,
            "restart": partial(tree.restart, "root.one"),
            "stop_node": partial(tree.stop_node, "root.one"),
            "wait_ended": handle.wait_ended,
        }
        await check_that_cancelling_leaves_nothing(calls[name], after)
        one.release()
        await wait_all_tasks_blocked()
        assert one.incarnations == (2 if name == "restart" else 1)
        assert (handle.state is GroupState.STOPPED) == (name == "stop_node")


async def test_a_runnable_may_restart_its_own_group(autojump_clock: MockClock) -> None:
    """S28, S32: it gets no grace, since it waits for its own end."""
    runs: list[float] = []

    async def one() -> None:
        supervisor.signal(Signal.HEALTHY)
        runs.append(trio.current_time())
        if len(runs) == 1:
            await supervisor.current_supervisor().restart(supervisor.current_dn())
        await trio.sleep_forever()

    async with open_started(supervisor.run, "one", one, grace=60.0) as (tree, _):
        await tree.wait_settled()
        assert runs == [0.0, 0.0]
        assert tree.snapshot().nodes["root.one"].state is NodeState.HEALTHY
    assert autojump_clock.current_time() == 60.0

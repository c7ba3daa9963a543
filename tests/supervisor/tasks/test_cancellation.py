"""Cancellation from outside, and what a node that is being stopped can't do (S12)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

import supervisor
from supervisor import InMemoryMetrics, NodeState, RunError, Signal
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import AT_ONCE, LONG
from ..helpers.runnables import finish, idle

if TYPE_CHECKING:
    from trio.testing import MockClock

DONE, DEAD, CANCELED = NodeState.DONE, NodeState.DEAD, NodeState.CANCELED


class Stage:
    """A tree of scripted nodes, which is cancelled at some moment."""

    def __init__(self) -> None:
        self.remote = Remote()
        self.other = Remote()
        self.started: list[str] = []

    async def note(self, remote: Remote) -> None:
        self.started.append(supervisor.current_dn())
        await remote()

    async def pair(self) -> None:
        """Run two remotes in one group, below a healthy parent."""
        supervisor.run_group(
            {"a": partial(self.note, self.remote), "b": partial(self.note, self.other)},
            backoff=LONG,
        )
        await idle()

    async def pair_below_done(self) -> None:
        supervisor.run("inner", self.pair)
        await finish()


async def at_once(_: Stage) -> None:
    """Cancel before any runnable has taken a step."""


async def during_set_up(_: Stage) -> None:
    await wait_all_tasks_blocked()


async def when_healthy(stage: Stage) -> None:
    await stage.remote.become_healthy()
    await stage.other.become_healthy()


async def during_backoff(stage: Stage) -> None:
    await stage.remote.die()
    await wait_all_tasks_blocked()
    assert (stage.remote.running, stage.other.running) == (0, 0)


async def during_the_stop_of_a_group(stage: Stage) -> None:
    stage.other.stop_slowly(3.0)
    await stage.remote.die()
    await wait_all_tasks_blocked()
    assert (stage.remote.running, stage.other.running) == (0, 1)


async def when_done(stage: Stage) -> None:
    for each in (stage.remote, stage.other):
        await each.become_healthy()
        await each.be_done()
    await wait_all_tasks_blocked()


MOMENTS = [
    (at_once, CANCELED, CANCELED),
    (during_set_up, CANCELED, CANCELED),
    (when_healthy, CANCELED, CANCELED),
    (during_backoff, DEAD, CANCELED),
    (during_the_stop_of_a_group, DEAD, CANCELED),
    (when_done, DONE, DONE),
]


@pytest.mark.parametrize("depth", [0, 1, 4])
@pytest.mark.parametrize(("moment", "state_of_a", "state_of_b"), MOMENTS)
async def test_a_cancellation_ends_everything_before_supervise_raises_it(
    moment: Callable[[Stage], Awaitable[None]],
    state_of_a: NodeState,
    state_of_b: NodeState,
    depth: int,
    autojump_clock: MockClock,
) -> None:
    """S12: at any time and depth: all tasks are gone, no node is left NEW or HEALTHY."""
    stage, metrics = Stage(), InMemoryMetrics()

    async def nest(levels: int) -> None:
        if levels:
            supervisor.run("inner", nest, levels - 1)
            await idle()
        await stage.pair()

    tasks = trio.lowlevel.current_statistics().tasks_living
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(supervisor.supervise, nest, depth, metrics=metrics))
        await moment(stage)
        starts = len(stage.started)
        nursery.cancel_scope.cancel()
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert len(stage.started) == starts
    assert (stage.remote.running, stage.other.running) == (0, 0)
    assert autojump_clock.current_time() == (3.0 if moment is during_the_stop_of_a_group else 0.0)
    states = {dn: status.state for dn, status in metrics.nodes().items()}
    parents = [states.pop("root" + ".inner" * level, CANCELED) for level in range(depth + 1)]
    assert set(parents) == {CANCELED}
    if moment is at_once:
        assert states == {}  # nobody has had the time to start children
    else:
        below = "root" + ".inner" * depth
        assert states == {f"{below}.a": state_of_a, f"{below}.b": state_of_b}


async def test_a_cancellation_reaches_the_children_of_a_done_runnable() -> None:
    """S12: it cancels the wait of a DONE node for its children, and the children."""
    stage, metrics = Stage(), InMemoryMetrics()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(supervisor.supervise, stage.pair_below_done, metrics=metrics))
        await when_healthy(stage)
        nursery.cancel_scope.cancel()
    assert {dn: status.state for dn, status in metrics.nodes().items()} == {
        "root": DONE,
        "root.inner": CANCELED,
        "root.inner.a": CANCELED,
        "root.inner.b": CANCELED,
    }


async def test_a_cancellation_during_the_join_of_children_waits_for_them(
    autojump_clock: MockClock,
) -> None:
    """S12: supervise() returns when the children of a dead node have ended."""
    parent, leaf = Remote(), Remote()
    leaf.stop_slowly(3.0)

    async def middle() -> None:
        supervisor.run("leaf", leaf)
        await parent()

    async def root() -> None:
        supervisor.run("middle", middle, backoff=AT_ONCE)
        await idle()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.supervise, root)
        await leaf.become_healthy()
        await parent.die()
        await wait_all_tasks_blocked()
        assert (parent.running, leaf.running) == (0, 1)
        nursery.cancel_scope.cancel()
    assert (leaf.running, parent.incarnations) == (0, 1)
    assert autojump_clock.current_time() == 3.0


async def test_supervise_raises_cancelled_into_the_cancelled_scope_only(
    autojump_clock: MockClock,
) -> None:
    """S12: a deadline around it ends the tree on time, and the code after it continues."""
    with trio.CancelScope() as outer:
        with trio.move_on_after(5.0) as inner:
            await supervisor.supervise(idle)
        assert inner.cancelled_caught
        assert autojump_clock.current_time() == 5.0
        await trio.lowlevel.checkpoint()
    assert not outer.cancelled_caught


async def test_in_a_cancelled_scope_nothing_starts() -> None:
    """S12: if the scope was cancelled before, the root does not take a step."""
    started, metrics = False, InMemoryMetrics()

    async def root() -> None:
        nonlocal started
        started = True

    with trio.CancelScope() as scope:
        scope.cancel()
        await supervisor.supervise(root, metrics=metrics)
    assert scope.cancelled_caught
    assert not started
    assert metrics.nodes()["root"].state is CANCELED


async def test_supervise_raises_cancelled_although_a_runnable_swallows_it() -> None:
    """S12: whatever the runnables do with their own Cancelled."""

    async def polite() -> None:
        supervisor.signal(Signal.HEALTHY)
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            supervisor.signal(Signal.DONE)

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(wait_all_tasks_blocked_then, scope.cancel)
            await supervisor.supervise(polite)
    assert scope.cancelled_caught


async def wait_all_tasks_blocked_then(function: Callable[[], object]) -> None:
    await wait_all_tasks_blocked()
    function()


async def test_supervise_and_wait_settled_are_checkpoints() -> None:
    """S12: also when there is nothing to wait for."""
    with assert_checkpoints():
        await supervisor.supervise(finish)
    async with supervisor.open_supervisor(idle) as tree:
        await tree.wait_settled()
        with assert_checkpoints():
            await tree.wait_settled()


async def test_a_cancelled_wait_settled_leaves_nothing_behind() -> None:
    """S12: after a cancelled wait the next one still returns when the tree settles."""
    remote = Remote()
    async with supervisor.open_supervisor(remote) as tree:
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tree.wait_settled)
                await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        await remote.become_healthy()
        await tree.wait_settled()
        with trio.CancelScope() as scope:
            scope.cancel()
            await tree.wait_settled()
        assert scope.cancelled_caught


async def test_a_cancelled_body_cancels_the_tree() -> None:
    """S12: all tasks are gone at the end of open_supervisor()."""
    remote = Remote()
    with trio.CancelScope() as scope:
        async with supervisor.open_supervisor(remote):
            await remote.become_healthy()
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert remote.running == 0


async def test_a_body_that_ends_at_once_starts_nothing() -> None:
    """S12: a tree that is stopped before its first step is cancelled like any other."""
    remote = Remote()
    async with supervisor.open_supervisor(remote) as tree:
        pass
    assert remote.incarnations == 0
    assert tree.snapshot().nodes["root"].state is CANCELED


async def test_a_cancelled_exit_still_waits_for_the_tasks(autojump_clock: MockClock) -> None:
    """S12: open_supervisor(), cancelled while it waits for a slow end, still waits for it."""
    remote = Remote()
    remote.stop_slowly(3.0)
    with trio.move_on_after(1.0) as scope:
        async with supervisor.open_supervisor(remote):
            await remote.become_healthy()
    assert scope.cancelled_caught
    assert remote.running == 0
    assert autojump_clock.current_time() == 3.0


async def test_no_exception_crosses_a_nursery() -> None:
    """S12: 400 levels that all raise in their clean-ups end without a RecursionError."""
    ends = 0

    async def nest(levels: int) -> NoReturn:
        nonlocal ends
        if levels:
            supervisor.run("inner", nest, levels - 1)
        supervisor.signal(Signal.HEALTHY)
        try:
            await trio.sleep_forever()
        finally:
            ends += 1
            raise OSError("flush failed")

    with trio.CancelScope() as scope:
        async with supervisor.open_supervisor(nest, 400) as tree:
            await tree.wait_settled()
            scope.cancel()
    assert ends == 401


def try_to_start(errors: list[str]) -> None:
    """Try to start a child in each way, and record the errors."""
    for attempt in (
        partial(supervisor.run, "late", idle),
        partial(supervisor.run_group, {"late": idle}),
    ):
        with pytest.raises(RunError) as caught:
            attempt()
        errors.append(str(caught.value))


REFUSALS = ["root.parent can't start children: it has been asked to stop"] * 2


async def test_a_runnable_that_is_being_stopped_can_start_nothing() -> None:
    """S6, S12: nor in its clean-up, when a sibling's death has asked it to stop."""
    errors: list[str] = []
    sibling = Remote()

    async def parent() -> None:
        try:
            await trio.sleep_forever()
        finally:
            try_to_start(errors)

    async def root() -> None:
        supervisor.run_group({"parent": parent, "sibling": sibling}, backoff=LONG)
        await idle()

    async with open_harness(root) as tree:
        await sibling.die()
        await wait_all_tasks_blocked()
        assert "root.parent.late" not in tree.snapshot().nodes
    assert errors == REFUSALS


async def test_a_stop_is_known_before_the_cancellation_is_seen() -> None:
    """S6, S12: a task that was already woken when its sibling died can start nothing."""
    errors: list[str] = []
    go = trio.Event()

    async def parent() -> None:
        await go.wait()
        try_to_start(errors)

    async def sibling() -> None:
        await wait_all_tasks_blocked()
        go.set()
        raise ValueError("broken")

    async def root() -> None:
        supervisor.run_group({"parent": parent, "sibling": sibling}, backoff=LONG)
        await idle()

    async with open_harness(root):
        await go.wait()
        await wait_all_tasks_blocked()
    assert errors == REFUSALS


@pytest.mark.parametrize("depth", [0, 1, 5])
async def test_an_outside_cancellation_is_known_at_any_depth_at_once(depth: int) -> None:
    """S6, S12: in the step after it no node at any depth can start anything."""
    errors: list[str] = []
    go = trio.Event()

    async def nest(levels: int) -> None:
        if levels:
            supervisor.run("inner", nest, levels - 1)
            await idle()
        await go.wait()
        try_to_start(errors)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.supervise, nest, depth)
        await wait_all_tasks_blocked()
        go.set()
        nursery.cancel_scope.cancel()
    dn = "root" + ".inner" * depth
    assert errors == [f"{dn} can't start children: it has been asked to stop"] * 2

"""Runnables that stay NEW for longer than their start timeout (S20)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import GroupState, NodeState
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import LONG
from ..helpers.runnables import idle
from ..helpers.steps import count_steps
from ..helpers.trees import open_recorded

if TYPE_CHECKING:
    from collections.abc import Callable


async def hang() -> None:
    """Never become healthy."""
    await trio.sleep_forever()


async def test_a_runnable_that_stays_new_dies(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """S20: each incarnation has its own timeout; the death is recorded, logged and counted."""
    async with open_recorded(supervisor.run, "slow", hang, start_timeout=5.0) as (
        tree,
        handle,
        transitions,
    ):
        await trio.sleep(12.0)
        assert transitions.seen == [
            (0.0, "slow", "NEW"),
            (5.0, "slow", "DEAD"),
            (6.0, "slow", "NEW"),
            (11.0, "slow", "DEAD"),
        ]
        assert handle.state is GroupState.BACKOFF
        error = "StartTimeoutError: root.slow is still NEW after its start_timeout of 5 s"
        node = tree.snapshot().nodes["root.slow"]
        assert [(crash.error, crash.uptime) for crash in node.crashes] == [(error, 5.0)] * 2
        assert node.group.failures == 2
        assert autojump_clock.current_time() == 12.0
    deaths = [record for record in caplog.records if record.name == "supervisor.node.root.slow"]
    assert [record.levelno for record in deaths] == [logging.ERROR] * 2
    assert error in deaths[0].getMessage()


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_member_that_stays_new_restarts_its_group(
    autojump_clock: MockClock, *, ordered: bool
) -> None:
    """S20: it dies with its children, and its siblings are stopped."""
    child = Remote()

    async def slow() -> None:
        supervisor.run("child", child)
        try:
            await hang()
        finally:
            raise OSError("clean-up")

    async with open_recorded(
        supervisor.run_group, {"a": idle, "slow": slow}, ordered=ordered, start_timeout=5.0
    ) as (tree, _, _):
        await child.become_healthy()
        await trio.sleep(5.5)
        nodes = tree.snapshot().nodes
        states = {dn: nodes[dn].state.name for dn in ("root.a", "root.slow", "root.slow.child")}
        assert states == {
            "root.a": "CANCELED",
            "root.slow": "DEAD",
            "root.slow.child": "CANCELED",
        }
        assert nodes["root.slow"].crashes[0].error.startswith("StartTimeoutError: ")
        stop_error = nodes["root.slow"].stop_error
        assert stop_error is not None
        assert stop_error.error == "OSError: clean-up"
        assert child.running == 0
        await child.become_healthy()
        assert autojump_clock.current_time() == 6.0


async def test_each_member_is_timed_from_its_own_start(autojump_clock: MockClock) -> None:
    """S20: in an ordered group the wait for the members before does not count."""

    async def takes_three_seconds() -> None:
        await trio.sleep(3.0)
        await idle()

    group = dict.fromkeys("abc", takes_three_seconds)
    async with open_recorded(
        supervisor.run_group, group, ordered=True, start_timeout=4.0
    ) as running_:
        tree, handle, _ = running_
        await handle.wait_healthy()
        assert autojump_clock.current_time() == 9.0
        assert [node.incarnation for node in tree.snapshot().nodes.values()] == [1] * 4


async def test_a_runnable_that_is_healthy_in_time_runs_on(autojump_clock: MockClock) -> None:
    """S16, S20: the end of the timeout costs one step of the timers' task."""

    async def in_time() -> None:
        await trio.sleep(4.0)
        await idle()

    async with open_recorded(supervisor.run, "in_time", in_time, start_timeout=5.0) as (
        tree,
        handle,
        _,
    ):
        await handle.wait_healthy()
        await wait_all_tasks_blocked()
        with count_steps() as steps:
            await trio.sleep(3600.0)
        assert steps.total() == 2  # and so does the look for nodes that stay NEW
        node = tree.snapshot().nodes["root.in_time"]
        assert (node.state, node.incarnation) == (NodeState.HEALTHY, 1)
        assert autojump_clock.current_time() == 3604.0


async def test_a_runnable_that_is_asked_to_stop_is_no_longer_timed(
    autojump_clock: MockClock,
) -> None:
    """S20, S21: a node that is NEW in its grace ends CANCELED, however long that takes."""

    async def polite() -> None:
        await supervisor.wait_stop_requested()
        await trio.sleep(3.0)

    async with open_recorded(
        supervisor.run, "polite", polite, start_timeout=2.0, grace=9.0
    ) as running_:
        tree, handle, _ = running_
        await trio.sleep(1.0)
        await handle.stop()
        assert autojump_clock.current_time() == 4.0
        node = tree.snapshot().nodes["root.polite"]
        assert (node.state, node.crashes) == (NodeState.CANCELED, ())


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
async def test_a_start_timeout_is_above_zero(seconds: float) -> None:
    """S20: the error names the number, and nothing has been started."""

    async def root() -> None:
        message = f"^start_timeout={seconds!r} is not a number of seconds above 0$"
        with pytest.raises(ValueError, match=message):
            supervisor.run("a", idle, start_timeout=seconds)
        with pytest.raises(ValueError, match=message):
            supervisor.run_group({"a": idle}, start_timeout=seconds)
        supervisor.run("a", idle, start_timeout=float("inf"))

    async with open_harness(root) as tree:
        await tree.wait_settled()
        assert list(tree.snapshot().nodes) == ["root", "root.a"]


def test_a_runnable_that_has_not_begun_in_time_dies() -> None:
    """S20: also if the parent's set-up is what takes too long."""

    def alone(seconds: float) -> None:
        supervisor.run("child", idle, start_timeout=seconds, backoff=LONG)

    def together(seconds: float) -> None:
        group = {"child": idle, "other": idle}
        supervisor.run_group(group, start_timeout=seconds, backoff=LONG)

    async def main(run: Callable[[float], None]) -> None:
        async def root() -> None:
            run(1.0)
            clock.jump(2.0)  # as work without a checkpoint lets time pass
            await idle()

        async with supervisor.open_supervisor(root) as tree:
            await trio.sleep(5.0)
            node = tree.snapshot().nodes["root.child"]
            if node.state is NodeState.DEAD:
                (death,) = node.crashes
                assert death.error.startswith("StartTimeoutError: root.child is still NEW after")
                assert node.group.state is GroupState.BACKOFF
            else:
                # Of two tasks that are due at once, the runnable's was the first.
                assert node.state is NodeState.HEALTHY
            states.add(node.state)

    states: set[NodeState] = set()
    for run in (alone, together):
        for _ in range(20):
            clock = MockClock(autojump_threshold=0.0)
            trio.run(main, run, clock=clock)
    assert NodeState.DEAD in states


@pytest.mark.parametrize("grace", [0.0, 5.0])
async def test_a_runnable_dies_of_its_timeout_whatever_it_raises_then(
    grace: float,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S20: what it raises when it is stopped for its timeout is kept as its stop error."""

    async def child() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("too late")

    async def root() -> None:
        supervisor.run("child", child, start_timeout=1.0, grace=grace, backoff=LONG)
        await idle()

    async with supervisor.open_supervisor(root) as tree:
        await trio.sleep(10.0)
        node = tree.snapshot().nodes["root.child"]
        assert [crash.error.partition(":")[0] for crash in node.crashes] == ["StartTimeoutError"]
        assert node.stop_error is not None
        assert node.stop_error.error == "OSError: too late"

"""Reports of nodes that were asked to stop and have not ended (S18)."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import RestartLimit, Signal, StopTimeoutError
from supervisor.testing import Remote

from ..helpers.backoffs import AT_ONCE
from ..helpers.reports import Reports, recorded
from ..helpers.runnables import idle
from ..helpers.steps import count_steps

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from trio.testing import MockClock


@pytest.fixture
def reports() -> Iterator[Reports]:
    """The reports of the test."""
    with recorded() as handler:
        yield handler


async def flush_slowly(seconds: float) -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep(seconds)


async def stuck(seconds: float) -> None:
    supervisor.signal(Signal.HEALTHY)
    try:
        await trio.sleep_forever()
    finally:
        await flush_slowly(seconds)


async def pair(seconds: float, sibling: Remote) -> None:
    """Run a stuck node and a sibling under remote control, in one group."""
    members: dict[str, Callable[[], Awaitable[object]]] = {
        "stuck": partial(stuck, seconds),
        "sibling": sibling,
    }
    supervisor.run_group(members, backoff=AT_ONCE)
    await idle()


async def test_a_stuck_node_is_reported_at_growing_intervals(
    reports: Reports, autojump_clock: MockClock
) -> None:
    """S18: 5, 15, 35 and 75 s after the stop, and no more once it has ended."""
    sibling = Remote()
    async with supervisor.open_supervisor(pair, 80.0, sibling):
        await sibling.become_healthy()
        await trio.sleep(100.0)
        await sibling.die()
        await sibling.become_healthy()
        assert autojump_clock.current_time() == 180.0
        assert reports.times == [
            (105.0, "root.stuck"),
            (115.0, "root.stuck"),
            (135.0, "root.stuck"),
            (175.0, "root.stuck"),
        ]
        reports.seen.clear()
        await trio.sleep(3600.0)
        assert reports.times == []


async def test_a_node_that_ends_in_time_is_not_reported(
    reports: Reports, autojump_clock: MockClock
) -> None:
    """S18: a node that takes less than five seconds to end is not logged."""
    sibling = Remote()
    async with supervisor.open_supervisor(pair, 4.999, sibling):
        await sibling.become_healthy()
        await sibling.die()
        await sibling.become_healthy()
        assert autojump_clock.current_time() == 4.999
        await trio.sleep(100.0)
    assert reports.seen == []


async def test_the_report_shows_where_each_task_waits(
    reports: Reports, autojump_clock: MockClock
) -> None:
    """S18: the await stacks of the node's own task and of those in its nurseries, users' frames."""

    async def helper() -> None:
        await flush_slowly(6.0)

    async def child() -> None:
        supervisor.signal(Signal.HEALTHY)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(helper, name="the helper")
            await flush_slowly(6.0)

    async def root() -> None:
        supervisor.run("child", child)
        await idle()

    async with supervisor.open_supervisor(root) as tree:
        await tree.wait_settled()
    assert autojump_clock.current_time() == 6.0
    ((time, name, text),) = reports.seen
    assert (time, name) == (5.0, "supervisor.node.root.child")
    first, *rest = text.splitlines()
    assert first == (
        "root.child has not ended 5 s after it was asked to stop; its tasks wait here:"
    )
    assert [line for line in rest if line.startswith("task ")] == [
        "task child:",
        "task the helper:",
    ]
    frames = [line.rpartition(" in ")[2] for line in rest if line.startswith("  File ")]
    # Each user's frame, and the one frame of Trio that says what it waits for.
    assert frames == ["child", "flush_slowly", "sleep", "helper", "flush_slowly", "sleep"]
    assert rest.count("    await trio.sleep(seconds)") == 2
    assert [line.split('"')[1] for line in rest if f'"{__file__}"' in line] == [__file__] * 4


async def test_a_report_without_users_code_shows_other_frames(
    reports: Reports, autojump_clock: MockClock
) -> None:
    """S18: where a runnable is Trio's or this package's own, its frames are shown."""
    remote = Remote()
    remote.stop_slowly(6.0)
    async with supervisor.open_supervisor(remote):
        await wait_all_tasks_blocked()
    assert autojump_clock.current_time() == 6.0
    ((_, _, text),) = reports.seen
    assert "await trio.sleep(self._seconds)" in text


async def test_an_outside_cancellation_is_reported_too(
    reports: Reports, autojump_clock: MockClock
) -> None:
    """S18: at every depth, once for each node, counted from the cancellation."""

    async def nest(levels: int) -> None:
        if levels:
            supervisor.run("inner", nest, levels - 1)
            await idle()
        await stuck(20.0)

    with trio.move_on_after(2.0):
        await supervisor.supervise(nest, 3)
    assert autojump_clock.current_time() == 22.0
    leaf = "root.inner.inner.inner"
    assert reports.times == [(7.0, leaf), (17.0, leaf)]


async def test_a_stop_that_a_cancellation_takes_over_is_reported_once(
    reports: Reports, autojump_clock: MockClock
) -> None:
    """S18: of two stops that concern a node, only the upper one reports it."""
    sibling = Remote()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.supervise, pair, 20.0, sibling)
        await sibling.become_healthy()
        await sibling.die()
        await trio.sleep(3.0)
        nursery.cancel_scope.cancel()
    assert autojump_clock.current_time() == 20.0
    assert reports.times == [(8.0, "root.stuck"), (18.0, "root.stuck")]


async def test_the_children_of_a_dead_node_are_reported(
    reports: Reports, autojump_clock: MockClock
) -> None:
    """S18: a node that died waits for its children, so they are late and it is not."""
    parent = Remote()

    async def middle() -> None:
        supervisor.run("leaf", stuck, 6.0)
        await parent()

    async def root() -> None:
        supervisor.run("middle", middle, backoff=AT_ONCE)
        await idle()

    async with supervisor.open_supervisor(root) as tree:
        await parent.become_healthy()
        await tree.wait_settled()
        await parent.die()
        await parent.become_healthy()
        assert autojump_clock.current_time() == 6.0
        assert reports.times == [(5.0, "root.middle.leaf")]


async def test_the_siblings_of_a_group_that_gave_up_are_reported(
    reports: Reports, autojump_clock: MockClock
) -> None:
    """S18: also below a DONE parent, which dies of the group when they have ended."""
    remote = Remote()

    async def middle() -> None:
        supervisor.run("remote", remote, limit=RestartLimit(0, within=1.0))
        supervisor.run("leaf", stuck, 6.0)
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async def root() -> None:
        supervisor.run("middle", middle, backoff=AT_ONCE)
        await idle()

    async with supervisor.open_supervisor(root) as tree:
        await remote.become_healthy()
        await tree.wait_settled()
        await remote.die()
        await remote.become_healthy()
        assert remote.incarnations == 2
        assert autojump_clock.current_time() == 6.0
        assert reports.times == [(5.0, "root.middle.leaf")]


async def test_a_second_reason_to_stop_does_not_postpone_the_report(
    reports: Reports, autojump_clock: MockClock
) -> None:
    """S18: the time counts from the first request; here a child gave up first."""
    remote = Remote()

    async def parent() -> None:
        supervisor.run("remote", remote, limit=RestartLimit(0, within=1.0))
        await stuck(3.0)  # and dies of the child only then

    async def root() -> None:
        supervisor.run_group({"parent": parent, "sibling": partial(stuck, 6.0)}, backoff=AT_ONCE)
        await idle()

    async with supervisor.open_supervisor(root):
        await wait_all_tasks_blocked()
        await remote.die()
        await remote.become_healthy()
        assert autojump_clock.current_time() == 6.0
        assert reports.times == [(5.0, "root.sibling")]


@pytest.mark.parametrize(("budget", "reported"), [(7.0, 5.0), (1.0, 1.0)])
async def test_a_member_that_waits_for_its_turn_is_not_reported(
    reports: Reports, autojump_clock: MockClock, budget: float, reported: float
) -> None:
    """S18, S20, S21: only members that were started can be late, for a report or for the budget."""

    async def slow() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(5.5)

    async def root() -> None:
        supervisor.run_group({"slow": slow, "next": idle}, ordered=True)
        await idle()

    async with supervisor.open_supervisor(root) as tree:
        await wait_all_tasks_blocked()
        with contextlib.suppress(StopTimeoutError):
            await tree.stop(timeout=budget)
    assert autojump_clock.current_time() == 5.5
    assert reports.times == [(reported, "root.slow")]


async def test_a_runnable_that_ended_is_not_reported_for_its_children(
    reports: Reports, autojump_clock: MockClock
) -> None:
    """S18: only nodes whose runnables still run are named."""

    async def nest(levels: int) -> None:
        if levels:
            supervisor.run("inner", nest, levels - 1)
            await idle()
        await stuck(6.0)

    async with supervisor.open_supervisor(nest, 3) as tree:
        await tree.wait_settled()
    assert autojump_clock.current_time() == 6.0
    assert reports.times == [(5.0, "root.inner.inner.inner")]


@pytest.mark.parametrize(("number", "more"), [(25, ["5 more nodes"]), (20, [])])
async def test_of_many_nodes_some_are_shown_and_the_rest_is_counted(
    reports: Reports, autojump_clock: MockClock, number: int, more: list[str]
) -> None:
    """S18: a report of 25 nodes shows 20 and says that there are 5 more; one of 20 shows all."""

    async def root() -> None:
        supervisor.run_group({f"child_{each}": partial(stuck, 6.0) for each in range(number)})
        await idle()

    async with supervisor.open_supervisor(root) as tree:
        await tree.wait_settled()
    assert autojump_clock.current_time() == 6.0
    shown, rest = reports.seen[:20], reports.seen[20:]
    assert [name for _, name, _ in shown] == [
        f"supervisor.node.root.child_{each}" for each in range(20)
    ]
    assert [text.partition(" have")[0] for *_, text in rest] == more


async def test_nothing_runs_when_nothing_is_being_stopped(autojump_clock: MockClock) -> None:
    """S18, S16: after a stop the reporting task ends, and the idle tree takes no step."""
    sibling = Remote()
    async with supervisor.open_supervisor(pair, 20.0, sibling, report_after=None):
        await sibling.become_healthy()
        await wait_all_tasks_blocked()
        tasks = trio.lowlevel.current_statistics().tasks_living
        await sibling.die()
        await sibling.become_healthy()
        assert autojump_clock.current_time() == 20.0
        # The look that was due at 35 s finds nothing to report, and is the last.
        await trio.sleep(15.0)
        await wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        with count_steps() as steps:
            await trio.sleep(3600.0)
        assert steps == {}

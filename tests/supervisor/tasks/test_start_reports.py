"""Reports of nodes that are ``NEW`` for long (S34)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, Signal
from supervisor.testing import Remote

from ..helpers.backoffs import AT_ONCE
from ..helpers.reports import Reports, recorded
from ..helpers.runnables import idle
from ..helpers.steps import count_steps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio.testing import MockClock


@pytest.fixture
def reports() -> Iterator[Reports]:
    """The reports of the test."""
    with recorded() as handler:
        yield handler


async def test_a_node_that_awaits_its_own_child_before_its_signal_is_reported(
    reports: Reports, autojump_clock: MockClock
) -> None:
    """S34: after 10 s, with the line where it waits; its child, which waits for it, likewise."""

    async def child(parent: trio.Event) -> None:
        await parent.wait()
        supervisor.signal(Signal.HEALTHY)

    async def parent() -> None:
        is_up = trio.Event()
        await supervisor.run("child", child, is_up).wait_healthy()
        is_up.set()

    async def root() -> None:
        supervisor.run("parent", parent)
        await idle()

    async with supervisor.open_supervisor(root):
        await trio.sleep(10.0)
        await wait_all_tasks_blocked()
        assert reports.times == [(10.0, "root.parent"), (10.0, "root.parent.child")]
        first, *rest = reports.seen[0][2].splitlines()
        assert first == "root.parent is NEW for 10 s; it waits here:"
        assert '    await supervisor.run("child", child, is_up).wait_healthy()' in rest
        assert "    await parent.wait()" in reports.seen[1][2].splitlines()
    assert autojump_clock.current_time() == 10.0


async def test_a_node_that_stays_new_is_reported_at_growing_intervals(
    reports: Reports, autojump_clock: MockClock
) -> None:
    """S34: 10, 30, 70 and 150 s after its start, and no more once it is healthy."""
    remote = Remote()
    async with supervisor.open_supervisor(remote):
        await trio.sleep(200.0)
        assert reports.times == [(10.0, "root"), (30.0, "root"), (70.0, "root"), (150.0, "root")]
        assert [text.partition(";")[0] for *_, text in reports.seen] == [
            f"root is NEW for {seconds} s" for seconds in (10, 30, 70, 150)
        ]
        await remote.become_healthy()
        await trio.sleep(3600.0)
        assert len(reports.seen) == 4
    assert autojump_clock.current_time() == 3800.0


async def test_the_time_until_the_first_report_can_be_chosen(
    reports: Reports, autojump_clock: MockClock
) -> None:
    """S34: the others follow it in proportion."""
    async with supervisor.open_supervisor(Remote(), report_after=2):
        await trio.sleep(10.0)
    assert reports.times == [(2.0, "root"), (6.0, "root")]
    assert autojump_clock.current_time() == 10.0


@pytest.mark.parametrize("never", [None, float("inf")])
async def test_without_a_time_nothing_is_reported(
    reports: Reports, autojump_clock: MockClock, never: float | None
) -> None:
    """S34, S16: there is no timer either."""
    async with supervisor.open_supervisor(Remote(), report_after=never):
        await wait_all_tasks_blocked()
        with count_steps() as steps:
            await trio.sleep(80_000.0)
        assert steps == {}
    assert reports.seen == []
    assert autojump_clock.current_time() == 80_000.0


async def test_a_later_start_is_reported_in_its_own_time(
    reports: Reports, autojump_clock: MockClock
) -> None:
    """S34: also where the next report of an earlier one is later than that."""
    worker = Remote()

    async def root() -> None:
        supervisor.run("slow", Remote())
        supervisor.run("worker", worker, backoff=AT_ONCE)
        await idle()

    async with supervisor.open_supervisor(root):
        await worker.become_healthy()
        await trio.sleep(12.0)
        await worker.die()
        await trio.sleep(20.0)
    assert reports.times == [
        (10.0, "root.slow"),
        (22.0, "root.worker"),
        (30.0, "root.slow"),
    ]
    assert autojump_clock.current_time() == 32.0


async def test_each_incarnation_is_reported_in_its_own_time(
    reports: Reports, autojump_clock: MockClock
) -> None:
    """S34: a node that dies when it is NEW, and starts again, is not reported for that."""

    async def fails() -> None:
        await trio.sleep(7.0)
        raise OSError

    backoff = Backoff(initial=4.0, jitter=0.0, factor=1.0)
    async with supervisor.open_supervisor(fails, backoff=backoff):
        await trio.sleep(100.0)
    assert reports.seen == []
    assert autojump_clock.current_time() == 100.0


async def test_a_member_that_waits_for_its_turn_is_not_reported_as_new(
    reports: Reports, autojump_clock: MockClock
) -> None:
    """S34, S20: it has not begun; and a pool does not start in stages."""
    first = Remote()

    async def root() -> None:
        supervisor.run_pool("pool")
        supervisor.run_group({"first": first, "second": idle}, ordered=True)
        await idle()

    async with supervisor.open_supervisor(root) as tree:
        await trio.sleep(15.0)
        assert reports.times == [(10.0, "root.first")]
        await first.become_healthy()
        await tree.wait_ready()
        await trio.sleep(100.0)
        assert len(reports.seen) == 1
    assert autojump_clock.current_time() == 115.0


async def test_a_new_node_that_is_asked_to_stop_has_the_report_of_a_stop_only(
    reports: Reports, autojump_clock: MockClock
) -> None:
    """S34, S18: one report at a time."""

    async def shielded() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(12.0)

    async with supervisor.open_supervisor(shielded):
        await trio.sleep(4.0)
    assert [(time, text.partition(";")[0]) for time, _, text in reports.seen] == [
        (9.0, "root has not ended 5 s after it was asked to stop")
    ]
    assert autojump_clock.current_time() == 12.0


async def test_of_many_new_nodes_some_are_shown_and_the_rest_is_counted(
    reports: Reports, autojump_clock: MockClock
) -> None:
    """S34: a report of 25 nodes shows 20 and says that there are 5 more."""

    async def root() -> None:
        supervisor.run_group({f"child_{number}": Remote() for number in range(25)})
        await idle()

    async with supervisor.open_supervisor(root):
        await trio.sleep(12.0)
    shown, ((time, name, text),) = reports.seen[:20], reports.seen[20:]
    assert [name for _, name, _ in shown] == [
        f"supervisor.node.root.child_{number}" for number in range(20)
    ]
    assert (time, name, text) == (10.0, "supervisor", "5 more nodes are NEW for as long")
    assert autojump_clock.current_time() == 12.0


async def test_looks_for_new_nodes_are_some_time_apart(
    reports: Reports, autojump_clock: MockClock
) -> None:
    """S34, S16: a thousand nodes that start one after the other cost few looks."""
    pool = supervisor.Pool()

    async def new() -> None:
        await trio.sleep_forever()

    async def root() -> None:
        supervisor.run("pool", pool)
        await idle()

    async with supervisor.open_supervisor(root):
        await pool.wait_healthy()
        for number in range(1000):
            await trio.sleep(0.001)
            pool.run(f"child{number}", new)
        await trio.sleep(8.9)
        with count_steps() as steps:
            await trio.sleep(5.0)
        assert steps == {"timers": 2}
    # The first, and a second later twenty of the others with their number.
    assert len(reports.seen) == 1 + 20 + 1
    assert reports.seen[-1][2] == "979 more nodes are NEW for as long"
    assert autojump_clock.current_time() > 14.0


async def test_an_idle_tree_looks_once_and_has_no_task_then(autojump_clock: MockClock) -> None:
    """S34, S16: the look that was due finds nobody, and is the last."""
    remote, other = Remote(), Remote()

    async def root() -> None:
        supervisor.run("remote", remote)
        supervisor.run("other", other)
        await idle()

    async with supervisor.open_supervisor(root):
        await remote.become_healthy()
        await other.become_healthy()
        await wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        await trio.sleep(15.0)
        assert trio.lowlevel.current_statistics().tasks_living == before - 1
        with count_steps() as steps:
            await trio.sleep(3600.0)
        assert steps == {}
    assert autojump_clock.current_time() == 3615.0


async def test_a_node_that_starts_again_and_again_costs_one_look_in_ten_seconds(
    autojump_clock: MockClock,
) -> None:
    """S34, S16: no timer is set for each start."""
    remote = Remote()

    async def root() -> None:
        supervisor.run("remote", remote, backoff=AT_ONCE)
        await idle()

    async with supervisor.open_supervisor(root):
        await remote.become_healthy()
        await wait_all_tasks_blocked()
        with count_steps() as steps:
            for _ in range(100):
                await remote.die()
                await remote.become_healthy()
            assert steps["timers"] == 0
            await trio.sleep(3600.0)
            assert steps["timers"] == 1
    assert autojump_clock.current_time() == 3600.0


@pytest.mark.parametrize(
    ("wrong", "error"),
    [(0, ValueError), (-1.0, ValueError), ("10", TypeError), (True, TypeError)],
)
async def test_a_wrong_time_until_the_first_report_is_refused(
    wrong: float, error: type[Exception]
) -> None:
    """S34, S2: it is no number of seconds above 0; nothing has been started."""
    started: list[None] = []

    async def root() -> None:
        started.append(None)

    for call in (
        partial(supervisor.supervise, root, report_after=wrong),
        supervisor.open_supervisor(root, report_after=wrong).__aenter__,
    ):
        with pytest.raises(error, match="report_after="):
            await call()
    assert started == []

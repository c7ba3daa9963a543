"""Stopping a whole tree: what it does meanwhile, and the budget it has (S21)."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, NoReturn

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

import supervisor
from supervisor import GroupState, NodeState, Signal, StopTimeoutError, open_supervisor
from supervisor.testing import Remote

from ..helpers.backoffs import LONG, STEADY
from ..helpers.runnables import idle
from ..helpers.stop_times import StopTimes

if TYPE_CHECKING:
    from trio.testing import MockClock


async def flush() -> None:
    """Wait for the request to stop, and then for a disk."""
    supervisor.signal(Signal.HEALTHY)
    await supervisor.wait_stop_requested()
    await write_to_disk()


async def write_to_disk() -> None:
    await trio.sleep_forever()


async def three_levels(stops: StopTimes, grace: float) -> None:
    """Start ``root.a``, then ``root.b`` with ``root.b.c``, each with the same grace."""

    async def b() -> None:
        supervisor.run("c", stops.stay, grace=grace)
        await stops.stay()

    supervisor.run("a", stops.stay, grace=grace)
    supervisor.run("b", b, grace=grace)
    await stops.stay()


async def test_all_grace_periods_share_one_budget(autojump_clock: MockClock) -> None:
    """S21: nodes that are asked late get what is left of it, and it is never exceeded."""
    stops = StopTimes()
    async with open_supervisor(three_levels, stops, 4.0, grace=4.0) as tree:
        await trio.sleep(100.0)
        with pytest.raises(StopTimeoutError) as caught:
            await tree.stop(timeout=10.0)
        assert autojump_clock.current_time() == 110.0
    assert stops.asked == {"root": 100.0, "root.b": 104.0, "root.b.c": 108.0}
    assert stops.ended == {"root": 104.0, "root.b": 108.0, "root.b.c": 110.0, "root.a": 110.0}
    over = "the 10 s for the stop of the tree are over"
    assert {dn for dn, error in stops.cancelled.items() if error.reason == over} == {
        "root.b.c",
        "root.a",
    }
    assert caught.value.dns == ("root.a", "root.b.c")
    assert str(caught.value) == (
        "the tree had not stopped after 10 s and was cancelled; "
        "these nodes were running: root.a, root.b.c"
    )


@pytest.mark.parametrize("budget", [None, 16.25])
async def test_a_budget_that_suffices_changes_nothing(
    budget: float | None, autojump_clock: MockClock
) -> None:
    """S21: a stop neither waits for it nor raises; without one only grace periods are a limit."""
    stops = StopTimes()
    async with open_supervisor(three_levels, stops, 4.0, grace=4.0) as tree:
        await wait_all_tasks_blocked()
        await tree.stop(timeout=budget)
        assert autojump_clock.current_time() == 16.0
    assert stops.asked == {"root": 0.0, "root.b": 4.0, "root.b.c": 8.0, "root.a": 12.0}
    assert autojump_clock.current_time() == 16.0


async def test_the_log_names_the_late_node_and_the_line_where_it_waits(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """S18, S21: a stop that runs out of time logs the stacks of the tasks that it waited for."""

    async def root() -> None:
        supervisor.run("flush", flush, grace=60.0)
        await idle()

    async with open_supervisor(root) as tree:
        await wait_all_tasks_blocked()
        with pytest.raises(StopTimeoutError):
            await tree.stop(timeout=2.5)
        assert autojump_clock.current_time() == 2.5
    (record,) = caplog.records
    assert record.name == "supervisor.node.root.flush"
    text = record.getMessage()
    assert text.startswith(
        "root.flush has not ended within the 2.5 s that the stop of the tree may take; "
        "its tasks wait here:\ntask flush:\n"
    )
    assert re.search(r"line \d+, in write_to_disk\n    await trio.sleep_forever\(\)", text)


async def test_clean_up_after_the_budget_is_waited_for(autojump_clock: MockClock) -> None:
    """S21: a budget limits grace periods and no clean-up; stop() raises when all tasks are gone."""
    slow = Remote()
    slow.stop_slowly(3.0)

    async def root() -> None:
        supervisor.run("slow", slow, grace=60.0)
        await idle()

    async with open_supervisor(root) as tree:
        await slow.become_healthy()
        with pytest.raises(StopTimeoutError, match=r"these nodes were running: root\.slow$"):
            await tree.stop(timeout=4.0)
        assert slow.running == 0
        assert autojump_clock.current_time() == 4.0 + 3.0


async def test_a_budget_of_zero_leaves_no_grace(autojump_clock: MockClock) -> None:
    """S21: nodes with a grace are cancelled at once, and named."""
    stops = StopTimes()
    async with open_supervisor(three_levels, stops, 4.0, grace=4.0) as tree:
        await wait_all_tasks_blocked()
        with pytest.raises(StopTimeoutError) as caught:
            await tree.stop(timeout=0.0)
        assert caught.value.dns == ("root", "root.a", "root.b", "root.b.c")
        assert stops.ended == dict.fromkeys(caught.value.dns, 0.0)
        assert autojump_clock.current_time() == 0.0


async def test_the_shortest_of_two_budgets_counts(autojump_clock: MockClock) -> None:
    """S21: of two stops at once, both raise that the tree was cancelled."""
    ends = []
    async with open_supervisor(three_levels, StopTimes(), 4.0, grace=4.0) as tree:

        async def stop(seconds: float) -> None:
            with pytest.raises(StopTimeoutError) as caught:
                await tree.stop(timeout=seconds)
            ends.append((autojump_clock.current_time(), caught.value.dns))

        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop, 10.0)
            nursery.start_soon(stop, 5.0)
    assert ends == [(5.0, ("root.a", "root.b", "root.b.c"))] * 2


async def test_two_stops_without_a_budget_both_wait_for_the_end(autojump_clock: MockClock) -> None:
    """S21: a stop is idempotent; one of a tree that has ended is a checkpoint."""
    ends = []
    async with open_supervisor(three_levels, StopTimes(), 4.0, grace=4.0) as tree:
        await wait_all_tasks_blocked()

        async def stop() -> None:
            await tree.stop()
            ends.append(autojump_clock.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop)
            await trio.sleep(1.0)
            nursery.start_soon(stop)
        assert ends == [16.0, 16.0]
        for budget in (None, 0.0, 5.0):
            with assert_checkpoints():
                await tree.stop(timeout=budget)
        assert autojump_clock.current_time() == 16.0


async def test_a_finished_tree_has_nothing_to_stop() -> None:
    """S13, S21: a stop after the end returns, and the states do not change."""

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async with open_supervisor(root) as tree:
        await wait_all_tasks_blocked()
        await tree.stop(timeout=5.0)
        node = tree.snapshot().nodes["root"]
        assert (node.state, node.group.state) == (NodeState.DONE, GroupState.FINISHED)


@pytest.mark.parametrize("budget", [-1.0, float("nan")])
async def test_a_wrong_budget_is_an_error(budget: float) -> None:
    """S21: the error names the number, and the tree is not stopped."""
    async with open_supervisor(idle) as tree:
        await tree.wait_ready()
        with pytest.raises(ValueError, match=f"^timeout={budget!r} is not a number of seconds of"):
            await tree.stop(timeout=budget)
        assert tree.ready()


@pytest.mark.parametrize("after", [0.0, 2.0])
@pytest.mark.parametrize(("budget", "end"), [(None, 16.0), (5.0, 5.0)])
async def test_a_cancelled_stop_takes_effect(
    after: float, budget: float | None, end: float, autojump_clock: MockClock
) -> None:
    """S21: cancelled at its checkpoint or in its wait, the stop and its budget go on."""
    stops = StopTimes()
    async with open_supervisor(three_levels, stops, 4.0, grace=4.0) as tree:
        await wait_all_tasks_blocked()
        with trio.move_on_after(after) as scope:
            await tree.stop(timeout=budget)
        assert scope.cancelled_caught
        assert autojump_clock.current_time() == after
    assert stops.asked["root"] == 0.0
    assert stops.ended["root.a"] == end
    assert autojump_clock.current_time() == end


async def test_a_runnable_may_stop_its_own_tree(autojump_clock: MockClock) -> None:
    """S21, S32: in the usual order; it gets no grace, since it waits for its own end."""
    stops = StopTimes()

    async def operator() -> None:
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(1.0)
        try:
            await tree.stop(timeout=60.0)
        finally:
            stops.ended["root.operator"] = trio.current_time()

    async def root() -> None:
        supervisor.run("operator", operator, grace=3.0)
        await stops.stay()

    async with open_supervisor(root, grace=2.0) as tree:
        await trio.sleep(1.0)
        await tree.stop()
        assert autojump_clock.current_time() == 3.0
    assert stops.ended == {"root": 3.0, "root.operator": 3.0}


@pytest.mark.parametrize("leave", [False, True])
async def test_a_tree_may_be_stopped_before_its_first_step(*, leave: bool) -> None:
    """S12, S21: no runnable is called; the same holds for a body that ends at once."""
    called = []

    async def root() -> None:
        called.append("root")

    async with open_supervisor(root, grace=5.0) as tree:
        if not leave:
            await tree.stop(timeout=5.0)
    node = tree.snapshot().nodes["root"]
    assert (called, node.state, node.group.state.name) == ([], NodeState.CANCELED, "STOPPED")


async def test_a_root_in_backoff_is_stopped_at_once(autojump_clock: MockClock) -> None:
    """S9, S21: there is no task to ask or to wait for."""
    root = Remote()
    async with open_supervisor(root, backoff=LONG, grace=5.0) as tree:
        await root.die()
        await tree.stop(timeout=60.0)
        assert tree.snapshot().nodes["root"].group.state is GroupState.STOPPED
        assert autojump_clock.current_time() == 0.0


@pytest.mark.parametrize(
    ("way", "asked", "ended"),
    [
        ("return", {"root": 0.0, "root.child": 5.0}, {"root": 5.0, "root.child": 8.0}),
        ("stop", {"root": 0.0, "root.child": 5.0}, {"root": 5.0, "root.child": 8.0}),
        ("raise", {}, {"root": 0.0, "root.child": 0.0}),
        ("cancel", {}, {"root": 0.0, "root.child": 0.0}),
        ("cancel in the grace", {"root": 0.0}, {"root": 2.0, "root.child": 2.0}),
    ],
)
async def test_only_an_exception_or_a_cancellation_skips_the_grace_periods(
    way: str, asked: dict[str, float], ended: dict[str, float], autojump_clock: MockClock
) -> None:
    """S12, S21: the end of the body asks all nodes; an error or an outside cancellation, none."""
    stops = StopTimes()

    async def root() -> None:
        supervisor.run("child", stops.stay, grace=3.0)
        await stops.stay()

    def leave() -> NoReturn:
        raise OSError("body")

    with contextlib.suppress(OSError), trio.CancelScope() as outside:
        async with open_supervisor(root, grace=5.0) as tree:
            await wait_all_tasks_blocked()
            if way == "stop":
                await tree.stop()
            elif way == "raise":
                leave()
            elif way == "cancel":
                outside.cancel()
                await trio.lowlevel.checkpoint()
            elif way != "return":
                outside.deadline = 2.0
    assert (stops.asked, stops.ended) == (asked, ended)
    assert autojump_clock.current_time() == max(ended.values())


async def test_a_group_restarts_as_usual_until_it_is_asked(autojump_clock: MockClock) -> None:
    """S21: a node that has not been asked dies and restarts; one in BACKOFF ends at once."""
    stops, restarting, waiting = StopTimes(), Remote(), Remote()

    async def root() -> None:
        supervisor.run("restarting", restarting, backoff=STEADY)
        supervisor.run("waiting", waiting, backoff=LONG)
        await stops.stay()

    async with open_supervisor(root, grace=5.0) as tree, trio.open_nursery() as nursery:
        await waiting.die()
        nursery.start_soon(tree.stop)
        await wait_all_tasks_blocked()
        await restarting.die()
        await restarting.become_healthy()
        assert autojump_clock.current_time() == 1.0
        assert tree.snapshot().nodes["root.waiting"].group.state is GroupState.BACKOFF
    assert autojump_clock.current_time() == 5.0
    nodes = tree.snapshot().nodes
    assert nodes["root.restarting"].state is NodeState.CANCELED
    assert (nodes["root.waiting"].state, nodes["root.waiting"].incarnation) == (NodeState.DEAD, 1)
    assert {node.group.state for node in nodes.values()} == {GroupState.STOPPED}


@pytest.mark.parametrize("other", [None, 2.0, 60.0])
async def test_each_stop_names_the_budget_that_was_spent(
    other: float | None, autojump_clock: MockClock
) -> None:
    """S21: also a stop without a budget, or with a longer one."""
    slow = Remote()
    slow.stop_slowly(3.0)
    async with open_supervisor(slow, grace=9.0) as tree:

        async def stop(seconds: float | None) -> None:
            with pytest.raises(StopTimeoutError, match=r"not stopped after 1 s .*: root$"):
                await tree.stop(timeout=seconds)

        await slow.become_healthy()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop, 1.0)
            nursery.start_soon(stop, other)
        assert autojump_clock.current_time() == 4.0

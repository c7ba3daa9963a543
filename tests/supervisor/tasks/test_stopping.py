"""Nodes are asked to stop, then cancelled, level by level (S21)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Handle, NodeState, RestartLimit, Signal, open_supervisor
from supervisor.testing import Remote

from ..helpers.backoffs import LONG, STEADY
from ..helpers.runnables import idle
from ..helpers.stop_times import StopTimes

if TYPE_CHECKING:
    from trio.testing import MockClock

ONCE = RestartLimit(0, within=1.0)


async def test_a_tree_stops_level_by_level_and_group_by_group(autojump_clock: MockClock) -> None:
    """S21: a body first, then its groups in reverse order of start, members side by side."""
    stops = StopTimes()

    async def root() -> None:
        supervisor.run("first", first, grace=2.0)
        supervisor.run_group({"x": x, "y": stops.stay}, grace={"x": 4.0, "y": 8.0})
        supervisor.run("last", stops.stay, grace=16.0)
        await stops.stay()

    async def first() -> None:
        supervisor.run("a", stops.stay, grace=32.0)
        await stops.stay()

    async def x() -> None:
        supervisor.run("a", stops.stay, grace=64.0)
        supervisor.run_group({"b": stops.stay, "c": stops.stay}, grace=1.0)
        await stops.stay()

    async with open_supervisor(root, grace=128.0) as tree:
        await trio.sleep(1000.0)
        await tree.stop()
    times = {dn: (stops.asked[dn] - 1000.0, stops.ended[dn] - 1000.0) for dn in stops.ended}
    assert times == {
        "root": (0, 128),
        "root.last": (128, 144),
        "root.x": (144, 148),
        "root.y": (144, 152),
        "root.x.b": (148, 149),
        "root.x.c": (148, 149),
        "root.x.a": (149, 213),
        "root.first": (213, 215),
        "root.first.a": (215, 247),
    }
    assert set(stops.cancelled) == set(times)
    assert autojump_clock.current_time() == 1247.0


async def test_each_group_waits_for_the_clean_up_of_the_one_before(
    autojump_clock: MockClock,
) -> None:
    """S21: a group is asked when no task of the one started after it is left."""
    stops, slow = StopTimes(), Remote()
    slow.stop_slowly(7.0)

    async def root() -> None:
        supervisor.run("early", stops.stay, grace=1.0)
        supervisor.run("slow", slow)
        await idle()

    async with open_supervisor(root):
        await slow.become_healthy()
    assert (stops.asked, stops.ended) == ({"root.early": 7.0}, {"root.early": 8.0})
    assert autojump_clock.current_time() == 8.0


async def test_a_runnable_that_returns_within_its_grace_is_not_cancelled(
    autojump_clock: MockClock,
) -> None:
    """S5, S21: it is CANCELED, and the stop does not wait for the rest of the grace."""
    stops = StopTimes()

    async def root() -> None:
        supervisor.run("before", stops.stay, 1.0, grace=float("inf"))
        supervisor.run("after", stops.stay, 3.0, grace=5.0)
        await stops.stay(2.0)

    async with open_supervisor(root, grace=5.0) as tree:
        await wait_all_tasks_blocked()
        await tree.stop()
        assert stops.ended == {"root": 2.0, "root.after": 5.0, "root.before": 6.0}
        assert stops.cancelled == {}
        for node in tree.snapshot().nodes.values():
            assert (node.state, node.crashes, node.stop_error) == (NodeState.CANCELED, (), None)
        assert autojump_clock.current_time() == 6.0


@pytest.mark.parametrize("grace", [0.0, 5.0])
@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("stop", "root.{failing,worker} is stopped on demand"),
        ("restart", "root.{failing,worker} is restarted on demand"),
        ("death", "group root.{failing,worker} restarts: root.failing died: OSError: two lines"),
        ("escalation", "root.worker.child gave up"),
        ("tree", "root has ended"),
    ],
)
async def test_a_cancelled_runnable_gets_the_reason(
    way: str, reason: str, grace: float, autojump_clock: MockClock
) -> None:
    """S21: after its grace, or at once without one, the Cancelled has the cause in one line."""
    stops, failing, child = StopTimes(), Remote(), Remote()
    handles: list[Handle] = []

    async def worker() -> None:
        supervisor.run("child", child, limit=ONCE)
        await stops.stay()

    async def root() -> None:
        handles.append(supervisor.run_group({"failing": failing, "worker": worker}, grace=grace))
        await stops.stay()

    async with open_supervisor(root, backoff=LONG) as tree, trio.open_nursery() as nursery:
        await wait_all_tasks_blocked()
        if way == "death":
            await failing.die(OSError("two\nlines"))
        elif way == "escalation":
            await child.die()
        elif way == "tree":
            nursery.start_soon(tree.stop)
        else:
            nursery.start_soon(getattr(handles[0], way))
        await trio.sleep(grace + 1.0)
        assert stops.asked["root.worker"] == 0.0
        assert stops.ended["root.worker"] == grace
        cancelled = stops.cancelled["root.worker"]
        assert cancelled.reason == reason
        assert reason in str(cancelled)
        assert "\n" not in str(cancelled)
        assert autojump_clock.current_time() == grace + 1.0
    top = "the tree is stopped" if way == "tree" else "the body of open_supervisor() has ended"
    assert stops.cancelled["root"].reason == top


async def test_a_groups_restart_honours_each_members_grace(autojump_clock: MockClock) -> None:
    """S7, S21: siblings of the dead member get their grace periods; then comes the backoff."""
    stops, failing = StopTimes(), Remote()

    async def root() -> None:
        supervisor.run_group(
            {"failing": failing, "graced": stops.stay, "instant": stops.stay},
            grace={"graced": 3.0, "failing": 9.0},
            backoff=STEADY,
        )
        await idle()

    async with open_supervisor(root):
        await wait_all_tasks_blocked()
        await failing.die()
        await failing.become_healthy()
        assert stops.ended == {"root.instant": 0.0, "root.graced": 3.0}
        assert autojump_clock.current_time() == 3.0 + 1.0


@pytest.mark.parametrize(
    ("grace", "message"),
    [
        ({"worker": 1.0, "walker": 2.0}, "^grace names 'walker', which is no member of the group"),
        ({"worker": -1.0}, "^grace=-1.0 is not a number of seconds of at least 0"),
        (-1.0, "^grace=-1.0 is not a number of seconds of at least 0"),
        (float("nan"), "^grace=nan is not a number of seconds of at least 0"),
    ],
)
async def test_a_wrong_grace_is_an_error(grace: float | dict[str, float], message: str) -> None:
    """S2, S21: the error names the value, and nothing has been started."""

    async def root() -> None:
        with pytest.raises(ValueError, match=message):
            supervisor.run_group({"worker": idle}, grace=grace)
        if isinstance(grace, float):
            with pytest.raises(ValueError, match=message):
                supervisor.run("worker", idle, grace=grace)
            with pytest.raises(ValueError, match=message):
                await supervisor.supervise(idle, grace=grace)
        await idle()

    async with open_supervisor(root) as tree:
        await tree.wait_settled()
        assert {dn: node.state for dn, node in tree.snapshot().nodes.items()} == {
            "root": NodeState.HEALTHY
        }


@pytest.mark.parametrize("work", [3.0, 1e9])
async def test_an_error_raised_in_a_stop_is_kept_and_logged(
    work: float, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """S5, S21: a death in the grace, or after it, ends the node CANCELED and restarts nothing."""
    stops = StopTimes()

    async def worker() -> None:
        try:
            await stops.stay(work, error=OSError("while stopping"))
        except trio.Cancelled:
            raise OSError("while stopping") from None

    handles: list[Handle] = []

    async def root() -> None:
        handles.append(supervisor.run("worker", worker, grace=5.0))
        await idle()

    async with open_supervisor(root) as tree:
        await wait_all_tasks_blocked()
        await handles[0].stop()
        assert autojump_clock.current_time() == min(work, 5.0)
        node = tree.snapshot().nodes["root.worker"]
        assert (node.state, node.incarnation, node.crashes) == (NodeState.CANCELED, 1, ())
        assert node.stop_error is not None
        assert node.stop_error.error == "OSError: while stopping"
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.name == "supervisor.node.root.worker"
    assert record.getMessage().startswith("root.worker was asked to stop and raised an error: OSE")


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), SystemExit(3)])
async def test_a_base_exception_cuts_the_stop_short(
    failure: BaseException, autojump_clock: MockClock
) -> None:
    """S11, S21: raised while stopping, it leaves the tree, and all others end at once."""
    stops = StopTimes()

    async def root() -> None:
        supervisor.run("early", stops.stay, grace=9.0)
        supervisor.run_group(
            {"fatal": partial(stops.stay, 2.0, failure), "other": stops.stay}, grace=9.0
        )
        await idle()

    with pytest.raises(type(failure)) as caught:
        async with open_supervisor(root):
            await wait_all_tasks_blocked()
    assert caught.value is failure
    assert stops.asked == {"root.fatal": 0.0, "root.other": 0.0}
    assert stops.ended == {"root.fatal": 2.0, "root.other": 2.0, "root.early": 2.0}
    assert autojump_clock.current_time() == 2.0


async def test_a_runnable_that_is_stopped_before_its_first_step_is_not_called(
    autojump_clock: MockClock,
) -> None:
    """S21: nor is it waited for."""
    called = []

    async def unborn() -> None:
        called.append(supervisor.current_dn())

    async def root() -> None:
        await supervisor.run("alone", unborn, grace=9.0).stop()
        await supervisor.run_group({"a": unborn, "b": unborn}, grace=9.0).stop()
        await idle()

    async with open_supervisor(root) as tree:
        await tree.wait_settled()
        states = {node.state.name for dn, node in tree.snapshot().nodes.items() if dn != "root"}
        assert (called, states) == ([], {"CANCELED"})
        assert autojump_clock.current_time() == 0.0


async def test_children_of_a_done_parent_are_asked_at_once(autojump_clock: MockClock) -> None:
    """S6, S21: a parent that has returned needs no grace."""
    stops = StopTimes()

    async def root() -> None:
        supervisor.run("child", stops.stay, grace=3.0)
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async with open_supervisor(root, grace=5.0):
        await wait_all_tasks_blocked()
    assert (stops.asked, stops.ended) == ({"root.child": 0.0}, {"root.child": 3.0})
    assert autojump_clock.current_time() == 3.0


@pytest.mark.parametrize("work", [2.0, 1e9])
async def test_escalation_honours_the_parents_grace(work: float, autojump_clock: MockClock) -> None:
    """S10, S21: a parent whose child gave up is asked first, and then dies of the child."""
    stops, child = StopTimes(), Remote()

    async def parent() -> None:
        supervisor.run("child", child, limit=ONCE)
        await stops.stay(work)

    async def root() -> None:
        supervisor.run("parent", parent, grace=4.0, backoff=STEADY)
        await idle()

    async with open_supervisor(root) as tree:
        await child.die()
        await child.become_healthy()
        ended = min(work, 4.0)
        assert (stops.asked, stops.ended) == ({"root.parent": 0.0}, {"root.parent": ended})
        assert autojump_clock.current_time() == ended + 1.0
        (crash,) = tree.snapshot().nodes["root.parent"].crashes
        assert crash.error.startswith("RestartLimitExceeded: root.parent.child gave up")

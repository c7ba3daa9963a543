"""The delays before the restarts of a group in a tree (S9)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, GroupState, Handle, NodeState, Signal
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import DOUBLING, LONG
from ..helpers.runnables import idle, start, start_and_idle

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from supervisor import Supervisor


async def test_members_that_die_together_count_once(autojump_clock: MockClock) -> None:
    """S9: three members that die at the same time are one failure, with the first delay."""
    doom = trio.Event()

    async def doomed() -> None:
        await doom.wait()
        raise OSError("doom")

    group = {"a": doomed, "b": doomed, "c": doomed}
    async with open_harness(start, supervisor.run_group, group, backoff=DOUBLING) as tree:
        await wait_all_tasks_blocked()
        doom.set()
        await wait_all_tasks_blocked()
        nodes = [tree.snapshot().nodes[f"root.{name}"] for name in group]
        assert nodes[0].group.failures == 1
        assert nodes[0].group.deadline == autojump_clock.current_time() + 1.0
        assert sum(len(node.crashes) for node in nodes) == 1
        assert sum(node.stop_error is not None for node in nodes) == 2


async def test_error_raised_while_stopping_does_not_count(autojump_clock: MockClock) -> None:
    """S9: what a member raises while its group stops is kept, and is no second failure."""
    failing = Remote()

    async def clumsy() -> None:
        try:
            await idle()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(4.0)
            raise OSError("while stopping")

    group = {"failing": failing, "clumsy": clumsy}
    async with open_harness(start, supervisor.run_group, group, backoff=DOUBLING) as tree:
        await wait_all_tasks_blocked()
        await failing.die()
        await failing.die()
        assert autojump_clock.current_time() == 4.0 + 1.0
        await failing.become_healthy()
        assert autojump_clock.current_time() == 5.0 + 4.0 + 2.0
        node = tree.snapshot().nodes["root.clumsy"]
        assert "while stopping" in str(node.stop_error)
        assert (node.crashes, node.group.failures) == ((), 2)


async def test_backoff_of_the_tree_is_the_default_of_each_group(autojump_clock: MockClock) -> None:
    """S9: backoff= of supervise() holds at every depth where a group has none of its own."""

    async def crash() -> None:
        raise OSError("crash")

    async def middle() -> None:
        supervisor.run("a", crash)
        supervisor.run("b", crash, backoff=LONG)
        supervisor.run_group({"c": crash})
        supervisor.run_group({"d": crash}, backoff=LONG)
        await idle()

    async with open_harness(start, supervisor.run, "middle", middle, backoff=DOUBLING) as tree:
        await wait_all_tasks_blocked()
        assert autojump_clock.current_time() == 0.0
        groups = [tree.snapshot().nodes[f"root.middle.{name}"].group for name in "abcd"]
        assert [group.deadline for group in groups] == [1.0, 1000.0, 1.0, 1000.0]


@pytest.mark.parametrize("stop", ["cancel", "leave"])
async def test_stop_ends_the_backoff_at_once(stop: str, autojump_clock: MockClock) -> None:
    """S9: a tree stops without waiting for the delays of its groups."""
    failing = Remote()
    group = {"failing": failing, "other": idle}
    with trio.CancelScope() as scope:
        async with open_harness(start, supervisor.run_group, group, backoff=LONG) as tree:
            await failing.die()
            await wait_all_tasks_blocked()
            assert tree.snapshot().nodes["root.other"].group.state is GroupState.BACKOFF
            if stop == "cancel":
                scope.cancel()
    assert autojump_clock.current_time() == 0.0
    stopped = tree.snapshot().nodes["root.other"].group
    assert (stopped.state, stopped.deadline) == (GroupState.STOPPED, None)


HOUR = 3600.0


def paced(backoff: Backoff, life: float) -> list[float]:
    """Return when a group starts within an hour, if its first member to die lives that long."""
    starts = [0.0]
    while (following := starts[-1] + life + backoff.delay(len(starts))) < HOUR:
        starts.append(following)
    return starts


@pytest.mark.parametrize("other", [0.125, 0.25, HOUR])
async def test_two_failing_members_keep_to_the_backoff(
    autojump_clock: MockClock, other: float
) -> None:
    """S7, S9: two members that always crash start as often as one would."""
    backoff = Backoff(jitter=0.0)
    starts: dict[str, list[float]] = {"one": [], "two": []}

    async def member(name: str, life: float) -> NoReturn:
        starts[name].append(autojump_clock.current_time())
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(life)
        raise OSError

    async def root() -> None:
        supervisor.run_group(
            {"one": partial(member, "one", 0.125), "two": partial(member, "two", other)}
        )
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    with trio.move_on_after(HOUR):
        await supervisor.supervise(root, backoff=backoff)
    assert starts["one"] == starts["two"] == pytest.approx(paced(backoff, 0.125))
    assert len(starts["one"]) == 70  # most of them a minute apart


# What makes up for failures


@pytest.mark.parametrize("last_state", [NodeState.HEALTHY, NodeState.DONE])
@pytest.mark.parametrize(("seconds", "failures"), [(9.75, 3), (10.0, 1), (60.0, 1)])
async def test_failures_are_forgotten_after_a_time_of_joint_health(
    seconds: float, failures: int, last_state: NodeState, autojump_clock: MockClock
) -> None:
    """S9: the delay resets when all members have been HEALTHY or DONE for reset_after seconds."""
    first, last = Remote(), Remote()
    group = {"first": first, "last": last}
    async with open_harness(start, supervisor.run_group, group, backoff=DOUBLING) as tree:
        await first.die()
        await first.die()
        await first.become_healthy()
        await trio.sleep(100.0)  # it does not count as long as the last member is NEW
        await last.become_healthy()
        if last_state is NodeState.DONE:
            await last.be_done()
        await trio.sleep(seconds)
        assert tree.snapshot().nodes["root.last"].state is last_state
        await first.die()
        await wait_all_tasks_blocked()
        after = tree.snapshot().nodes["root.last"].group
        assert after.failures == failures
        assert after.deadline == autojump_clock.current_time() + DOUBLING.delay(failures)


@pytest.mark.parametrize(
    ("backoff", "failures"),
    [
        (Backoff(jitter=0.0), [1, 2, 3, 4, 5, 6, 7, 8]),
        (Backoff(jitter=0.0, reset_after=0.0), [1] * 8),
    ],
    ids=["default", "reset at once"],
)
async def test_delays_of_a_healthy_then_crash_loop_grow_by_default(
    backoff: Backoff, failures: list[int], autojump_clock: MockClock
) -> None:
    """S9: a second of health does not reset the delay, except with reset_after=0."""
    starts = []

    async def crash_later() -> None:
        starts.append(autojump_clock.current_time())
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(1.0)
        raise OSError("crash")

    async with open_harness(start, supervisor.run, "loop", crash_later, backoff=backoff):
        await trio.sleep(60.0)
    delays = [later - sooner - 1.0 for sooner, later in itertools.pairwise(starts)]
    assert delays[:8] == [backoff.delay(count) for count in failures]


def failures(tree: Supervisor) -> int:
    return tree.snapshot().nodes["root.worker"].group.failures


async def test_readiness_of_an_earlier_round_does_not_count(autojump_clock: MockClock) -> None:
    """S9: the seconds of readiness are those of the round that failed."""
    worker = Remote()

    async def root() -> None:
        supervisor.run("worker", worker)

    async with open_harness(root, backoff=DOUBLING) as tree:
        await worker.become_healthy()
        await trio.sleep(1.0)
        await worker.die()
        await trio.sleep(1000.0)
        await worker.die()
        await wait_all_tasks_blocked()
        assert failures(tree) == 2
    assert autojump_clock.current_time() == 1001.0


async def test_readiness_before_a_death_does_not_count_for_what_fails_after_it(
    autojump_clock: MockClock,
) -> None:
    """S8, S9: the function of a group that fails at a restart adds to the failures in a row."""
    worker = Remote()
    broken = False

    def group() -> dict[str, Remote]:
        if broken:
            raise OSError("no channels")
        return {"worker": worker}

    async def root() -> None:
        supervisor.run_group(group)

    async with open_harness(root, backoff=DOUBLING) as tree:
        await worker.become_healthy()
        await trio.sleep(1000.0)
        broken = True
        await worker.die()
        await wait_all_tasks_blocked()
        assert failures(tree) == 1
        await trio.sleep(1.5)
        assert failures(tree) == 2
    assert autojump_clock.current_time() == 1001.5


async def test_a_member_that_becomes_healthy_in_its_grace_does_not_make_its_group_healthy(
    autojump_clock: MockClock,
) -> None:
    """S9: a sibling has died, so no failure that follows counts as the first."""
    failing = Remote()
    calls: list[float] = []

    async def late() -> None:
        await supervisor.wait_stop_requested()
        supervisor.signal(Signal.HEALTHY)

    def group() -> dict[str, Callable[[], Awaitable[None]]]:
        calls.append(autojump_clock.current_time())
        if len(calls) == 2:
            raise OSError("no runnables")
        return {"late": late, "failing": failing}

    async def root() -> None:
        backoff = Backoff(initial=1.0, factor=2.0, jitter=0.0, reset_after=0.5)
        supervisor.run_group(group, backoff=backoff, grace={"late": 1.0})

    async with open_harness(root):
        await failing.die()
        await failing.become_healthy()
        assert calls == [0.0, 1.0, 3.0]


@pytest.mark.parametrize(
    ("healthy", "stopped", "failures"), [(9.0, 0.0, 2), (10.0, 0.0, 1), (9.0, 100.0, 2)]
)
async def test_health_before_a_restart_on_demand_counts_and_time_at_rest_does_not(
    healthy: float,
    stopped: float,
    failures: int,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S9, S19: only reset_after seconds of health make up for earlier failures."""
    worker = Remote()
    handles: list[supervisor.Handle] = []

    async def root() -> None:
        handles.append(supervisor.run("worker", worker))

    async with open_harness(root, backoff=Backoff(initial=1.0, reset_after=10.0)) as tree:
        await worker.die()
        await worker.become_healthy()
        await trio.sleep(healthy)
        if stopped:
            await handles[0].stop()
            await trio.sleep(stopped)
        await handles[0].restart()
        await worker.die()
        await trio.testing.wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root.worker"].group.failures == failures


async def test_health_before_a_restart_on_demand_counts(autojump_clock: MockClock) -> None:
    """S9, S19: a group that has been healthy for long restarts like one that never failed."""
    remote = Remote()
    handles: list[Handle] = []
    backoff = Backoff(initial=1.0, factor=10.0, jitter=0.0, reset_after=10.0)

    async def root() -> None:
        handles.append(supervisor.run("child", remote, backoff=backoff))

    async with open_harness(root):
        for _ in range(2):
            await remote.die()
        assert autojump_clock.current_time() == 1.0
        await remote.become_healthy()
        assert autojump_clock.current_time() == 11.0
        await trio.sleep(10.0)
        await handles[0].restart()
        await remote.die()
        await remote.become_healthy()
        assert autojump_clock.current_time() == 22.0


# A random source that fails


def broken() -> NoReturn:
    raise ZeroDivisionError


async def test_a_broken_random_source_ends_the_tree(autojump_clock: MockClock) -> None:
    """S9: its error leaves supervise() when all tasks are gone, also those that end slowly."""
    remote, slow = Remote(), Remote()
    slow.stop_slowly(100.0)

    async def root() -> None:
        supervisor.run("child", remote, backoff=Backoff(random=broken))
        supervisor.run("slow", slow)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(remote.die)
        with pytest.raises(ZeroDivisionError):
            await supervisor.supervise(root)
        assert autojump_clock.current_time() == 100.0
        assert slow.running == 0


async def crash() -> NoReturn:
    raise ValueError("a mistake")


async def test_a_random_source_that_breaks_after_a_factory_ends_the_tree() -> None:
    """S8, S9: the failure of a group's function asks for a delay as a death does."""
    draws, runnables = [0.0], [{"child": crash}]

    with pytest.raises(IndexError):
        await supervisor.supervise(
            start_and_idle,
            supervisor.run_group,
            runnables.pop,
            backoff=Backoff(initial=0.0, random=draws.pop),
        )


async def test_a_random_source_out_of_its_range_ends_the_tree() -> None:
    """S9, S11: there is no delay to wait for, so the error leaves supervise()."""
    with pytest.raises(ValueError, match=r"returned -1\.0, which is not"), trio.fail_after(60):
        await supervisor.supervise(
            start_and_idle, supervisor.run, "child", crash, backoff=Backoff(random=lambda: -1.0)
        )

"""Heartbeats: a runnable that hangs dies (S31)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import GroupState, NodeState, Pool, Signal, open_supervisor
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import LONG
from ..helpers.runnables import idle
from ..helpers.trees import open_pool, open_started

if TYPE_CHECKING:
    from trio.testing import MockClock


async def hang_here() -> None:
    await trio.sleep_forever()


async def test_a_runnable_that_misses_a_beat_dies(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S31: the error says when the last one was, and where the tasks of the runnable wait."""
    beaten = [0.0, 3.0, 3.0, 6.5]

    async def worker() -> None:
        await trio.sleep(2.0)  # it has time until it is HEALTHY
        supervisor.signal(Signal.HEALTHY)
        start = trio.current_time()
        for at in beaten:
            await trio.sleep_until(start + at)
            supervisor.beat()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hang_here)

    async with open_started(supervisor.run, "worker", worker, heartbeat=4.0, backoff=LONG) as (
        tree,
        _,
    ):
        await trio.sleep(12.4)
        assert tree.snapshot().nodes["root.worker"].state is NodeState.HEALTHY
        await trio.sleep(0.2)
        node = tree.snapshot().nodes["root.worker"]
        (crash,) = node.crashes
        assert crash.time == 2.0 + 6.5 + 4.0
        assert crash.error == (
            "HeartbeatError: root.worker does not beat within its heartbeat of 4 s: "
            "its last beat() was 4.0 s ago"
        )
        assert "its tasks wait here:" in crash.traceback
        assert "in hang_here" in crash.traceback
        assert node.group.state is GroupState.BACKOFF


async def test_one_that_never_beats_dies(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S31: the time counts from when it became HEALTHY."""
    async with open_started(supervisor.run, "worker", idle, heartbeat=4.0, backoff=LONG) as (
        tree,
        _,
    ):
        await trio.sleep(4.5)
        (crash,) = tree.snapshot().nodes["root.worker"].crashes
        assert crash.time == 4.0
        assert crash.error.endswith("it has not called beat() since it became HEALTHY 4.0 s ago")


async def test_one_that_beats_lives(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S31: as long as it goes on."""

    async def worker() -> None:
        supervisor.signal(Signal.HEALTHY)
        while True:
            await trio.sleep(3.5)
            supervisor.beat()

    async with open_started(supervisor.run, "worker", worker, heartbeat=4.0) as (tree, _):
        await trio.sleep(100.0)
        assert tree.snapshot().nodes["root.worker"].crashes == ()


async def test_a_worker_thread_may_beat(mock_clock: MockClock) -> None:
    """S31: for a runnable whose work is done there."""
    beats: list[trio.Event] = [trio.Event(), trio.Event()]

    async def worker() -> None:
        supervisor.signal(Signal.HEALTHY)
        await beats[0].wait()
        await trio.to_thread.run_sync(supervisor.beat)
        beats[1].set()
        await trio.sleep_forever()

    async with open_started(supervisor.run, "worker", worker, heartbeat=4.0, backoff=LONG) as (
        tree,
        _,
    ):
        mock_clock.jump(3.0)
        beats[0].set()
        await beats[1].wait()
        for seconds, deaths in ((3.0, 0), (1.0, 1)):
            mock_clock.jump(seconds)
            await wait_all_tasks_blocked()
            assert len(tree.snapshot().nodes["root.worker"].crashes) == deaths


@pytest.mark.parametrize("how", ["done", "stopped", "not healthy"])
async def test_no_beat_is_due_but_while_it_is_healthy(
    how: str,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S31: nor in the grace of a stop."""
    remote = Remote()
    remote.stop_slowly(50.0)

    async def worker() -> None:
        if how == "not healthy":
            await trio.sleep_forever()
        supervisor.signal(Signal.HEALTHY)
        if how == "done":
            supervisor.signal(Signal.DONE)
            await trio.sleep(50.0)
            return
        await supervisor.wait_stop_requested()
        await trio.sleep(50.0)

    async with open_started(supervisor.run, "worker", worker, heartbeat=4.0, grace=60.0) as (
        tree,
        handle,
    ):
        await trio.sleep(1.0)
        if how == "stopped":
            await handle.stop()
        else:
            await trio.sleep(100.0)
        assert tree.snapshot().nodes["root.worker"].crashes == ()


async def test_members_have_heartbeats_by_name(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S31: those that are not named need not beat."""
    async with open_started(
        supervisor.run_group,
        {"one": idle, "two": idle, "three": idle},
        heartbeat={"one": 5.0, "three": 3.0},
        backoff=LONG,
    ) as (tree, _):
        await trio.sleep(3.5)
        nodes = tree.snapshot().nodes
        assert [bool(nodes[f"root.{name}"].crashes) for name in ("one", "two", "three")] == [
            False,
            False,
            True,
        ]


async def test_a_pool_need_not_beat_but_its_children(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S31, S29: a pool has nothing to hang in."""
    pool = Pool()

    async def root() -> None:
        supervisor.run_group({"pool": pool}, heartbeat=1.0)

    async with open_harness(root) as tree:
        await pool.wait_healthy()
        pool.run("one", idle, heartbeat=20.0)
        await trio.sleep(10.0)
        assert tree.snapshot().nodes["root.pool"].crashes == ()
        assert pool.statistics().running == 1
        await trio.sleep(15.0)
        assert pool.statistics().failed == 1


async def test_a_runnable_that_has_become_a_pool_need_not_beat(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S31, S29: whether it has signalled HEALTHY itself, and waited for that long, or not."""
    pool = Pool()

    async def runnable() -> None:
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(0.5)
        await pool()

    async with open_started(supervisor.run, "pool", runnable, heartbeat=1.0) as (tree, _):
        await trio.sleep(10.0)
        assert tree.snapshot().nodes["root.pool"].crashes == ()
        assert pool.state is GroupState.RUNNING


async def test_a_beat_without_a_heartbeat_does_nothing() -> None:
    """S31: it may stand in code that several runnables use, and before HEALTHY."""

    async def root() -> None:
        supervisor.beat()
        await idle()

    async with open_supervisor(root) as tree:
        await tree.wait_ready()


async def test_heartbeats_leave_no_timer(autojump_clock: MockClock) -> None:
    """S31, S16: what has ended is not looked at."""

    async def job() -> None:
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async with open_pool() as (_, pool):
        for _ in range(1000):
            pool.run(None, job, heartbeat=1000.0)
            await wait_all_tasks_blocked()
        assert len(pool) == 0
    assert autojump_clock.current_time() == 0.0


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), "1", True])
async def test_a_wrong_heartbeat_is_named(value: float) -> None:
    """S31, S2: at the call."""
    async with open_pool() as (_, pool):
        with pytest.raises((TypeError, ValueError), match=r"heartbeat=.* is not a number of sec"):
            pool.run("one", idle, heartbeat=value)
        assert len(pool) == 0


async def test_a_heartbeat_that_a_busy_loop_would_miss_is_named() -> None:
    """S31, S2: at the call, also by name."""
    message = r"heartbeat=0\.001 is below 0\.01 s, and would be missed whenever the loop is busy"
    async with open_pool() as (_, pool):
        with pytest.raises(ValueError, match=message):
            pool.run("one", idle, heartbeat=0.001)

    async def root() -> None:
        with pytest.raises(ValueError, match=message):
            supervisor.run_group({"one": idle}, heartbeat={"one": 0.001})
        await idle()

    async with open_supervisor(root) as tree:
        await tree.wait_ready()


async def test_a_blocked_loop_is_no_missing_beat(autojump_clock: MockClock) -> None:
    """S31: what could not beat meanwhile has the time for it; what hangs dies later."""

    async def beat_each_second() -> None:
        supervisor.signal(Signal.HEALTHY)
        while True:
            await trio.sleep(1.0)
            for _ in range(10):  # more turns of the loop than the timer needs
                await trio.lowlevel.checkpoint()
            supervisor.beat()

    async def root() -> None:
        supervisor.run("alive", beat_each_second, heartbeat=2.0)
        supervisor.run("hangs", idle, heartbeat=2.0)
        await idle()

    async with open_supervisor(root, backoff=LONG) as tree:
        await trio.sleep(0.5)
        autojump_clock.jump(100.0)  # all of it in one turn of the loop
        await trio.sleep(20.0)
        nodes = tree.snapshot().nodes
        assert nodes["root.alive"].crashes == ()
        (crash,) = nodes["root.hangs"].crashes
        assert crash.time == 102.5
        assert "it has not called beat() since it became HEALTHY 102.5 s ago" in crash.error


async def test_a_loop_that_is_blocked_for_a_moment_delays_a_death_by_that(
    autojump_clock: MockClock,
) -> None:
    """S31: a hanging runnable gains no more than it may have lost."""
    async with open_started(supervisor.run, "worker", idle, heartbeat=4.0, backoff=LONG) as (
        tree,
        _,
    ):
        await trio.sleep(3.5)
        autojump_clock.jump(1.0)
        await trio.sleep(5.0)
        (crash,) = tree.snapshot().nodes["root.worker"].crashes
        assert crash.time == 5.0


async def test_a_heartbeat_for_nobody_is_named() -> None:
    """S31, S2: names in a mapping are members' names."""

    async def root() -> None:
        with pytest.raises(ValueError, match="heartbeat names 'two', which is no member"):
            supervisor.run_group({"one": idle}, heartbeat={"two": 1.0})
        await idle()

    async with open_supervisor(root) as tree:
        await tree.wait_ready()

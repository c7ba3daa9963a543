"""Waiting for the request to stop (S21)."""

from __future__ import annotations

import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

import supervisor
from supervisor import Handle, Signal, open_supervisor

from ..helpers.runnables import idle
from ..helpers.traces import check_that_cancelling_leaves_nothing


async def test_a_request_is_seen_by_all_waits_before_and_after_it() -> None:
    """S21: by any number of tasks; the next incarnation starts without a request."""
    starts = 0
    seen = []
    handles: list[Handle] = []

    async def wait(name: str) -> None:
        await supervisor.wait_stop_requested()
        seen.append(name)

    async def worker() -> None:
        nonlocal starts
        starts += 1
        supervisor.signal(Signal.HEALTHY)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, "one")
            nursery.start_soon(wait, "two")
        with assert_checkpoints():
            await wait("late")

    async def root() -> None:
        handles.append(supervisor.run("worker", worker, grace=5.0))
        await idle()

    async with open_supervisor(root):
        await wait_all_tasks_blocked()
        await handles[0].restart()
        await wait_all_tasks_blocked()
        assert (starts, sorted(seen)) == (2, ["late", "one", "two"])
        await handles[0].stop()
        assert len(seen) == 6


async def test_a_cancelled_wait_for_the_request_leaves_nothing(autojump_clock: MockClock) -> None:
    """S21: a runnable may cancel its wait, and wait again."""

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        for seconds in (0.0, 1.0):
            await check_that_cancelling_leaves_nothing(supervisor.wait_stop_requested, seconds)
        await supervisor.wait_stop_requested()

    async with open_supervisor(root, grace=5.0):
        await trio.sleep(2.0)
    assert autojump_clock.current_time() == 2.0


async def test_a_request_is_seen_by_a_first_wait_in_the_grace(
    autojump_clock: MockClock,
) -> None:
    """S21: a runnable that was busy when it was asked to stop sees the request afterwards."""

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(2.0)
        with assert_checkpoints():
            await supervisor.wait_stop_requested()

    async with supervisor.open_supervisor(root, grace=100.0) as tree:
        await tree.wait_ready()
    assert autojump_clock.current_time() == 2.0

"""Backoff of groups: what counts as joint health, and what does not (S9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

import supervisor
from supervisor import Backoff, Signal
from supervisor.testing import Remote, open_harness

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock


async def test_who_gets_healthy_within_its_grace_does_not_make_its_group_healthy(
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
    """S9, S19: the failures of before are made up for by reset_after seconds of health alone."""
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

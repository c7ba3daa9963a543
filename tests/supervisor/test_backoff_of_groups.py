"""Backoff of groups: what counts as joint health, and what does not (S9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

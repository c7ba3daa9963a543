"""How often a group starts: an hour of crashes, and restarts on demand in between (S9)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NoReturn

import pytest
import trio

import supervisor
from supervisor import Backoff, Handle, Signal
from supervisor.testing import Remote, open_harness

if TYPE_CHECKING:
    from trio.testing import MockClock

HOUR = 3600.0


def paced(backoff: Backoff, life: float) -> list[float]:
    """Return when a group starts, within an hour, whose first member to die lives so long."""
    starts = [0.0]
    while (following := starts[-1] + life + backoff.delay(len(starts))) < HOUR:
        starts.append(following)
    return starts


@pytest.mark.parametrize("other", [0.125, 0.25, HOUR])
async def test_two_failing_members_keep_to_the_backoff(
    autojump_clock: MockClock, other: float
) -> None:
    """S7, S9: two that always crash, at once or not, start as often as one would, no more."""
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

"""Graceful stops: asked first, cancelled after a grace, in an order (S21)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, final

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

import supervisor
from supervisor import (
    Backoff,
    GroupState,
    Handle,
    NodeState,
    RestartLimit,
    Signal,
    wait_stop_requested,
)
from supervisor.testing import Remote

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from trio.testing import MockClock

    Script = Callable[[], Awaitable[object]]

STEADY = Backoff(initial=1.0, factor=1.0, jitter=0.0)
LONG = Backoff(initial=1000.0, maximum=1000.0, jitter=0.0)
ONCE = RestartLimit(0, within=1.0)


@final
class Diary:
    """Notes of each runnable when it was asked to stop and when, and how, it ended."""

    def __init__(self) -> None:
        self.asked: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.reasons: dict[str, str | None] = {}
        self.texts: dict[str, str] = {}

    async def stay(self, *, work: float | None = None) -> None:
        """Be healthy until cancelled, or for so many seconds after having been asked."""
        dn = supervisor.current_dn()
        supervisor.signal(Signal.HEALTHY)
        try:
            await wait_stop_requested()
            self.asked[dn] = trio.current_time()
            await (trio.sleep_forever() if work is None else trio.sleep(work))
        except trio.Cancelled as cancelled:
            self.reasons[dn] = cancelled.reason
            self.texts[dn] = str(cancelled)
            raise
        finally:
            self.ended[dn] = trio.current_time()


async def forever() -> None:
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


# Order and times


async def test_a_tree_stops_level_by_level_and_group_by_group(autojump_clock: MockClock) -> None:
    """S21: a body first, then its groups in reverse order of start, members side by side."""
    diary = Diary()

    async def root() -> None:
        supervisor.run("first", first, grace=2.0)
        supervisor.run_group({"x": x, "y": diary.stay}, grace={"x": 4.0, "y": 8.0})
        supervisor.run("last", diary.stay, grace=16.0)
        await diary.stay()

    async def first() -> None:
        supervisor.run("a", diary.stay, grace=32.0)
        await diary.stay()

    async def x() -> None:
        supervisor.run("a", diary.stay, grace=64.0)
        supervisor.run_group({"b": diary.stay, "c": diary.stay}, grace=1.0)
        await diary.stay()

    async with supervisor.open_supervisor(root, grace=128.0) as tree:
        await wait_all_tasks_blocked()
        await trio.sleep(1000.0)
        await tree.stop()
    start = {dn: time - 1000.0 for dn, time in diary.asked.items()}
    end = {dn: time - 1000.0 for dn, time in diary.ended.items()}
    assert {dn: (start[dn], end[dn]) for dn in start} == {
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
    assert autojump_clock.current_time() == 1247.0

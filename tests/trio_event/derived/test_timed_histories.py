"""Chains of stages that let time pass are as their model, whenever a value is set (V17)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio
from hypothesis import given, settings, strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_event import MemoryValue

from ..helpers.timeline import play, record
from ..model.strategies import stages

if TYPE_CHECKING:
    from trio_event import ValueWatch

    from ..model.strategies import Stages

    Events = list[tuple[float, int]]


def derive(value: ValueWatch[int], stages: Stages) -> ValueWatch[int]:
    for kind, seconds in stages:
        if kind == "debounce":
            value = value.debounce(seconds)
        elif kind == "throttle":
            value = value.throttle(seconds)
        else:
            value = value.distinct()
    return value


def expect(stages: Stages, events: Events) -> Events:
    """Compute what comes, and when, where no value repeats the one before."""
    quiet = max((seconds for kind, seconds in stages if kind == "debounce"), default=0.0)
    pause = max((seconds for kind, seconds in stages if kind == "throttle"), default=0.0)
    expected: Events = []
    for (at, number), (following, _) in zip(events, [*events[1:], (1000.0, 0)], strict=True):
        due = max(at + quiet, expected[-1][0] + pause if expected else 0.0)
        if due < following:
            expected.append((due, number))
    return expected


async def observe(stages: Stages, events: Events) -> Events:
    value: MemoryValue[int] = MemoryValue()
    seen: Events = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(record, derive(value, stages).watch(), seen)
        await wait_all_tasks_blocked()
        await play(value, *events)
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    return seen


@settings(deadline=None, max_examples=200, derandomize=True)
@given(stages=stages, gaps=st.lists(st.integers(1, 4), min_size=1, max_size=10))
def test_each_value_comes_when_all_conditions_are_met(stages: Stages, gaps: list[int]) -> None:
    """V17: a value comes after the longest debounce and the longest throttle."""
    events = [(float(sum(gaps[: index + 1])), index) for index in range(len(gaps))]
    run = partial(trio.run, observe, stages, events, clock=MockClock(autojump_threshold=0.0))
    assert run() == expect(stages, events)

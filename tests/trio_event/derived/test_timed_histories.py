"""Whatever lets time pass, and whenever something is set, it comes when it is due (V17)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio
from hypothesis import given, settings, strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_event import MemoryValue

from ..helpers.timeline import play, record

if TYPE_CHECKING:
    from trio_event import ValueWatch

    Stages = list[tuple[str, float]]
    Events = list[tuple[float, int]]

# Exact numbers, of which no few add up to a whole second, at which another value is set.
SECONDS = tuple(seconds + 2**-12 for seconds in (0.25, 1.375, 2.75))

stages = st.lists(
    st.tuples(st.sampled_from(("debounce", "throttle", "distinct")), st.sampled_from(SECONDS)),
    max_size=4,
)


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
    """Say what comes, and when, of stages without repetitions."""
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
    """V17: it has been quiet for the longest debounce, and long enough for each throttle."""
    events = [(float(sum(gaps[: index + 1])), index) for index in range(len(gaps))]
    run = partial(trio.run, observe, stages, events, clock=MockClock(autojump_threshold=0.0))
    assert run() == expect(stages, events)

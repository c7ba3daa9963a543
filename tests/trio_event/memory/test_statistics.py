"""The statistics of a value in memory (V21)."""

from __future__ import annotations

import operator
from functools import partial
from typing import TYPE_CHECKING

from trio.testing import wait_all_tasks_blocked

from trio_event import MemoryValue, compose, select

from ..helpers.calls import Call
from ..helpers.functions import is_big

if TYPE_CHECKING:
    import trio


def test_statistics_of_a_value_that_was_set() -> None:
    """V21: each set counts, and so do those that eq has suppressed."""
    value = MemoryValue(1, eq=operator.eq)
    for number in (1, 2, 2, 2, 3):
        value.set(number)
    statistics = value.statistics()
    assert (statistics.version, statistics.sets, statistics.suppressed) == (3, 6, 3)
    empty = MemoryValue[int]().statistics()
    assert (empty.version, empty.sets, empty.suppressed, empty.tasks_waiting) == (0, 0, 0, 0)


async def test_statistics_count_the_tasks_that_wait(nursery: trio.Nursery) -> None:
    """V21: each task counts once, whatever it waits with; idle watchers do not count."""
    value = MemoryValue(1)
    value.watch()
    watchers = [value.watch() for _ in range(4)]
    for watcher in watchers:
        await watcher.get()
    calls: list[Call[object]] = [
        Call(nursery, watchers[0].get),
        Call(nursery, watchers[1].get_update),
        Call(nursery, partial(select, watchers[2], watchers[3])),
        Call(nursery, partial(value.map(abs).wait_for, is_big)),
        Call(nursery, partial(compose(value, value).wait_version, 9)),
    ]
    await wait_all_tasks_blocked()
    assert value.statistics().tasks_waiting == 5
    for call in calls:
        await call.cancel()
    assert value.statistics().tasks_waiting == 0


async def test_statistics_count_those_that_were_called_until_they_run(
    nursery: trio.Nursery,
) -> None:
    """V21: a task that a set has called counts until its step."""
    value: MemoryValue[int] = MemoryValue()
    for _ in range(3):
        Call(nursery, value.watch().get)
    await wait_all_tasks_blocked()
    assert value.statistics().tasks_waiting == 3
    value.set(1)
    assert value.statistics().tasks_waiting == 2
    await wait_all_tasks_blocked()
    assert value.statistics().tasks_waiting == 0

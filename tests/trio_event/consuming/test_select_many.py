"""Waiting on a thousand watchers (V14)."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_event import MemoryValue, compose, select

from ..helpers.calls import Call, counting
from ..helpers.several import waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_event import Watcher

COUNT = 1000


@pytest.fixture
def seeded() -> Iterator[None]:
    """Make chance repeatable for a test, and leave it to chance again."""
    state = random.getstate()
    random.seed(14)
    yield
    random.setstate(state)


def watch_in_turn(values: list[MemoryValue[int]]) -> list[Watcher[int]]:
    """Watch each value in one of five ways, of which the last is also that of a neighbour."""
    ways = (
        lambda index: values[index],
        lambda index: values[index].map(abs),
        lambda index: values[index].throttle(0),
        lambda index: values[index].distinct(),
        lambda index: compose(values[index], values[index - 1]).map(max),
    )
    return [ways[index % len(ways)](index).watch() for index in range(COUNT)]


@pytest.mark.usefixtures("seeded")
async def test_each_update_of_a_thousand_is_taken_once(nursery: trio.Nursery) -> None:
    """V5, V14: whatever is set, in whatever order, and whichever calls are cancelled."""
    values = [MemoryValue(0) for _ in range(COUNT)]
    watchers = watch_in_turn(values)
    known = [watcher.get_nowait() for watcher in watchers]
    number = 0
    for _ in range(30):
        call = Call(nursery, partial(select, *watchers))
        await wait_all_tasks_blocked()
        assert waiting(values) == COUNT
        if random.choice((True, False, False)):  # noqa: S311  it is a game
            await call.cancel()
            assert call.cancelled
            continue
        changed = random.sample(range(COUNT), 8)
        for index in changed:
            number += 1
            values[index].set(number)
        unseen = {at for at, watcher in enumerate(watchers) if watcher.changed}
        assert set(changed) <= unseen
        if random.choice((True, False)):  # noqa: S311
            call.scope.cancel()  # too late: it has been woken
        while True:
            at, newest = await call.result()
            assert newest > known[at]
            known[at] = newest
            unseen.remove(at)
            assert waiting(values) == 0
            if not unseen:
                break
            assert {at for at in unseen if watchers[at].changed} == unseen
            with trio.CancelScope() as scope:
                scope.cancel()
                await select(*watchers)
            assert scope.cancelled_caught
            call = Call(nursery, partial(select, *watchers))
        assert not any(watcher.changed for watcher in watchers)


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("ready", [2, 10, COUNT])
async def test_none_of_a_thousand_starves(ready: int) -> None:
    """V14: of those side by side that always have an update, each gets its share."""
    value = MemoryValue(0)
    watchers = [value.watch() for _ in range(COUNT)]
    for watcher in watchers[ready:]:
        watcher.get_nowait()
    fresh = [MemoryValue(0) for _ in range(ready)]
    watchers[:ready] = [each.watch() for each in fresh]
    calls = 40 * ready if ready < COUNT else COUNT * 2
    taken = [0] * COUNT
    for number in range(calls):
        at, _ = await select(*watchers)
        taken[at] += 1
        fresh[at].set(number)
    assert sum(taken[:ready]) == calls
    if ready < COUNT:
        assert min(taken[:ready]) > 10
    else:
        assert max(taken) < 20


async def test_call_that_waits_for_a_thousand_takes_one_step_more(nursery: trio.Nursery) -> None:
    """V14: of any kinds; those that are set after the first wake nobody, and no task is started."""
    values = [MemoryValue(0) for _ in range(COUNT)]
    watchers = watch_in_turn(values)
    for watcher in watchers:
        watcher.get_nowait()
    for _ in range(3):
        call = Call(nursery, partial(select, *watchers))
        await wait_all_tasks_blocked()
        assert call.task is not None
        with counting() as counts:
            for value in values:
                value.update(lambda number: number + 1)
            await call.result()
        assert counts.steps[call.task] == 1
        assert set(counts.steps) == {call.task, trio.lowlevel.current_task()}
        for watcher in watchers:
            if watcher.changed:
                watcher.get_nowait()

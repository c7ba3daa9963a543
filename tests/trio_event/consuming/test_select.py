"""Waiting on several watchers at once (V14)."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from trio_event import select

from ..helpers.calls import Call, after_this_step, counting
from ..helpers.several import make, unseen, waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_event import Watcher


@pytest.fixture
def seeded() -> Iterator[None]:
    """Make chance repeatable for a test, and leave it to chance again."""
    state = random.getstate()
    random.seed(14)
    yield
    random.setstate(state)


async def test_select_returns_the_index_and_the_value() -> None:
    """V14: watchers by position are told apart by their index."""
    values, watchers = make(3)
    values[1].set(7)
    assert await select(*watchers) == (1, 7)


async def test_select_returns_the_name_and_the_value() -> None:
    """V14: watchers by name are told apart by their name."""
    values, (lease, hosts) = make(2)
    values[0].set(7)
    assert await select(hosts=hosts, lease=lease) == ("lease", 7)
    values[1].set(8)
    assert await select(hosts=hosts, lease=lease) == ("hosts", 8)


async def test_select_of_one_is_get(nursery: trio.Nursery) -> None:
    """V14: one watcher is enough, set or unset."""
    (value,), (watcher,) = make(1)
    value.set(1)
    assert await select(watcher) == (0, 1)
    call = Call(nursery, partial(select, watcher))
    await wait_all_tasks_blocked()
    value.set(2)
    assert await call.result() == (0, 2)


async def test_select_waits_for_the_first_update(nursery: trio.Nursery) -> None:
    """V14: where nothing is unseen, whichever value is set next ends the wait."""
    values, watchers = make(3)
    for index in (2, 0, 1):
        call = Call(nursery, partial(select, *watchers))
        await wait_all_tasks_blocked()
        assert not call.ended
        values[index].set(index * 10)
        assert await call.result() == (index, index * 10)


async def test_select_takes_exactly_one_of_those_that_are_ready() -> None:
    """V14: all others stay unseen, and the next calls take them one by one."""
    values, watchers = make(5)
    for number, value in enumerate(values):
        value.set(number)
    taken = [await select(*watchers) for _ in values]
    assert sorted(taken) == [(number, number) for number in range(5)]
    assert unseen(watchers) == []


async def test_select_takes_exactly_one_of_those_that_are_set_before_its_step(
    nursery: trio.Nursery,
) -> None:
    """V14: also when several sets come between the wake-up and the step."""
    values, watchers = make(4)
    call = Call(nursery, partial(select, *watchers))
    await wait_all_tasks_blocked()
    for number, value in enumerate(values):
        value.set(number)
    index, number = await call.result()
    assert index == number
    assert unseen(watchers) == [other for other in range(4) if other != index]


async def test_select_returns_the_newest_value_when_it_runs(nursery: trio.Nursery) -> None:
    """V4, V14: two sets before its step give it the second; so does one during its checkpoint."""
    (value, _), watchers = make(2)
    call = Call(nursery, partial(select, *watchers))
    await wait_all_tasks_blocked()
    value.set(1)
    value.set(2)
    assert await call.result() == (0, 2)
    value.set(3)
    after_this_step(partial(value.set, 4))
    assert await select(*watchers) == (0, 4)
    assert unseen(watchers) == []


async def test_two_watchers_of_one_value_are_two() -> None:
    """V14: each of them gets the update, in a call of its own."""
    (value,), (watcher,) = make(1)
    other = value.watch()
    value.set(1)
    taken = [await select(watcher, other) for _ in range(2)]
    assert sorted(taken) == [(0, 1), (1, 1)]


async def test_two_watchers_of_one_value_wait_in_its_line_once(nursery: trio.Nursery) -> None:
    """V14: a set of a value that is watched twice wakes the task once, which leaves its line."""
    (value,), (watcher,) = make(1)
    call = Call(nursery, partial(select, watcher, value.watch()))
    await wait_all_tasks_blocked()
    value.set(1)
    _, number = await call.result()
    assert number == 1
    assert waiting([value]) == 0


async def test_select_is_always_a_checkpoint() -> None:
    """V14: also where an update, or an end, is ready."""
    (value, other), watchers = make(2)
    value.set(1)
    with assert_checkpoints():
        await select(*watchers)
    other.close()
    with assert_checkpoints(), pytest.raises(trio.EndOfChannel):
        await select(*watchers)


async def test_select_in_a_cancelled_scope_takes_nothing() -> None:
    """V5, V14: a cancelled call leaves every watcher as it was, with updates or without."""
    values, watchers = make(3)
    for ready in (False, True):
        for value in values[:2] if ready else ():
            value.set(1)
        with trio.CancelScope() as scope:
            scope.cancel()
            await select(*watchers)
        assert scope.cancelled_caught
        assert waiting(values) == 0
    assert unseen(watchers) == [0, 1]


async def test_select_cancelled_at_its_checkpoint_takes_nothing() -> None:
    """V5, V14: nothing is taken before the checkpoint is over."""
    values, watchers = make(3)
    values[2].set(1)
    with trio.CancelScope() as scope:
        after_this_step(scope.cancel)
        await select(*watchers)
    assert scope.cancelled_caught
    assert unseen(watchers) == [2]


async def test_select_cancelled_while_it_waits_takes_nothing(nursery: trio.Nursery) -> None:
    """V5, V14: what is set after the cancellation, and before its step, is not lost."""
    values, watchers = make(3)
    call = Call(nursery, partial(select, *watchers))
    await wait_all_tasks_blocked()
    assert waiting(values) == 3
    call.scope.cancel()
    values[1].set(1)
    await wait_all_tasks_blocked()
    assert call.cancelled
    assert waiting(values) == 0
    assert unseen(watchers) == [1]


async def test_set_then_cancel_before_the_woken_select_runs_loses_nothing(
    nursery: trio.Nursery,
) -> None:
    """V5, V14: a call that a set has woken returns it, and leaves nothing in any line."""
    values, watchers = make(3)
    call = Call(nursery, partial(select, *watchers))
    await wait_all_tasks_blocked()
    values[1].set(1)
    call.scope.cancel()
    assert await call.result() == (1, 1)
    assert waiting(values) == 0


async def test_select_leaves_nothing_in_any_line(nursery: trio.Nursery) -> None:
    """V8, V14: after each call, of whatever end, no value knows of it."""
    values, watchers = make(10)
    for number, value in enumerate(values):
        call = Call(nursery, partial(select, *watchers))
        await wait_all_tasks_blocked()
        assert waiting(values) == 10
        value.set(number)
        await call.result()
        assert waiting(values) == 0
    call = Call(nursery, partial(select, *watchers))
    await wait_all_tasks_blocked()
    values[3].close()
    with pytest.raises(trio.EndOfChannel):
        await call.result()
    assert waiting(values) == 0


@pytest.mark.parametrize("ready", [True, False], ids=["ready", "waiting"])
async def test_steps_of_select_do_not_grow_with_the_watchers(
    nursery: trio.Nursery,
    ready: bool,  # noqa: FBT001  a parameter of the test's
) -> None:
    """V14: a call is one step after the one it begins in, and starts no task, for any number."""
    for count in (2, 1000):
        values, watchers = make(count)
        if ready:
            values[-1].set(1)
        begun = trio.Event()

        async def call(begun: trio.Event, watchers: list[Watcher[int]]) -> tuple[int, int]:
            begun.set()
            return await select(*watchers)

        with counting() as counts:
            selecting = Call(nursery, partial(call, begun, watchers))
            if not ready:
                await wait_all_tasks_blocked()
                assert begun.is_set()
                values[-1].set(1)
            assert await selecting.result() == (count - 1, 1)
        assert selecting.task is not None
        assert counts.steps[selecting.task] == 2
        assert set(counts.steps) == {selecting.task, trio.lowlevel.current_task()}


@pytest.mark.usefixtures("seeded")
async def test_select_starves_nobody() -> None:
    """V14: of watchers that always have an update, none gets less than half of its share."""
    values, watchers = make(4)
    taken: Counter[int] = Counter()
    for number in range(400):
        for value in values:
            value.set(number)
        index, _ = await select(*watchers)
        taken[index] += 1
    assert min(taken[index] for index in range(4)) > 50


@pytest.mark.usefixtures("seeded")
async def test_select_comes_to_a_quiet_value_beside_a_busy_one() -> None:
    """V14: a value that is set once is taken soon, though another is set before every call."""
    (busy, quiet), watchers = make(2)
    for number in range(100):
        quiet.set(number)
        calls = 1
        busy.set(number)
        while await select(*watchers) != (1, number):
            calls += 1
            busy.set(number)
        assert calls <= 10

"""``select``: waiting on several watchers at once (V14)."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from trio_event import MemoryValue, compose, select

from ..helpers.calls import Call, after_this_step, counting
from ..helpers.several import make, unseen, waiting
from ..helpers.timeline import play

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio.testing import MockClock

    from trio_event import Watcher


@pytest.fixture
def seeded() -> Iterator[None]:
    """Make chance repeatable for a test, and random again after it."""
    state = random.getstate()
    random.seed(14)
    yield
    random.setstate(state)


async def test_select_returns_the_index_and_the_value() -> None:
    """V14: select tells watchers by position apart by their index."""
    values, watchers = make(3)
    values[1].set(7)
    assert await select(*watchers) == (1, 7)


async def test_select_returns_the_name_and_the_value() -> None:
    """V14: select tells watchers by name apart by their name."""
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
    """V14: if nothing is unseen, the next set of any of the values ends the wait."""
    values, watchers = make(3)
    for index in (2, 0, 1):
        call = Call(nursery, partial(select, *watchers))
        await wait_all_tasks_blocked()
        assert not call.ended
        values[index].set(index * 10)
        assert await call.result() == (index, index * 10)


async def test_select_takes_exactly_one_of_those_that_are_ready() -> None:
    """V14: the others stay unseen, and the next calls take them one by one."""
    values, watchers = make(5)
    for number, value in enumerate(values):
        value.set(number)
    taken = [await select(*watchers) for _ in values]
    assert sorted(taken) == [(number, number) for number in range(5)]
    assert unseen(watchers) == []


async def test_select_takes_exactly_one_of_those_that_are_set_before_its_step(
    nursery: trio.Nursery,
) -> None:
    """V14: this holds also if several sets come between the wake-up and the step."""
    values, watchers = make(4)
    call = Call(nursery, partial(select, *watchers))
    await wait_all_tasks_blocked()
    for number, value in enumerate(values):
        value.set(number)
    index, number = await call.result()
    assert index == number
    assert unseen(watchers) == [other for other in range(4) if other != index]


async def test_select_returns_the_newest_value_when_it_runs(nursery: trio.Nursery) -> None:
    """V4, V14: of two sets before its step, or one at its checkpoint, it returns the last."""
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
    """V14: each of the two gets the update, in a call of its own."""
    (value,), (watcher,) = make(1)
    other = value.watch()
    value.set(1)
    taken = [await select(watcher, other) for _ in range(2)]
    assert sorted(taken) == [(0, 1), (1, 1)]


async def test_two_watchers_of_one_value_are_one_wait(nursery: trio.Nursery) -> None:
    """V14: a set of a value that is watched twice wakes the task once, and no wait is left."""
    (value,), (watcher,) = make(1)
    call = Call(nursery, partial(select, watcher, value.watch()))
    await wait_all_tasks_blocked()
    value.set(1)
    _, number = await call.result()
    assert number == 1
    assert waiting([value]) == 0


async def test_select_is_always_a_checkpoint() -> None:
    """V14: this holds also if an update or an end is ready."""
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
    """V5, V14: select takes nothing before its checkpoint is over."""
    values, watchers = make(3)
    values[2].set(1)
    with trio.CancelScope() as scope:
        after_this_step(scope.cancel)
        await select(*watchers)
    assert scope.cancelled_caught
    assert unseen(watchers) == [2]


async def test_select_cancelled_while_it_waits_takes_nothing(nursery: trio.Nursery) -> None:
    """V5, V14: a value that is set after the cancellation and before the step is not lost."""
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
    """V5, V14: a select that a set has woken returns the value, and leaves no wait."""
    values, watchers = make(3)
    call = Call(nursery, partial(select, *watchers))
    await wait_all_tasks_blocked()
    values[1].set(1)
    call.scope.cancel()
    assert await call.result() == (1, 1)
    assert waiting(values) == 0


async def test_select_leaves_no_wait(nursery: trio.Nursery) -> None:
    """V8, V14: after each call, however it ends, no value has a wait of it."""
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
    """V14: for any number of watchers, select takes one step more and starts no task."""
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
    """V14: of watchers that always have an update, each gets at least half of its share."""
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
    """V14: select soon takes a value that is set once beside one that is set before every call."""
    (busy, quiet), watchers = make(2)
    calls = 0
    for number in range(100):
        quiet.set(number)
        busy.set(number)
        while await select(*watchers) != (1, number):
            calls += 1
            busy.set(number)
    # Each call takes either by chance: 100 others are usual, and 300 do not happen.
    assert calls <= 300


async def test_select_waits_for_the_time_of_each(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    """V14, V17: select takes debounced, throttled and plain updates, each when it is due."""
    first, second, third = MemoryValue(1), MemoryValue(2), MemoryValue[int]()
    watchers = {
        "debounced": first.debounce(2).watch(),
        "throttled": second.throttle(3).watch(),
        "plain": third.watch(),
    }
    nursery.start_soon(partial(play, second, (1, 21), (1.5, 22)))
    nursery.start_soon(partial(play, third, (2.5, 31)))
    seen = []
    for _ in range(4):
        name, number = await select(**watchers)
        seen.append((autojump_clock.current_time(), name, number))
    assert seen == [
        (0, "throttled", 2),
        (2, "debounced", 1),
        (2.5, "plain", 31),
        (3, "throttled", 22),
    ]
    third.close()
    with pytest.raises(trio.EndOfChannel):
        await select(**watchers)


async def test_cancelled_select_of_timed_values_has_taken_nothing(
    autojump_clock: MockClock,
) -> None:
    """V5, V14, V17: a cancelled select does not use the time of a throttle."""
    watchers = [MemoryValue(1).debounce(2).watch(), MemoryValue[int]().throttle(1).watch()]
    with trio.move_on_after(1) as scope:
        await select(*watchers)
    assert scope.cancelled_caught
    assert await select(*watchers) == (0, 1)
    assert autojump_clock.current_time() == 2


async def test_select_needs_watchers() -> None:
    """V14: select without watchers raises TypeError."""
    with pytest.raises(TypeError, match="one or more watchers"):
        await select()


async def test_select_takes_positions_or_names_but_not_both() -> None:
    """V14: a mixture raises TypeError, and uses no watcher."""
    (value, _), (first, second) = make(2)
    value.set(1)
    with pytest.raises(TypeError, match="all by position or all by name"):
        await select(first, second=second)  # type: ignore[call-overload]  # what is tested
    assert first.get_nowait() == 1


async def test_select_with_a_busy_watcher_leaves_the_others_free(nursery: trio.Nursery) -> None:
    """V7, V14: select raises BusyResourceError, and no other watcher stays in use."""
    values, watchers = make(3)
    get = Call(nursery, watchers[1].get)
    await wait_all_tasks_blocked()
    with pytest.raises(trio.BusyResourceError):
        await select(*watchers)
    assert unseen([watchers[0], watchers[2]]) == []
    values[1].set(1)
    assert await get.result() == 1
    values[0].set(2)
    assert await select(*watchers) == (0, 2)


async def test_watchers_of_a_select_that_waits_are_busy(nursery: trio.Nursery) -> None:
    """V7, V14: meanwhile no get and no other select may use them."""
    values, watchers = make(2)
    call = Call(nursery, partial(select, *watchers))
    await wait_all_tasks_blocked()
    for watcher in watchers:
        with pytest.raises(trio.BusyResourceError):
            await watcher.get()
        with pytest.raises(trio.BusyResourceError):
            watcher.get_nowait()
        with pytest.raises(trio.BusyResourceError):
            await select(watcher)
    values[0].set(1)
    assert await call.result() == (0, 1)


async def test_same_watcher_twice_is_busy() -> None:
    """V7, V14: the watcher is free again after the error."""
    (value,), (watcher,) = make(1)
    value.set(1)
    with pytest.raises(trio.BusyResourceError):
        await select(watcher, watcher)
    assert await watcher.get() == 1


async def test_select_with_a_closed_watcher_leaves_the_others_free() -> None:
    """V7, V14: select raises ClosedResourceError, although another watcher has an update."""
    values, watchers = make(3)
    values[0].set(1)
    watchers[1].close()
    with pytest.raises(trio.ClosedResourceError):
        await select(*watchers)
    assert await select(watchers[0], watchers[2]) == (0, 1)


async def test_close_wakes_a_pending_select(nursery: trio.Nursery) -> None:
    """V7, V14: a watcher that is closed meanwhile ends the call, which says which one it was."""
    values, (first, second) = make(2)
    by_index = Call(nursery, partial(select, first, second))
    await wait_all_tasks_blocked()
    second.close()
    with pytest.raises(trio.ClosedResourceError) as closed:
        await by_index.result()
    assert closed.value.__notes__ == ["this is watcher 1 of select()"]
    third = values[1].watch()
    by_name = Call(nursery, partial(select, first=first, third=third))
    await wait_all_tasks_blocked()
    third.close()
    with pytest.raises(trio.ClosedResourceError) as closed:
        await by_name.result()
    assert closed.value.__notes__ == ["this is watcher 'third' of select()"]
    values[0].set(1)
    assert await first.get() == 1
    assert waiting(values) == 0


async def test_close_during_the_checkpoint_of_a_ready_select_loses_nothing() -> None:
    """V7, V14: select takes the update of the other watcher or leaves it unseen."""
    for _ in range(20):
        (value, _), (first, second) = make(2)
        value.set(1)
        after_this_step(second.close)
        try:
            assert await select(first, second) == (0, 1)
        except trio.ClosedResourceError:
            assert first.get_nowait() == 1
        with pytest.raises(trio.WouldBlock):
            first.get_nowait()


async def test_update_goes_before_the_end_of_another_value() -> None:
    """V9, V14: select raises an end only if no watcher has an update."""
    for _ in range(20):
        (ended, value), watchers = make(2)
        ended.close()
        value.set(1)
        assert await select(*watchers) == (1, 1)
        with pytest.raises(trio.EndOfChannel):
            await select(*watchers)


async def test_last_value_goes_before_the_end(nursery: trio.Nursery) -> None:
    """V9, V14: select takes a value that was set before the close first."""
    (value, _), watchers = make(2)
    call = Call(nursery, partial(select, *watchers))
    await wait_all_tasks_blocked()
    value.set(1)
    value.close()
    assert await call.result() == (0, 1)
    with pytest.raises(trio.EndOfChannel):
        await select(*watchers)


async def test_end_tells_whose_it_is(nursery: trio.Nursery) -> None:
    """V9, V14: the end of a value carries a note with the watcher's index or name."""
    (closed, failed, other), (first, second, third) = make(3)
    call = Call(nursery, partial(select, third, first))
    await wait_all_tasks_blocked()
    closed.close()
    with pytest.raises(trio.EndOfChannel) as end:
        await call.result()
    assert end.value.__notes__ == ["this is watcher 1 of select()"]
    error = OSError("gone")
    failed.fail(error)
    with pytest.raises(trio.BrokenResourceError, match="gone") as broken:
        await select(hosts=third, lease=second)
    assert broken.value.__notes__ == ["this is watcher 'lease' of select()"]
    assert broken.value.__cause__ is error
    other.set(1)
    assert await select(third) == (0, 1)


async def test_select_ends_a_backlog() -> None:
    """V10, V14: a select is a plain get of the watcher; the next backlog begins anew."""
    (value,), (watcher,) = make(1)
    value.set(1)
    assert await watcher.get(backlog_only=True) == 1
    value.set(2)
    assert await select(watcher) == (0, 2)
    value.set(3)
    assert await watcher.get(backlog_only=True) == 3


COUNT = 1000


def watch_in_turn(values: list[MemoryValue[int]]) -> list[Watcher[int]]:
    """Watch each value in one of five ways; the last one watches a neighbour too."""
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
    """V5, V14: this holds whatever is set, in any order, and whichever calls are cancelled."""
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
    """V14: of neighbours that always have an update, each gets its share."""
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
    """V14: for watchers of all kinds, later sets wake no task, and no task is started."""
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

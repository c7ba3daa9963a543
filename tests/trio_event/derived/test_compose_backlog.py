"""The backlog of composed values and of values that let time pass is their sources' (V10, V18)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
import trio

from trio_event import BacklogDone, MemoryValue, ValueMap, compose

from ..helpers.calls import Call, after_this_step
from ..helpers.functions import is_even

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

    from trio_event import ValueWatch

    Source = ValueWatch[int]

# Ways to let two seconds pass in a part of a composed value, or in all of it.
TIMED: Final[dict[str, Callable[[Source, Source], ValueWatch[tuple[int, int]]]]] = {
    "throttled_part": lambda value, other: compose(value.throttle(2), other),
    "debounced_part": lambda value, other: compose(value.debounce(2), other),
    "two_timed_parts": lambda value, other: compose(value.throttle(2), other.debounce(1)),
    "part_of_a_part": lambda value, other: compose(
        compose(value.throttle(2)).map(lambda parts: parts[0]), other
    ),
    "throttled_whole": lambda value, other: compose(value, other).throttle(2),
}


@pytest.mark.parametrize("kind", TIMED)
async def test_backlog_waits_for_a_part_that_is_not_due(
    kind: str,
    autojump_clock: MockClock,
) -> None:
    """V10, V18: an update that was known at the first call is returned when its time has come."""
    value, other = MemoryValue(0), MemoryValue(0)
    watcher = TIMED[kind](value, other).watch()
    assert await watcher.get() == (0, 0)
    start = autojump_clock.current_time()
    value.set(1)
    assert await watcher.get(backlog_only=True) == (1, 0)
    assert autojump_clock.current_time() == start + 2
    with pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)


@pytest.mark.parametrize("kind", TIMED)
async def test_backlog_with_nothing_unseen_is_done_at_once(
    kind: str,
    autojump_clock: MockClock,
) -> None:
    """V10, V18: it waits for no time, and for no update."""
    value, other = MemoryValue(0), MemoryValue(0)
    watcher = TIMED[kind](value, other).watch()
    assert await watcher.get() == (0, 0)
    start = autojump_clock.current_time()
    with pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)
    assert autojump_clock.current_time() == start


@pytest.mark.parametrize("kind", ["throttled_part", "two_timed_parts", "throttled_whole"])
async def test_second_look_of_a_backlog_returns_the_newest(
    nursery: trio.Nursery,
    kind: str,
    autojump_clock: MockClock,
) -> None:
    """V4, V10: a set while it waits for the time makes it look again, and wait on."""
    value, other = MemoryValue(0), MemoryValue(0)
    watcher = TIMED[kind](value, other).watch()
    assert await watcher.get() == (0, 0)
    start = autojump_clock.current_time()
    value.set(1)
    get = Call(nursery, partial(watcher.get, backlog_only=True))
    await trio.sleep(1)
    value.set(2)
    assert await get.result() == (2, 0)
    assert autojump_clock.current_time() == start + 2
    with pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)


@pytest.mark.parametrize("operator", ["throttle", "debounce"])
async def test_second_look_of_a_backlog_of_one_value(
    nursery: trio.Nursery,
    operator: str,
    autojump_clock: MockClock,
) -> None:
    """V10, V17: a debounce begins its time anew; neither is done before its value has come."""
    value = MemoryValue(0)
    derived = value.throttle(2) if operator == "throttle" else value.debounce(2)
    watcher = derived.watch()
    assert await watcher.get() == 0
    start = autojump_clock.current_time()
    value.set(1)
    get = Call(nursery, partial(watcher.get, backlog_only=True))
    await trio.sleep(1)
    value.set(2)
    assert await get.result() == 2
    assert autojump_clock.current_time() == start + (2 if operator == "throttle" else 3)


@pytest.mark.parametrize("kind", TIMED)
async def test_end_while_a_backlog_waits_lets_its_value_come_at_once(
    nursery: trio.Nursery,
    kind: str,
    autojump_clock: MockClock,
) -> None:
    """V9, V10: then the backlog is done, and a plain get raises the end."""
    value, other = MemoryValue(0), MemoryValue(0)
    watcher = TIMED[kind](value, other).watch()
    assert await watcher.get() == (0, 0)
    start = autojump_clock.current_time()
    value.set(1)
    get = Call(nursery, partial(watcher.get, backlog_only=True))
    await trio.sleep(1)
    other.close()
    value.close()
    assert await get.result() == (1, 0)
    assert autojump_clock.current_time() == start + 1
    with pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)
    with pytest.raises(trio.EndOfChannel):
        await watcher.get()


@pytest.mark.parametrize("kind", TIMED)
async def test_close_while_a_backlog_waits_ends_it(
    nursery: trio.Nursery,
    kind: str,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V7, V10: the get was pending when the watcher was closed."""
    value, other = MemoryValue(0), MemoryValue(0)
    watcher = TIMED[kind](value, other).watch()
    assert await watcher.get() == (0, 0)
    value.set(1)
    get = Call(nursery, partial(watcher.get, backlog_only=True))
    await trio.sleep(1)
    watcher.close()
    with pytest.raises(trio.ClosedResourceError):
        await get.result()


@pytest.mark.parametrize("kind", TIMED)
async def test_backlog_that_is_cancelled_while_it_waits_goes_on(
    nursery: trio.Nursery,
    kind: str,
    autojump_clock: MockClock,
) -> None:
    """V5, V10: what was known at the first call is returned by the second."""
    value, other = MemoryValue(0), MemoryValue(0)
    watcher = TIMED[kind](value, other).watch()
    assert await watcher.get() == (0, 0)
    start = autojump_clock.current_time()
    value.set(1)
    get = Call(nursery, partial(watcher.get, backlog_only=True))
    await trio.sleep(1)
    await get.cancel()
    assert get.cancelled
    assert await watcher.get(backlog_only=True) == (1, 0)
    assert autojump_clock.current_time() == start + 2
    with pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)


async def test_update_of_another_part_is_part_of_the_backlog(
    autojump_clock: MockClock,
) -> None:
    """V10, V18: what may be taken is returned at once, and then what is due later."""
    value, other = MemoryValue(0), MemoryValue(0)
    watcher = compose(value.throttle(2), other).watch()
    assert await watcher.get() == (0, 0)
    value.set(1)
    other.set(1)
    assert await watcher.get(backlog_only=True) == (0, 1)
    assert autojump_clock.current_time() == 0
    assert await watcher.get(backlog_only=True) == (1, 1)
    assert autojump_clock.current_time() == 2
    with pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)


async def test_update_after_the_first_call_is_no_part_of_the_backlog(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V10, V18: of any part, timed or not."""
    value, other = MemoryValue(0), MemoryValue(0)
    watcher = compose(value.throttle(2), other).watch()
    assert await watcher.get() == (0, 0)
    await trio.sleep(3)
    after_this_step(partial(other.set, 1))
    with pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)
    after_this_step(partial(value.set, 1))
    assert await watcher.get(backlog_only=True) == (1, 1)
    with pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)


async def test_backlog_is_done_if_a_part_that_was_not_due_is_rejected(
    autojump_clock: MockClock,
) -> None:
    """V10, V18: it waits for the time, because before that nothing is known of the value."""
    value, other = MemoryValue(0), MemoryValue(0)
    watcher = compose(value.throttle(2).filter(is_even), other).watch()
    assert await watcher.get() == (0, 0)
    value.set(1)
    with pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)
    assert autojump_clock.current_time() == 2


async def test_backlog_of_a_new_watcher_is_what_there_is(
    autojump_clock: MockClock,
) -> None:
    """V3, V10: a debounce lets its time pass first."""
    value, other = MemoryValue(0), MemoryValue(0)
    watcher = compose(value.debounce(2), other).watch()
    assert await watcher.get(backlog_only=True) == (0, 0)
    assert autojump_clock.current_time() == 2


async def test_backlog_is_done_if_a_part_has_no_data(
    autojump_clock: MockClock,
) -> None:
    """V2, V10: there is no state then, so it waits for none."""
    empty, value = MemoryValue[int](), MemoryValue(0)
    for composed in (
        compose(empty, value.throttle(2)),
        compose(value.debounce(2), empty),
        compose(empty.throttle(2), value),
    ):
        with pytest.raises(BacklogDone):
            await composed.watch().get(backlog_only=True)
    assert autojump_clock.current_time() <= 2


async def test_backlog_of_a_composed_map_is_the_map_s(
    autojump_clock: MockClock,
) -> None:
    """V10, V20: a key that came and went is an update of the whole, as each change is."""
    peers, other = ValueMap({"a": 1}), MemoryValue(0)
    composed = compose(peers.throttle(2), other)
    watcher = composed.map(lambda parts: [change.key for change in parts[0]]).watch()
    assert await watcher.get() == ["a"]
    peers.set("b", 1)
    assert await watcher.get(backlog_only=True) == ["a", "b"]
    assert autojump_clock.current_time() == 2
    with pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)

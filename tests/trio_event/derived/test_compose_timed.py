"""Composed values with a source that lets time pass (V17, V18)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from trio_event import UNSET, MemoryValue, ValueMap, compose

from ..helpers.calls import Call
from ..helpers.functions import is_even, refuse_two
from ..helpers.maps import flat
from ..helpers.timeline import play, record

if TYPE_CHECKING:
    from trio.testing import MockClock

    from ..helpers.maps import Batch


async def test_composed_values_take_what_a_timed_source_gave_last(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V17, V18: the other parts are the newest, and an update of any part is one of the whole."""
    fast, slow = MemoryValue(0), MemoryValue(0)
    both = compose(fast=fast, slow=slow.throttle(4)).map(lambda at: (at.fast, at.slow))
    seen: list[tuple[float, tuple[int, int]]] = []
    nursery.start_soon(record, both.watch(), seen)
    await wait_all_tasks_blocked()
    nursery.start_soon(partial(play, slow, (1, 1), (2, 2)))
    await play(fast, (3, 1), (6, 2))
    await trio.sleep(5)
    assert seen == [(0, (0, 0)), (3, (1, 0)), (4, (1, 2)), (6, (2, 2))]


async def test_composed_values_without_what_is_due_have_no_data(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    """V2, V18: the get waits for each part; peek takes the newest at any time."""
    value = MemoryValue(1)
    both = compose(value, value.debounce(2))
    watcher = both.watch()
    get = Call(nursery, watcher.get)
    await trio.sleep(1)
    assert not get.ended
    assert not watcher.changed
    assert both.peek() == (1, 1)
    assert await get.result() == (1, 1)
    assert autojump_clock.current_time() == 2


async def test_composed_values_read_what_was_written_when_it_is_due(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    """V15, V18: wait_version waits until a timed source has come to the version."""
    value = MemoryValue(1)
    both = compose(value, value.debounce(2))
    value.set(2)
    waiting = Call(nursery, partial(both.wait_version, both.version))
    assert await waiting.result() == (2, 2)
    assert autojump_clock.current_time() == 2


async def test_function_that_fails_in_a_timed_source_fails_the_whole(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V18: the get raises it after its checkpoint, and again until the source changes."""
    value = MemoryValue(2)
    watcher = compose(value, value.map(refuse_two).throttle(1)).watch()
    for _ in range(2):
        with assert_checkpoints(), pytest.raises(ValueError, match="I don't like 2"):
            await watcher.get()
    assert "0 behind version 0" in repr(watcher)
    value.set(3)
    assert await watcher.get() == (3, 3)


async def test_function_that_fails_in_a_source_that_has_ended_is_no_lack_of_data(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V9, V18: the get raises its exception, also if the whole is debounced."""
    value = MemoryValue(2)
    value.close()
    watcher = compose(value.map(refuse_two), MemoryValue(1)).debounce(1).watch()
    for _ in range(2):
        with assert_checkpoints(), pytest.raises(ValueError, match="I don't like 2"):
            await watcher.get()


async def test_part_that_a_timed_source_rejects_keeps_what_it_gave_before(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V17, V18: a rejected or repeated state is no update of the whole."""
    value, other = MemoryValue(2), MemoryValue(0)
    both = compose(value.throttle(1).filter(is_even).distinct(), other)
    seen: list[tuple[float, tuple[int, int]]] = []
    nursery.start_soon(record, both.watch(), seen)
    await wait_all_tasks_blocked()
    await play(value, (2, 3), (4, 4), (6, 5))
    other.set(1)
    await trio.sleep(5)
    assert seen == [(0, (2, 0)), (4, (4, 0)), (6, (4, 1))]


async def test_what_is_not_taken_uses_no_time_of_a_timed_source(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    """V6, V17, V18: neither while another part has no data, nor while the whole is rejected."""
    value, other = MemoryValue(1), MemoryValue[int]()
    watcher = compose(value.throttle(4), other).watch()
    get = Call(nursery, partial(watcher.get, predicate=lambda parts: parts[0] > 2))
    await play(value, (1, 2))
    other.set(0)
    await play(value, (2, 3))
    assert await get.result() == (3, 0)
    assert autojump_clock.current_time() == 2
    value.set(4)
    assert await watcher.get() == (4, 0)
    assert autojump_clock.current_time() == 6


async def test_filter_of_a_timed_source_is_at_the_state_of_the_source(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V17, V18: what the filter rejects is taken by no part, and the others go on."""
    value, other = MemoryValue(0), MemoryValue(0)
    throttled = value.throttle(2)
    both = compose(throttled, throttled.filter(is_even), other.debounce(0))
    seen: list[tuple[float, tuple[int, int, int]]] = []
    nursery.start_soon(record, both.watch(), seen)
    await play(value, *((number / 2, number) for number in range(1, 8)))
    other.set(1)
    await play(value, (5, 8), (7.5, 9))
    await trio.sleep(5)
    assert seen == [(0, (0, 0, 0)), (2, (4, 4, 0)), (3.5, (4, 4, 1)), (5, (8, 8, 1))]


@pytest.mark.parametrize("failed", [False, True], ids=["closed", "failed"])
async def test_composed_values_end_after_the_last_of_a_timed_source(
    nursery: trio.Nursery,
    failed: bool,  # noqa: FBT001  a parameter of the test's
    autojump_clock: MockClock,
) -> None:
    """V9, V18: the value that was waiting for its time comes at once, and then the end."""
    value = MemoryValue(1)
    watcher = compose(value.debounce(10)).watch()
    get = Call(nursery, watcher.get)
    await trio.sleep(1)
    value.fail(OSError("gone")) if failed else value.close()
    assert await get.result() == (1,)
    assert autojump_clock.current_time() == 1
    with pytest.raises(trio.BrokenResourceError if failed else trio.EndOfChannel):
        await watcher.get()


async def test_composed_values_end_if_a_timed_source_never_has_data(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V9, V18: one part that can have no data is enough."""
    empty: MemoryValue[int] = MemoryValue()
    empty.close()
    with pytest.raises(trio.EndOfChannel):
        await compose(MemoryValue(1), empty.debounce(1)).watch().get()


async def test_map_that_lets_time_pass_is_asked_about_and_composed_as_a_whole(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """V16, V18, V20: wait_for and compose get all keys, as of a map that does not."""
    peers = ValueMap({"a": 1})
    throttled = peers.throttle(2)
    two: Call[Batch] = Call(nursery, partial(throttled.wait_for, lambda batch: len(batch) == 2))
    watcher = compose(throttled, MemoryValue(0)).map(lambda parts: flat(parts[0])).watch()
    assert await watcher.get() == [("a", UNSET, 1)]
    await trio.sleep(1)
    peers.set("b", 2)
    assert await watcher.get() == [("a", UNSET, 1), ("b", UNSET, 2)]
    assert autojump_clock.current_time() == 2
    assert flat(await two.result()) == [("a", UNSET, 1), ("b", UNSET, 2)]

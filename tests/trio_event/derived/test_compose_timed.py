"""Values that let time pass behind others, and what is made of them (V16 to V18, V22)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from trio_event import MemoryValue, ValueMap, compose, follow, pipe

from ..helpers.calls import Call
from ..helpers.piping import received, running
from ..helpers.timeline import play, record

if TYPE_CHECKING:
    from trio.testing import MockClock


def is_even(number: int) -> bool:
    return number % 2 == 0


def refuse_two(number: int) -> int:
    if number == 2:
        msg = "I don't like 2"
        raise ValueError(msg)
    return number


async def test_repetition_does_not_hold_up_a_debounce(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V17: behind distinct, quiet is what does not change, however often it is set."""
    value: MemoryValue[int] = MemoryValue()
    seen: list[tuple[float, int]] = []
    nursery.start_soon(record, value.distinct().debounce(1).watch(), seen)
    await play(value, *((at / 2, 1 + at // 8) for at in range(16)))
    await trio.sleep(5)
    assert seen == [(1, 1), (5, 2)]


async def test_state_that_was_left_and_come_back_to_is_no_news(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V17: after a flicker, distinct before debounce sees the state that it returned last."""
    value: MemoryValue[int] = MemoryValue()
    seen: list[tuple[float, int]] = []
    nursery.start_soon(record, value.distinct().debounce(1).watch(), seen)
    await play(value, (0, 1), (2, 2), (2.5, 1), (5, 3))
    await trio.sleep(5)
    assert seen == [(1, 1), (6, 3)]


async def test_key_that_can_not_be_compared_is_news(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    """V17: what its comparison raises comes when the value does, and in the get."""
    value = MemoryValue(1)
    watcher = value.distinct(refuse_two).debounce(1).watch()
    assert await watcher.get() == 1
    value.set(2)
    get = Call(nursery, watcher.get)
    await trio.sleep(0.5)
    assert not get.ended
    with pytest.raises(ValueError, match="I don't like 2"):
        await get.result()
    assert autojump_clock.current_time() == 2
    with assert_checkpoints(), pytest.raises(ValueError, match="I don't like 2"):
        await watcher.get()
    value.set(3)
    assert await watcher.get() == 3


async def test_rejected_value_takes_the_place_of_what_was_waiting(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V17: a filtered value has no data then, so none come; its return begins the time anew."""
    value: MemoryValue[int] = MemoryValue()
    seen: list[tuple[float, int]] = []
    chain = value.filter(is_even).distinct().debounce(1)
    nursery.start_soon(record, chain.watch(), seen)
    await play(value, (0, 2), (0.5, 3), (3, 4), (3.5, 5), (3.75, 4))
    await trio.sleep(5)
    assert seen == [(4.75, 4)]


async def test_throttle_behind_distinct_loses_no_time_to_repetitions(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V17: a repetition is no update, so what follows it comes at once."""
    value: MemoryValue[int] = MemoryValue()
    seen: list[tuple[float, int]] = []
    nursery.start_soon(record, value.distinct().throttle(2).watch(), seen)
    await play(value, (0, 1), (3, 1), (3.5, 2))
    await trio.sleep(5)
    assert seen == [(0, 1), (3.5, 2)]


async def test_debounced_map_gives_all_changes_in_one_batch(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    """V17, V20: what has changed until it is quiet is in the batch."""
    peers: ValueMap[str, int] = ValueMap()
    get = Call(nursery, peers.debounce(1).watch().get)
    for number, key in enumerate("abc"):
        await trio.sleep(0.5)
        peers.set(key, number)
    peers.delete("b")
    batch = await get.result()
    assert [(change.key, change.new) for change in batch] == [("a", 0), ("c", 2)]
    assert autojump_clock.current_time() == 2.5


async def test_composed_values_take_what_a_timed_source_gave_last(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V17, V18: the others are at their newest, and an update of either is one of the whole."""
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
    """V2, V18: they wait for each part; peek takes what is newest, whatever the time."""
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
    """V18: it is raised in the get, after its checkpoint, and again until the source changes."""
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
    """V9, V18: its exception is raised, also where the whole has to become quiet."""
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
    """V17, V18: what was rejected or repeated is no update of the whole."""
    value, other = MemoryValue(2), MemoryValue(0)
    both = compose(value.throttle(1).filter(is_even).distinct(), other)
    seen: list[tuple[float, tuple[int, int]]] = []
    nursery.start_soon(record, both.watch(), seen)
    await wait_all_tasks_blocked()
    await play(value, (2, 3), (4, 4), (6, 5))
    other.set(1)
    await trio.sleep(5)
    assert seen == [(0, (2, 0)), (4, (4, 0)), (6, (4, 1))]


@pytest.mark.parametrize("failed", [False, True], ids=["closed", "failed"])
async def test_composed_values_end_after_the_last_of_a_timed_source(
    nursery: trio.Nursery,
    failed: bool,  # noqa: FBT001  a parameter of the test's
    autojump_clock: MockClock,
) -> None:
    """V9, V18: what was waiting comes at once, and then the end."""
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
    """V9, V18: one part that can have none is enough."""
    empty: MemoryValue[int] = MemoryValue()
    empty.close()
    with pytest.raises(trio.EndOfChannel):
        await compose(MemoryValue(1), empty.debounce(1)).watch().get()


async def test_wait_for_asks_about_what_a_timed_value_gives(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    """V16, V17: what did not last long enough to be given is not asked about."""
    value: MemoryValue[int] = MemoryValue()
    waiting = Call(nursery, partial(value.debounce(1).wait_for, is_even))
    await play(value, (0, 2), (0.5, 3), (3, 4))
    assert await waiting.result() == 4
    assert autojump_clock.current_time() == 4


async def test_hold_of_a_timed_value_is_broken_by_what_it_gives(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    """V16, V17: held_for counts from the first value that satisfied; the newest is returned."""
    value: MemoryValue[int] = MemoryValue()
    waiting = Call(nursery, partial(value.throttle(1).wait_for, is_even, held_for=3))
    await play(value, (0, 2), (2, 3), (4, 4), (5, 6))
    assert await waiting.result() == 6
    assert autojump_clock.current_time() == 7


@pytest.mark.parametrize("failed", [False, True], ids=["closed", "failed"])
async def test_hold_of_a_timed_value_outlasts_its_end(
    nursery: trio.Nursery,
    failed: bool,  # noqa: FBT001  a parameter of the test's
    autojump_clock: MockClock,
) -> None:
    """V9, V16: a state that satisfies at the end does so for ever; one that does not never will."""
    value = MemoryValue(2)
    waiting = Call(nursery, partial(value.throttle(1).wait_for, is_even, held_for=3))
    hopeless = Call(nursery, partial(value.throttle(1).wait_for, refuse_even, held_for=3))
    await trio.sleep(1)
    value.fail(OSError("gone")) if failed else value.close()
    with pytest.raises(trio.BrokenResourceError if failed else trio.EndOfChannel):
        await hopeless.result()
    assert await waiting.result() == 2
    assert autojump_clock.current_time() == 3


def refuse_even(number: int) -> bool:
    return not is_even(number)


async def test_set_after_the_hold_of_a_timed_value_comes_too_late(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """V16: what has held for long enough is returned, though it has just been replaced."""
    value = MemoryValue(2)
    waiting = Call(nursery, partial(value.throttle(1).wait_for, is_even, held_for=3))
    await wait_all_tasks_blocked()
    autojump_clock.jump(3)
    value.set(3)
    assert await waiting.result() == 2


async def test_cancelled_hold_of_a_timed_value_leaves_nothing_behind(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V5, V16: also where the value has ended, and only time passes."""
    value = MemoryValue(2)
    for end in (False, True):
        if end:
            value.close()
        waiting = Call(nursery, partial(value.throttle(1).wait_for, is_even, held_for=3))
        await trio.sleep(1)
        await waiting.cancel()
        assert waiting.cancelled
        assert len(value._line) == 0


async def test_call_is_cancelled_when_the_newer_value_is_due(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    """V17, V22: not when it is set, and not for what the predicate rejects."""
    value = MemoryValue(0)
    log: list[tuple[float, str]] = []

    async def work(number: int) -> None:
        log.append((autojump_clock.current_time(), f"begin {number}"))
        with trio.move_on_after(50):
            try:
                await trio.sleep_forever()
            finally:
                log.append((autojump_clock.current_time(), f"end {number}"))

    timed = value.debounce(1).throttle(10)
    following = Call(nursery, partial(follow, timed, work, predicate=is_even, latest=True))
    await play(value, (2, 2), (20, 3), (30, 4))
    await trio.sleep(10)
    value.close()
    await following.result()
    assert log == [
        (1, "begin 0"),
        (11, "end 0"),
        (11, "begin 2"),
        (31, "end 2"),
        (31, "begin 4"),
        (81, "end 4"),
    ]


async def test_what_a_call_raises_is_in_no_group(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V22: although a task waits beside it."""
    value = MemoryValue(1)

    async def fail(number: int) -> None:
        await trio.sleep(1)
        msg = f"no {number}"
        raise ValueError(msg)

    following = Call(nursery, partial(follow, value.throttle(1), fail, latest=True))
    with pytest.raises(ValueError, match="no 1"):
        await following.result()
    assert len(value._line) == 0


async def test_predicate_that_fails_beside_a_call_ends_it(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    """V6, V22: when the value is due that it fails on."""
    value = MemoryValue(1)

    async def work(_: int) -> None:
        await trio.sleep_forever()

    def refuse(number: int) -> bool:
        return bool(refuse_two(number))

    timed = value.throttle(3)
    following = Call(nursery, partial(follow, timed, work, predicate=refuse, latest=True))
    await play(value, (1, 2))
    with pytest.raises(ValueError, match="I don't like 2"):
        await following.result()
    assert autojump_clock.current_time() == 3
    assert len(value._line) == 0


async def test_cancelled_follow_of_a_timed_value_leaves_nothing_behind(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V5, V22: cancelled in a call, it leaves no task and nothing in the line."""
    value = MemoryValue(1)

    async def work(_: int) -> None:
        await trio.sleep_forever()

    following = Call(nursery, partial(follow, value.throttle(1), work, latest=True))
    await wait_all_tasks_blocked()
    await following.cancel()
    assert following.cancelled
    assert len(value._line) == 0


async def test_pipe_replaces_what_it_holds_when_the_newer_is_due(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V13, V17: until then the consumer gets the older one."""
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[int](0)
    async with running({"pipe": pipe(value.throttle(4), send)}):
        assert await received(receive) == 1
        value.set(2)
        await trio.sleep(5)
        value.set(3)
        await trio.sleep(2)
        assert await received(receive) == 2
        await trio.sleep(5)
        value.set(4)
        value.set(5)
        await trio.sleep(5)
        assert await received(receive) == 5

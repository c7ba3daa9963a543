"""A graph of values is looked at once, and asking changes nothing (V13 to V15, V17 to V19)."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, final

import pytest
import trio

from trio_event import MemoryValue, ValueMap, ValueWatch, Watcher, compose, pipe, select

from ..helpers.calls import Call
from ..helpers.piping import running

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock


@final
class ReadSide(ValueWatch[int]):
    """A read side that a user made, which says no more than it has to."""

    def __init__(self, source: ValueWatch[int]) -> None:
        self._source = source

    def watch(self) -> Watcher[int]:
        return self._source.watch()


def first(parts: tuple[int, ...]) -> int:
    return parts[0]


def ask(watcher: Watcher[object]) -> None:
    """Ask a watcher all that it can be asked."""
    _ = watcher.changed
    _ = watcher.lag
    _ = repr(watcher)


def two_distincts(value: ValueWatch[int]) -> ValueWatch[object]:
    return value.distinct(lambda number: number % 4).map(lambda number: number // 2).distinct()


def throttled(value: ValueWatch[int]) -> ValueWatch[object]:
    return value.throttle(3)


def debounced(value: ValueWatch[int]) -> ValueWatch[object]:
    return value.distinct().debounce(2)


def composed(value: ValueWatch[int]) -> ValueWatch[object]:
    return compose(value.throttle(3), value.debounce(2)).distinct()


def keyed(value: ValueWatch[int]) -> ValueWatch[object]:
    peers = ValueMap({1: 1})
    return compose(peers.throttle(1), value)


@pytest.mark.parametrize("make", [two_distincts, throttled, debounced, composed, keyed])
@pytest.mark.parametrize("ended", [False, True])
async def test_asking_changes_nothing(
    make: Callable[[ValueWatch[int]], ValueWatch[object]],
    ended: bool,  # noqa: FBT001  a parameter of the test's
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V15: a watcher that is asked at every step returns what one returns that is not."""
    value = MemoryValue(0)
    asked, unasked = make(value).watch(), make(value).watch()
    returned: list[list[object]] = [[], []]
    for number in (1, 5, 5, 2, 6, 6, 3):
        ask(asked)
        value.set(number)
        ask(asked)
        if ended and number == 3:
            value.close()
        await trio.sleep(1)
        ask(asked)
        for watcher, log in zip((asked, unasked), returned, strict=True):
            try:
                log.append(watcher.get_nowait())
            except (trio.WouldBlock, trio.EndOfChannel) as error:
                log.append(type(error))
    assert returned[0] == returned[1]


async def test_changed_says_what_get_nowait_does() -> None:
    """V15: this holds for a source that lets time pass, of which nothing was taken yet."""
    watcher = compose(MemoryValue(1).throttle(0)).watch()
    assert [watcher.changed, watcher.changed] == [True, True]
    assert watcher.get_nowait() == (1,)
    assert not watcher.changed


def test_function_that_sets_another_part_changes_the_next_snapshot_only() -> None:
    """V18: all root values are read before any function is called."""
    first_part, second_part = MemoryValue(1), MemoryValue(1, eq=operator.eq)

    def set_second(number: int) -> int:
        second_part.set(2)
        return number

    watcher = compose(first_part.map(set_second), second_part).watch()
    assert watcher.get_nowait() == (1, 1)
    assert watcher.get_nowait() == (1, 2)


@pytest.mark.parametrize("levels", [1, 20])
def test_value_that_is_used_twice_is_computed_once(levels: int) -> None:
    """V18: a get and a peek call each function once, however many ways lead to it."""
    calls = 0

    def count(parts: tuple[int, int]) -> int:
        nonlocal calls
        calls += 1
        return parts[0]

    value: ValueWatch[int] = MemoryValue(7)
    for _ in range(levels):
        value = compose(value, value).map(count)
    watcher = value.watch()
    assert watcher.get_nowait() == 7
    assert calls == levels
    assert value.peek() == 7
    assert calls == 2 * levels


async def test_timed_value_that_is_composed_twice_is_never_a_mixture(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V17, V18: it is sampled once, and counts once."""
    value = MemoryValue(0)
    timed = value.debounce(1)
    both = compose(timed, timed)
    watcher = both.watch()
    assert both.version == 1
    for number in range(1, 4):
        value.set(number)
        assert await watcher.get() == (number, number)


@pytest.mark.parametrize(
    "make",
    [
        lambda value: value,
        lambda value: value.map(abs),
        lambda value: compose(value).map(first),
        lambda value: compose(value.throttle(0)).map(first).distinct(),
    ],
    ids=["memory", "derived", "composed", "timed"],
)
async def test_users_read_side_is_derived_from_and_composed(
    make: Callable[[ValueWatch[int]], ValueWatch[int]],
) -> None:
    """V17, V18: its watchers are all that there is to know of it."""
    value = MemoryValue(1)
    own = ReadSide(make(value))
    mapped = own.map(lambda number: number * 10)
    watchers = mapped.watch(), compose(own, mapped).map(max).watch()
    for number in (1, 2, 3):
        value.set(number)
        for watcher in watchers:
            assert await watcher.get() == number * 10
            assert not watcher.changed
    value.close()
    for watcher in watchers:
        with pytest.raises(trio.EndOfChannel):
            await watcher.get()


async def test_select_waits_for_the_earliest_of_what_a_look_has_found(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    """V14, V17: also where another part has something to look at that is then rejected."""
    value, late = MemoryValue(2), MemoryValue(0)
    watcher = compose(
        value.throttle(0).filter(lambda number: number % 2 == 0), late.debounce(1)
    ).watch()
    assert await watcher.get() == (2, 0)
    value.set(3)
    late.set(1)
    call = Call(nursery, lambda: select(watcher))
    assert await call.result() == (0, (2, 1))
    assert autojump_clock.current_time() == 2


async def test_pipe_sends_what_its_transform_has_set() -> None:
    """V13, V19: each set is newer than what the pipe holds, though no task waited for it."""
    value = MemoryValue(0)

    def count(number: int) -> int:
        if number < 3:
            value.set(number + 1)
        return number

    send, receive = trio.open_memory_channel[int](0)
    async with running({"pipe": pipe(value, send, transform=count)}):
        assert await receive.receive() == 3

"""A graph of values is looked at once, and asking changes nothing (V15, V17, V18)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from trio_event import MemoryValue, ValueMap, ValueWatch, Watcher, compose

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock


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
    """V15: also of a source that lets time pass, of which nothing was taken yet."""
    watcher = compose(MemoryValue(1).throttle(0)).watch()
    assert [watcher.changed, watcher.changed] == [True, True]
    assert watcher.get_nowait() == (1,)
    assert not watcher.changed


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

"""Predicates and functions that set values, or close the watcher, when asked (V7, V19)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from trio_event import BacklogDone, MemoryValue, Watcher, compose, select

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Predicate = Callable[[int], bool]
    Get = Callable[[MemoryValue[int], Predicate], Callable[[], Awaitable[object]]]


def of_memory(value: MemoryValue[int], predicate: Predicate) -> Callable[[], Awaitable[object]]:
    return partial(value.watch().get, predicate=predicate)


def of_derived(value: MemoryValue[int], predicate: Predicate) -> Callable[[], Awaitable[object]]:
    return value.filter(predicate).watch().get


def of_timed(value: MemoryValue[int], predicate: Predicate) -> Callable[[], Awaitable[object]]:
    return partial(value.throttle(0).watch().get, predicate=predicate)


def of_timed_part(value: MemoryValue[int], predicate: Predicate) -> Callable[[], Awaitable[object]]:
    return compose(value.filter(predicate).throttle(0)).map(lambda part: part[0]).watch().get


async def selected(watcher: Watcher[int]) -> int:
    return (await select(watcher))[1]


def of_select(value: MemoryValue[int], predicate: Predicate) -> Callable[[], Awaitable[object]]:
    return partial(selected, value.filter(predicate).watch())


ALL: list[Get] = [of_memory, of_derived, of_timed, of_timed_part, of_select]


@pytest.mark.parametrize("ends", [False, True], ids=["open", "closed"])
@pytest.mark.parametrize("get", ALL, ids=lambda get: get.__name__)
async def test_set_by_what_rejects_is_looked_at(
    get: Get,
    ends: bool,  # noqa: FBT001  a parameter of the test's
) -> None:
    """V9, V19: it is the next version, though nobody was waiting; also if it is the last."""
    value = MemoryValue(1)

    def replace(number: int) -> bool:
        if number == 1 and value.version == 1:
            value.set(2)
            if ends:
                value.close()
        return number == 2

    with trio.fail_after(1):
        assert await get(value, replace)() == 2


async def test_set_of_another_value_of_a_select_is_looked_at() -> None:
    """V14, V19: a function of one watcher may set the value of one that had nothing."""
    value, other = MemoryValue(1), MemoryValue[int]()

    def set_other(_: int) -> bool:
        if not other.version:
            other.set(5)
        return False

    with trio.fail_after(1):
        assert await select(other.watch(), value.filter(set_other).watch()) == (0, 5)


@pytest.mark.parametrize("backlog_only", [False, True])
@pytest.mark.parametrize("derived", [False, True])
@pytest.mark.parametrize("ended", [False, True])
async def test_watcher_closed_by_what_rejects_raises(
    backlog_only: bool,  # noqa: FBT001  parameters of the test's
    derived: bool,  # noqa: FBT001
    ended: bool,  # noqa: FBT001
) -> None:
    """V7: the get under way is one that was pending when the watcher was closed."""
    value = MemoryValue(1)
    watcher = (value.map(int) if derived else value).watch()
    if ended:
        value.close()

    def close(_: int) -> bool:
        watcher.close()
        return False

    with trio.fail_after(1), pytest.raises(trio.ClosedResourceError):
        await watcher.get(predicate=close, backlog_only=backlog_only)
    with pytest.raises(trio.ClosedResourceError):
        await watcher.get()


async def test_watcher_closed_by_a_function_ends_a_select() -> None:
    """V7, V14: whichever of the watchers it is."""
    watcher = MemoryValue[int]().watch()

    def close(_: int) -> bool:
        watcher.close()
        return False

    with trio.fail_after(1), pytest.raises(trio.ClosedResourceError):
        await select(watcher, MemoryValue(1).filter(close).watch())


async def test_set_by_what_rejects_is_no_backlog() -> None:
    """V10: it came after the first call, and the next get has it."""
    value = MemoryValue(1)
    watcher = value.watch()

    def replace(_: int) -> bool:
        value.set(2)
        return False

    with pytest.raises(BacklogDone):
        await watcher.get(predicate=replace, backlog_only=True)
    assert await watcher.get() == 2

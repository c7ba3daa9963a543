"""Several sets as one step: ``atomic`` (V18)."""

from __future__ import annotations

import threading
from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_event import (
    MemoryValue,
    atomic,
    compose,
)

from ..helpers.calls import Call, counting


async def test_atomic_sets_are_one_step_for_those_that_are_asked(nursery: trio.Nursery) -> None:
    """V18: an inner block is part of the outer one, and each value notifies once, at its newest."""
    first, second = MemoryValue(1), MemoryValue(1)
    asked: list[int] = []

    def remember(number: int) -> bool:
        asked.append(number)
        return False

    waiting: Call[object] = Call(nursery, partial(first.wait_for, remember))
    get = Call(nursery, compose(first, second).filter(lambda parts: parts[0] > 1).watch().get)
    await wait_all_tasks_blocked()
    with counting() as counts:
        with atomic():
            assert first.set(2) == 2
            with atomic():
                second.set(3)
            first.set(4)
            assert asked == [1]
        assert asked == [1, 4]
        assert counts.scheduled[get.task] == 1  # type: ignore[index]
    assert await get.result() == (4, 3)
    await waiting.cancel()


async def test_atomic_block_that_raises_has_set_what_it_has_set(nursery: trio.Nursery) -> None:
    """V18: the tasks that wait are woken for what was set."""
    value: MemoryValue[int] = MemoryValue()
    get = Call(nursery, value.watch().get)
    await wait_all_tasks_blocked()

    def set_and_fail() -> None:
        with atomic():
            value.set(1)
            msg = "from the block"
            raise ValueError(msg)

    with pytest.raises(ValueError, match="from the block"):
        set_and_fail()
    assert await get.result() == 1


async def test_end_in_an_atomic_block_is_told_at_its_end(nursery: trio.Nursery) -> None:
    """V9, V18: the tasks that wait get the last value first."""
    value: MemoryValue[int] = MemoryValue()
    watcher = value.watch()
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    with atomic():
        value.set(1)
        value.close()
    assert await get.result() == 1
    with pytest.raises(trio.EndOfChannel):
        await watcher.get()


async def test_atomic_is_of_one_thread(nursery: trio.Nursery) -> None:
    """V11, V18: a set in another run, in another thread, notifies at once."""
    value = MemoryValue(1)
    waiting: Call[object] = Call(nursery, partial(value.wait_for, lambda number: number == 2))
    await wait_all_tasks_blocked()
    results: list[int] = []

    async def elsewhere() -> None:
        other: MemoryValue[int] = MemoryValue()
        async with trio.open_nursery() as inner:
            get = Call(inner, other.watch().get)
            await wait_all_tasks_blocked()
            other.set(7)
            results.append(await get.result())

    thread = threading.Thread(target=partial(trio.run, elsewhere))
    with atomic():
        value.set(2)
        thread.start()
        thread.join()
        assert results == [7]
    assert await waiting.result() == 2

"""Values in memory: versions, equality, the end, and memory use (V1, V2, V8, V9)."""

from __future__ import annotations

import sys
from functools import partial

import pytest
import trio
from trio.testing import assert_no_checkpoints, wait_all_tasks_blocked

from trio_event import UNSET, MemoryValue

from ..helpers.alive import held_by
from ..helpers.calls import Call, counting


def never_equal(old: int, new: int) -> bool:
    msg = f"can't compare {old} with {new}"
    raise ValueError(msg)


def test_set_returns_the_version() -> None:
    """V1: the first version is 1, and each set adds 1, also of an equal value."""
    value: MemoryValue[str] = MemoryValue()
    assert [value.set(text) for text in ("a", "b", "b", "b")] == [1, 2, 3, 4]


def test_initial_value_is_the_first_version() -> None:
    """V1, V2: a value that is made with data has version 1, also if the data are None."""
    assert MemoryValue(7).set(8) == 2
    assert MemoryValue[int | None](None).set(8) == 2
    assert MemoryValue[int](UNSET).set(8) == 1


async def test_set_is_synchronous() -> None:
    """V1: set, close and fail are no checkpoints."""
    value, other = MemoryValue(1), MemoryValue(1)
    with assert_no_checkpoints():
        value.set(2)
        value.close()
        other.fail(OSError())


async def test_watchers_get_the_very_object_that_was_set() -> None:
    """V1: values are handed out by reference."""
    address = ["203.0.113.24"]
    value: MemoryValue[list[str]] = MemoryValue()
    value.set(address)
    assert await value.watch().get() is address


async def test_set_wakes_no_idle_watcher() -> None:
    """V1: a set with a thousand watchers of which none waits schedules no task."""
    value = MemoryValue(0)
    watchers = [value.watch() for _ in range(1000)]
    for watcher in watchers:
        watcher.get_nowait()
    with counting() as counts:
        value.set(1)
    assert not counts.scheduled


async def test_set_of_an_equal_value_is_no_update(nursery: trio.Nursery) -> None:
    """V1: with eq= an equal value keeps the version and wakes no task."""
    value = MemoryValue("a", eq=lambda old, new: old.lower() == new.lower())
    watcher = value.watch()
    assert await watcher.get() == "a"
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    with counting() as counts:
        assert value.set("A") == 1
    assert not counts.scheduled
    assert value.watch().get_nowait() == "a"
    assert value.set("b") == 2
    assert await get.result() == "b"


def test_eq_is_not_asked_about_an_unset_value() -> None:
    """V1, V2: the first set is an update; eq is not asked."""
    asked: list[tuple[int, int]] = []

    def remember(old: int, new: int) -> bool:
        asked.append((old, new))
        return True

    value: MemoryValue[int] = MemoryValue(eq=remember)
    assert value.set(1) == 1
    assert not asked
    assert value.set(2) == 1
    assert asked == [(1, 2)]


async def test_eq_that_raises_changes_nothing(nursery: trio.Nursery) -> None:
    """V1: set raises its exception; data, version and waiting tasks stay as they were."""
    value = MemoryValue(1, eq=never_equal)
    watcher = value.watch()
    assert await watcher.get() == 1
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    with pytest.raises(ValueError, match="can't compare 1 with 2"):
        value.set(2)
    await wait_all_tasks_blocked()
    assert not get.ended
    assert value.watch().get_nowait() == 1
    assert repr(value) == "<MemoryValue 1 version 1>"


def test_ended_value_refuses() -> None:
    """V9: after the end, set and fail raise, and close does nothing."""
    closed, failed = MemoryValue(1), MemoryValue(1)
    closed.close()
    failed.fail(OSError("gone"))
    for value in (closed, failed):
        with pytest.raises(trio.ClosedResourceError, match=r"set\(\) .* has ended: make a new"):
            value.set(2)
        with pytest.raises(trio.ClosedResourceError, match=r"fail\(\) "):
            value.fail(OSError("gone again"))
        value.close()
    assert repr(closed) == "<MemoryValue closed 1 version 1>"
    assert repr(failed) == "<MemoryValue failed 1 version 1>"


async def test_close_of_a_failed_value_leaves_it_failed() -> None:
    """V9: the first end counts."""
    value: MemoryValue[int] = MemoryValue()
    value.fail(OSError("gone"))
    value.close()
    with pytest.raises(trio.BrokenResourceError):
        await value.watch().get()


def test_repr_shows_data_and_version() -> None:
    """V1: repr shows the data, the version and the end."""
    value: MemoryValue[int] = MemoryValue()
    assert repr(value) == "<MemoryValue UNSET version 0>"
    value.set(5)
    assert repr(value) == "<MemoryValue 5 version 1>"
    value.close()
    assert repr(value) == "<MemoryValue closed 5 version 1>"


async def test_ten_thousand_watchers_leave_nothing_behind() -> None:
    """V8: a value refers to no idle watcher, closed or not."""
    value = MemoryValue(0)
    before = sys.getrefcount(value)
    watchers = [value.watch() for _ in range(10_000)]
    for watcher in watchers[::2]:
        watcher.get_nowait()
    for watcher in watchers[::3]:
        watcher.close()
    assert held_by(value) == 0
    del watcher, watchers
    assert sys.getrefcount(value) == before


async def test_ten_thousand_gets_leave_nothing_behind() -> None:
    """V8: no wait is left of a get that returned, was cancelled, or ended with its watcher."""
    value: MemoryValue[int] = MemoryValue()
    watchers = [value.watch() for _ in range(10_000)]
    async with trio.open_nursery() as nursery:
        gets = [Call(nursery, watcher.get) for watcher in watchers]
        await wait_all_tasks_blocked()
        assert held_by(value) == 10_000
        for watcher in watchers[::4]:
            watcher.close()
        for get in gets[1::4]:
            get.scope.cancel()
        value.set(1)
        for get in gets[2::4]:
            get.scope.cancel()
    assert held_by(value) == 0
    assert value.statistics().tasks_waiting == 0


async def test_unset_is_no_data() -> None:
    """V2: each way to set UNSET raises TypeError, and changes nothing."""
    value: MemoryValue[object] = MemoryValue(1)
    for change in (value.set, partial(value.compare_and_set, 1), value.set_from_thread):
        with pytest.raises(TypeError, match=r"given UNSET, which is no data"):
            change(UNSET)
    await wait_all_tasks_blocked()
    assert (value.peek(), value.version) == (1, 1)

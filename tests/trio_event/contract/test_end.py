"""The end of every value (V9)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ..helpers.calls import Call
from ..helpers.functions import is_big

if TYPE_CHECKING:
    from .subjects import Subject


async def test_close_ends_the_get_that_waits(subject: Subject, nursery: trio.Nursery) -> None:
    """V9: the end wakes a watcher that has seen all."""
    subject.set(1)
    watcher = subject.watch()
    assert await watcher.get() == 1
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    subject.close()
    with pytest.raises(trio.EndOfChannel):
        await get.result()


async def test_close_comes_after_the_last_value(subject: Subject) -> None:
    """V9: a watcher returns an unseen last value first, and then raises the end every time."""
    subject.set(1)
    watchers = [subject.watch(), subject.watch()]
    subject.close()
    for watcher in (*watchers, subject.watch()):
        assert await watcher.get() == 1
        for _ in range(2):
            with pytest.raises(trio.EndOfChannel):
                await watcher.get()
            with pytest.raises(trio.EndOfChannel):
                watcher.get_nowait()


async def test_last_value_is_there_for_get_nowait(subject: Subject) -> None:
    """V9: get_nowait returns the last value before the end too."""
    subject.set(1)
    subject.close()
    watcher = subject.watch()
    assert watcher.get_nowait() == 1
    with pytest.raises(trio.EndOfChannel):
        watcher.get_nowait()


async def test_value_set_and_closed_before_the_woken_task_runs_is_not_lost(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V4, V9: a get that waits returns the last value, although the end came before its step."""
    watcher = subject.watch()
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    subject.set(1)
    subject.close()
    assert await get.result() == 1
    with pytest.raises(trio.EndOfChannel):
        await watcher.get()


async def test_unset_value_that_is_closed_only_ends(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V2, V9: a value that never had data ends without any."""
    get = Call(nursery, subject.watch().get)
    await wait_all_tasks_blocked()
    subject.close()
    with pytest.raises(trio.EndOfChannel):
        await get.result()
    with pytest.raises(trio.EndOfChannel):
        await subject.watch().get()


async def test_fail_raises_from_the_error_after_the_last_value(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V9: each watcher of a failed value raises BrokenResourceError from the value's error."""
    error = OSError("the disk is gone")
    subject.set(1)
    watcher = subject.watch()
    assert await watcher.get() == 1
    waiting = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    subject.fail(error)
    late = subject.watch()
    assert await late.get() == 1
    for get in (waiting.result, watcher.get, late.get):
        with pytest.raises(trio.BrokenResourceError, match="the disk is gone") as caught:
            await get()
        assert caught.value.__cause__ is error


@pytest.mark.parametrize("end", ["close", "fail"])
async def test_end_is_a_new_exception_each_time(subject: Subject, end: str) -> None:
    """V9: an exception that is raised in one task has no traceback of another."""
    if end == "close":
        subject.close()
    else:
        subject.fail(OSError("the disk is gone"))
    caught = []
    for _ in range(2):
        with pytest.raises((trio.EndOfChannel, trio.BrokenResourceError)) as raised:
            await subject.watch().get()
        caught.append(raised.value)
    assert caught[0] is not caught[1]


async def test_rejected_last_value_does_not_hold_up_the_end(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V6, V9: if no later value can satisfy the predicate, the get ends."""
    subject.set(1)
    watcher = subject.watch()
    get = Call(nursery, partial(watcher.get, predicate=is_big))
    await wait_all_tasks_blocked()
    subject.close()
    with pytest.raises(trio.EndOfChannel):
        await get.result()
    with pytest.raises(trio.EndOfChannel):
        await watcher.get(predicate=is_big)
    assert await watcher.get() == 1


async def test_closed_watcher_of_a_closed_value_is_closed(subject: Subject) -> None:
    """V7, V9: the watcher's own close goes before the value's."""
    subject.set(1)
    watcher = subject.watch()
    subject.close()
    watcher.close()
    with pytest.raises(trio.ClosedResourceError):
        await watcher.get()

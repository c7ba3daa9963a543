"""What a watcher has seen, and what it returns next, for every value (V2 to V4)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import assert_no_checkpoints, wait_all_tasks_blocked

from ..helpers.calls import Call, after_this_step

if TYPE_CHECKING:
    from .subjects import Subject


async def test_unset_value_makes_the_first_get_wait(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V2: without data, the first get of each watcher waits for the first set."""
    gets = [Call(nursery, subject.watch().get) for _ in range(2)]
    await wait_all_tasks_blocked()
    assert not any(get.ended for get in gets)
    subject.set(1)
    assert [await get.result() for get in gets] == [1, 1]


async def test_unset_value_has_nothing_for_get_nowait(subject: Subject) -> None:
    """V2: without data, get_nowait raises WouldBlock."""
    with pytest.raises(trio.WouldBlock):
        subject.watch().get_nowait()


async def test_none_is_data(subject: Subject, nursery: trio.Nursery) -> None:
    """V2: None is a value like any other, for a get that waits and for one that does not."""
    waiting = Call(nursery, subject.watch().get)
    await wait_all_tasks_blocked()
    subject.set(None)
    assert await waiting.result() is None
    assert await subject.watch().get() is None
    assert subject.watch().get_nowait() is None


async def test_first_get_returns_the_current_value(subject: Subject) -> None:
    """V3: a watcher begins with the present value."""
    subject.set(1, 2)
    assert await subject.watch().get() == 2


async def test_first_get_returns_what_was_set_after_watch(subject: Subject) -> None:
    """V3: the value at the get counts, not the one at the watch."""
    subject.set(1)
    watcher = subject.watch()
    subject.set(2)
    assert await watcher.get() == 2


async def test_seen_value_is_not_returned_again(subject: Subject, nursery: trio.Nursery) -> None:
    """V3: a later get waits for a newer version than the one it returned last."""
    subject.set(1)
    watcher = subject.watch()
    assert await watcher.get() == 1
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    assert not get.ended
    subject.set(2)
    assert await get.result() == 2


async def test_equal_value_is_an_update(subject: Subject) -> None:
    """V1, V3: versions are seen, not what values are equal to."""
    watcher = subject.watch()
    subject.set(7)
    assert await watcher.get() == 7
    subject.set(7)
    assert await watcher.get() == 7


async def test_values_replaced_meanwhile_are_skipped(subject: Subject) -> None:
    """V3: a consumer that was busy gets the newest value, once."""
    watcher = subject.watch()
    subject.set(1)
    assert await watcher.get() == 1
    subject.set(2, 3, 4)
    assert await watcher.get() == 4
    with pytest.raises(trio.WouldBlock):
        watcher.get_nowait()


async def test_watchers_see_independently(subject: Subject) -> None:
    """V3: what one watcher has seen does not affect another."""
    subject.set(1)
    quick, slow = subject.watch(), subject.watch()
    assert await quick.get() == 1
    subject.set(2)
    assert await quick.get() == 2
    assert await slow.get() == 2


async def test_get_nowait_marks_seen(subject: Subject) -> None:
    """V3: get_nowait takes as get does, without a checkpoint."""
    subject.set(1)
    watcher = subject.watch()
    with assert_no_checkpoints():
        assert watcher.get_nowait() == 1
    with pytest.raises(trio.WouldBlock):
        watcher.get_nowait()
    subject.set(2)
    assert await watcher.get() == 2


async def test_woken_watcher_gets_the_newest_value_once(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V4: of two sets before the woken task runs it returns the second only."""
    watchers = [subject.watch() for _ in range(3)]
    gets = [Call(nursery, watcher.get) for watcher in watchers]
    await wait_all_tasks_blocked()
    subject.set(1)
    subject.set(2)
    assert [await get.result() for get in gets] == [2, 2, 2]
    for watcher in watchers:
        with pytest.raises(trio.WouldBlock):
            watcher.get_nowait()


async def test_ready_get_returns_what_is_newest_after_its_checkpoint(subject: Subject) -> None:
    """V4, V5: the checkpoint comes first, so a value that is set during it is returned."""
    subject.set(1)
    watcher = subject.watch()
    after_this_step(partial(subject.set, 2))
    assert await watcher.get() == 2
    with pytest.raises(trio.WouldBlock):
        watcher.get_nowait()

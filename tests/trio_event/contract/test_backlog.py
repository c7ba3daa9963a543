"""The backlog of every watcher (V10)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_event import BacklogDone

from ..helpers.calls import Call, after_this_step
from ..helpers.functions import is_big, refuse

if TYPE_CHECKING:
    from .subjects import Subject


async def test_backlog_of_an_unset_value_is_empty(subject: Subject) -> None:
    """V10: a backlog of an unset value ends without a wait."""
    watcher = subject.watch()
    with pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)
    subject.set(1)
    assert await watcher.get() == 1


async def test_backlog_is_what_is_unseen_and_then_done(subject: Subject) -> None:
    """V10: the get returns what was known at the first call, and then raises BacklogDone."""
    subject.set(1, 2)
    watcher = subject.watch()
    assert await watcher.get(backlog_only=True) == 2
    with pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)


async def test_backlog_is_defined_at_any_time(subject: Subject) -> None:
    """V10: a watcher in use may ask for its backlog at any time, and again."""
    watcher = subject.watch()
    for value in range(3):
        subject.set(value)
        assert await watcher.get() == value
        with pytest.raises(BacklogDone):
            await watcher.get(backlog_only=True)
        subject.set(value + 10)
        assert await watcher.get(backlog_only=True) == value + 10
        with pytest.raises(BacklogDone):
            await watcher.get(backlog_only=True)


async def test_backlog_ends_although_the_value_is_set_on_and_on(subject: Subject) -> None:
    """V10: a set after the first call is not part of the backlog, but of the next one."""
    subject.set(1)
    watcher = subject.watch()
    assert await watcher.get(backlog_only=True) == 1
    subject.set(2)
    with pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)
    assert await watcher.get(backlog_only=True) == 2


async def test_backlog_returns_the_newest_value_when_the_task_runs(subject: Subject) -> None:
    """V4, V10: a value that is replaced during the checkpoint is not returned."""
    subject.set(1)
    watcher = subject.watch()
    after_this_step(partial(subject.set, 2))
    assert await watcher.get(backlog_only=True) == 2
    with pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)


async def test_empty_backlog_is_done_though_a_value_is_set_during_the_checkpoint(
    subject: Subject,
) -> None:
    """V10: a value that was not known at the first call is no part of it, and not lost."""
    watcher = subject.watch()
    after_this_step(partial(subject.set, 1))
    with pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)
    assert watcher.get_nowait() == 1


async def test_backlog_with_a_predicate_skips_what_it_rejects(subject: Subject) -> None:
    """V6, V10: a backlog that the predicate rejects is done, and not seen."""
    subject.set(1)
    watcher = subject.watch()
    with pytest.raises(BacklogDone):
        await watcher.get(predicate=is_big, backlog_only=True)
    assert await watcher.get(backlog_only=True) == 1
    subject.set(11)
    with pytest.raises(BacklogDone):
        await watcher.get(predicate=is_big, backlog_only=True)
    assert await watcher.get(predicate=is_big, backlog_only=True) == 11


async def test_backlog_goes_on_after_an_exception_in_its_predicate(subject: Subject) -> None:
    """V6, V10: only BacklogDone or a plain get ends a backlog."""
    subject.set(1)
    watcher = subject.watch()
    with pytest.raises(ValueError, match="I don't like 1"):
        await watcher.get(predicate=refuse, backlog_only=True)
    subject.set(2)
    assert await watcher.get(backlog_only=True) == 2
    with pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)


async def test_backlog_goes_on_after_a_cancelled_get(subject: Subject) -> None:
    """V5, V10: a cancelled first call decides what belongs to the backlog."""
    subject.set(1)
    watcher = subject.watch()
    with trio.CancelScope() as scope:
        after_this_step(scope.cancel)
        await watcher.get(backlog_only=True)
    assert scope.cancelled_caught
    assert await watcher.get(backlog_only=True) == 1
    subject.set(2)
    with pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)


async def test_plain_get_ends_the_backlog(subject: Subject) -> None:
    """V10: after a plain get, the next call for a backlog begins a new one."""
    subject.set(1)
    watcher = subject.watch()
    assert await watcher.get(backlog_only=True) == 1
    subject.set(2)
    assert await watcher.get() == 2
    subject.set(3)
    assert await watcher.get(backlog_only=True) == 3
    subject.set(4)
    assert watcher.get_nowait() == 4
    subject.set(5)
    assert await watcher.get(backlog_only=True) == 5


async def test_backlog_of_an_ended_value_is_done_when_it_is_seen(subject: Subject) -> None:
    """V9, V10: a backlog does not include the end; a plain get raises it."""
    subject.set(1)
    watcher = subject.watch()
    subject.close()
    assert await watcher.get(backlog_only=True) == 1
    with pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)
    with pytest.raises(trio.EndOfChannel):
        await watcher.get()


async def test_backlog_of_a_busy_or_closed_watcher_is_refused(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V7, V10: a get for the backlog raises as any get of such a watcher."""
    watcher = subject.watch()
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    with pytest.raises(trio.BusyResourceError):
        await watcher.get(backlog_only=True)
    await get.cancel()
    after_this_step(watcher.close)
    with pytest.raises(trio.ClosedResourceError):
        await watcher.get(backlog_only=True)

"""Checkpoints and cancellation of every get, for every value (V5)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from trio_event import BacklogDone

from ..helpers.calls import Call, after_this_step
from ..helpers.functions import is_big

if TYPE_CHECKING:
    from .subjects import Subject


async def test_get_is_always_a_checkpoint(subject: Subject) -> None:
    """V5: also where a value, the backlog's end or the value's end is ready."""
    watcher = subject.watch()
    with assert_checkpoints(), pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)
    subject.set(1)
    with assert_checkpoints():
        await watcher.get()
    with assert_checkpoints():
        await subject.watch().receive()
    subject.close()
    with assert_checkpoints(), pytest.raises(trio.EndOfChannel):
        await watcher.get()


async def test_get_cancelled_with_a_value_ready_has_seen_nothing(subject: Subject) -> None:
    """V5: the cancellation wins over the value, which is there for the next get."""
    subject.set(1)
    watcher = subject.watch()
    with trio.CancelScope() as scope:
        scope.cancel()
        await watcher.get()
    assert scope.cancelled_caught
    assert await watcher.get() == 1


async def test_get_of_any_kind_in_a_cancelled_scope_takes_nothing(subject: Subject) -> None:
    """V5: neither a predicate nor a backlog changes what a cancelled get leaves behind."""
    subject.set(11)
    watcher = subject.watch()
    for get in (
        partial(watcher.get, predicate=is_big),
        partial(watcher.get, backlog_only=True),
        watcher.receive,
        watcher.__anext__,
    ):
        with trio.CancelScope() as scope:
            scope.cancel()
            await get()
        assert scope.cancelled_caught
    assert watcher.get_nowait() == 11


async def test_get_cancelled_at_its_checkpoint_has_seen_nothing(subject: Subject) -> None:
    """V5: nothing is taken before the checkpoint is over."""
    subject.set(1)
    watcher = subject.watch()
    with trio.CancelScope() as scope:
        after_this_step(scope.cancel)
        await watcher.get()
    assert scope.cancelled_caught
    assert watcher.get_nowait() == 1


async def test_get_cancelled_while_it_waits_has_seen_nothing(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V5: the watcher works on after a get that was cancelled while it waited."""
    watcher = subject.watch()
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    await get.cancel()
    assert get.cancelled
    subject.set(1)
    assert await watcher.get() == 1


async def test_set_then_cancel_before_the_woken_task_runs_loses_nothing(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V5: a get that a set has woken returns, though it is cancelled before its step.

    Of many that wait, only one is woken by the set itself; the others may be cancelled, and then
    have seen nothing.
    """
    watchers = [subject.watch() for _ in range(5)]
    gets = [Call(nursery, watcher.get) for watcher in watchers]
    await wait_all_tasks_blocked()
    subject.set(1)
    for get in gets:
        get.scope.cancel()
    await wait_all_tasks_blocked()
    assert all(get.ended for get in gets)
    for watcher, get in zip(watchers, gets, strict=True):
        assert (watcher.get_nowait() if get.cancelled else await get.result()) == 1
        with pytest.raises(trio.WouldBlock):
            watcher.get_nowait()


async def test_cancel_then_set_before_the_cancelled_task_runs_loses_nothing(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V5: a get that was cancelled takes nothing of what is set before its step."""
    watcher = subject.watch()
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    get.scope.cancel()
    subject.set(1)
    await wait_all_tasks_blocked()
    assert get.cancelled
    assert watcher.get_nowait() == 1


async def test_cancelled_get_update_has_seen_nothing(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V5, V15: cancelled at its checkpoint or while it waits, it leaves the watcher as it was."""
    subject.set(1)
    watcher = subject.watch()
    with trio.CancelScope() as scope:
        after_this_step(scope.cancel)
        await watcher.get_update()
    assert scope.cancelled_caught
    assert (await watcher.get_update()).value == 1
    waiting = Call(nursery, watcher.get_update)
    await wait_all_tasks_blocked()
    await waiting.cancel()
    subject.set(2)
    update = await watcher.get_update()
    assert (update.value, update.previous) == (2, 1)

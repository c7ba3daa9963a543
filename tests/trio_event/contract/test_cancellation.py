"""Checkpoints and cancellation of every get, for every value (V5)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from trio_event import UNSET, BacklogDone, Watcher

from ..helpers.calls import Call, after_this_step
from ..helpers.functions import is_big

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .subjects import Subject


async def test_get_is_always_a_checkpoint(subject: Subject) -> None:
    """V5: this holds also if a value, the backlog's end or the value's end is ready."""
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


# The calls that take an update.
GETS: Final[dict[str, Callable[[Watcher[int | None]], Awaitable[object]]]] = {
    "get": lambda watcher: watcher.get(),
    "get_with_a_predicate": lambda watcher: watcher.get(predicate=is_big),
    "get_of_the_backlog": lambda watcher: watcher.get(backlog_only=True),
    "get_update": lambda watcher: watcher.get_update(),
    "receive": lambda watcher: watcher.receive(),
    "anext": anext,
}


async def test_get_in_a_cancelled_scope_has_seen_nothing(subject: Subject) -> None:
    """V5: the cancellation goes before the value, and the next get returns it."""
    subject.set(11)
    for get in GETS.values():
        watcher = subject.watch()
        with trio.CancelScope() as scope:
            scope.cancel()
            await get(watcher)
        assert scope.cancelled_caught
        update = await watcher.get_update()
        assert (update.value, update.previous) == (11, UNSET)


async def test_get_cancelled_at_its_checkpoint_has_seen_nothing(subject: Subject) -> None:
    """V5: a get takes nothing before its checkpoint is over."""
    subject.set(11)
    for get in GETS.values():
        watcher = subject.watch()
        with trio.CancelScope() as scope:
            after_this_step(scope.cancel)
            await get(watcher)
        assert scope.cancelled_caught
        update = await watcher.get_update()
        assert (update.value, update.previous) == (11, UNSET)


async def test_get_cancelled_while_it_waits_has_seen_nothing(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V5: the watcher works on after a get that was cancelled while it waited."""
    for name in GETS.keys() - {"get_of_the_backlog"}:  # which does not wait
        subject.set(1)
        watcher = subject.watch()
        assert (await watcher.get_update()).value == 1
        call = Call(nursery, partial(GETS[name], watcher))
        await wait_all_tasks_blocked()
        await call.cancel()
        assert call.cancelled
        assert subject.tasks_waiting == 0
        subject.set(11)
        update = await watcher.get_update()
        assert (update.value, update.previous) == (11, 1)


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
    """V5: a cancelled get takes nothing of what is set before its step."""
    watcher = subject.watch()
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    get.scope.cancel()
    subject.set(1)
    await wait_all_tasks_blocked()
    assert get.cancelled
    assert watcher.get_nowait() == 1

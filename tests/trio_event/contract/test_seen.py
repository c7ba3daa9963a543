"""The contract of every value and watcher: what is seen, when, and by whom (V2 to V6)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import assert_checkpoints, assert_no_checkpoints, wait_all_tasks_blocked

from trio_event import BacklogDone

from ..helpers.calls import Call, after_this_step
from .subjects import is_big, refuse

if TYPE_CHECKING:
    from .subjects import Subject


async def test_unset_value_makes_the_first_get_wait(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V2: without data the first get of each watcher waits for the first set."""
    gets = [Call(nursery, subject.watch().get) for _ in range(2)]
    await wait_all_tasks_blocked()
    assert not any(get.ended for get in gets)
    subject.set(1)
    assert [await get.result() for get in gets] == [1, 1]


async def test_unset_value_has_nothing_for_get_nowait(subject: Subject) -> None:
    """V2: without data there is nothing to get without waiting."""
    with pytest.raises(trio.WouldBlock):
        subject.watch().get_nowait()


async def test_none_is_data(subject: Subject, nursery: trio.Nursery) -> None:
    """V2: None is a value like any other, for one who waits and for one who comes later."""
    waiting = Call(nursery, subject.watch().get)
    await wait_all_tasks_blocked()
    subject.set(None)
    assert await waiting.result() is None
    assert await subject.watch().get() is None
    assert subject.watch().get_nowait() is None


async def test_first_get_returns_the_current_value(subject: Subject) -> None:
    """V3: a watcher begins with the value that is there, however late it comes."""
    subject.set(1, 2)
    assert await subject.watch().get() == 2


async def test_first_get_returns_what_was_set_after_watch(subject: Subject) -> None:
    """V3: what counts is the value at the get, not at the watch."""
    subject.set(1)
    watcher = subject.watch()
    subject.set(2)
    assert await watcher.get() == 2


async def test_seen_value_is_not_returned_again(subject: Subject, nursery: trio.Nursery) -> None:
    """V3: a later get waits for a newer value than the one it returned last."""
    subject.set(1)
    watcher = subject.watch()
    assert await watcher.get() == 1
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    assert not get.ended
    subject.set(2)
    assert await get.result() == 2


async def test_equal_value_is_an_update(subject: Subject) -> None:
    """V1, V3: what is seen is a version and not what it is equal to."""
    watcher = subject.watch()
    subject.set(7)
    assert await watcher.get() == 7
    subject.set(7)
    assert await watcher.get() == 7


async def test_values_replaced_meanwhile_are_skipped(subject: Subject) -> None:
    """V3: who was busy gets the newest value, once."""
    watcher = subject.watch()
    subject.set(1)
    assert await watcher.get() == 1
    subject.set(2, 3, 4)
    assert await watcher.get() == 4
    with pytest.raises(trio.WouldBlock):
        watcher.get_nowait()


async def test_watchers_see_independently(subject: Subject) -> None:
    """V3: what one watcher has seen says nothing about another."""
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
    """V4: two sets before the woken task runs give it the second, and no other."""
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
    """V4, V5: the checkpoint comes first, and what is set during it is what get returns."""
    subject.set(1)
    watcher = subject.watch()
    after_this_step(partial(subject.set, 2))
    assert await watcher.get() == 2
    with pytest.raises(trio.WouldBlock):
        watcher.get_nowait()


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


async def test_predicate_waits_for_what_satisfies_it(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V6: values for which the predicate is false don't end the wait."""
    subject.set(1)
    get = Call(nursery, partial(subject.watch().get, predicate=is_big))
    for rejected in (2, None, 3):
        await wait_all_tasks_blocked()
        assert not get.ended
        subject.set(rejected)
    await wait_all_tasks_blocked()
    assert not get.ended
    subject.set(11)
    assert await get.result() == 11


async def test_rejected_value_is_not_seen(subject: Subject, nursery: trio.Nursery) -> None:
    """V6: a get without the predicate returns what one with it has rejected."""
    subject.set(1)
    watcher = subject.watch()
    get = Call(nursery, partial(watcher.get, predicate=is_big))
    await wait_all_tasks_blocked()
    await get.cancel()
    assert await watcher.get() == 1


async def test_predicate_is_asked_about_the_newest_value(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V4, V6: a value that is replaced before the task runs is not tried."""
    tried: list[int | None] = []

    def remember(value: int | None) -> bool:
        tried.append(value)
        return is_big(value)

    get = Call(nursery, partial(subject.watch().get, predicate=remember))
    await wait_all_tasks_blocked()
    subject.set(11, 2)
    await wait_all_tasks_blocked()
    assert not get.ended
    subject.set(12)
    assert await get.result() == 12
    assert tried == [2, 12]


async def test_exception_in_a_predicate_is_raised_in_the_waiting_task(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V6: the set that the predicate fails on, and the other watchers, know nothing of it."""
    watcher = subject.watch()
    failing = Call(nursery, partial(watcher.get, predicate=refuse))
    others = [Call(nursery, subject.watch().get) for _ in range(3)]
    await wait_all_tasks_blocked()
    subject.set(1)
    with pytest.raises(ValueError, match="I don't like 1"):
        await failing.result()
    assert [await other.result() for other in others] == [1, 1, 1]
    assert await watcher.get() == 1


async def test_exception_in_a_predicate_with_a_value_ready_marks_nothing_seen(
    subject: Subject,
) -> None:
    """V6: a predicate that fails at once leaves the watcher to work on."""
    subject.set(1)
    watcher = subject.watch()
    with pytest.raises(ValueError, match="I don't like 1"):
        await watcher.get(predicate=refuse)
    assert await watcher.get() == 1


async def test_value_set_by_a_predicate_is_newer_than_the_one_it_is_asked_about(
    subject: Subject,
) -> None:
    """V3, V6: the get returns what the predicate has seen, the next one what it has set."""

    def raise_by_one(value: int | None) -> bool:
        assert value is not None
        subject.set(value + 1)
        return True

    subject.set(1)
    watcher = subject.watch()
    assert await watcher.get(predicate=raise_by_one) == 1
    assert await watcher.get() == 2

"""The predicate of a get, for every value (V6)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from trio.testing import wait_all_tasks_blocked

from ..helpers.calls import Call
from ..helpers.functions import is_big, refuse

if TYPE_CHECKING:
    import trio

    from .subjects import Subject


async def test_predicate_waits_for_what_satisfies_it(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V6: a value that the predicate rejects does not end the wait."""
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
    """V6: a plain get returns what the predicate of another has rejected."""
    subject.set(1)
    watcher = subject.watch()
    get = Call(nursery, partial(watcher.get, predicate=is_big))
    await wait_all_tasks_blocked()
    await get.cancel()
    assert await watcher.get() == 1


async def test_predicate_is_asked_about_the_newest_value(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V4, V6: the predicate is not asked about a value that is replaced before the task runs."""
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
    """V6: neither the set nor another watcher raises it."""
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
    """V6: the watcher works on after a predicate that fails at once."""
    subject.set(1)
    watcher = subject.watch()
    with pytest.raises(ValueError, match="I don't like 1"):
        await watcher.get(predicate=refuse)
    assert await watcher.get() == 1


async def test_value_set_by_a_predicate_is_newer_than_the_one_it_is_asked_about(
    subject: Subject,
) -> None:
    """V3, V6: the get returns the value that the predicate got; the next returns the one it set."""

    def raise_by_one(value: int | None) -> bool:
        assert value is not None
        subject.set(value + 1)
        return True

    subject.set(1)
    watcher = subject.watch()
    assert await watcher.get(predicate=raise_by_one) == 1
    assert await watcher.get() == 2

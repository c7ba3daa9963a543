"""Looking at every value, and waiting for a version (V15)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import assert_checkpoints, assert_no_checkpoints, wait_all_tasks_blocked

from trio_event import UNSET, UnsetError

from ..helpers.calls import Call

if TYPE_CHECKING:
    from .subjects import Subject


async def test_peek_returns_the_newest_value_and_marks_nothing_seen(subject: Subject) -> None:
    """V15: peek looks without waiting, any number of times."""
    watcher = subject.watch()
    subject.set(1, 2)
    with assert_no_checkpoints():
        assert [subject.value.peek() for _ in range(2)] == [2, 2]
    assert await watcher.get() == 2
    subject.close()
    assert subject.value.peek() == 2


async def test_peek_without_data_raises_or_gives_the_default(subject: Subject) -> None:
    """V2, V15: None is a valid default, and valid data."""
    with pytest.raises(UnsetError, match=r"has no data yet: wait for it .* or pass a default"):
        subject.value.peek()
    assert subject.value.peek(None) is None
    assert subject.value.peek(UNSET) is UNSET
    subject.set(None)
    assert subject.value.peek() is None
    assert subject.value.peek(3) is None


async def test_version_is_0_without_data_and_grows_with_each_set(subject: Subject) -> None:
    """V1, V15: two different versions show that the value was set between."""
    versions = [subject.value.version]
    for number in range(3):
        subject.set(number)
        versions.append(subject.value.version)
    assert versions[0] == 0
    assert versions == sorted(set(versions))


async def test_changed_tells_whether_there_is_something_to_get(subject: Subject) -> None:
    """V15: changed marks nothing seen."""
    watcher = subject.watch()
    answers = [watcher.changed]
    for number in (1, 1):
        subject.set(number)
        answers += [watcher.changed, watcher.changed]
        assert watcher.get_nowait() == number
        answers.append(watcher.changed)
    subject.set(2)
    subject.close()
    answers.append(watcher.changed)
    assert await watcher.get() == 2
    answers.append(watcher.changed)
    assert answers == [False, True, True, False, True, True, False, True, False]


async def test_lag_is_0_when_all_is_seen(subject: Subject) -> None:
    """V15: lag grows with each set, and one get brings it back to 0."""
    watcher = subject.watch()
    assert watcher.lag == 0
    lags = []
    for number in range(3):
        subject.set(number)
        lags.append(watcher.lag)
    assert lags == sorted(lags)
    assert lags[0] > 0
    assert await watcher.get() == 2
    assert watcher.lag == 0


async def test_update_has_the_value_and_the_one_before(subject: Subject) -> None:
    """V15: get_update tells what this watcher returned before, by any method."""
    watcher = subject.watch()
    subject.set(1)
    update = await watcher.get_update()
    assert (update.value, update.previous) == (1, UNSET)
    subject.set(2)
    second = await watcher.get_update()
    assert (second.value, second.previous) == (2, 1)
    assert second.version > update.version
    subject.set(3)
    assert watcher.get_nowait() == 3
    subject.set(4, None)
    assert (await watcher.get_update()).previous == 3
    subject.set(5)
    assert (await watcher.get_update()).previous is None


async def test_wait_version_waits_for_the_version(subject: Subject, nursery: trio.Nursery) -> None:
    """V15: wait_version returns a value at least as new, and is always a checkpoint."""
    subject.set(1)
    version = subject.value.version
    with assert_checkpoints():
        assert await subject.value.wait_version(version) == 1
    waiting = Call(nursery, partial(subject.value.wait_version, version + 1))
    await wait_all_tasks_blocked()
    assert not waiting.ended
    subject.set(2)
    subject.set(3)
    assert await waiting.result() == 3


async def test_wait_version_of_an_ended_value_ends(subject: Subject, nursery: trio.Nursery) -> None:
    """V9, V15: the wait ends if the version can't come any more."""
    subject.set(1)
    version = subject.value.version
    waiting = Call(nursery, partial(subject.value.wait_version, version + 1))
    await wait_all_tasks_blocked()
    subject.close()
    with pytest.raises(trio.EndOfChannel):
        await waiting.result()
    assert await subject.value.wait_version(version) == 1

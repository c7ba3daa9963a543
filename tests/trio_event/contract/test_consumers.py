"""``wait_for``, ``wait_version`` and ``follow``, for every value (V5, V15, V16, V22)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from trio_event import ValueWatch, follow

from ..helpers.calls import Call
from ..helpers.functions import is_big, refuse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .subjects import Subject


async def test_wait_for_returns_what_satisfies_now_or_later(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V16: a value that satisfies already ends the wait too, after a checkpoint."""
    waiting: Call[object] = Call(nursery, partial(subject.value.wait_for, is_big))
    for number in (1, 2):
        await wait_all_tasks_blocked()
        assert not waiting.ended
        subject.set(number)
    await wait_all_tasks_blocked()
    subject.set(11)
    assert await waiting.result() == 11
    with assert_checkpoints():
        assert await subject.value.wait_for(is_big) == 11


async def test_wait_for_raises_what_its_predicate_raises(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V16: neither set nor any other task raises it."""
    failing: Call[object] = Call(nursery, partial(subject.value.wait_for, refuse))
    others = [
        Call(nursery, partial(subject.value.wait_for, is_big)),
        Call(nursery, subject.watch().get),
    ]
    await wait_all_tasks_blocked()
    subject.set(11)
    with pytest.raises(ValueError, match="I don't like 11"):
        await failing.result()
    assert [await other.result() for other in others] == [11, 11]
    with pytest.raises(ValueError, match="I don't like 11"):
        await subject.value.wait_for(refuse)


async def test_wait_for_ends_with_the_value(subject: Subject, nursery: trio.Nursery) -> None:
    """V9, V16: it ends if no later state can satisfy, and returns a last state that does."""
    subject.set(1)
    waiting: Call[object] = Call(nursery, partial(subject.value.wait_for, is_big))
    await wait_all_tasks_blocked()
    subject.close()
    with pytest.raises(trio.EndOfChannel):
        await waiting.result()
    with pytest.raises(trio.EndOfChannel):
        await subject.value.wait_for(is_big)
    assert await subject.value.wait_for(lambda number: number == 1) == 1


async def test_wait_for_raises_what_the_value_failed_of(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V9, V16: it raises BrokenResourceError from the value's error."""
    waiting: Call[object] = Call(nursery, partial(subject.value.wait_for, is_big))
    await wait_all_tasks_blocked()
    error = OSError("gone")
    subject.fail(error)
    with pytest.raises(trio.BrokenResourceError) as broken:
        await waiting.result()
    assert broken.value.__cause__ is error


def is_huge(number: int | None) -> bool:
    return number is not None and number > 1000


# The waits for a value, none of which ends at the first set.
WAITS: Final[dict[str, Callable[[ValueWatch[int | None]], Awaitable[object]]]] = {
    "wait_version": lambda value: value.wait_version(value.version + 1),
    "wait_for": lambda value: value.wait_for(is_huge),
    "wait_for_with_a_hold": lambda value: value.wait_for(is_big, held_for=1),
}


@pytest.mark.parametrize("wait", WAITS)
async def test_cancelled_wait_leaves_nothing_behind(
    subject: Subject, nursery: trio.Nursery, wait: str
) -> None:
    """V5, V15, V16: no wait is left of one that is cancelled at its start or while it waits."""
    subject.set(1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await WAITS[wait](subject.value)
    assert scope.cancelled_caught
    waiting = Call(nursery, partial(WAITS[wait], subject.value))
    await wait_all_tasks_blocked()
    assert subject.tasks_waiting == 1
    await waiting.cancel()
    assert waiting.cancelled
    assert subject.tasks_waiting == 0


@pytest.mark.parametrize("latest", [False, True], ids=["each", "latest"])
async def test_follow_calls_with_each_value_until_the_end(
    subject: Subject,
    nursery: trio.Nursery,
    latest: bool,  # noqa: FBT001  a parameter of the test's
) -> None:
    """V22: with latest, a newer value cancels the call; for a map that is refused."""
    log: list[str] = []

    async def work(number: int | None) -> None:
        log.append(f"begin {number}")
        await trio.sleep(1)
        log.append(f"end {number}")

    if latest and subject.incremental:
        with pytest.raises(ValueError, match="would lose changes"):
            await follow(subject.value, work, latest=True)
        return
    following = Call(nursery, partial(follow, subject.value, work, latest=latest))
    await wait_all_tasks_blocked()
    subject.set(1)
    await wait_all_tasks_blocked()
    subject.set(2, 3)
    await wait_all_tasks_blocked()
    assert log == (["begin 1", "begin 3"] if latest else ["begin 1"])
    subject.close()
    await wait_all_tasks_blocked()
    assert not following.ended
    await following.cancel()
    assert following.cancelled
    assert subject.tasks_waiting == 0

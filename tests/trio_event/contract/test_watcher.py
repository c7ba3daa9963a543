"""Every watcher has one user at a time, leaks nothing, and is a channel (V7, V8, V12)."""

from __future__ import annotations

import gc
import re
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import pytest
import trio
from trio.testing import assert_checkpoints, assert_no_checkpoints, wait_all_tasks_blocked

from ..helpers.alive import watchers_alive
from ..helpers.calls import Call, after_this_step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .subjects import Subject


T = TypeVar("T")


@pytest.fixture(scope="module")
def frozen() -> Iterator[None]:
    """Let the garbage collector look at the objects of these tests only."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


async def take(channel: trio.abc.ReceiveChannel[T], count: int) -> list[T]:
    """Consume any channel."""
    async with channel:
        return [await channel.receive() for _ in range(count)]


async def collect(channel: trio.abc.ReceiveChannel[T]) -> list[T]:
    """Consume any channel to its end."""
    return [item async for item in channel]


async def test_watcher_in_use_is_busy(subject: Subject, nursery: trio.Nursery) -> None:
    """V7: the get of a second task fails, and that of the first waits on."""
    watcher = subject.watch()
    first = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    with pytest.raises(trio.BusyResourceError, match="give each task a watcher of its own"):
        await watcher.get()
    with pytest.raises(trio.BusyResourceError):
        watcher.get_nowait()
    subject.set(1)
    assert await first.result() == 1
    subject.set(2)
    assert await watcher.get() == 2


async def test_watcher_is_busy_also_while_a_get_is_at_its_checkpoint(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V7: of two gets that find a value ready, one returns it and one raises BusyResourceError."""
    subject.set(1)
    watcher = subject.watch()
    gets = [Call(nursery, watcher.get) for _ in range(2)]
    results: list[int | None] = []
    busy = 0
    for get in gets:
        try:
            results.append(await get.result())
        except trio.BusyResourceError:
            busy += 1
    assert (results, busy) == ([1], 1)


async def test_closed_watcher_refuses(subject: Subject) -> None:
    """V7: after close every use raises ClosedResourceError, with a value or without."""
    watcher = subject.watch()
    watcher.close()
    for _ in range(2):
        with pytest.raises(trio.ClosedResourceError, match="get another one with watch"):
            await watcher.get()
        with pytest.raises(trio.ClosedResourceError):
            watcher.get_nowait()
        subject.set(1)


async def test_close_twice_is_close_once(subject: Subject) -> None:
    """V7: close is synchronous and idempotent, in each of its forms."""
    watcher = subject.watch()
    with assert_no_checkpoints():
        watcher.close()
        watcher.close()
    await watcher.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await watcher.get()


async def test_close_wakes_the_pending_get(subject: Subject, nursery: trio.Nursery) -> None:
    """V7: a get that waits raises ClosedResourceError as soon as the watcher is closed."""
    watcher = subject.watch()
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    watcher.close()
    with pytest.raises(trio.ClosedResourceError, match="closed while a task was waiting"):
        await get.result()
    with pytest.raises(trio.ClosedResourceError, match="get another one"):
        watcher.get_nowait()


async def test_close_before_the_woken_task_runs_ends_its_get(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V7: a get is pending until its task has run, also if a set has woken it."""
    watcher, other = subject.watch(), subject.watch()
    get, others_get = Call(nursery, watcher.get), Call(nursery, other.get)
    await wait_all_tasks_blocked()
    subject.set(1)
    watcher.close()
    with pytest.raises(trio.ClosedResourceError):
        await get.result()
    assert await others_get.result() == 1


async def test_close_during_the_checkpoint_of_a_ready_get_ends_it(subject: Subject) -> None:
    """V7: a get with a value ready is pending until its checkpoint is over."""
    subject.set(1)
    watcher = subject.watch()
    after_this_step(watcher.close)
    with pytest.raises(trio.ClosedResourceError):
        await watcher.get()


async def test_with_closes_the_watcher(subject: Subject) -> None:
    """V7: the end of the with block closes, also after an exception."""
    with subject.watch() as watcher:
        subject.set(1)
        assert await watcher.get() == 1
    with pytest.raises(trio.ClosedResourceError):
        await watcher.get()
    msg = "from the body"
    with pytest.raises(ValueError, match=msg), subject.watch() as watcher:
        raise ValueError(msg)
    with pytest.raises(trio.ClosedResourceError):
        await watcher.get()


@pytest.mark.usefixtures("frozen")
async def test_dropped_watcher_is_collected(subject: Subject) -> None:
    """V8: a used watcher that nothing refers to is collected, although it was not closed."""
    before = watchers_alive()
    for kept in range(100):
        subject.set(kept)
        assert await subject.watch().get() == kept
    assert watchers_alive() == before


@pytest.mark.usefixtures("frozen")
async def test_watcher_of_a_cancelled_get_is_collected(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V8: the value does not refer to a watcher whose get was cancelled."""
    before = watchers_alive()
    gets = [Call(nursery, subject.watch().get) for _ in range(100)]
    await wait_all_tasks_blocked()
    assert watchers_alive() >= before + 100
    for get in gets:
        await get.cancel()
    del get, gets
    await wait_all_tasks_blocked()
    assert watchers_alive() == before


async def test_watcher_is_a_receive_channel(subject: Subject) -> None:
    """V12: a consumer of channels can consume a watcher, and close it."""
    subject.set(1)
    watcher = subject.watch()
    assert isinstance(watcher, trio.abc.ReceiveChannel)
    assert await take(watcher, 1) == [1]
    with pytest.raises(trio.ClosedResourceError):
        await watcher.receive()


async def test_receive_is_get(subject: Subject, nursery: trio.Nursery) -> None:
    """V12: receive returns the newest unseen value, and waits for it."""
    received = Call(nursery, partial(take, subject.watch(), 2))
    await wait_all_tasks_blocked()
    subject.set(1, 2)
    await wait_all_tasks_blocked()
    subject.set(3)
    assert await received.result() == [2, 3]


async def test_aclose_is_a_checkpoint_and_closes_also_when_cancelled(subject: Subject) -> None:
    """V12: aclose closes before its checkpoint."""
    watcher = subject.watch()
    with assert_checkpoints():
        await watcher.aclose()
    cancelled = subject.watch()
    with trio.CancelScope() as scope:
        scope.cancel()
        await cancelled.aclose()
    assert scope.cancelled_caught
    for closed in (watcher, cancelled):
        with pytest.raises(trio.ClosedResourceError):
            await closed.get()


async def test_repr_tells_what_the_watcher_is_doing(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V15: repr shows how far behind a watcher is, and whether it is in use or closed."""
    subject.set(1, 2)
    watcher = subject.watch()
    assert watcher.lag > 0
    assert re.search(rf" {watcher.lag} behind version [1-9]\d*>$", repr(watcher))
    assert await watcher.get() == 2
    Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    assert re.search(r" in use, 0 behind version [1-9]\d*>$", repr(watcher))
    watcher.close()
    assert repr(watcher).endswith("closed>")


async def test_iteration_gives_each_newest_value_and_ends_at_close(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V9, V12: async for ends with the value, after the last of its values."""
    seen = Call(nursery, partial(collect, subject.watch()))
    for values in ((1,), (2, 3), (4, 5)):
        await wait_all_tasks_blocked()
        subject.set(*values)
    subject.close()
    assert await seen.result() == [1, 3, 5]


async def test_iteration_raises_what_the_value_failed_of(
    subject: Subject, nursery: trio.Nursery
) -> None:
    """V9, V12: async for raises the failure."""
    seen = Call(nursery, partial(collect, subject.watch()))
    subject.set(1)
    await wait_all_tasks_blocked()
    subject.fail(OSError("the disk is gone"))
    with pytest.raises(trio.BrokenResourceError):
        await seen.result()

"""A value and the Trio runs that use it (V11)."""

from __future__ import annotations

import threading
from functools import partial

import pytest
import trio
from trio.lowlevel import current_trio_token
from trio.testing import wait_all_tasks_blocked

from trio_event import MemoryValue

from ..helpers.calls import Call


def test_value_is_made_and_set_outside_of_a_run() -> None:
    """V11: a value may be made, set and closed before and after the run that watches it."""
    value: MemoryValue[int] = MemoryValue()
    value.set(1)

    async def main() -> None:
        watcher = value.watch()
        assert await watcher.get() == 1
        async with trio.open_nursery() as nursery:
            get = Call(nursery, watcher.get)
            await wait_all_tasks_blocked()
            value.set(2)
            assert await get.result() == 2

    trio.run(main)
    value.set(3)
    value.close()
    assert value.watch().get_nowait() == 3


def test_value_and_watcher_are_used_in_one_run_after_the_other() -> None:
    """V11: a later run may use both, with what was seen."""
    value: MemoryValue[int] = MemoryValue()
    watcher = value.watch()

    async def main(number: int) -> None:
        async with trio.open_nursery() as nursery:
            get = Call(nursery, watcher.get)
            await wait_all_tasks_blocked()
            assert not get.ended
            value.set(number)
            assert await get.result() == number

    for number in (1, 2, 3):
        trio.run(main, number)


async def test_value_watched_in_one_run_is_refused_to_another(nursery: trio.Nursery) -> None:
    """V11: a second run that waits for the value gets an error; the first run's wait goes on."""
    value: MemoryValue[int] = MemoryValue()
    get = Call(nursery, value.watch().get)
    await wait_all_tasks_blocked()

    def elsewhere() -> None:
        with pytest.raises(RuntimeError, match="belongs to another Trio run: give each run a"):
            trio.run(value.watch().get)

    await trio.to_thread.run_sync(elsewhere)
    value.set(1)
    assert await get.result() == 1


async def test_value_made_in_another_thread_belongs_to_the_run_that_uses_it(
    nursery: trio.Nursery,
) -> None:
    """V11: the first run that sets a value, or waits for it, has it."""
    make: partial[MemoryValue[int]] = partial(MemoryValue)
    value = await trio.to_thread.run_sync(make)
    get = Call(nursery, value.watch().get)
    await wait_all_tasks_blocked()
    assert value.set(1) == 1
    assert await get.result() == 1
    set_first = await trio.to_thread.run_sync(make)
    assert set_first.set(1) == 1
    assert await set_first.watch().get() == 1


async def test_foreign_run_is_a_foreign_thread(nursery: trio.Nursery) -> None:
    """V11: a run in another thread can't set a value that a run watches."""
    value: MemoryValue[int] = MemoryValue()
    get = Call(nursery, value.watch().get)
    await wait_all_tasks_blocked()

    async def elsewhere() -> None:
        await trio.lowlevel.checkpoint()
        with pytest.raises(RuntimeError, match="set_from_thread"):
            value.set(1)
        value.set_from_thread(2)

    await trio.to_thread.run_sync(trio.run, elsewhere)
    assert await get.result() == 2


def test_run_that_is_over_takes_nothing() -> None:
    """V11: set_from_thread raises RunFinishedError after the run."""
    value: MemoryValue[int] = MemoryValue()

    async def watch_in_vain() -> trio.lowlevel.TrioToken:
        with trio.CancelScope() as scope:
            scope.cancel()
            await value.watch().get()
        return current_trio_token()

    token = trio.run(watch_in_vain)
    with pytest.raises(trio.RunFinishedError):
        value.set_from_thread(1)
    with pytest.raises(trio.RunFinishedError):
        value.set_from_thread(1, trio_token=token)


async def test_token_of_another_run_than_the_value_s_is_refused(nursery: trio.Nursery) -> None:
    """V11: neither run is affected, and nothing is set."""
    value: MemoryValue[int] = MemoryValue()
    get = Call(nursery, value.watch().get)
    await wait_all_tasks_blocked()

    async def elsewhere() -> None:
        with pytest.raises(RuntimeError, match=r"another Trio run .* without it"):
            value.set_from_thread(1, trio_token=current_trio_token())
        await wait_all_tasks_blocked()

    await trio.to_thread.run_sync(trio.run, elsewhere)
    await wait_all_tasks_blocked()
    assert not get.ended
    value.set_from_thread(2)
    assert (await get.result(), value.version) == (2, 1)


async def test_run_that_has_begun_to_use_the_value_meanwhile_takes_over(
    nursery: trio.Nursery,
) -> None:
    """V11: a value on its way to another run is set in the run that watches."""
    value: MemoryValue[int] = MemoryValue()
    tokens: list[trio.lowlevel.TrioToken] = []
    begun, go_on = threading.Event(), threading.Event()

    async def elsewhere() -> None:
        tokens.append(current_trio_token())
        begun.set()
        go_on.wait()
        await wait_all_tasks_blocked()

    other = Call(nursery, partial(trio.to_thread.run_sync, trio.run, elsewhere))
    await trio.to_thread.run_sync(begun.wait)
    value.set_from_thread(1, trio_token=tokens[0])
    get = Call(nursery, value.watch().get)
    await wait_all_tasks_blocked()
    assert not get.ended
    go_on.set()
    assert await get.result() == 1
    await other.result()


async def test_token_of_a_new_run_is_taken_after_the_old_one_is_over() -> None:
    """V11: another run may have the value when its run is over."""
    value: MemoryValue[int] = MemoryValue()

    async def watch() -> None:
        with trio.move_on_after(0):
            await value.watch().get()

    await trio.to_thread.run_sync(trio.run, watch)
    value.set_from_thread(1, trio_token=current_trio_token())
    await wait_all_tasks_blocked()
    assert await value.watch().get() == 1

"""Waiting on several watchers that are busy, closed or ended (V7, V9 and V14)."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_event import select

from ..helpers.calls import Call, after_this_step
from ..helpers.several import make, unseen, waiting


async def test_select_needs_watchers() -> None:
    """V14: none at all is a TypeError, not a wait without end."""
    with pytest.raises(TypeError, match="one or more watchers"):
        await select()


async def test_select_takes_positions_or_names_but_not_both() -> None:
    """V14: a mixture is a TypeError, and uses none of the watchers."""
    (value, _), (first, second) = make(2)
    value.set(1)
    with pytest.raises(TypeError, match="all by position or all by name"):
        await select(first, second=second)  # type: ignore[call-overload]  # what is tested
    assert first.get_nowait() == 1


async def test_select_with_a_busy_watcher_leaves_the_others_free(nursery: trio.Nursery) -> None:
    """V7, V14: it is BusyResourceError, and no other watcher stays in use."""
    values, watchers = make(3)
    get = Call(nursery, watchers[1].get)
    await wait_all_tasks_blocked()
    with pytest.raises(trio.BusyResourceError):
        await select(*watchers)
    assert unseen([watchers[0], watchers[2]]) == []
    values[1].set(1)
    assert await get.result() == 1
    values[0].set(2)
    assert await select(*watchers) == (0, 2)


async def test_watchers_of_a_select_that_waits_are_busy(nursery: trio.Nursery) -> None:
    """V7, V14: no get and no other select may use them meanwhile."""
    values, watchers = make(2)
    call = Call(nursery, partial(select, *watchers))
    await wait_all_tasks_blocked()
    for watcher in watchers:
        with pytest.raises(trio.BusyResourceError):
            await watcher.get()
        with pytest.raises(trio.BusyResourceError):
            watcher.get_nowait()
        with pytest.raises(trio.BusyResourceError):
            await select(watcher)
    values[0].set(1)
    assert await call.result() == (0, 1)


async def test_same_watcher_twice_is_busy() -> None:
    """V7, V14: a watcher can't wait with itself, and is free again after the error."""
    (value,), (watcher,) = make(1)
    value.set(1)
    with pytest.raises(trio.BusyResourceError):
        await select(watcher, watcher)
    assert await watcher.get() == 1


async def test_select_with_a_closed_watcher_leaves_the_others_free() -> None:
    """V7, V14: it is ClosedResourceError, though another watcher has an update."""
    values, watchers = make(3)
    values[0].set(1)
    watchers[1].close()
    with pytest.raises(trio.ClosedResourceError):
        await select(*watchers)
    assert await select(watchers[0], watchers[2]) == (0, 1)


async def test_close_wakes_a_pending_select(nursery: trio.Nursery) -> None:
    """V7, V14: a watcher that is closed meanwhile ends the call, which says which one it was."""
    values, (first, second) = make(2)
    by_index = Call(nursery, partial(select, first, second))
    await wait_all_tasks_blocked()
    second.close()
    with pytest.raises(trio.ClosedResourceError) as closed:
        await by_index.result()
    assert closed.value.__notes__ == ["this is watcher 1 of select()"]
    third = values[1].watch()
    by_name = Call(nursery, partial(select, first=first, third=third))
    await wait_all_tasks_blocked()
    third.close()
    with pytest.raises(trio.ClosedResourceError) as closed:
        await by_name.result()
    assert closed.value.__notes__ == ["this is watcher 'third' of select()"]
    values[0].set(1)
    assert await first.get() == 1
    assert waiting(values) == 0


async def test_close_during_the_checkpoint_of_a_ready_select_loses_nothing() -> None:
    """V7, V14: it either takes the other's update or leaves it unseen."""
    for _ in range(20):
        (value, _), (first, second) = make(2)
        value.set(1)
        after_this_step(second.close)
        try:
            assert await select(first, second) == (0, 1)
        except trio.ClosedResourceError:
            assert first.get_nowait() == 1
        with pytest.raises(trio.WouldBlock):
            first.get_nowait()


async def test_update_goes_before_the_end_of_another_value() -> None:
    """V9, V14: an ended value counts only when no watcher has an update."""
    for _ in range(20):
        (ended, value), watchers = make(2)
        ended.close()
        value.set(1)
        assert await select(*watchers) == (1, 1)
        with pytest.raises(trio.EndOfChannel):
            await select(*watchers)


async def test_last_value_goes_before_the_end(nursery: trio.Nursery) -> None:
    """V9, V14: what was set before the close is taken first."""
    (value, _), watchers = make(2)
    call = Call(nursery, partial(select, *watchers))
    await wait_all_tasks_blocked()
    value.set(1)
    value.close()
    assert await call.result() == (0, 1)
    with pytest.raises(trio.EndOfChannel):
        await select(*watchers)


async def test_end_tells_whose_it_is(nursery: trio.Nursery) -> None:
    """V9, V14: the end of a value carries a note with the watcher's index or name."""
    (closed, failed, other), (first, second, third) = make(3)
    call = Call(nursery, partial(select, third, first))
    await wait_all_tasks_blocked()
    closed.close()
    with pytest.raises(trio.EndOfChannel) as end:
        await call.result()
    assert end.value.__notes__ == ["this is watcher 1 of select()"]
    error = OSError("gone")
    failed.fail(error)
    with pytest.raises(trio.BrokenResourceError, match="gone") as broken:
        await select(hosts=third, lease=second)
    assert broken.value.__notes__ == ["this is watcher 'lease' of select()"]
    assert broken.value.__cause__ is error
    other.set(1)
    assert await select(third) == (0, 1)


async def test_select_ends_a_backlog() -> None:
    """V10, V14: it is a plain get for the watcher: the next backlog begins anew."""
    (value,), (watcher,) = make(1)
    value.set(1)
    assert await watcher.get(backlog_only=True) == 1
    value.set(2)
    assert await select(watcher) == (0, 2)
    value.set(3)
    assert await watcher.get(backlog_only=True) == 3

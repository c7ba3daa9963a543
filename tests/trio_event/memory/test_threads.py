"""``set_from_thread``, and calls from other threads (V11)."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.lowlevel import current_statistics, current_trio_token
from trio.testing import wait_all_tasks_blocked

from trio_event import MemoryValue

from ..helpers.calls import Call
from ..helpers.internals import deliver_again
from ..helpers.threads import block_on_thread

if TYPE_CHECKING:
    pass


def unequal(old: int, new: int) -> bool:
    msg = f"can't compare {old} with {new}"
    raise ValueError(msg)


@pytest.mark.parametrize("watched", [True, False], ids=["watched", "unwatched"])
async def test_foreign_thread_is_told_of_set_from_thread(
    nursery: trio.Nursery,
    watched: bool,  # noqa: FBT001  a parameter of the test's
) -> None:
    """V11: set, close and fail raise in another thread, say what to call, and change nothing."""
    value = MemoryValue(1)
    watcher = value.watch()
    assert await watcher.get() == 1
    if watched:
        Call(nursery, watcher.get)
        await wait_all_tasks_blocked()
    for method in (
        partial(value.set, 2),
        value.close,
        partial(value.fail, OSError("gone")),
    ):
        with pytest.raises(RuntimeError, match=r"\w+\(\) was .* another thread .*set_from_thread"):
            await trio.to_thread.run_sync(method)
    await wait_all_tasks_blocked()
    assert repr(value) == "<MemoryValue 1 version 1>"
    assert value.set(2) == 2


async def test_sets_from_a_fast_thread_are_one_entry_and_one_update(
    nursery: trio.Nursery,
) -> None:
    """V11: while the run is busy its queue holds one delivery, however often a thread sets."""
    value: MemoryValue[int] = MemoryValue()
    get = Call(nursery, value.watch().get)
    await wait_all_tasks_blocked()

    def work() -> None:
        for number in range(1000):
            value.set_from_thread(number)

    assert current_statistics().run_sync_soon_queue_size == 0
    block_on_thread(work)
    assert current_statistics().run_sync_soon_queue_size == 1
    assert await get.result() == 999
    assert value.set(1000) == 2


async def test_run_is_responsive_while_a_thread_sets_without_end(nursery: trio.Nursery) -> None:
    """V11: the value is the last of 100 000, and the queue never held two deliveries."""
    value: MemoryValue[int] = MemoryValue()
    waiting: Call[object] = Call(nursery, partial(value.wait_for, lambda number: number == 99_999))
    last = Call(nursery, partial(value.watch().get, predicate=lambda number: number == 99_999))
    await wait_all_tasks_blocked()

    def work() -> None:
        for number in range(100_000):
            value.set_from_thread(number)

    thread = Call(nursery, partial(trio.to_thread.run_sync, work))
    longest = steps = 0
    while not thread.ended:
        # One step takes over what the thread has set, however often it has.
        longest = max(longest, current_statistics().run_sync_soon_queue_size)
        steps += 1
        await trio.lowlevel.checkpoint()
    assert await waiting.result() == await last.result() == 99_999
    assert longest <= 2  # the thread's own end is the other one
    assert value.version <= steps + 1


async def test_delivery_that_finds_nothing_changes_nothing() -> None:
    """V11: an earlier delivery may have set what a later one was made for."""
    value: MemoryValue[int] = MemoryValue()
    value.set_from_thread(1)
    deliver_again(value)
    await wait_all_tasks_blocked()
    assert (value.peek(), value.version) == (1, 1)


async def test_each_batch_of_sets_from_a_thread_is_delivered(nursery: trio.Nursery) -> None:
    """V11: after a delivery, the next set from a thread makes another one."""
    value: MemoryValue[int] = MemoryValue()
    watcher = value.watch()
    for number in range(3):
        get = Call(nursery, watcher.get)
        await wait_all_tasks_blocked()
        block_on_thread(partial(value.set_from_thread, number))
        assert await get.result() == number


async def test_of_several_threads_one_is_the_last(nursery: trio.Nursery) -> None:
    """V11: threads that set at once leave the last value of one of them, in one update."""
    value: MemoryValue[tuple[int, int]] = MemoryValue()
    get = Call(nursery, value.watch().get)
    await wait_all_tasks_blocked()

    def work(thread: int) -> None:
        for number in range(100):
            value.set_from_thread((thread, number))

    block_on_thread(*(partial(work, thread) for thread in range(8)))
    _, number = await get.result()
    assert number == 99


async def test_thread_that_trio_started_needs_no_token() -> None:
    """V11: an unused value is set in the run that started the thread."""
    value: MemoryValue[int] = MemoryValue()
    await trio.to_thread.run_sync(value.set_from_thread, 1)
    assert await value.watch().get() == 1


async def test_own_thread_may_set_as_other_threads_do() -> None:
    """V11: in the run's own thread the value is set at the next turn of the loop."""
    value: MemoryValue[int] = MemoryValue()
    value.set_from_thread(1)
    with pytest.raises(trio.WouldBlock):
        value.watch().get_nowait()
    assert await value.watch().get() == 1


async def test_thread_of_its_own_needs_the_token_of_an_unwatched_value() -> None:
    """V11: if the run is not known, the error names trio_token."""
    value: MemoryValue[int] = MemoryValue()

    def without() -> None:
        with pytest.raises(RuntimeError, match=r"pass trio_token=, from trio\.lowlevel"):
            value.set_from_thread(1)

    block_on_thread(without)
    block_on_thread(partial(value.set_from_thread, 2, trio_token=current_trio_token()))
    assert await value.watch().get() == 2


async def test_ended_value_refuses_a_thread() -> None:
    """V9, V11: after the end, set_from_thread raises at once."""
    value: MemoryValue[int] = MemoryValue()
    value.close()
    with pytest.raises(trio.ClosedResourceError, match=r"set_from_thread\(\) .* has ended"):
        await trio.to_thread.run_sync(value.set_from_thread, 1)


async def test_value_that_ends_before_the_delivery_drops_it() -> None:
    """V9, V11: a value that another thread has set is dropped after the end."""
    value: MemoryValue[int] = MemoryValue()
    value.set_from_thread(1)
    value.close()
    with pytest.raises(trio.EndOfChannel):
        await value.watch().get()


async def test_eq_is_asked_at_the_delivery() -> None:
    """V1, V11: an equal value that a thread sets is no update."""
    value = MemoryValue(1, eq=lambda old, new: old == new)
    watcher = value.watch()
    assert await watcher.get() == 1
    value.set_from_thread(1)
    value.set_from_thread(1)
    await wait_all_tasks_blocked()
    with pytest.raises(trio.WouldBlock):
        watcher.get_nowait()
    value.set_from_thread(2)
    assert await watcher.get() == 2


async def test_eq_that_fails_at_the_delivery_is_logged_and_the_value_set(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """V11: no caller could catch its exception, so the value is set in doubt."""
    value = MemoryValue(1, eq=unequal)
    watcher = value.watch()
    assert await watcher.get() == 1
    value.set_from_thread(2)
    assert await watcher.get() == 2
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("trio_event", logging.ERROR)
    assert record.getMessage().endswith("failed: the value was set all the same")
    assert record.exc_info is not None
    assert "can't compare 1 with 2" in str(record.exc_info[1])


async def test_failing_handler_of_the_log_does_not_end_the_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """V11: where no caller could catch it either, what could not be logged is on standard error."""

    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise SystemExit(record.levelname)

    handler = Failing()
    logging.getLogger("trio_event").addHandler(handler)
    try:
        value = MemoryValue(1, eq=unequal)
        value.set_from_thread(2)
        assert await value.wait_for(lambda number: number == 2) == 2
    finally:
        logging.getLogger("trio_event").removeHandler(handler)
    written = capsys.readouterr().err
    assert "can't compare 1 with 2" in written
    assert "SystemExit: ERROR" in written


async def test_eq_that_ends_the_value_at_the_delivery_has_it_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """V9, V11: nothing is set after the end."""

    def end(old: int, new: int) -> bool:
        value.close()
        return old == new

    value = MemoryValue(1, eq=end)
    watcher = value.watch()
    assert await watcher.get() == 1
    value.set_from_thread(2)
    with pytest.raises(trio.EndOfChannel):
        await watcher.get()
    assert value.version == 1
    assert "failed" in caplog.text

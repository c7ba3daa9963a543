"""An ``atomic`` block belongs to one task, and to one step of it (V18)."""

from __future__ import annotations

import contextlib
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_event import MemoryValue, ValueMap, atomic, compose

from ..helpers.calls import Call
from ..helpers.functions import same
from ..helpers.threads import call_in_other_run, run_to_the_end

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    import outcome

# What the end of a block with an await in it says.
AWAITED: Final = r"(?s)await.*atomic\(\)|atomic\(\).*await"


def recording(states: list[tuple[int, int]]) -> Callable[[tuple[int, int]], bool]:
    """Make a predicate that records each state of two composed values, and never ends a wait."""

    def record(state: tuple[int, int]) -> bool:
        states.append(state)
        return False

    return record


async def call_in_block(body: Callable[[], Awaitable[object]]) -> None:
    """Call a function that waits in a block, whose end raises."""

    async def call() -> None:
        with atomic():
            await body()

    with pytest.raises(RuntimeError, match=AWAITED):
        await call()


async def leave_open(value: MemoryValue[int], go_on: trio.Event) -> None:
    """Set a value and wait, in one block."""

    async def set_and_wait() -> None:
        value.set(1)
        await go_on.wait()

    await call_in_block(set_and_wait)


async def test_await_in_a_block_raises_at_its_end() -> None:
    """V18: one checkpoint is enough, wherever in the block; the values stay set."""
    first, second = MemoryValue(0), MemoryValue(0)

    async def set_both() -> None:
        first.set(1)
        await trio.lowlevel.checkpoint()
        second.set(1)

    await call_in_block(trio.lowlevel.checkpoint)
    await call_in_block(set_both)
    assert (first.peek(), second.peek()) == (1, 1)


async def test_block_after_one_with_an_await_is_a_block() -> None:
    """V18: the error of one block leaves no other block open or broken."""
    first, second = MemoryValue(0), MemoryValue(0)
    states: list[tuple[int, int]] = []
    await call_in_block(trio.lowlevel.checkpoint)
    async with trio.open_nursery() as nursery:
        waiting: Call[object] = Call(
            nursery, partial(compose(first, second).wait_for, recording(states))
        )
        await wait_all_tasks_blocked()
        with atomic():
            first.set(1)
            second.set(1)
        second.set(2)
        assert states == [(0, 0), (1, 1), (1, 2)]
        await waiting.cancel()


async def test_function_that_does_not_suspend_may_be_awaited() -> None:
    """V18: other tasks see no half of the block, since none has run."""

    async def compute() -> int:
        return 1

    value = MemoryValue(0)
    with atomic():
        value.set(await compute())
    assert value.peek() == 1


async def test_what_was_set_before_an_await_is_told_at_the_next_turn(
    nursery: trio.Nursery,
) -> None:
    """V18: tasks that wait run while the block is open, and predicates are asked."""
    value, go_on = MemoryValue(0), trio.Event()
    watcher = value.watch()
    await watcher.get()
    get = Call(nursery, watcher.get)
    wait: Call[object] = Call(nursery, partial(value.wait_for, bool))
    await wait_all_tasks_blocked()
    nursery.start_soon(leave_open, value, go_on)
    await wait_all_tasks_blocked()
    assert get.ended
    assert wait.ended
    assert (await get.result(), await wait.result()) == (1, 1)
    go_on.set()


async def test_sets_before_an_await_are_one_step(nursery: trio.Nursery) -> None:
    """V18: the block is cut where it awaits, and each part of it is told as one."""
    first, second = MemoryValue(0), MemoryValue(0)
    states: list[tuple[int, int]] = []
    waiting: Call[object] = Call(
        nursery, partial(compose(first, second).wait_for, recording(states))
    )
    await wait_all_tasks_blocked()

    async def set_both() -> None:
        first.set(1)
        second.set(1)
        states.append((-1, -1))
        await wait_all_tasks_blocked()
        states.append((-2, -2))

    await call_in_block(set_both)
    assert states == [(0, 0), (-1, -1), (1, 1), (-2, -2)]
    await waiting.cancel()


async def test_what_is_set_after_an_await_is_told(nursery: trio.Nursery) -> None:
    """V18: a task that waits is woken for it, whether the block goes on or not."""
    value, go_on = MemoryValue(0), trio.Event()
    get = Call(nursery, partial(value.watch().get, predicate=lambda number: number == 2))

    async def set_late() -> None:
        await trio.lowlevel.checkpoint()
        value.set(2)
        await go_on.wait()

    nursery.start_soon(call_in_block, set_late)
    await wait_all_tasks_blocked()
    assert await get.result() == 2
    go_on.set()


async def test_end_of_a_value_before_an_await_is_told_at_the_next_turn(
    nursery: trio.Nursery,
) -> None:
    """V9, V18: close and fail are told as a set is."""
    closed, failed = MemoryValue(0), MemoryValue(0)
    calls = []
    for value in (closed, failed):
        watcher = value.watch()
        await watcher.get()
        calls.append(Call(nursery, watcher.get))
    await wait_all_tasks_blocked()
    ended: list[bool] = []

    async def end_both() -> None:
        closed.close()
        failed.fail(OSError("gone"))
        await wait_all_tasks_blocked()
        ended.extend(call.ended for call in calls)

    await call_in_block(end_both)
    assert ended == [True, True]
    with pytest.raises(trio.EndOfChannel):
        await calls[0].result()
    with pytest.raises(trio.BrokenResourceError):
        await calls[1].result()


async def test_map_that_is_changed_before_an_await_is_told_at_the_next_turn(
    nursery: trio.Nursery,
) -> None:
    """V18, V20: the changes before the await are one batch."""
    peers: ValueMap[str, int] = ValueMap()
    get = Call(nursery, peers.watch().get)
    await wait_all_tasks_blocked()
    ended: list[bool] = []

    async def set_both() -> None:
        peers.set("a", 1)
        peers.set("b", 2)
        await wait_all_tasks_blocked()
        ended.append(get.ended)

    await call_in_block(set_both)
    assert ended == [True]
    assert [change.key for change in await get.result()] == ["a", "b"]


async def test_block_that_waits_holds_back_no_set_of_another_task(nursery: trio.Nursery) -> None:
    """V18: another task's set wakes, and asks, in its own step."""
    value, other, go_on = MemoryValue(0), MemoryValue(0), trio.Event()
    asked: list[int] = []

    def record(number: int) -> bool:
        asked.append(number)
        return number == 2

    nursery.start_soon(leave_open, value, go_on)
    get = Call(nursery, partial(other.watch().get, predicate=bool))
    wait: Call[object] = Call(nursery, partial(other.wait_for, record))
    await wait_all_tasks_blocked()
    other.set(1)
    assert asked == [0, 1]
    await wait_all_tasks_blocked()
    assert await get.result() == 1
    other.set(2)
    assert await wait.result() == 2
    go_on.set()


async def test_block_that_waits_holds_back_no_set_of_a_thread(nursery: trio.Nursery) -> None:
    """V11, V18: a set from a thread comes in a step of its own."""
    value, other, go_on = MemoryValue(0), MemoryValue(0), trio.Event()
    nursery.start_soon(leave_open, value, go_on)
    get = Call(nursery, partial(other.watch().get, predicate=bool))
    await wait_all_tasks_blocked()
    await trio.to_thread.run_sync(other.set_from_thread, 1)
    assert await get.result() == 1
    go_on.set()


async def test_blocks_of_two_tasks_are_apart(nursery: trio.Nursery) -> None:
    """V18: the block of one task is one step, while that of another waits."""
    value, first, second, go_on = MemoryValue(0), MemoryValue(0), MemoryValue(0), trio.Event()
    states: list[tuple[int, int]] = []
    waiting: Call[object] = Call(
        nursery, partial(compose(first, second).wait_for, recording(states))
    )
    nursery.start_soon(leave_open, value, go_on)
    await wait_all_tasks_blocked()
    with atomic():
        first.set(1)
        with atomic():
            second.set(1)
        first.set(2)
        assert states == [(0, 0)]
    assert states == [(0, 0), (2, 1)]
    go_on.set()
    await wait_all_tasks_blocked()
    await waiting.cancel()


async def test_two_blocks_that_wait_end_in_any_order(nursery: trio.Nursery) -> None:
    """V18: each raises at its own end, and leaves the other as it is."""
    values = [MemoryValue(0), MemoryValue(0)]
    events = [trio.Event(), trio.Event()]
    tasks = [
        Call(nursery, partial(leave_open, value, event))
        for value, event in zip(values, events, strict=True)
    ]
    await wait_all_tasks_blocked()
    for task, event in zip(tasks, events, strict=True):
        event.set()
        await task.result()


async def test_inner_block_with_an_await_breaks_the_outer_one(nursery: trio.Nursery) -> None:
    """V18: the await is in both, and both say so."""
    value = MemoryValue(0)
    get = Call(nursery, partial(value.watch().get, predicate=bool))
    await wait_all_tasks_blocked()

    async def set_and_wait() -> None:
        value.set(1)
        await trio.lowlevel.checkpoint()

    await call_in_block(partial(call_in_block, set_and_wait))
    assert await get.result() == 1


async def test_exception_of_a_block_with_an_await_is_not_lost() -> None:
    """V18: it leaves the block, or is in the context of the error that does."""

    async def fail() -> None:
        with atomic():
            await trio.lowlevel.checkpoint()
            msg = "from the block"
            raise ValueError(msg)

    with pytest.raises((ValueError, RuntimeError)) as caught:
        await fail()
    error: BaseException | None = caught.value
    if isinstance(error, RuntimeError):
        error = error.__context__
    assert isinstance(error, ValueError)


async def test_cancelled_await_in_a_block_leaves_no_block_open(nursery: trio.Nursery) -> None:
    """V5, V18: values that are set later are told at once."""
    value = MemoryValue(0)
    get = Call(nursery, partial(value.watch().get, predicate=lambda number: number == 2))

    async def wait_in_a_block() -> None:
        with contextlib.suppress(RuntimeError), atomic():
            value.set(1)
            await trio.sleep_forever()

    waiting = Call(nursery, wait_in_a_block)
    await wait_all_tasks_blocked()
    await waiting.cancel()
    value.set(2)
    assert await get.result() == 2


async def open_in_an_async_generator(value: MemoryValue[int]) -> AsyncIterator[None]:
    with atomic():
        value.set(1)
        yield


def open_in_a_generator(value: MemoryValue[int]) -> Iterator[None]:
    with atomic():
        value.set(1)
        yield


async def enter_async(value: MemoryValue[int]) -> object:
    generator = open_in_an_async_generator(value)
    await anext(generator)
    return generator


async def enter(value: MemoryValue[int]) -> object:
    generator = open_in_a_generator(value)
    next(generator)
    await trio.lowlevel.checkpoint()
    return generator


async def leave(generator: object) -> None:
    """Close what was abandoned; its block may complain."""
    with contextlib.suppress(RuntimeError):
        if hasattr(generator, "aclose"):
            await generator.aclose()
        else:
            generator.close()  # type: ignore[attr-defined]  # a generator


@pytest.mark.parametrize("abandon", [enter, enter_async], ids=["generator", "async_generator"])
@pytest.mark.parametrize("own_task", [True, False], ids=["own_task", "another_task"])
async def test_block_in_an_abandoned_generator_holds_back_no_set(
    nursery: trio.Nursery,
    abandon: Callable[[MemoryValue[int]], Awaitable[object]],
    own_task: bool,  # noqa: FBT001  a parameter of the test's
) -> None:
    """V18: what was set in it is told, and so are later sets of any task, ended or not."""
    value, other = MemoryValue(0), MemoryValue(0)
    get = Call(nursery, partial(value.watch().get, predicate=bool))
    others = Call(nursery, partial(other.watch().get, predicate=bool))
    await wait_all_tasks_blocked()
    if own_task:
        generator = await abandon(value)
    else:
        generator = await Call(nursery, partial(abandon, value)).result()
    await wait_all_tasks_blocked()
    assert get.ended
    other.set(1)
    await wait_all_tasks_blocked()
    assert others.ended
    await leave(generator)
    more = Call(nursery, partial(other.watch().get, predicate=lambda number: number == 2))
    await wait_all_tasks_blocked()
    other.set(2)
    assert await more.result() == 2


async def test_block_that_another_task_ends_loses_nothing(nursery: trio.Nursery) -> None:
    """V18: it raises there, and disturbs no block of that task."""
    value, first, second = MemoryValue(0), MemoryValue(0), MemoryValue(0)
    states: list[tuple[int, int]] = []
    waiting: Call[object] = Call(
        nursery, partial(compose(first, second).wait_for, recording(states))
    )
    get = Call(nursery, partial(value.watch().get, predicate=bool))
    await wait_all_tasks_blocked()
    generator = await Call(nursery, partial(enter, value)).result()
    with atomic():
        first.set(1)
        with pytest.raises(RuntimeError, match=r"atomic\(\)"):
            generator.close()  # type: ignore[attr-defined]  # a generator
        second.set(1)
        assert states == [(0, 0)]
    assert states == [(0, 0), (1, 1)]
    assert await get.result() == 1
    await waiting.cancel()


def test_block_outside_of_a_run_holds_back_no_task_of_it() -> None:
    """V18: a run that is started in a block has tasks of its own, which are in none."""

    async def main() -> None:
        value = MemoryValue(0)
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                get = Call(nursery, partial(value.watch().get, predicate=bool))
                await wait_all_tasks_blocked()
                value.set(1)
                assert await get.result() == 1

    with atomic():
        run_to_the_end(main)


def test_block_outside_of_a_run_is_a_step() -> None:
    """V18: it sets what it sets, without a task."""
    first, second = MemoryValue(0), MemoryValue(0)
    with atomic():
        first.set(1)
        second.set(1)
    assert compose(first, second).peek() == (1, 1)


async def test_task_that_is_started_in_a_block_is_not_in_it(nursery: trio.Nursery) -> None:
    """V18: a block is not inherited, as a context variable would be."""
    value, other, go_on = MemoryValue(0), MemoryValue(0), trio.Event()
    asked: list[int] = []

    def record(number: int) -> bool:
        asked.append(number)
        return False

    async def set_other() -> None:
        await go_on.wait()
        other.set(1)
        assert asked == [0, 1]

    waiting: Call[object] = Call(nursery, partial(other.wait_for, record))
    await wait_all_tasks_blocked()
    with atomic():
        setting = Call(nursery, set_other)
        value.set(1)
    go_on.set()
    await setting.result()
    await waiting.cancel()


async def test_block_of_another_run_is_apart(nursery: trio.Nursery) -> None:
    """V11, V18: a block that waits in one thread holds back no set in another."""
    value, go_on = MemoryValue(0), trio.Event()
    nursery.start_soon(leave_open, value, go_on)
    await wait_all_tasks_blocked()

    async def elsewhere() -> None:
        other = MemoryValue(0)
        with trio.fail_after(60):
            async with trio.open_nursery() as inner:
                get = Call(inner, partial(other.watch().get, predicate=bool))
                await wait_all_tasks_blocked()
                with atomic():
                    other.set(1)
                assert await get.result() == 1

    await call_in_other_run(elsewhere)
    go_on.set()


async def set_both(first: MemoryValue[int], second: MemoryValue[int], number: int) -> None:
    with atomic():
        first.set(number)
        second.set(number)
    await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("in_a_block", [False, True], ids=["in_a_set", "at_the_end_of_a_block"])
async def test_block_in_a_predicate_is_one_step_after_the_one_under_way(
    nursery: trio.Nursery,
    in_a_block: bool,  # noqa: FBT001  a parameter of the test's
) -> None:
    """V18, V19: all are told of the step under way, and then of the whole block."""
    trigger, first, second = MemoryValue(0), MemoryValue(0), MemoryValue(0)
    states: list[tuple[int, int, int]] = []
    told: list[int] = []

    def react(number: int) -> bool:
        if number == 1:
            with atomic():
                first.set(5)
                trigger.set(2)
                second.set(5)
        return False

    def record(state: tuple[int, int, int]) -> bool:
        states.append(state)
        return False

    def tell(number: int) -> bool:
        told.append(number)
        return False

    waits: tuple[Callable[[], Awaitable[object]], ...] = (
        partial(trigger.wait_for, react),
        partial(compose(trigger, first, second).wait_for, record),
        partial(trigger.wait_for, tell),
    )
    for wait in waits:
        Call(nursery, wait)
        await wait_all_tasks_blocked()
    if in_a_block:
        with atomic():
            trigger.set(1)
            first.set(1)
        assert states == [(0, 0, 0), (1, 1, 0), (2, 5, 5)]
    else:
        trigger.set(1)
        assert states == [(0, 0, 0), (1, 0, 0), (2, 5, 5)]
    assert told == [0, 1, 2]
    nursery.cancel_scope.cancel()


async def test_block_in_a_predicate_that_sets_other_values_is_one_step(
    nursery: trio.Nursery,
) -> None:
    """V18, V19: also where no value of the block is the one that is being set."""
    trigger, first, second = MemoryValue(0), MemoryValue(0), MemoryValue(0)
    states: list[tuple[int, int]] = []

    def react(number: int) -> bool:
        if number:
            with atomic():
                first.set(number)
                second.set(number)
        return False

    Call(nursery, partial(trigger.wait_for, react))
    Call(nursery, partial(compose(first, second).wait_for, recording(states)))
    await wait_all_tasks_blocked()
    trigger.set(1)
    with atomic():
        trigger.set(2)
    assert states == [(0, 0), (1, 1), (2, 2)]
    nursery.cancel_scope.cancel()


async def test_block_in_a_function_is_one_step(nursery: trio.Nursery) -> None:
    """V18, V19: a function of a derived value that is taken in a get may have a block."""
    value, first, second = MemoryValue(0), MemoryValue(0), MemoryValue(0)
    states: list[tuple[int, int]] = []

    def spread(number: int) -> int:
        with atomic():
            first.set(number)
            second.set(number)
        return number

    waiting: Call[object] = Call(
        nursery, partial(compose(first, second).wait_for, recording(states))
    )
    await wait_all_tasks_blocked()
    watcher = value.map(spread).watch()
    assert await watcher.get() == 0
    value.set(1)
    assert await watcher.get() == 1
    assert states == [(0, 0), (0, 0), (1, 1)]
    await waiting.cancel()


async def test_block_object_is_used_once() -> None:
    """V18: the second use raises before anything is set, and says what to write."""
    value = MemoryValue(0)
    step = atomic()
    with step:
        value.set(1)
    with pytest.raises(RuntimeError, match=r"atomic\(\).*(again|twice|once|another)"):  # noqa: SIM117
        with step:
            value.set(2)
    assert value.peek() == 1


@pytest.mark.parametrize("used", [False, True], ids=["in_itself", "used_before"])
async def test_block_object_that_is_used_again_in_a_block_loses_nothing(
    nursery: trio.Nursery,
    used: bool,  # noqa: FBT001  a parameter of the test's
) -> None:
    """V18: the outer block goes on, and tells at its end what was set in it."""
    first, second = MemoryValue(0), MemoryValue(0)
    states: list[tuple[int, int]] = []
    waiting: Call[object] = Call(
        nursery, partial(compose(first, second).wait_for, recording(states))
    )
    await wait_all_tasks_blocked()
    step = atomic()
    outer = step
    if used:
        with step:
            pass
        outer = atomic()
    with outer:
        first.set(1)
        with pytest.raises(RuntimeError, match=r"atomic\(\)"), step:
            second.set(9)
        second.set(1)
        assert states == [(0, 0)]
    assert states == [(0, 0), (1, 1)]
    first.set(2)
    assert states == [(0, 0), (1, 1), (2, 1)]
    await waiting.cancel()


async def test_block_object_of_another_task_is_refused(nursery: trio.Nursery) -> None:
    """V18: the task that has entered it first is not disturbed."""
    value, go_on = MemoryValue(0), trio.Event()
    step = atomic()

    async def wait_in_a_block() -> None:
        with step:
            value.set(1)
            await go_on.wait()

    waiting = Call(nursery, wait_in_a_block)
    await wait_all_tasks_blocked()
    with pytest.raises(RuntimeError, match=r"atomic\(\)"), step:
        value.set(9)
    assert value.peek() == 1
    go_on.set()
    with pytest.raises(RuntimeError, match=AWAITED):
        await waiting.result()


def test_block_object_that_is_left_without_being_entered_says_so() -> None:
    """V18: it is a mistake, which changes nothing."""
    with pytest.raises(RuntimeError, match=r"atomic\(\)"):
        atomic().__exit__(None, None, None)
    value = MemoryValue(0)
    with atomic():
        value.set(1)
    assert value.map(same).peek() == 1


async def test_exception_of_a_block_with_an_await_has_a_note() -> None:
    """V18: it leaves the block as it is, for it may be a cancellation."""

    async def fail() -> None:
        with atomic():
            await trio.lowlevel.checkpoint()
            msg = "from the block"
            raise ValueError(msg)

    with pytest.raises(ValueError, match="from the block") as caught:
        await fail()
    (note,) = caught.value.__notes__
    assert "await in an atomic() block" in note


async def test_block_keeps_what_the_task_has_noted_for_its_sleep() -> None:
    """V18: what another primitive is about to wait with is there after the block."""
    task = trio.lowlevel.current_task()
    task.custom_sleep_data = "mine"
    with atomic(), atomic():
        MemoryValue(0).set(1)
    assert task.custom_sleep_data == "mine"


async def test_block_that_a_predicate_abandons_holds_back_no_later_set(
    nursery: trio.Nursery,
) -> None:
    """V18, V19: later sets of the value come after those of the block, in the same step."""
    value = MemoryValue(0)
    told: list[int] = []
    abandoned = []

    def react(number: int) -> bool:
        told.append(number)
        if number == 1:
            generator = open_in_a_generator(value)  # sets it to 1 again
            next(generator)
            abandoned.append(generator)
        return False

    waiting: Call[object] = Call(nursery, partial(value.wait_for, react))
    await wait_all_tasks_blocked()
    value.set(1)
    assert value.version == 2
    await leave_later(value)
    assert told[-1] == 5
    assert (value.peek(), value.version) == (5, 4)
    await waiting.cancel()
    for generator in abandoned:
        with pytest.raises(RuntimeError, match=AWAITED):
            generator.close()  # type: ignore[attr-defined]  # a generator


async def leave_later(value: MemoryValue[int]) -> None:
    """Set the value in this step, and wait until nothing is left to do."""
    value.set(5)
    await wait_all_tasks_blocked()


def test_block_of_a_host_loop_is_a_step() -> None:
    """V11, V18: in guest mode no task calls; a block that is left open ends at the next turn."""
    first, second = MemoryValue(0), MemoryValue(0)
    states: list[tuple[int, int]] = []
    calls: SimpleQueue[Callable[[], object]] = SimpleQueue()
    ended: list[outcome.Outcome[None]] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(compose(first, second).wait_for, recording(states))
            await wait_all_tasks_blocked()
            calls.put(set_in_a_block)
            await first.wait_for(lambda number: number == 2)
            calls.put(leave_a_block_open)
            await first.wait_for(lambda number: number == 3)
            await wait_all_tasks_blocked()
            calls.put(partial(first.set, 4))
            await first.wait_for(lambda number: number == 4)
            nursery.cancel_scope.cancel()

    def set_in_a_block() -> None:
        with atomic():
            first.set(1)
            second.set(1)
            first.set(2)

    def leave_a_block_open() -> None:
        atomic().__enter__()
        first.set(3)
        second.set(3)

    trio.lowlevel.start_guest_run(
        main,
        run_sync_soon_threadsafe=calls.put,
        done_callback=ended.append,
    )
    while not ended:
        calls.get()()
    ended[0].unwrap()
    assert states == [(0, 0), (2, 1), (3, 3), (4, 3)]

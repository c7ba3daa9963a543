"""The wait queue and its waiters: which task wakes which, and what it costs (V1, V4, V5)."""

from __future__ import annotations

import contextlib
import math
import sys
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import outcome
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_event import MemoryValue
from trio_event.abc import WaitQueue

from ..helpers.calls import Call, counting
from ..helpers.internals import Subscription, Waiter, wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_event import Watcher


# Trio runs the tasks of one batch in random order. Where the order matters, all have to work.
ROUNDS = 10


async def wait_in(*queues: WaitQueue, waiter: Waiter | None = None) -> None:
    """Wait until one of the queues is notified, as a watcher does."""
    await wait(queues, waiter or Waiter(), math.inf)


async def parked(nursery: trio.Nursery, queue: WaitQueue, count: int) -> list[Call[None]]:
    """Start tasks that wait in a queue, and return when they do."""
    calls = [Call(nursery, partial(wait_in, queue)) for _ in range(count)]
    await wait_all_tasks_blocked()
    assert len(queue) == count
    return calls


def called_functions(action: Callable[[], object]) -> int:
    """Count the calls of functions, built-in ones included, that an action makes."""
    count = 0

    def profile(_frame: object, event: str, _arg: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count


async def test_notify_of_an_empty_queue_does_nothing() -> None:
    """V1: if no task waits, none is woken, then or later."""
    queue = WaitQueue()
    with counting() as counts:
        queue.notify()
    assert not counts.scheduled
    assert len(queue) == 0


async def test_notify_wakes_one_task_itself(nursery: trio.Nursery) -> None:
    """V1: a set with a thousand tasks waiting schedules exactly one of them."""
    queue = WaitQueue()
    calls = await parked(nursery, queue, 1000)
    with counting() as counts:
        queue.notify()
    assert counts.scheduled.total() == 1
    await wait_all_tasks_blocked()
    assert all(call.ended for call in calls)


async def test_set_does_the_same_work_for_two_and_for_a_thousand(nursery: trio.Nursery) -> None:
    """V1: how many functions a set calls does not depend on how many tasks wait."""
    work = []
    for waiting in (2, 1000):
        value: MemoryValue[int] = MemoryValue()
        gets = [Call(nursery, value.watch().get) for _ in range(waiting)]
        await wait_all_tasks_blocked()
        work.append(called_functions(partial(value.set, 1)))
        assert [await get.result() for get in gets] == [1] * waiting
    assert work[0] == work[1] < 20


async def test_each_watcher_takes_one_step_per_set(nursery: trio.Nursery) -> None:
    """V1: a watcher that waits again at once takes one step for each set, the leader included."""
    value: MemoryValue[int] = MemoryValue()
    seen: Counter[int] = Counter()

    async def follow(watcher: Watcher[int]) -> None:
        async for number in watcher:
            seen[number] += 1

    calls = [Call(nursery, partial(follow, value.watch())) for _ in range(1000)]
    await wait_all_tasks_blocked()
    for number in range(3):
        with counting() as counts:
            value.set(number)
            await wait_all_tasks_blocked()
        assert {counts.steps[call.task] for call in calls if call.task} == {1}
        assert {counts.scheduled[call.task] for call in calls if call.task} == {1}
    assert seen == {0: 1000, 1: 1000, 2: 1000}


async def test_many_sets_before_the_leader_runs_are_one_step(nursery: trio.Nursery) -> None:
    """V4: a watcher is woken once for all sets up to its step."""
    value: MemoryValue[int] = MemoryValue()
    gets = [Call(nursery, value.watch().get) for _ in range(10)]
    await wait_all_tasks_blocked()
    with counting() as counts:
        for number in range(5):
            value.set(number)
        assert counts.scheduled.total() == 1
        assert [await get.result() for get in gets] == [4] * 10
    assert {counts.steps[get.task] for get in gets if get.task} == {1}


async def test_waiter_that_joins_after_a_notify_waits_for_the_next(nursery: trio.Nursery) -> None:
    """V3: a leader wakes those notified with it, not those that joined before its step."""
    queue = WaitQueue()
    for _ in range(ROUNDS):
        calls = await parked(nursery, queue, 3)
        queue.notify()
        late = Call(nursery, partial(wait_in, queue))
        await wait_all_tasks_blocked()
        assert all(call.ended for call in calls)
        assert not late.ended
        queue.notify()
        await late.result()


async def test_leader_that_waits_again_at_once_is_not_woken_by_itself(
    nursery: trio.Nursery,
) -> None:
    """V1: each round of a queue that all tasks rejoin takes one step of each."""
    queue = WaitQueue()
    rounds: Counter[int] = Counter()

    async def rejoin(number: int) -> None:
        while True:
            await wait_in(queue)
            rounds[number] += 1

    for number in range(3):
        nursery.start_soon(rejoin, number)
    await wait_all_tasks_blocked()
    for turn in (1, 2):
        queue.notify()
        await wait_all_tasks_blocked()
        assert rounds == {0: turn, 1: turn, 2: turn}
    assert len(queue) == 3


async def test_notify_before_the_leaders_step_is_for_those_that_joined_meanwhile(
    nursery: trio.Nursery,
) -> None:
    """V1: a second notify before the leader runs adds its tasks to those that the leader wakes."""
    queue = WaitQueue()
    calls = await parked(nursery, queue, 3)
    # Join between the two without a task, because no task can run in this step.
    waiter = Waiter()
    with counting() as counts:
        queue.notify()
        queue.join(waiter)
        queue.notify()
        assert counts.scheduled.total() == 1
    assert len(queue) == 3
    await wait_all_tasks_blocked()
    assert all(call.ended for call in calls)
    assert len(queue) == 0


async def test_notified_waiter_cancelled_before_the_leader_runs_holds_up_no_other(
    nursery: trio.Nursery,
) -> None:
    """V5: all others are woken, whichever is cancelled between the notify and its wake-up."""
    queue = WaitQueue()
    for _ in range(ROUNDS):
        calls = await parked(nursery, queue, 4)
        with counting() as counts:
            queue.notify()
        notified = next(call for call in calls if call.task not in counts.scheduled)
        notified.scope.cancel()
        await wait_all_tasks_blocked()
        assert all(call.ended for call in calls)
        assert [call for call in calls if call.cancelled] == [notified]
        assert len(queue) == 0


async def test_leader_that_is_cancelled_after_the_notify_still_wakes_the_others(
    nursery: trio.Nursery,
) -> None:
    """V5: a task that is woken can't be cancelled, so it does not lose the notify."""
    queue = WaitQueue()
    calls = await parked(nursery, queue, 4)
    with counting() as counts:
        queue.notify()
    for call in calls:
        if call.task in counts.scheduled:
            call.scope.cancel()
    await wait_all_tasks_blocked()
    assert all(call.ended and not call.cancelled for call in calls)


async def test_all_notified_waiters_but_the_leader_may_be_cancelled(nursery: trio.Nursery) -> None:
    """V5: the leader has no task to wake then, and the queue is empty."""
    queue = WaitQueue()
    calls = await parked(nursery, queue, 4)
    queue.notify()
    for call in calls:
        call.scope.cancel()
    await wait_all_tasks_blocked()
    assert [call.cancelled for call in calls].count(True) == 3
    assert len(queue) == 0
    (again,) = await parked(nursery, queue, 1)
    queue.notify()
    await again.result()


async def test_waiter_cancelled_before_the_notify_is_no_leader(nursery: trio.Nursery) -> None:
    """V5: a notify skips waiters that were cancelled before it."""
    queue = WaitQueue()
    calls = await parked(nursery, queue, 4)
    for call in calls[2:]:
        call.scope.cancel()
    queue.notify()
    await wait_all_tasks_blocked()
    assert [call.cancelled for call in calls] == [False, False, True, True]
    assert all(call.ended for call in calls)


async def test_notify_with_all_waiters_cancelled_needs_no_leader(nursery: trio.Nursery) -> None:
    """V5: the notify does nothing, and the next one finds a leader again."""
    queue = WaitQueue()
    calls = await parked(nursery, queue, 2)
    for call in calls:
        call.scope.cancel()
    queue.notify()
    await wait_all_tasks_blocked()
    assert all(call.cancelled for call in calls)
    calls = await parked(nursery, queue, 2)
    queue.notify()
    await wait_all_tasks_blocked()
    assert all(call.ended for call in calls)


@pytest.mark.parametrize("closed", range(4))
async def test_watcher_closed_while_notified_holds_up_no_other(
    nursery: trio.Nursery, closed: int
) -> None:
    """V7: a close between the set and the wake-up ends that get, and no other."""
    value: MemoryValue[int] = MemoryValue()
    watchers = [value.watch() for _ in range(4)]
    gets = [Call(nursery, watcher.get) for watcher in watchers]
    await wait_all_tasks_blocked()
    value.set(1)
    watchers[closed].close()
    for number, get in enumerate(gets):
        if number == closed:
            with pytest.raises(trio.ClosedResourceError):
                await get.result()
        else:
            assert await get.result() == 1
    assert value.statistics().tasks_waiting == 0


async def test_waiter_is_woken_once(nursery: trio.Nursery) -> None:
    """V4: if two queues are both notified, one wakes the task, and it leaves both."""
    first, second = WaitQueue(), WaitQueue()
    waiter = Waiter()
    both = Call(nursery, partial(wait_in, first, second, waiter=waiter))
    await wait_all_tasks_blocked()
    others = [Call(nursery, partial(wait_in, queue)) for queue in (first, second)]
    await wait_all_tasks_blocked()
    with counting() as counts:
        first.notify()
        second.notify()
        await wait_all_tasks_blocked()
    assert both.ended
    assert all(other.ended for other in others)
    assert both.task is not None
    assert counts.steps[both.task] == 1
    assert not waiter.wake()
    assert (len(first), len(second)) == (0, 0)


async def test_waiter_that_does_not_wait_is_not_woken() -> None:
    """V4: before its wait and after its end, a waiter has no task to wake."""
    assert not Waiter().wake()


async def test_one_outcome_wakes_all_tasks(nursery: trio.Nursery) -> None:
    """V1: what a task is woken with is unwrapped, and nothing else, so that one object serves all.

    If this fails with a new version of ``outcome`` or Trio, let ``_waiting`` call ``reschedule``
    without ``_WOKEN``. It is as correct, and waking a task takes twice as long.
    """
    assert outcome.Outcome.__abstractmethods__ == {"unwrap", "send", "asend"}
    assert not getattr(outcome.Outcome, "__final__", False)
    queue = WaitQueue()
    for _ in range(2):
        calls = await parked(nursery, queue, 3)
        queue.notify()
        await wait_all_tasks_blocked()
        assert all(call.ended for call in calls)


async def test_wait_in_a_cancelled_scope_leaves_the_queue() -> None:
    """V5: a wait that is cancelled before it begins leaves the queue as it was."""
    queue = WaitQueue()
    with trio.CancelScope() as scope:
        scope.cancel()
        await wait_in(queue)
    assert scope.cancelled_caught
    assert len(queue) == 0
    queue.notify()


async def test_subscription_is_called_by_each_notify_at_once() -> None:
    """V13: each notify calls the callback before it returns, and none does after the block."""
    queue = WaitQueue()
    told: list[str] = []
    with Subscription((queue,), lambda: told.append("outer")):
        queue.notify()
        with Subscription((queue,), lambda: told.append("inner")):
            queue.notify()
        queue.notify()
    queue.notify()
    assert told == ["outer", "outer", "inner", "outer"]


async def test_subscription_may_end_in_its_callback() -> None:
    """V13: one that ends in a notify does not keep the others from being called."""
    queue = WaitQueue()
    told: list[str] = []

    def end() -> None:
        told.append("once")
        stack.close()

    with contextlib.ExitStack() as stack:
        stack.enter_context(Subscription((queue,), end))
        with Subscription((queue,), lambda: told.append("always")):
            queue.notify()
            queue.notify()
    assert told == ["once", "always", "always"]


async def test_subscription_ends_also_after_an_exception() -> None:
    """V13: this holds however the block ends."""
    queue = WaitQueue()
    told: list[int] = []
    msg = "from the block"
    with pytest.raises(ValueError, match=msg), Subscription((queue,), lambda: told.append(1)):
        raise ValueError(msg)
    queue.notify()
    assert told == []


async def test_callbacks_are_called_before_any_task_is_woken(nursery: trio.Nursery) -> None:
    """V13: what has to happen in the step of the set happens before the tasks that wait run."""
    queue = WaitQueue()
    (call,) = await parked(nursery, queue, 1)
    with counting() as counts:
        scheduled: list[int] = []
        with Subscription((queue,), lambda: scheduled.append(counts.scheduled.total())):
            queue.notify()
        await call.result()
    assert scheduled == [0]

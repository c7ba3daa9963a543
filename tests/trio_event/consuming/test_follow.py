"""``follow``: calling a function with each newest value (V22)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, final

import pytest
import trio
import trio.testing
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from trio_event import Change, MemoryValue, ValueMap, compose, follow

from ..helpers.calls import Call
from ..helpers.functions import is_even, is_not_two, refuse_two
from ..helpers.timeline import play

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio.testing import MockClock


@final
class Recorder:
    """A function that records its calls, each of which waits for finish()."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.finished: list[int] = []
        self.cancelled: list[int] = []
        self.go_on = trio.Event()

    async def __call__(self, number: int) -> None:
        assert len(self.begun) == len(self.finished) + len(self.cancelled), "two calls at a time"
        self.begun.append(number)
        try:
            await self.go_on.wait()
        except trio.Cancelled:
            self.cancelled.append(number)
            raise
        self.finished.append(number)

    async def finish(self) -> None:
        """Let the call under way go on, and wait until all tasks wait again."""
        go_on, self.go_on = self.go_on, trio.Event()
        go_on.set()
        await wait_all_tasks_blocked()


async def test_follow_calls_with_the_value_that_is_there(nursery: trio.Nursery) -> None:
    """V22: the first call gets the value at the start; without data, follow waits for it."""
    late = Recorder()
    unset: MemoryValue[int] = MemoryValue()
    nursery.start_soon(follow, unset, late)
    early = Recorder()
    nursery.start_soon(follow, MemoryValue(1), early)
    await wait_all_tasks_blocked()
    assert (late.begun, early.begun) == ([], [1])
    unset.set(2)
    await wait_all_tasks_blocked()
    assert late.begun == [2]


async def test_follow_makes_one_call_at_a_time_with_the_newest_value(
    nursery: trio.Nursery,
) -> None:
    """V22: values that are replaced during a call are skipped; the newest is not."""
    value, record = MemoryValue(1), Recorder()
    nursery.start_soon(follow, value, record)
    await wait_all_tasks_blocked()
    for number in (2, 3, 4):
        value.set(number)
        await wait_all_tasks_blocked()
    assert record.begun == [1]
    await record.finish()
    assert (record.begun, record.finished) == ([1, 4], [1])
    await record.finish()
    value.set(5)
    await wait_all_tasks_blocked()
    assert (record.begun, record.finished) == ([1, 4, 5], [1, 4])


async def test_follow_returns_when_the_value_is_closed(nursery: trio.Nursery) -> None:
    """V9, V22: the call with the last value ends before follow returns."""
    value, record = MemoryValue(1), Recorder()
    following = Call(nursery, partial(follow, value, record))
    await wait_all_tasks_blocked()
    value.set(2)
    value.close()
    await record.finish()
    assert (record.begun, following.ended) == ([1, 2], False)
    await record.finish()
    assert record.finished == [1, 2]
    await following.result()


async def test_follow_raises_what_the_value_failed_of(nursery: trio.Nursery) -> None:
    """V9, V22: a failed value raises BrokenResourceError after the call with its last value."""
    value, record = MemoryValue(1), Recorder()
    error = OSError("gone")
    following = Call(nursery, partial(follow, value, record))
    await wait_all_tasks_blocked()
    value.fail(error)
    await record.finish()
    with pytest.raises(trio.BrokenResourceError) as broken:
        await following.result()
    assert broken.value.__cause__ is error
    assert record.finished == [1]


async def test_follow_leaves_out_what_the_predicate_rejects(nursery: trio.Nursery) -> None:
    """V6, V22: the function is called only with values that satisfy the predicate."""
    value, record = MemoryValue(1), Recorder()
    record.go_on.set()
    nursery.start_soon(partial(follow, value, record, predicate=is_even))
    for number in (2, 3, 4, 5):
        await wait_all_tasks_blocked()
        value.set(number)
    await wait_all_tasks_blocked()
    assert record.finished == [2, 4]


@pytest.mark.parametrize("latest", [False, True], ids=["each", "latest"])
async def test_exception_of_the_function_leaves_follow(
    nursery: trio.Nursery,
    latest: bool,  # noqa: FBT001  a parameter of the test's
) -> None:
    """V22: an exception of the function ends follow, and no wait is left."""
    value = MemoryValue(1)

    async def fail(number: int) -> None:
        await trio.lowlevel.checkpoint()
        msg = f"no {number}"
        raise ValueError(msg)

    following = Call(nursery, partial(follow, value, fail, latest=latest))
    with pytest.raises(ValueError, match="no 1"):
        await following.result()
    assert value.statistics().tasks_waiting == 0


@pytest.mark.parametrize("latest", [False, True], ids=["each", "latest"])
async def test_follow_is_a_checkpoint(
    latest: bool,  # noqa: FBT001  a parameter of the test's
) -> None:
    """V22: this holds also if the function does not wait and the value has ended."""

    async def note(number: int) -> None:
        assert number == 1

    value = MemoryValue(1)
    value.close()
    with assert_checkpoints():
        await follow(value, note, latest=latest)
    with trio.CancelScope() as scope:
        scope.cancel()
        await follow(value, note, latest=latest)
    assert scope.cancelled_caught


@pytest.mark.parametrize("latest", [False, True], ids=["each", "latest"])
async def test_cancelled_follow_leaves_nothing_behind(
    nursery: trio.Nursery,
    latest: bool,  # noqa: FBT001  a parameter of the test's
) -> None:
    """V5, V8, V22: a follow that is cancelled while it waits or in a call leaves no wait."""
    value: MemoryValue[int] = MemoryValue()
    record = Recorder()
    for begun in ([], [1]):
        following = Call(nursery, partial(follow, value, record, latest=latest))
        await wait_all_tasks_blocked()
        assert record.begun == begun
        await following.cancel()
        assert following.cancelled
        assert value.statistics().tasks_waiting == 0
        value.set(1)
    assert record.cancelled == [1]


async def test_newer_value_cancels_the_call_under_way(nursery: trio.Nursery) -> None:
    """V22: with latest, the next call begins when the cancelled one has ended."""
    value, record = MemoryValue(1), Recorder()
    nursery.start_soon(partial(follow, value, record, latest=True))
    await wait_all_tasks_blocked()
    value.set(2)
    value.set(3)
    await wait_all_tasks_blocked()
    assert (record.begun, record.cancelled) == ([1, 3], [1])
    await record.finish()
    value.set(4)
    await wait_all_tasks_blocked()
    assert (record.begun, record.finished, record.cancelled) == ([1, 3, 4], [3], [1])


async def test_clean_up_of_a_cancelled_call_holds_up_the_next(nursery: trio.Nursery) -> None:
    """V22: values that are set during a shielded clean-up are skipped; the newest is not."""
    value = MemoryValue(1)
    log: list[str] = []
    clean = trio.Event()

    async def work(number: int) -> None:
        log.append(f"begin {number}")
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await clean.wait()
            log.append(f"end {number}")

    nursery.start_soon(partial(follow, value, work, latest=True))
    await wait_all_tasks_blocked()
    for number in (2, 3):
        value.set(number)
        await wait_all_tasks_blocked()
    assert log == ["begin 1"]
    clean.set()
    await wait_all_tasks_blocked()
    assert log == ["begin 1", "end 1", "begin 3"]


async def test_call_that_finishes_though_it_was_cancelled_is_followed_by_the_next(
    nursery: trio.Nursery,
) -> None:
    """V22: a function that ignores the cancellation loses no value."""
    value = MemoryValue(1)
    seen: list[int] = []
    go_on = trio.Event()

    async def stubborn(number: int) -> None:
        with trio.CancelScope(shield=True):
            await go_on.wait()
        seen.append(number)

    following = Call(nursery, partial(follow, value, stubborn, latest=True))
    await wait_all_tasks_blocked()
    value.set(2)
    value.close()
    go_on.set()
    await following.result()
    assert seen == [1, 2]


async def test_close_does_not_cancel_the_call_under_way(nursery: trio.Nursery) -> None:
    """V9, V22: the end is no newer value; the call with the last value runs to its end."""
    value, record = MemoryValue(1), Recorder()
    following = Call(nursery, partial(follow, value, record, latest=True))
    await wait_all_tasks_blocked()
    value.close()
    await wait_all_tasks_blocked()
    assert not following.ended
    await record.finish()
    assert (record.finished, record.cancelled) == ([1], [])
    await following.result()


async def test_rejected_value_does_not_cancel_the_call_under_way(nursery: trio.Nursery) -> None:
    """V6, V22: only a newer value that satisfies the predicate cancels it."""
    value, record = MemoryValue(2), Recorder()
    nursery.start_soon(partial(follow, value, record, predicate=is_even, latest=True))
    await wait_all_tasks_blocked()
    value.set(3)
    await wait_all_tasks_blocked()
    assert (record.begun, record.cancelled) == ([2], [])
    value.set(4)
    await wait_all_tasks_blocked()
    assert (record.begun, record.cancelled) == ([2, 4], [2])


@pytest.mark.parametrize("latest", [False, True], ids=["each", "latest"])
async def test_exception_in_the_predicate_leaves_follow_and_not_set(
    nursery: trio.Nursery,
    latest: bool,  # noqa: FBT001  a parameter of the test's
) -> None:
    """V6, V22: set never raises it, although set asks the predicate."""
    value, record = MemoryValue(1), Recorder()
    following = Call(nursery, partial(follow, value, record, predicate=is_not_two, latest=latest))
    other = value.watch()
    await wait_all_tasks_blocked()
    value.set(2)
    await wait_all_tasks_blocked()
    assert following.ended is latest
    await record.finish()
    with pytest.raises(ValueError, match="I don't like 2"):
        await following.result()
    assert await other.get() == 2
    assert record.cancelled == ([1] if latest else [])


async def test_set_after_a_predicate_has_failed_asks_it_no_more(nursery: trio.Nursery) -> None:
    """V6, V22: follow raises the first exception of the predicate."""
    value, record = MemoryValue(1), Recorder()
    asked: list[int] = []

    def refuse_more(number: int) -> bool:
        asked.append(number)
        return is_not_two(number)

    following = Call(nursery, partial(follow, value, record, predicate=refuse_more, latest=True))
    await wait_all_tasks_blocked()
    value.set(2)
    value.set(3)
    with pytest.raises(ValueError, match="I don't like 2"):
        await following.result()
    assert asked == [1, 2]


async def test_function_that_sets_the_value_is_cancelled_by_itself(nursery: trio.Nursery) -> None:
    """V22: with latest, a set by the function itself is a newer value too."""
    value = MemoryValue(1)
    log: list[str] = []

    async def count(number: int) -> None:
        log.append(f"begin {number}")
        if number < 3:
            value.set(number + 1)
        await trio.lowlevel.checkpoint()
        log.append(f"end {number}")

    nursery.start_soon(partial(follow, value, count, latest=True))
    await wait_all_tasks_blocked()
    assert log == ["begin 1", "begin 2", "begin 3", "end 3"]


async def test_outer_cancellation_goes_before_a_newer_value(nursery: trio.Nursery) -> None:
    """V5, V22: a follow that is cancelled together with a set makes no further call."""
    value, record = MemoryValue(1), Recorder()
    following = Call(nursery, partial(follow, value, record, latest=True))
    await wait_all_tasks_blocked()
    value.set(2)
    await following.cancel()
    assert following.cancelled
    assert (record.begun, record.cancelled) == ([1], [1])


@pytest.mark.parametrize("timed", [False, True])
async def test_latest_predicate_that_sets_the_value_cancels_the_call(
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,  # noqa: ARG001
    timed: bool,  # noqa: FBT001  a parameter of the test's
) -> None:
    """V19, V22: a set by the predicate in the get is a newer value, although no task waits then."""
    value, record = MemoryValue(1), Recorder()

    def replace(number: int) -> bool:
        if number == 1 and value.version == 1:
            value.set(2)
        return True

    followed = value.throttle(0) if timed else value
    nursery.start_soon(partial(follow, followed, record, predicate=replace, latest=True))
    await wait_all_tasks_blocked()
    assert (record.begun[-1], record.finished) == (2, [])


@final
class Fatal(BaseException):
    """What no ``except Exception`` catches."""


@pytest.mark.parametrize("function_fails", [False, True])
@pytest.mark.parametrize("timed", [False, True])
async def test_latest_loses_no_error(
    nursery: trio.Nursery,
    timed: bool,  # noqa: FBT001  parameters of the test's
    function_fails: bool,  # noqa: FBT001
) -> None:
    """V22: follow raises the predicate's error in no group, or as the cause of the function's."""
    value = MemoryValue(1)

    def fail(number: int) -> bool:
        if number == 2:
            raise Fatal
        return True

    async def call(_: int) -> None:
        try:
            await trio.sleep_forever()
        finally:
            if function_fails:
                raise KeyError

    followed = value.throttle(0) if timed else value

    async def set_two() -> None:
        await wait_all_tasks_blocked()
        value.set(2)

    nursery.start_soon(set_two)
    with pytest.raises(KeyError if function_fails else Fatal) as caught:
        await follow(followed, call, predicate=fail, latest=True)
    if function_fails:
        assert isinstance(caught.value.__cause__, Fatal)


async def test_call_is_cancelled_when_the_newer_value_is_due(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    """V17, V22: neither the set nor a value that the predicate rejects cancels the call."""
    value = MemoryValue(0)
    log: list[tuple[float, str]] = []

    async def work(number: int) -> None:
        log.append((autojump_clock.current_time(), f"begin {number}"))
        with trio.move_on_after(50):
            try:
                await trio.sleep_forever()
            finally:
                log.append((autojump_clock.current_time(), f"end {number}"))

    timed = value.debounce(1).throttle(10)
    following = Call(nursery, partial(follow, timed, work, predicate=is_even, latest=True))
    await play(value, (2, 2), (20, 3), (30, 4))
    await trio.sleep(10)
    value.close()
    await following.result()
    assert log == [
        (1, "begin 0"),
        (11, "end 0"),
        (11, "begin 2"),
        (31, "end 2"),
        (31, "begin 4"),
        (81, "end 4"),
    ]


async def test_what_a_call_raises_is_in_no_group(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V22: the exception is in no group, although a task waits beside the call."""
    value = MemoryValue(1)

    async def fail(number: int) -> None:
        await trio.sleep(1)
        msg = f"no {number}"
        raise ValueError(msg)

    following = Call(nursery, partial(follow, value.throttle(1), fail, latest=True))
    with pytest.raises(ValueError, match="no 1"):
        await following.result()
    assert value.statistics().tasks_waiting == 0


async def test_predicate_that_fails_beside_a_call_ends_it(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    """V6, V22: the call ends when the value is due on which the predicate fails."""
    value = MemoryValue(1)

    async def work(_: int) -> None:
        await trio.sleep_forever()

    def refuse(number: int) -> bool:
        return bool(refuse_two(number))

    timed = value.throttle(3)
    following = Call(nursery, partial(follow, timed, work, predicate=refuse, latest=True))
    await play(value, (1, 2))
    with pytest.raises(ValueError, match="I don't like 2"):
        await following.result()
    assert autojump_clock.current_time() == 3
    assert value.statistics().tasks_waiting == 0


async def test_cancelled_follow_of_a_timed_value_leaves_nothing_behind(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V5, V22: a follow that is cancelled in a call leaves no task and no wait."""
    value = MemoryValue(1)

    async def work(_: int) -> None:
        await trio.sleep_forever()

    following = Call(nursery, partial(follow, value.throttle(1), work, latest=True))
    await wait_all_tasks_blocked()
    await following.cancel()
    assert following.cancelled
    assert value.statistics().tasks_waiting == 0


async def take_long(_: object) -> None:
    await trio.sleep_forever()


async def test_follow_of_a_map_loses_no_batch(nursery: trio.Nursery) -> None:
    """V20, V22: latest would lose batches and is refused; the whole map can be followed with it."""
    peers = ValueMap({"a": 1})
    with pytest.raises(ValueError, match=r"would lose .* <ValueMap .* compose\(\) of it"):
        await follow(peers.throttle(1), take_long, latest=True)
    seen: list[list[str]] = []

    async def look(parts: tuple[Sequence[Change[str, int]]]) -> None:
        seen.append([change.key for change in parts[0]])
        await trio.sleep_forever()

    nursery.start_soon(partial(follow, compose(peers), look, latest=True))
    await wait_all_tasks_blocked()
    peers.set("b", 2)
    await wait_all_tasks_blocked()
    assert seen == [["a"], ["a", "b"]]

"""``pipe``: what it sends and when, and how it ends (V13)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import GroupState, NodeState, Signal
from trio_event import UNSET, MemoryValue, Unset, ValueMap, pipe

from ..helpers.functions import is_even
from ..helpers.maps import Batch, flat
from ..helpers.own_storage import OwnValue
from ..helpers.piping import node, received, running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

    from ..helpers.piping import Runnables


def double(number: int) -> int:
    return 2 * number


async def test_pipe_is_healthy_before_there_is_a_value() -> None:
    """V13: the pipe signals HEALTHY at once, and sends nothing while the value is unset."""
    value: MemoryValue[int] = MemoryValue()
    send, receive = trio.open_memory_channel[int](1)
    async with running({"pipe": pipe(value, send)}) as tree:
        assert node(tree).state is NodeState.HEALTHY
        with pytest.raises(trio.WouldBlock):
            receive.receive_nowait()


async def test_pipe_sends_the_initial_state_and_each_later_one() -> None:
    """V13: a consumer that keeps up gets every value."""
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[int](0)
    async with running({"pipe": pipe(value, send)}):
        assert await receive.receive() == 1
        for number in (2, 3, 3):
            await wait_all_tasks_blocked()
            value.set(number)
            assert await receive.receive() == number


async def test_pipe_hands_over_the_newest_value() -> None:
    """V13: a pipe that waits for the consumer holds the newest value, not the first."""
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[int](0)
    async with running({"pipe": pipe(value, send)}):
        for number in (2, 3, 4):
            await wait_all_tasks_blocked()
            value.set(number)
        assert await received(receive) == 4
        await wait_all_tasks_blocked()
        with pytest.raises(trio.WouldBlock):
            receive.receive_nowait()
        value.set(5)
        assert await received(receive) == 5


async def test_consumer_that_comes_right_after_a_set_gets_the_new_value() -> None:
    """V13: the set itself withdraws the old value, before the pipe's next step."""
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[int](0)
    async with running({"pipe": pipe(value, send)}):
        value.set(2)
        with pytest.raises(trio.WouldBlock):
            receive.receive_nowait()
        assert await receive.receive() == 2


async def test_consumer_that_came_right_before_a_set_gets_both() -> None:
    """V13: a value that was received is not withdrawn, and the newer one follows."""
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[int](0)
    async with running({"pipe": pipe(value, send)}):
        assert receive.receive_nowait() == 1
        value.set(2)
        assert await received(receive) == 2


async def test_buffer_keeps_what_was_put_in_it() -> None:
    """V13: a buffer has older values too; behind it the pipe holds the newest."""
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[int](2)
    async with running({"pipe": pipe(value, send)}):
        for number in (2, 3, 4, 5):
            await wait_all_tasks_blocked()
            value.set(number)
        assert [await received(receive) for _ in range(3)] == [1, 2, 5]


async def test_rejected_value_is_not_sent() -> None:
    """V6, V13: with a predicate, only values that satisfy it are sent."""
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[int](10)
    async with running({"pipe": pipe(value, send, predicate=is_even)}):
        for number in (2, 3, 4, 5):
            await wait_all_tasks_blocked()
            value.set(number)
        await wait_all_tasks_blocked()
        assert [receive.receive_nowait() for _ in range(2)] == [2, 4]
        with pytest.raises(trio.WouldBlock):
            receive.receive_nowait()


async def test_rejected_value_does_not_replace_the_one_that_waits_for_the_consumer() -> None:
    """V6, V13: the pipe holds the newest value that satisfies the predicate."""
    value = MemoryValue(2)
    send, receive = trio.open_memory_channel[int](0)
    async with running({"pipe": pipe(value, send, predicate=is_even)}):
        for number in (4, 5):
            await wait_all_tasks_blocked()
            value.set(number)
        assert await received(receive) == 4
        await wait_all_tasks_blocked()
        with pytest.raises(trio.WouldBlock):
            receive.receive_nowait()


async def test_transform_makes_what_is_sent() -> None:
    """V13: each value that is sent comes from the transform, the held one too."""
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[str](0)
    async with running({"pipe": pipe(value, send, transform=str)}):
        assert await receive.receive() == "1"
        for number in (2, 3):
            value.set(number)
            await wait_all_tasks_blocked()
        assert await receive.receive() == "3"


async def test_transform_sees_what_the_predicate_accepts() -> None:
    """V6, V13: the predicate gets the value before the transform."""
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[str](0)
    runnable = pipe(value, send, predicate=is_even, transform=lambda number: f"<{number}>")
    async with running({"pipe": runnable}):
        value.set(2)
        assert await receive.receive() == "<2>"


async def test_read_side_made_by_a_user_is_piped() -> None:
    """V13: the pipe takes any ValueWatch, not only values that can be set."""
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[int](0)
    async with running({"pipe": pipe(OwnValue(value.map(double)), send)}) as tree:
        assert await received(receive) == 2
        value.set(2)
        value.set(3)
        assert await received(receive) == 6
        value.close()
        await wait_all_tasks_blocked()
        assert node(tree).state is NodeState.DONE


async def test_pipe_outside_of_a_tree_is_an_error() -> None:
    """S1, V13: a pipe is a runnable, and runs only in a tree."""
    send, _ = trio.open_memory_channel[int](0)
    with pytest.raises(supervisor.NotSupervisedError):
        await pipe(MemoryValue(1), send)()


async def test_set_by_transform_is_sent() -> None:
    """V13, V19: the pipe sends what the transform sets before it waits for the consumer."""
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[int](0)

    def replace(number: int) -> int:
        if number == 1 and value.version == 1:
            value.set(2)
        return number

    async with running({"pipe": pipe(value, send, transform=replace)}):
        assert await received(receive) == 2


@pytest.mark.parametrize("held", [False, True], ids=["first", "held"])
@pytest.mark.parametrize("option", ["predicate", "transform"])
async def test_exception_in_an_option_is_the_pipes_death(
    option: str,
    held: bool,  # noqa: FBT001  a parameter of the test's
) -> None:
    """V6, V13: the pipe raises it, not set; the next incarnation begins anew."""
    value: MemoryValue[int] = MemoryValue()
    send, receive = trio.open_memory_channel[int](0)

    def refuse_two(number: int) -> int:
        if number == 2:
            msg = "I don't like 2"
            raise ValueError(msg)
        return number

    made: dict[str, Callable[[], Awaitable[None]]] = {
        "predicate": pipe(value, send, predicate=lambda number: bool(refuse_two(number))),
        "transform": pipe(value, send, transform=refuse_two),
    }
    attempts = 0

    async def pipe_or_set_right() -> None:
        nonlocal attempts
        attempts += 1
        if attempts > 1:
            value.set(3)
        await made[option]()

    async with running({"pipe": pipe_or_set_right}) as tree:
        if held:
            value.set(1)
            await wait_all_tasks_blocked()
        value.set(2)
        assert await received(receive) == 3
        assert [crash.error for crash in node(tree).crashes] == ["ValueError: I don't like 2"]
        assert node(tree).incarnation == 2


async def test_closed_value_makes_the_pipe_done() -> None:
    """V9, V13: the pipe sends the last value first, and leaves the channel open."""
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[int](0)
    async with running({"pipe": pipe(value, send)}) as tree:
        value.set(2)
        value.close()
        await wait_all_tasks_blocked()
        assert node(tree).state is NodeState.HEALTHY
        assert await receive.receive() == 2
        await wait_all_tasks_blocked()
        assert node(tree).state is NodeState.DONE
        assert node(tree).group.state is GroupState.FINISHED
    send.close()


async def test_close_of_the_value_while_the_last_is_held_loses_nothing() -> None:
    """V9, V13: the end withdraws no value."""
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[int](0)
    async with running({"pipe": pipe(value, send)}) as tree:
        value.close()
        assert await received(receive) == 1
        await wait_all_tasks_blocked()
        assert node(tree).state is NodeState.DONE


async def test_failed_value_kills_the_pipe() -> None:
    """V9, V13: the pipe sends the last value, and then dies of the value's failure."""
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[int](0)
    async with running({"pipe": pipe(value, send)}) as tree:
        value.fail(OSError("the disk is gone"))
        assert node(tree).crashes == ()
        assert await received(receive) == 1
        # In its next incarnation it has the last value to send again.
        assert await received(receive) == 1
        (crash, *_) = node(tree).crashes
        assert crash.error.startswith("BrokenResourceError: ")
        assert "the disk is gone" in crash.error
        assert "OSError: the disk is gone" in crash.traceback


async def test_closed_channel_kills_the_pipe() -> None:
    """V13: the pipe dies if the channel is closed while it waits to send, or later."""
    value = MemoryValue(1)
    channels = [trio.open_memory_channel[int](0) for _ in range(3)]
    sends = iter([send for send, _ in channels])

    def make() -> Runnables:
        return {"pipe": pipe(value, next(sends))}

    async with running(make) as tree:
        channels[0][1].close()
        await wait_all_tasks_blocked()
        assert await received(channels[1][1]) == 1
        channels[1][1].close()
        await wait_all_tasks_blocked()
        assert node(tree).incarnation == 2
        value.set(2)
        assert await received(channels[2][1]) == 2
        assert [crash.error for crash in node(tree).crashes] == ["BrokenResourceError"] * 2


async def test_pipe_and_consumer_restart_together_with_a_fresh_channel() -> None:
    """S7, S8, V13: when the consumer dies, both begin anew, and it receives no old value."""
    value = MemoryValue(1)
    seen: list[int] = []
    die = trio.Event()

    async def consume(channel: trio.MemoryReceiveChannel[int]) -> None:
        supervisor.signal(Signal.HEALTHY)
        seen.append(await channel.receive())
        await die.wait()
        if len(seen) == 1:
            msg = "I don't like 1"
            raise ValueError(msg)
        await trio.sleep_forever()

    def make() -> Runnables:
        send, receive = trio.open_memory_channel[int](5)
        return {"pipe": pipe(value, send), "consumer": partial(consume, receive)}

    async with running(make) as tree:
        for number in (2, 3, 4):
            value.set(number)
            await wait_all_tasks_blocked()
        die.set()
        await wait_all_tasks_blocked()
        assert seen == [1, 4]
        assert [node(tree, name).incarnation for name in ("pipe", "consumer")] == [2, 2]
        assert node(tree).crashes == ()


async def test_consumer_that_closes_its_end_restarts_the_group() -> None:
    """V13: the pipe dies of a closed channel, and its group restarts."""
    value = MemoryValue(1)
    seen: list[int] = []

    async def consume(channel: trio.MemoryReceiveChannel[int]) -> None:
        supervisor.signal(Signal.HEALTHY)
        with channel:
            seen.append(await channel.receive())
        await trio.sleep_forever()

    def make() -> Runnables:
        send, receive = trio.open_memory_channel[int](0)
        return {"pipe": pipe(value, send), "consumer": partial(consume, receive)}

    async with running(make) as tree:
        for number in (2, 3):
            value.set(number)
            await wait_all_tasks_blocked()
        assert seen == [1, 2, 3]
        assert [node(tree, name).incarnation for name in ("pipe", "consumer")] == [3, 3]
        assert [crash.error for crash in node(tree).crashes] == ["BrokenResourceError"] * 2
        assert node(tree, "consumer").crashes == ()


async def test_pipe_that_is_stopped_leaves_nothing_behind() -> None:
    """V5, V8, V13: a pipe that is cancelled while it waits for value or consumer leaves no wait."""
    value: MemoryValue[int] = MemoryValue()
    send, receive = trio.open_memory_channel[int](0)
    async with running({"pipe": pipe(value, send)}):
        assert value.statistics().tasks_waiting == 1
    assert value.statistics().tasks_waiting == 0
    value.set(1)
    async with running({"pipe": pipe(value, send)}):
        assert send.statistics().tasks_waiting_send == 1
    assert send.statistics().tasks_waiting_send == 0
    assert value.statistics().tasks_waiting == 0
    assert send.statistics().open_send_channels == 1
    async with running({"pipe": pipe(value, send)}):
        assert await receive.receive() == 1


async def test_set_and_stop_at_once_is_a_stop() -> None:
    """V5, V13: a pipe that is cancelled while it withdraws a value sends none."""
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[int](0)
    async with running({"pipe": pipe(value, send)}):
        value.set(2)
    with pytest.raises(trio.WouldBlock):
        receive.receive_nowait()
    assert value.statistics().tasks_waiting == 0


async def test_pipe_replaces_what_it_holds_when_the_newer_is_due(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V13, V17: until the newer value is due, the consumer gets the older one."""
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[int](0)
    async with running({"pipe": pipe(value.throttle(4), send)}):
        assert await received(receive) == 1
        value.set(2)
        await trio.sleep(5)
        value.set(3)
        await trio.sleep(2)
        assert await received(receive) == 2
        await trio.sleep(5)
        value.set(4)
        value.set(5)
        await trio.sleep(5)
        assert await received(receive) == 5


async def test_pipe_sends_all_batches_of_a_map() -> None:
    """V13, V20: the next batch does not replace one that the consumer has not received."""
    peers = ValueMap({"a": 1})
    send, receive = trio.open_memory_channel[list[tuple[str, int | Unset, int | Unset]]](0)
    known: list[tuple[str, int | Unset, int | Unset]] = []
    async with running({"pipe": pipe(peers.map(flat), send)}):
        await wait_all_tasks_blocked()
        for number in (2, 3):
            peers.set("b", number)
            await wait_all_tasks_blocked()
        for _ in range(2):
            known += await receive.receive()
            await wait_all_tasks_blocked()
    assert known == [("a", UNSET, 1), ("b", UNSET, 3)]


async def test_pipe_of_a_map_that_is_stopped_leaves_nothing_behind() -> None:
    """V5, V13, V20: a pipe that is cancelled while it sends leaves no wait."""
    peers = ValueMap({"a": 1})
    send, receive = trio.open_memory_channel[Batch](0)
    async with running({"pipe": pipe(peers, send)}):
        assert send.statistics().tasks_waiting_send == 1
    assert send.statistics().tasks_waiting_send == 0
    async with running({"pipe": pipe(peers, send)}):
        assert flat(await receive.receive()) == [("a", UNSET, 1)]

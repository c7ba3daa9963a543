"""How a pipe ends: done, dead, stopped or restarted with its group (V13)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import GroupState, NodeState, Signal
from trio_event import MemoryValue, pipe

from ..helpers.piping import node, received, running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..helpers.piping import Runnables


@pytest.mark.parametrize("held", [False, True], ids=["first", "held"])
@pytest.mark.parametrize("option", ["predicate", "transform"])
async def test_exception_in_an_option_is_the_pipes_death(
    option: str,
    held: bool,  # noqa: FBT001  a parameter of the test's
) -> None:
    """V6, V13: it is raised in the pipe and not in set; the next incarnation begins anew."""
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
    """V9, V13: what is left is sent first, and the channel stays open."""
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
    """V9, V13: it dies of the value's failure, after it has sent what was left."""
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
    """V13: it dies of a channel that cannot be sent to, while it waits to send or later."""
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
    """S7, S8, V13: when the consumer dies, both begin anew, and nothing stale is received."""
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
    """V13: the pipe dies of it and takes the group with it: a closed end is no end in order."""
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
    """V5, V8, V13: cancelled while it waits for the value or for the consumer, it has left."""
    value: MemoryValue[int] = MemoryValue()
    send, receive = trio.open_memory_channel[int](0)
    async with running({"pipe": pipe(value, send)}):
        assert len(value._line) == 1
    assert len(value._line) == 0
    value.set(1)
    async with running({"pipe": pipe(value, send)}):
        assert send.statistics().tasks_waiting_send == 1
    assert send.statistics().tasks_waiting_send == 0
    assert not value._line._listeners
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
    assert not value._line._listeners

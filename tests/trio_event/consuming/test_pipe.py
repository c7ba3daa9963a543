"""What a pipe sends to its channel, and when (V13)."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import NodeState
from trio_event import MemoryValue, ValueWatch, Watcher, pipe

from ..helpers.piping import node, received, running

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_event._waiting import Line


@final
class Doubled(ValueWatch[int]):
    """A read side that a user made: what is set, times two."""

    def __init__(self, source: MemoryValue[int]) -> None:
        self._source = source

    def watch(self) -> Watcher[int]:
        return DoubledWatcher(self._source.watch())


@final
class DoubledWatcher(Watcher[int]):
    """Reads what another watcher would read, times two."""

    def __init__(self, source: Watcher[int]) -> None:
        super().__init__()
        self._source = source

    def _version(self) -> int:
        return self._source._version()

    def _read(self) -> int:
        return 2 * self._source._read()

    def _end(self) -> Exception | None:
        return self._source._end()

    def _lines(self) -> Sequence[Line]:
        return self._source._lines()


def is_even(number: int) -> bool:
    return number % 2 == 0


async def test_pipe_is_healthy_before_there_is_a_value() -> None:
    """V13: it signals HEALTHY at once, and sends nothing of an unset value."""
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
    """V13: while it waits for the consumer it holds the newest value, not the one it tried."""
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
    """V13: the old value is withdrawn in the set itself, before the pipe's next step."""
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[int](0)
    async with running({"pipe": pipe(value, send)}):
        value.set(2)
        with pytest.raises(trio.WouldBlock):
            receive.receive_nowait()
        assert await receive.receive() == 2


async def test_consumer_that_came_right_before_a_set_gets_both() -> None:
    """V13: what has been handed over is not withdrawn, and what is newer follows."""
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[int](0)
    async with running({"pipe": pipe(value, send)}):
        assert receive.receive_nowait() == 1
        value.set(2)
        assert await received(receive) == 2


async def test_buffer_keeps_what_was_put_in_it() -> None:
    """V13: with a buffer the consumer gets older values too; the pipe holds the newest behind."""
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[int](2)
    async with running({"pipe": pipe(value, send)}):
        for number in (2, 3, 4, 5):
            await wait_all_tasks_blocked()
            value.set(number)
        assert [await received(receive) for _ in range(3)] == [1, 2, 5]


async def test_rejected_value_is_not_sent() -> None:
    """V6, V13: with a predicate only what satisfies it is sent."""
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
    """V6, V13: what is held is the newest of those that satisfy the predicate."""
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
    """V13: each value that is sent is what the transform made of it, the held one too."""
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[str](0)
    async with running({"pipe": pipe(value, send, transform=str)}):
        assert await receive.receive() == "1"
        for number in (2, 3):
            value.set(number)
            await wait_all_tasks_blocked()
        assert await receive.receive() == "3"


async def test_transform_sees_what_the_predicate_accepts() -> None:
    """V6, V13: the predicate is about the value, before the transform."""
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[str](0)
    runnable = pipe(value, send, predicate=is_even, transform=lambda number: f"<{number}>")
    async with running({"pipe": runnable}):
        value.set(2)
        assert await receive.receive() == "<2>"


async def test_read_side_made_by_a_user_is_piped() -> None:
    """V13: it takes any ValueWatch, not only what can be set."""
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[int](0)
    async with running({"pipe": pipe(Doubled(value), send)}) as tree:
        assert await received(receive) == 2
        value.set(2)
        value.set(3)
        assert await received(receive) == 6
        value.close()
        await wait_all_tasks_blocked()
        assert node(tree).state is NodeState.DONE


async def test_pipe_outside_of_a_tree_is_an_error() -> None:
    """S1, V13: it is a runnable, and needs someone to signal to."""
    send, _ = trio.open_memory_channel[int](0)
    with pytest.raises(supervisor.NotSupervisedError):
        await pipe(MemoryValue(1), send)()


async def test_set_by_transform_is_sent() -> None:
    """V13, V19: its set before the pipe waits for the consumer is the newest value then."""
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[int](0)

    def replace(number: int) -> int:
        if number == 1 and value.version == 1:
            value.set(2)
        return number

    async with running({"pipe": pipe(value, send, transform=replace)}):
        assert await received(receive) == 2

"""The cost of values with one consumer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio
from trio.lowlevel import checkpoint
from trio.testing import wait_all_tasks_blocked

import supervisor
from trio_event import MemoryValue, pipe, select

from . import goals, peers
from .floors import Box
from .harness import Comparison, above, clock, number, plain, ratio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from .harness import Figures, Scale

    # How one task sends a number, and how the other receives it.
    Wire = tuple[Callable[[int], object], Callable[[], Awaitable[object]]]
    # Sends what the value is set to through the channel, for ever.
    Transport = Callable[[MemoryValue[int], trio.MemorySendChannel[int]], Awaitable[None]]

SELECTED: Final = 1_000


def comparisons(scale: Scale) -> Iterator[Comparison]:
    """Return the comparisons of this module."""
    yield ping_pong(scale)
    yield get_ready(scale)
    yield watch_and_close(scale)
    yield select_one(scale)
    yield transport_items(scale)


# Two tasks that send each other numbers in turn


def ping_pong(scale: Scale) -> Comparison:
    """Compare values, bare tasks and channels between two tasks."""
    wires = {"ours": by_value, "floor": by_hand, "channel": by_channel}
    rows = [
        ratio("ping-pong, against floor", "ours: turn", "floor: turn", goals.PING_PONG),
        ratio(
            "ping-pong, against a memory channel",
            "ours: turn",
            "channel: turn",
            goals.PING_PONG_CHANNEL,
        ),
        plain("ping-pong, both ways", "ours: turn", "µs"),
    ]
    if "trio-util" in peers.installed():
        wires["trio-util"] = by_async_value
        rows.append(ratio("trio-util, ping-pong, against ours", "trio-util: turn", "ours: turn"))
    cases = {name: partial(time_turns, wire, scale.times(10)) for name, wire in wires.items()}
    return Comparison("ping-pong", cases, rows)


def time_turns(wire: Callable[[], Wire], times: int) -> Figures:
    """Time a turn, which is two messages and two task switches."""

    async def answer(
        receive: Callable[[], Awaitable[object]], send: Callable[[int], object]
    ) -> None:
        for turn in range(times):
            await receive()
            send(turn)

    async def main() -> float:
        send, receive_there = wire()
        send_back, receive = wire()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer, receive_there, send_back)
            await wait_all_tasks_blocked()
            begin = clock()
            for turn in range(times):
                send(turn)
                await receive()
            return (clock() - begin) / times

    return {"turn": trio.run(main)}


def by_value() -> Wire:
    """Send through a value of ours."""
    value: MemoryValue[int] = MemoryValue()
    return value.set, value.watch().get


def by_hand() -> Wire:
    """Send through a variable and a list of tasks."""
    box = Box()
    return box.set, box.get


def by_channel() -> Wire:
    """Send through a memory channel, by the faster of its two methods."""
    send, receive = trio.open_memory_channel[int](1)
    return send.send_nowait, receive.receive


def by_async_value() -> Wire:
    """Send through trio-util's value."""
    from trio_util import AsyncValue

    value = AsyncValue(-1)

    def send(turn: int) -> None:
        value.value = turn

    return send, value.wait_transition


# A get that need not wait


def get_ready(scale: Scale) -> Comparison:
    """Compare a get that need not wait with a checkpoint."""
    times = scale.times(5)
    return Comparison(
        "get, a value ready",
        {"ours": partial(time_ready, times), "floor": partial(time_checkpoints, times)},
        [
            ratio(
                "`get`, a value ready, against a checkpoint",
                "ours: get",
                "floor: get",
                goals.GET_READY,
            ),
            plain("`get`, a value ready", "ours: get", "µs"),
        ],
    )


def time_ready(times: int) -> Figures:
    """Time a get by a watcher that has seen nothing yet."""

    async def main() -> float:
        value = MemoryValue(1)
        watchers = [value.watch() for _ in range(times)]
        begin = clock()
        for watcher in watchers:
            await watcher.get()
        return (clock() - begin) / times

    return {"get": trio.run(main)}


def time_checkpoints(times: int) -> Figures:
    """Time a checkpoint, and reading a variable."""

    async def main() -> float:
        boxes = [Box() for _ in range(times)]
        begin = clock()
        for box in boxes:
            await checkpoint()
            _ = box.value
        return (clock() - begin) / times

    return {"get": trio.run(main)}


# Watchers that come and go


def watch_and_close(scale: Scale) -> Comparison:
    """Measure the opening and closing of a watcher."""
    cases = {"ours": partial(time_watching, scale.times())}
    rows = [plain("`watch` and `close`", "ours: both", "µs", goals.WATCH_AND_CLOSE)]
    if "reactivex" in peers.installed():
        cases["reactivex"] = partial(time_subscribing, scale.times())
        rows.append(
            ratio("reactivex, subscribe and dispose, against ours", "reactivex: both", "ours: both")
        )
    return Comparison("watch and close", cases, rows)


def time_watching(times: int) -> Figures:
    """Time ``watch`` and ``close`` of a value of ours, in a run."""

    async def main() -> float:
        value = MemoryValue(1)
        begin = clock()
        for _ in range(times):
            value.watch().close()
        return (clock() - begin) / times

    return {"both": trio.run(main)}


def time_subscribing(times: int) -> Figures:
    """Time ``subscribe`` and ``dispose`` of reactivex."""
    subject = peers.ReactiveX()
    begin = clock()
    for _ in range(times):
        subject.subscribe().dispose()
    return {"both": (clock() - begin) / times}


# Many watchers, one consumer


def select_one(scale: Scale) -> Comparison:
    """Measure how much each of many watchers adds to a select."""
    count, times = min(SELECTED, scale.limit), scale.times(100)
    return Comparison(
        "select",
        {
            "ours": partial(time_select, count, times),
            "floor": partial(time_nothing, count, times),
        },
        [
            above(
                f"`select` over {number(count)} watchers, one ready: a watcher above a checkpoint",
                "ours: watcher",
                "floor: watcher",
                "µs",
                goals.SELECT,
            )
        ],
    )


def time_select(count: int, times: int) -> Figures:
    """Time a select over watchers of which one has a new value."""

    async def main() -> float:
        values = [MemoryValue(0) for _ in range(count)]
        watchers = [value.watch() for value in values]
        for watcher in watchers:
            watcher.get_nowait()
        begin = clock()
        for turn in range(times):
            values[turn * 7 % count].set(turn)
            await select(*watchers)
        return (clock() - begin) / times / count

    return {"watcher": trio.run(main)}


def time_nothing(count: int, times: int) -> Figures:
    """Time a set and a checkpoint, divided by the number of watchers."""

    async def main() -> float:
        values = [MemoryValue(0) for _ in range(count)]
        begin = clock()
        for turn in range(times):
            values[turn * 7 % count].set(turn)
            await checkpoint()
        return (clock() - begin) / times / count

    return {"watcher": trio.run(main)}


# From a value into a channel


def transport_items(scale: Scale) -> Comparison:
    """Compare a pipe with a bare task that gets and sends."""
    times = scale.times(10)
    cases = {
        f"{name}, consumer {consumer}": partial(time_transport, transport, times, ahead=ahead)
        for name, transport in {"ours": by_pipe, "floor": by_bare_task}.items()
        for consumer, ahead in {"waits": False, "is late": True}.items()
    }
    return Comparison(
        "pipe",
        cases,
        [
            ratio(
                "pipe, the consumer waits, against a bare task that gets and sends",
                "ours, consumer waits: item",
                "floor, consumer waits: item",
                goals.PIPE,
            ),
            ratio(
                "pipe, the consumer is late, against the same",
                "ours, consumer is late: item",
                "floor, consumer is late: item",
            ),
        ],
    )


def time_transport(transport: Transport, times: int, *, ahead: bool) -> Figures:
    """Time an item from the set to its receipt by the consumer.

    If the transport is ``ahead``, it has to wait for the consumer, which makes two checkpoints
    before it receives.
    """

    async def main() -> float:
        value: MemoryValue[int] = MemoryValue()
        send, receive = trio.open_memory_channel[int](0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport, value, send)
            await wait_all_tasks_blocked()
            begin = clock()
            for item in range(times):
                value.set(item)
                if ahead:
                    await checkpoint()
                    await checkpoint()
                await receive.receive()
            spent = clock() - begin
            nursery.cancel_scope.cancel()
        return spent / times

    return {"item": trio.run(main)}


async def by_pipe(value: MemoryValue[int], send: trio.MemorySendChannel[int]) -> None:
    """Transport with a pipe, which runs in a tree."""

    async def root() -> None:
        supervisor.run("pipe", pipe(value, send))
        await trio.sleep_forever()

    await supervisor.supervise(root)


async def by_bare_task(value: MemoryValue[int], send: trio.MemorySendChannel[int]) -> None:
    """Transport with a loop."""
    async for item in value.watch():
        await send.send(item)

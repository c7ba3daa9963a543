"""The cost of ``trio_event.etcd``, beside bare grpcio and other ways from Trio to etcd.

The server is a process of its own, on the same machine. So time is the time of a clock, and not
processor time, except where it is said; nothing is pinned to a core. A figure of a loop is the
median of its turns: a turn in which the server waits for its disk says nothing about a client.
"""

from __future__ import annotations

import functools
import statistics
from contextlib import AsyncExitStack
from functools import partial
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_event.etcd import Bytes, EtcdClient, EtcdValue, Put

from . import etcd_blocked, etcd_floors, goals
from .harness import Comparison, number, plain, ratio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from .etcd_peers import Client, Open, Peers, Putter
    from .harness import Figures, Scale

KEY: Final = b"bench/key"
PUTTERS: Final = (16, 64)
VALUES: Final = 500
KEYS: Final = 10_000
BATCH: Final = 100
"""The keys that one transaction puts."""
BLOCKED: Final = 500
"""The events that come while a thread is blocked, of 100 KB each."""
SECONDS: Final = 5.0
"""How long it is blocked, or the client idle."""


def comparisons(endpoint: str, scale: Scale, peers: Peers) -> Iterator[Comparison]:
    """Return the comparisons of this module."""
    yield puts(endpoint, scale.times(100), peers)
    yield puts_and_events(endpoint, scale.times(100), peers)
    for putters in PUTTERS:
        yield throughput(endpoint, putters, scale.times(20 * putters), peers)
    yield opening(endpoint, min(VALUES, scale.limit))
    yield maps(endpoint, min(KEYS, scale.limit), scale.times(200))
    yield idling(endpoint, min(SECONDS, scale.effort / 1000))
    blocked = max(1, min(BLOCKED, scale.effort // 10))
    yield blocking(endpoint, blocked, min(SECONDS, scale.effort / 1000))


def open_ours(endpoint: str) -> EtcdClient:
    """Open our client as those of the peers are."""
    return EtcdClient([endpoint])


# One after the other


def puts(endpoint: str, times: int, peers: Peers) -> Comparison:
    """Compare puts, one after the other."""
    cases: dict[str, Callable[[], Figures]] = {
        "floor": partial(median, etcd_floors.put_one_by_one, endpoint, KEY, times),
        "on Trio": partial(median, etcd_floors.put_futures_on_trio, endpoint, KEY, times),
        "ours": partial(median, time_puts, open_ours, endpoint, times),
    }
    rows = [
        ratio("a put, against bare grpcio", "ours: once", "floor: once", goals.ETCD_LATENCY),
        ratio("a put by bare grpcio on Trio, against a thread", "on Trio: once", "floor: once"),
        ratio("a put, against bare grpcio on Trio", "ours: once", "on Trio: once"),
        plain("a put", "ours: once", "ms"),
    ]
    for name, open_ in peers.items():
        cases[name] = partial(median, time_puts, open_, endpoint, times)
        rows.append(ratio(f"a put by {name}, against bare grpcio", f"{name}: once", "floor: once"))
    return Comparison("etcd put", cases, rows)


def puts_and_events(endpoint: str, times: int, peers: Peers) -> Comparison:
    """Compare puts, each with the event that follows."""
    cases: dict[str, Callable[[], Figures]] = {
        "floor": partial(median, etcd_floors.put_and_see, endpoint, KEY, times),
        "on Trio": partial(median, etcd_floors.put_and_see_on_trio, endpoint, KEY, times),
        "ours": partial(median, time_puts_and_events, endpoint, times),
    }
    what = "a put until its event is there"
    rows = [
        ratio(f"{what}, against bare grpcio", "ours: once", "floor: once", goals.ETCD_LATENCY),
        ratio(f"{what}, bare grpcio on Trio, against a thread", "on Trio: once", "floor: once"),
        ratio(f"{what}, against bare grpcio on Trio", "ours: once", "on Trio: once"),
        plain(what, "ours: once", "ms"),
    ]
    for name, open_ in peers.items():
        cases[name] = partial(median, time_puts_and_events_of_peer, open_, endpoint, times)
        rows.append(ratio(f"{what}, by {name}", f"{name}: once", "floor: once"))
    return Comparison("etcd event", cases, rows)


def median(function: Callable[..., list[float]], *arguments: Any) -> Figures:
    """Return the median of what a function has timed."""
    return {"once": statistics.median(function(*arguments))}


def time_puts(open_: Open[Putter], endpoint: str, times: int) -> list[float]:
    """Put, in a loop."""

    async def main() -> list[float]:
        async with open_(endpoint) as client:
            return await time_each(times, partial(client.put, KEY))

    return trio.run(main)


def time_puts_and_events(endpoint: str, times: int) -> list[float]:
    """Put, and get the newest state of the value, in a loop."""

    async def main() -> list[float]:
        async with EtcdClient([endpoint]) as client, client.value(KEY.decode(), Bytes()) as value:
            watcher = value.watch()
            await watcher.get()

            async def put(data: bytes) -> None:
                await value.put(data)
                await watcher.get()

            return await time_each(times, put)

    return trio.run(main)


def time_puts_and_events_of_peer(open_: Open[Client], endpoint: str, times: int) -> list[float]:
    """Put, and take the event, in a loop."""

    async def main() -> list[float]:
        async with open_(endpoint) as client, client.watch(KEY) as take:

            async def put(data: bytes) -> None:
                await client.put(KEY, data)
                await take()

            return await time_each(times, put)

    return trio.run(main)


async def time_each(times: int, put: Callable[[bytes], Awaitable[object]]) -> list[float]:
    """Call a function in a loop; the first call, which may have to connect, is not counted."""
    await put(b"first")
    spent = []
    for turn in range(times):
        begin = perf_counter()
        await put(b"%d" % turn)
        spent.append(perf_counter() - begin)
    return spent


# Many at a time


def throughput(endpoint: str, putters: int, times: int, peers: Peers) -> Comparison:
    """Compare puts of several putters: the time for each put, while others are under way."""
    cases: dict[str, Callable[[], Figures]] = {
        "floor": partial(mean, etcd_floors.put_by_futures, endpoint, KEY, putters, times),
        "threads": partial(mean, etcd_floors.put_by_threads, endpoint, KEY, putters, times),
        "ours": partial(mean, time_putters, open_ours, endpoint, putters, times),
    }
    what = f"a put of {putters} putters"
    rows = [
        ratio(f"{what}, against bare grpcio", "ours: each", "floor: each", goals.ETCD_EACH_OF_MANY),
        ratio(f"{what}, against {putters} threads", "ours: each", "threads: each"),
        plain(what, "ours: each", "µs"),
    ]
    for name, open_ in peers.items():
        fewer = max(times // 4, 1)  # some take their time
        cases[name] = partial(mean, time_putters, open_, endpoint, putters, fewer)
        rows.append(ratio(f"{what}, by {name}", f"{name}: each", "floor: each"))
    return Comparison(f"etcd {putters} putters", cases, rows)


def mean(function: Callable[..., float], *arguments: Any) -> Figures:
    """Return what a function has timed."""
    return {"each": function(*arguments)}


def time_putters(open_: Open[Putter], endpoint: str, putters: int, times: int) -> float:
    """Put in as many tasks as there are putters; return seconds for each put."""

    async def main() -> float:
        async with open_(endpoint) as client:

            async def run() -> None:
                for turn in range(times):
                    await client.put(KEY, b"%d" % turn)

            await client.put(KEY, b"first")
            begin = perf_counter()
            async with trio.open_nursery() as nursery:
                for _ in range(putters):
                    nursery.start_soon(run)
            return (perf_counter() - begin) / (putters * times)

    return trio.run(main)


# Values and maps


def opening(endpoint: str, size: int) -> Comparison:
    """Time the opening of many values of one client."""
    cases = {
        "in turn": partial(time_opening, open_in_turn, endpoint, size),
        "at once": partial(time_opening, open_at_once, endpoint, size),
    }
    what = f"{number(size)} values, opened"
    rows = [
        plain(f"{what} at once", "at once: open", "ms", goals.ETCD_OPEN_VALUES),
        plain(f"{what} in turn", "in turn: open", "ms"),
    ]
    return Comparison("etcd values", cases, rows)


def time_opening(
    open_all: Callable[[EtcdClient, list[str], AsyncExitStack], Awaitable[None]],
    endpoint: str,
    size: int,
) -> Figures:
    """Time a client from its start until its values are known."""

    async def main() -> float:
        keys = [f"bench/values/{index}" for index in range(size)]
        begin = perf_counter()
        async with EtcdClient([endpoint]) as client, AsyncExitStack() as stack:
            await open_all(client, keys, stack)
            return perf_counter() - begin

    return {"open": trio.run(main)}


async def open_in_turn(client: EtcdClient, keys: list[str], stack: AsyncExitStack) -> None:
    """Open values one after the other, in one task."""
    for key in keys:
        await stack.enter_async_context(client.value(key, Bytes()))


async def open_at_once(client: EtcdClient, keys: list[str], stack: AsyncExitStack) -> None:
    """Open each value in a task of its own."""
    nursery = await stack.enter_async_context(trio.open_nursery())
    stack.callback(nursery.cancel_scope.cancel)

    async def hold(
        key: str, task_status: trio.TaskStatus[EtcdValue[bytes]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        async with client.value(key, Bytes()) as value:
            task_status.started(value)
            await trio.sleep_forever()

    async with trio.open_nursery() as starting:
        for key in keys:
            starting.start_soon(nursery.start, hold, key)


def maps(endpoint: str, size: int, times: int) -> Comparison:
    """Time the reading of a map, and what a put costs in a large one and in a small one."""
    few = max(size // 1000, 1)
    cases = {
        f"map, {keys}": partial(time_map, endpoint, keys, times) for keys in sorted({few, size})
    }
    what = f"a map of {number(size)} keys"
    rows = [
        plain(f"{what}, opened and read", f"map, {size}: read", "ms", goals.ETCD_READ_MAP),
        ratio(
            f"{what}, processor time of a put and its batch, against {number(few)}",
            f"map, {size}: batch",
            f"map, {few}: batch",
            goals.MAP_GROWTH,
        ),
    ]
    return Comparison("etcd map", cases, rows)


def time_map(endpoint: str, size: int, times: int) -> Figures:
    """Time the reading of a map, and count the processor time of a put and its batch."""
    fill(endpoint, size)

    async def main() -> Figures:
        begin = perf_counter()
        async with EtcdClient([endpoint]) as client, client.map(prefix(size), Bytes()) as peers:
            read = perf_counter() - begin
            watcher = peers.watch()
            assert len(await watcher.get()) == size
            began = process_time()
            for turn in range(times):
                await peers.put("0", b"%d" % turn)
                await watcher.get()
            return {"read": read, "batch": (process_time() - began) / times}

    return trio.run(main)


@functools.cache
def fill(endpoint: str, size: int) -> None:
    """Put all keys of a map, once."""

    async def main() -> None:
        async with EtcdClient([endpoint]) as client:
            for first in range(0, size, BATCH):
                keys = range(first, min(first + BATCH, size))
                await client.transaction([], [Put(f"{prefix(size)}{key}", b"0") for key in keys])

    trio.run(main)


def prefix(size: int) -> str:
    """Return where the keys of a map are."""
    return f"bench/map/{size}/"


# Doing nothing


def idling(endpoint: str, seconds: float) -> Comparison:
    """Count the processor time of a client of which nothing is asked."""
    return Comparison(
        "etcd idle",
        {"ours": partial(time_idle, endpoint, seconds)},
        [
            plain(
                "an idle client with a value, processor time in a second",
                "ours: second",
                "ms",
                goals.ETCD_IDLE,
            )
        ],
        rounds=3,
    )


def time_idle(endpoint: str, seconds: float) -> Figures:
    """Count what a client with one open value takes in a second."""

    async def main() -> float:
        async with EtcdClient([endpoint]) as client, client.value(KEY.decode(), Bytes()):
            begin = process_time()
            await trio.sleep(seconds)
            return (process_time() - begin) / seconds

    return {"second": trio.run(main)}


def blocking(endpoint: str, events: int, seconds: float) -> Comparison:
    """Measure how much a process grows while its thread is blocked."""
    what = "growth of a process whose thread is blocked while"
    size = f"{events * etcd_blocked.SIZE / 1e6:.3g} MB of events come"
    return Comparison(
        "etcd blocked",
        {"ours": partial(etcd_blocked.measure_elsewhere, endpoint, events, seconds)},
        [
            plain(f"{what} {size}", "ours: blocked", "MB", goals.ETCD_BLOCKED),
            plain(f"{what} {size}, and takes them", "ours: most", "MB"),
        ],
        rounds=3,
    )

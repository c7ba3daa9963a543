"""The cost of maps with many keys."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import trio
from trio.testing import wait_all_tasks_blocked

from trio_event import ValueMap

from . import goals
from .harness import Comparison, clock, number, plain, ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .harness import Figures, Row, Scale

    Map = ValueMap[int, int]

# The keys that are set and got in turn.
TURN: Final = 10


def comparisons(scale: Scale) -> Iterator[Comparison]:
    """Return the comparisons of this module."""
    yield many_keys(scale)


def many_keys(scale: Scale) -> Comparison:
    """Compare a map of few keys with one of many, in all that one key is concerned with."""
    few, many = max(scale.limit // 1000, 1), scale.limit
    cases: dict[str, Callable[[], Figures]] = {}
    rows: list[Row] = []
    for what, time in TIMED.items():
        for size in (few, many):
            cases[f"{what}, {number(size)}"] = partial(time, size, scale.times(2))
        ours = f"{what}, {number(many)}: {what}"
        rows += [
            ratio(
                f"map, {what}, {number(many)} keys, against {number(few)}",
                ours,
                f"{what}, {number(few)}: {what}",
                goals.MAP_GROWTH,
            ),
            plain(f"map, {what}, {number(many)} keys", ours, "µs"),
        ]
    return Comparison("map", cases, rows)


def time_sets(what: str, wait: Callable[[Map], Any], size: int, times: int) -> Figures:
    """Time a set of one key while a task waits."""

    async def main() -> float:
        peers = ValueMap(dict.fromkeys(range(size), 0))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, peers)
            await wait_all_tasks_blocked()
            peers.set(0, 1)
            begin = clock()
            for turn in range(times):
                peers.set(turn % size, turn)
            spent = clock() - begin
            nursery.cancel_scope.cancel()
        return spent / times

    return {what: trio.run(main)}


def time_batches(what: str, size: int, times: int) -> Figures:
    """Time a set of one key and the batch with it."""

    async def main() -> float:
        peers = ValueMap(dict.fromkeys(range(size), 0))
        watcher = peers.watch()
        watcher.get_nowait()
        begin = clock()
        for turn in range(times):
            peers.set(turn % TURN % size, turn)
            watcher.get_nowait()
        return (clock() - begin) / times

    return {what: trio.run(main)}


def time_reads(what: str, size: int, times: int) -> Figures:
    """Time the reading of one key."""
    peers = ValueMap(dict.fromkeys(range(size), 0))
    begin = clock()
    for turn in range(times):
        _ = peers[turn % size]
    return {what: (clock() - begin) / times}


async def wait_for_nothing(peers: Map) -> None:
    """Wait for what never is."""
    await peers.wait_for(lambda batch: len(batch) < 0)


async def wait_for_an_item(peers: Map) -> None:
    """Wait for one key."""
    await peers.item(-1).present().wait_for(lambda value: value < 0)


async def do_nothing(_: Map) -> None:
    """Leave the map alone."""


TIMED: Final[dict[str, Callable[[int, int], Figures]]] = {
    "set": partial(time_sets, "set", do_nothing),
    "set with a `wait_for`": partial(time_sets, "set with a `wait_for`", wait_for_nothing),
    "set with an item": partial(time_sets, "set with an item", wait_for_an_item),
    "set and batch": partial(time_batches, "set and batch"),
    "one key": partial(time_reads, "one key"),
}

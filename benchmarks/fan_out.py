"""The cost of values with many watchers."""

from __future__ import annotations

import statistics
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Final

import trio
from trio.lowlevel import checkpoint
from trio.testing import wait_all_tasks_blocked

from trio_event import MemoryValue

from . import goals, peers
from .floors import Box, Gate
from .harness import Comparison, clock, number, plain, ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .harness import Figures, Row, Scale
    from .peers import Broadcast

LAST_MATTERS: Final = (1_000, 10_000)
"""The numbers of watchers for which the time until the last has run is judged."""
PEERS_LIMIT: Final = 10_000


class Ours:
    """A value of ours."""

    def __init__(self) -> None:
        self._value: MemoryValue[int] = MemoryValue()
        self.set = self._value.set

    async def open_idle(self, watchers: int) -> object:
        self.set(-1)
        idle = [self._value.watch() for _ in range(watchers)]
        for watcher in idle:
            watcher.get_nowait()
        await checkpoint()
        return idle

    async def watch(self, seen: Callable[[], object]) -> None:
        watcher = self._value.watch()
        while True:
            await watcher.get()
            seen()


def comparisons(scale: Scale) -> Iterator[Comparison]:
    """Return the comparisons of this module."""
    yield no_task_waits(scale)
    yield all_wait(scale)


def no_task_waits(scale: Scale) -> Comparison:
    """Compare sets that no task waits for, with different numbers of watchers."""
    sizes = scale.sizes()
    least, most = sizes[0], sizes[-1]
    cases = {f"ours, {n}": partial(time_idle, Ours, n, scale.times()) for n in sizes}
    rows: list[Row] = [
        plain(f"`set`, no one waiting, {number(n)} idle", f"ours, {n}: set", "µs", goals.SET_IDLE)
        for n in sizes
    ]
    rows.append(
        ratio(
            f"`set`, {number(most)} idle against {number(least)}",
            f"ours, {most}: set",
            f"ours, {least}: set",
            goals.SET_IDLE_GROWTH,
        )
    )
    for n in (size for size in sizes if size <= PEERS_LIMIT):
        for peer, make in peers.installed().items():
            cases[f"{peer}, {n}"] = partial(time_idle, make, n, scale.times(n))
            measure = f"{peer}, {number(n)} idle, against ours"
            rows.append(ratio(measure, f"{peer}, {n}: set", f"ours, {n}: set"))
    return Comparison("set, no one waiting", cases, rows)


def all_wait(scale: Scale) -> Comparison:
    """Compare sets that all watchers wait for, and the time until the last has run."""
    cases: dict[str, Callable[[], Figures]] = {}
    rows: list[Row] = []
    for n in scale.sizes():
        times = scale.times(n)
        cases[f"ours, {n}"] = partial(time_waiting, Ours, n, times)
        cases[f"floor, {n}"] = partial(time_waiting, Box, n, times)
        rows += [
            plain(f"`set`, {number(n)} waiting", f"ours, {n}: set", "µs", goals.SET_WAITING_TIME),
            ratio(
                f"`set`, {number(n)} waiting, against floor",
                f"ours, {n}: set",
                f"floor, {n}: set",
                goals.SET_WAITING,
            ),
            ratio(
                f"`set` until the last of {number(n)} has run, against floor",
                f"ours, {n}: last",
                f"floor, {n}: last",
                goals.LAST_WATCHER if n in LAST_MATTERS else None,
            ),
        ]
        for peer, make in peers.awaited().items() if n <= PEERS_LIMIT else ():
            cases[f"{peer}, {n}"] = partial(time_waiting, make, n, times)
            measure = f"{peer}, until the last of {number(n)} has run, against ours"
            rows.append(ratio(measure, f"{peer}, {n}: last", f"ours, {n}: last"))
    return Comparison("set, all waiting", cases, rows)


def time_idle(make: Callable[[], Broadcast], watchers: int, times: int) -> Figures:
    """Time a set that no watcher waits for."""

    async def main() -> float:
        broadcast = make()
        idle = await broadcast.open_idle(watchers)
        set_ = broadcast.set
        begin = clock()
        for value in range(times):
            set_(value)
        spent = clock() - begin
        del idle
        return spent / times

    return {"set": trio.run(main)}


def time_waiting(make: Callable[[], Box | Broadcast], watchers: int, times: int) -> Figures:
    """Time a set that all watchers wait for, and the time until all of them have run."""

    async def main() -> Figures:
        broadcast = make()
        gate = Gate()
        setting: list[float] = []
        until_last = 0.0
        async with trio.open_nursery() as nursery:
            for _ in range(watchers):
                nursery.start_soon(broadcast.watch, gate.go_through)
            for value in range(times):
                await wait_all_tasks_blocked()
                gate.close(watchers)
                begin = clock()
                # A set is too short for that clock, which takes as long to read. Few spans of this
                # length are disturbed, and the median leaves those out.
                begin_to_set = perf_counter()
                broadcast.set(value)
                setting.append(perf_counter() - begin_to_set)
                await gate.wait_opened()
                until_last += gate.opened_at - begin
            nursery.cancel_scope.cancel()
        return {"set": statistics.median(setting), "last": until_last / times}

    return trio.run(main)

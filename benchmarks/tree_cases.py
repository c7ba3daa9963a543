"""The cost of trees: start, restart of parts, cancellation, depth."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled
from trio.testing import wait_all_tasks_blocked

import supervisor

from . import goals, trees
from .floors import Gate
from .harness import Comparison, clock, number, plain, ratio
from .trees import TreeSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from trio.lowlevel import Task

    from .harness import Figures, Row, Scale

SMALLEST = 1_000
"""With as many leaves as this, the fixed cost of a tree does not count."""


class CrashError(Exception):
    """The error of the leaves that crash."""


def comparisons(scale: Scale) -> Iterator[Comparison]:
    """Return the comparisons of this module."""
    yield start_and_cancel(scale)
    yield restart_leaf(scale)
    yield restart_group(scale)
    yield depth(scale)


# Starting and cancelling


def start_and_cancel(scale: Scale) -> Comparison:
    """Compare the start of leaves, and the cancellation of all, with bare tasks."""
    kinds = {
        "bare": trees.bare,
        "scoped": trees.bare_in_scopes,
        "lone": trees.lone,
        "member": trees.grouped,
        "bushy": trees.bushy,
    }
    sizes = scale.sizes(SMALLEST)
    cases = {
        f"{name}, {n}": partial(time_start_and_cancel, kind, n)
        for n in sizes
        for name, kind in kinds.items()
    }
    rows: list[Row] = []
    for n in sizes:
        bare, scoped = f"bare, {n}: start", f"scoped, {n}: start"
        what = f"start of a leaf, {number(n)}"
        rows += [
            ratio(f"{what} lone, against bare", f"lone, {n}: start", bare),
            ratio(
                f"{what} lone, against bare in a scope each",
                f"lone, {n}: start",
                scoped,
                goals.START_LEAF,
            ),
            ratio(
                f"{what} in groups of {trees.MEMBERS}, against bare",
                f"member, {n}: start",
                bare,
                goals.START_LEAF,
            ),
            ratio(f"{what} bare in a scope each, against bare", scoped, bare),
        ]
    for n in sizes:
        bare, scoped = f"bare, {n}: cancel", f"scoped, {n}: cancel"
        what = f"cancel of a tree of {number(n)}"
        goal = goals.CANCEL if n == sizes[-1] else None
        rows += [
            ratio(f"{what} lone, against bare", f"lone, {n}: cancel", bare),
            ratio(f"{what} lone, against bare in a scope each", f"lone, {n}: cancel", scoped, goal),
            ratio(
                f"{what} below inner nodes, against bare in a scope each",
                f"bushy, {n}: cancel",
                scoped,
                goal,
            ),
            ratio(
                f"{what} in groups of {trees.MEMBERS}, against bare",
                f"member, {n}: cancel",
                bare,
                goal,
            ),
        ]
    return Comparison("start and cancel", cases, rows)


def time_start_and_cancel(kind: Callable[[TreeSpec], Awaitable[None]], size: int) -> Figures:
    """Time the start of leaves until the last has run, and the cancellation of all of them."""

    async def main() -> Figures:
        gate = Gate()

        async def leaf(_: int) -> None:
            gate.go_through()
            await trio.sleep_forever()

        spec = TreeSpec(leaf, size)
        async with trio.open_nursery() as nursery:
            gate.close(size)
            nursery.start_soon(kind, spec)
            await gate.wait_opened()
            start = gate.opened_at - spec.started_at
            await wait_all_tasks_blocked()
            begin = clock()
            nursery.cancel_scope.cancel()
        return {"start": start / size, "cancel": (clock() - begin) / size}

    return trio.run(main)


# Restarting


class CrashingLeaves:
    """Leaves that wait until they are told to crash."""

    def __init__(self, size: int) -> None:
        self.gate = Gate()
        self._tasks: list[Task | None] = [None] * size

    async def __call__(self, index: int) -> None:
        """Run one of them."""
        self._tasks[index] = current_task()
        self.gate.go_through()
        await wait_task_rescheduled(lambda _: Abort.SUCCEEDED)
        raise CrashError

    async def wait_started(self, starts: int) -> None:
        """Wait until so many leaves have started."""
        self.gate.close(starts)
        await self.gate.wait_opened()
        await wait_all_tasks_blocked()

    async def time_restart(self, index: int, starts: int) -> float:
        """Let one crash; return how long it takes until so many have started again."""
        self.gate.close(starts)
        task = self._tasks[index]
        assert task is not None
        begin = clock()
        reschedule(task)
        await self.gate.wait_opened()
        return self.gate.opened_at - begin


def restart_leaf(scale: Scale) -> Comparison:
    """Compare the restart of a leaf in trees of different sizes."""
    sizes = scale.sizes(10)
    least, most = sizes[0], sizes[-1]
    times = scale.times(50)
    cases = {f"ours, {n}": partial(time_restart, n, times) for n in sizes}
    rows: list[Row] = [
        plain(f"restart of a leaf, {number(n)} nodes", f"ours, {n}: restart", "µs", goals.RESTART)
        for n in sizes
    ]
    rows.append(
        ratio(
            f"restart of a leaf, {number(most)} nodes against {number(least)}",
            f"ours, {most}: restart",
            f"ours, {least}: restart",
            goals.RESTART_GROWTH,
        )
    )
    return Comparison("restart of a leaf", cases, rows)


def time_restart(size: int, times: int) -> Figures:
    """Time a restart, from the crash of a leaf to its next start, for leaves at random."""

    async def main() -> float:
        leaves = CrashingLeaves(size)
        spent = 0.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trees.lone, TreeSpec(leaves, size))
            await leaves.wait_started(size)
            for _ in range(times):
                spent += await leaves.time_restart(random.randrange(size), 1)
            nursery.cancel_scope.cancel()
        return spent / times

    return {"restart": trio.run(main)}


def restart_group(scale: Scale) -> Comparison:
    """Compare the restart of a group with cancelling and starting bare tasks."""
    sizes = scale.sizes(10, 10_000)
    least, most = sizes[0], sizes[-1]
    cases: dict[str, Callable[[], Figures]] = {}
    rows: list[Row] = []
    for n in sizes:
        times = scale.times(10 * n)
        cases[f"ours, {n}"] = partial(time_group, n, times)
        cases[f"floor, {n}"] = partial(time_bare_group, n, times)
        rows.append(
            ratio(
                f"restart of a group of {number(n)}, a member, against bare cancel and start",
                f"ours, {n}: member",
                f"floor, {n}: member",
                goals.GROUP_RESTART,
            )
        )
    rows.append(
        ratio(
            f"restart of a group, a member of {number(most)} against one of {number(least)}",
            f"ours, {most}: member",
            f"ours, {least}: member",
            goals.GROUP_GROWTH,
        )
    )
    return Comparison("restart of a group", cases, rows)


def time_group(size: int, times: int) -> Figures:
    """Time a restart of the group, from the crash of a member to the next start of all."""

    async def main() -> float:
        leaves = CrashingLeaves(size)
        spent = 0.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trees.one_group, TreeSpec(leaves, size))
            await leaves.wait_started(size)
            for _ in range(times):
                spent += await leaves.time_restart(random.randrange(size), size)
            nursery.cancel_scope.cancel()
        return spent / times / size

    return {"member": trio.run(main)}


def time_bare_group(size: int, times: int) -> Figures:
    """Time the cancellation of a nursery's tasks, and the start of as many in a new one."""

    async def main() -> float:
        leaves = CrashingLeaves(size)
        gate = leaves.gate
        spent = begin = 0.0
        for _ in range(times + 1):
            gate.close(size)
            async with trio.open_nursery() as nursery:
                for index in range(size):
                    nursery.start_soon(leaves, index)
                await gate.wait_opened()
                if begin:
                    spent += gate.opened_at - begin
                begin = clock()
                nursery.cancel_scope.cancel()
        return spent / times / size

    return {"member": trio.run(main)}


# Depth


def depth(scale: Scale) -> Comparison:
    """Compare chains of different depths: their cost for each level."""
    sizes = scale.sizes(100, 10_000)
    least = sizes[0]
    rows: list[Row] = []
    for n in sizes[1:]:
        rows += [
            ratio(
                f"depth {number(n)}, {what} of a level, against depth {number(least)}",
                f"ours, {n}: {what}",
                f"ours, {least}: {what}",
                goals.DEPTH_GROWTH,
            )
            for what in ("start", "restart", "cancel")
        ]
    rows += [
        plain(f"depth {number(sizes[-1])}, {what} of a level", f"ours, {sizes[-1]}: {what}", "µs")
        for what in ("start", "restart", "cancel")
    ]
    return Comparison("depth", {f"ours, {n}": partial(time_chain, n) for n in sizes}, rows)


def time_chain(levels: int) -> Figures:
    """Time a chain of nodes: start, restart from the top, and cancellation."""

    async def main() -> Figures:
        top = CrashingLeaves(1)
        gate = Gate()

        async def node(level: int) -> None:
            if level < levels:
                supervisor.run("next", node, level + 1)
            else:
                gate.go_through()
            if level == 1:
                await top(0)
            await trio.sleep_forever()

        async def root() -> None:
            supervisor.run("top", node, 1)
            await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            gate.close(1)
            begin = clock()
            nursery.start_soon(partial(supervisor.supervise, root, backoff=trees.AT_ONCE))
            await gate.wait_opened()
            start = gate.opened_at - begin
            await wait_all_tasks_blocked()
            gate.close(1)
            begin = clock()
            await top.time_restart(0, 1)
            await gate.wait_opened()
            restart = gate.opened_at - begin
            await wait_all_tasks_blocked()
            begin = clock()
            nursery.cancel_scope.cancel()
        cancel = clock() - begin
        return {"start": start / levels, "restart": restart / levels, "cancel": cancel / levels}

    return trio.run(main)

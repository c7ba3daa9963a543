"""One soak: a tree, its operators, its watchers, and what is checked at the end."""

from __future__ import annotations

import random
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
import trio
from trio.lowlevel import current_root_task

import supervisor
from supervisor import GaveUpError, GroupState

from .memory import Memory
from .streams import Progress, watch_any
from .tree import BACKOFF, SoakTree
from .violations import Findings, Transitions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio.lowlevel import Task

    from supervisor import Handle, Supervisor

TIME_LIMIT: Final = 30.0
"""Whatever takes longer than this, in seconds on the tree's clock, hangs."""
OPERATORS: Final = 5
MEAN_PAUSE: Final = 0.2
"""How long on average an operator waits between actions, and keeps a group stopped."""


@attrs.frozen
class Plan:
    """How long and how large a soak is, and where its lines go."""

    seconds: float
    nodes: int
    every: float
    """The seconds from one line to the next."""
    output: Callable[[str], object]
    now: Callable[[], float] = time.monotonic
    """The clock that counts these seconds."""


async def soak(plan: Plan) -> list[str]:
    """Run a tree in which everything happens that can; return the violations."""
    findings = Findings(plan.output)
    transitions = Transitions(findings)
    memory = Memory()
    tree = SoakTree(findings, plan.nodes)
    before = set(all_tasks())
    with findings.scope:
        async with trio.open_nursery() as watchers:
            followers = Followers(tree, watchers)
            async with supervisor.open_supervisor(
                tree.root, backoff=BACKOFF, metrics=transitions
            ) as running:
                async with trio.open_nursery() as operators:
                    for _ in range(OPERATORS):
                        operators.start_soon(operate, tree)
                    await report(plan, tree, running, transitions, memory)
                    tree.settling = True
                await settle(tree, running)
                followers.check()
                transitions.compare(running.snapshot())
                with findings.time_limit(TIME_LIMIT, "Supervisor.stop()"):
                    await running.stop()
            watchers.cancel_scope.cancel()
    transitions.check_end()
    if tree.tasks.alive:
        findings.add_violation(
            f"S12: the tree has ended, but {tree.tasks.alive} of its tasks have not"
        )
    left = [task.name for task in all_tasks() if task not in before]
    if left:
        findings.add_violation(f"S12: tasks are left: {', '.join(left[:10])}")
    growth = memory.violation()
    if growth is not None:
        findings.add_violation(growth)
    return findings.violations


# Outside of the tree


async def operate(tree: SoakTree) -> None:
    """Stop, restart and wait for groups at random, until the tree settles."""
    while not tree.settling:
        await trio.sleep(random.expovariate(1 / MEAN_PAUSE))
        if tree.handles:
            tree.findings.counts["operations"] += 1
            await operate_on(tree, random.choice(list(tree.handles)))


async def operate_on(tree: SoakTree, handle: Handle) -> None:
    """Call a method of a handle, and cancel some of the calls."""
    action = random.choice((handle.restart, handle.stop, handle.wait_healthy))
    try:
        with tree.findings.time_limit(TIME_LIMIT, f"{action.__name__}() of {handle.dn}"):
            if random.random() < 0.2:
                with trio.move_on_after(random.uniform(0, 0.02)):
                    await action()
            else:
                await action()
            if action == handle.stop:
                await trio.sleep(random.expovariate(1 / MEAN_PAUSE))
                await handle.restart()
    except GaveUpError:
        pass  # the area died meanwhile, or another operator stopped the group


class Followers:
    """Watchers outside of the tree, which run as long as the soak."""

    def __init__(self, tree: SoakTree, nursery: trio.Nursery) -> None:
        self._tree = tree
        self._copies: list[dict[int, int]] = []
        for stream, table in zip(tree.streams, tree.tables, strict=True):
            nursery.start_soon(stream.watch, stream.follower("a watcher"))
            nursery.start_soon(stream.watch_both, stream.follower("a watcher of both"))
            for pause in (0.0, 1.0):
                copy: dict[int, int] = {}
                nursery.start_soon(table.watch, copy, partial(random.uniform, 0, pause))
                self._copies.append(copy)
        # It returns one update at a time, of all streams, so it may be late.
        self._selected = [
            Progress(tree.findings, f"a select of {stream.name}") for stream in tree.streams
        ]
        nursery.start_soon(watch_any, tree.streams, self._selected)

    def check(self) -> None:
        """Check that each watcher has seen the newest value."""
        tree = self._tree
        for stream, selected in zip(tree.streams, self._selected, strict=True):
            stream.followers.append(selected)  # by now it is no longer late
            stream.check_followers()
        for index, copy in enumerate(self._copies):
            table = tree.tables[index // 2]
            if copy != dict(table.values.mapping()):
                tree.findings.add_violation(
                    f"V20: a copy of {table.name} differs from it at the end"
                )


async def settle(tree: SoakTree, running: Supervisor) -> None:
    """Wait until all groups run again and all watchers have seen the newest values."""
    findings = tree.findings
    with findings.time_limit(TIME_LIMIT, "Supervisor.wait_settled()"):
        await running.wait_settled()
    for handle in list(tree.handles):
        if handle.state is GroupState.STOPPED:
            with findings.time_limit(TIME_LIMIT, f"restart() of {handle.dn}"):
                await handle.restart()
    with findings.time_limit(TIME_LIMIT, "Supervisor.wait_ready()"):
        await running.wait_ready()
    await trio.sleep(2.0)  # the slowest watcher pauses for up to one second


# Lines of output


async def report(
    plan: Plan, tree: SoakTree, running: Supervisor, transitions: Transitions, memory: Memory
) -> None:
    """Print a line in each interval, until the time is over."""
    began = plan.now()
    due = began + plan.every
    while plan.now() < began + plan.seconds:
        await trio.sleep(0.1)
        if plan.now() >= due:
            due += plan.every
            transitions.compare(running.snapshot())
            transitions.check_loggers()
            plan.output(line(plan.now() - began, tree, transitions, memory.sample()))


def line(seconds: float, tree: SoakTree, transitions: Transitions, size: int) -> str:
    """Write a line: what has happened so far."""
    counts = tree.findings.counts
    figures = {
        "nodes": len(transitions),
        "starts": counts["starts"],
        "deaths": counts["DEAD"],
        "operations": counts["operations"],
        "jobs": counts["jobs"],
        "sets": counts["sets"],
        "seen": counts["seen"],
    }
    text = ", ".join(f"{amount} {name}" for name, amount in figures.items())
    return f"{seconds:6.0f} s  {text}, {size / 1e6:.1f} MB"


def all_tasks() -> Iterator[Task]:
    """Iterate over all tasks of this run of Trio."""
    root = current_root_task()
    rest = [root] if root is not None else []
    while rest:
        task = rest.pop()
        yield task
        for nursery in task.child_nurseries:
            rest.extend(nursery.child_tasks)

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

from .ledger import Ledger, Transitions
from .memory import Memory
from .orchard import SOON, Orchard
from .streams import Progress, watch_any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio.lowlevel import Task

    from supervisor import Handle, Supervisor

PATIENCE: Final = 30.0
"""So many seconds, on the tree's clock, are enough for whatever somebody waits for."""
OPERATORS: Final = 5
DURING: Final = 0.2
"""How long on average an operator lets things be, and how long it keeps stopped what it stops."""


@attrs.frozen
class Plan:
    """How long, how large, and how it is told."""

    seconds: float
    nodes: int
    every: float
    """A line is printed every so many seconds."""
    tell: Callable[[str], object]
    now: Callable[[], float] = time.monotonic
    """The clock that these seconds are those of."""


async def soak(plan: Plan) -> list[str]:
    """Run a tree, with all that can happen to it; return what was not as guaranteed."""
    ledger = Ledger(plan.tell)
    transitions = Transitions(ledger)
    memory = Memory()
    orchard = Orchard(ledger, plan.nodes)
    before = set(all_tasks())
    with ledger.scope:
        async with trio.open_nursery() as watchers:
            follow = Followers(orchard, watchers)
            async with supervisor.open_supervisor(
                orchard.root, backoff=SOON, metrics=transitions
            ) as tree:
                async with trio.open_nursery() as operators:
                    for _ in range(OPERATORS):
                        operators.start_soon(operate, orchard)
                    await report(plan, orchard, tree, transitions, memory)
                    orchard.calm = True
                await settle(orchard, tree)
                follow.check()
                transitions.compare(tree.snapshot())
                with ledger.patience(PATIENCE, "Supervisor.stop()"):
                    await tree.stop()
            watchers.cancel_scope.cancel()
    transitions.check_the_end()
    if orchard.place.alive:
        ledger.violate(f"S12: the tree has ended, but {orchard.place.alive} of its tasks have not")
    left = [task.name for task in all_tasks() if task not in before]
    if left:
        ledger.violate(f"S12: tasks are left: {', '.join(left[:10])}")
    complaint = memory.complaint()
    if complaint is not None:
        ledger.violate(complaint)
    return ledger.violations


# Who is outside of the tree


async def operate(orchard: Orchard) -> None:
    """Stop, restart and wait for groups, any ones, until all is calm."""
    while not orchard.calm:
        await trio.sleep(random.expovariate(1 / DURING))
        if orchard.handles:
            orchard.ledger.counts["operations"] += 1
            await operate_on(orchard, random.choice(list(orchard.handles)))


async def operate_on(orchard: Orchard, handle: Handle) -> None:
    """Do one of the things that a handle can do, to its end or not."""
    action = random.choice((handle.restart, handle.stop, handle.wait_healthy))
    try:
        with orchard.ledger.patience(PATIENCE, f"{action.__name__}() of {handle.dn}"):
            if random.random() < 0.2:
                with trio.move_on_after(random.uniform(0, 0.02)):
                    await action()
            else:
                await action()
            if action == handle.stop:
                await trio.sleep(random.expovariate(1 / DURING))
                await handle.restart()
    except GaveUpError:
        pass  # the area has died meanwhile, or another operator has stopped the group


class Followers:
    """Watchers outside of the tree, which live as long as the soak."""

    def __init__(self, orchard: Orchard, nursery: trio.Nursery) -> None:
        self._orchard = orchard
        self._copies: list[dict[int, int]] = []
        for stream, table in zip(orchard.streams, orchard.tables, strict=True):
            nursery.start_soon(stream.watch, stream.follower("a watcher"))
            nursery.start_soon(stream.watch_both, stream.follower("a watcher of both"))
            for pause in (0.0, 1.0):
                copy: dict[int, int] = {}
                nursery.start_soon(table.watch, copy, partial(random.uniform, 0, pause))
                self._copies.append(copy)
        # One update at a time, of all streams: it may be late.
        self._selected = [
            Progress(orchard.ledger, f"a select of {stream.name}") for stream in orchard.streams
        ]
        nursery.start_soon(watch_any, orchard.streams, self._selected)

    def check(self) -> None:
        """Hold that all of them have seen the last of what was set."""
        orchard = self._orchard
        for stream, selected in zip(orchard.streams, self._selected, strict=True):
            stream.followers.append(selected)  # by now it has had the time
            stream.check_followers()
        for index, copy in enumerate(self._copies):
            table = orchard.tables[index // 2]
            if copy != dict(table.values.mapping()):
                orchard.ledger.violate(f"V20: a copy of {table.name} differs from it at the end")


async def settle(orchard: Orchard, tree: Supervisor) -> None:
    """Wait until everything is up again, nobody dying any more, and all watchers have caught up."""
    ledger = orchard.ledger
    with ledger.patience(PATIENCE, "Supervisor.wait_settled()"):
        await tree.wait_settled()
    for handle in list(orchard.handles):
        if handle.state is GroupState.STOPPED:
            with ledger.patience(PATIENCE, f"restart() of {handle.dn}"):
                await handle.restart()
    with ledger.patience(PATIENCE, "Supervisor.wait_ready()"):
        await tree.wait_ready()
    await trio.sleep(2.0)  # the slowest watcher pauses for up to one second


# Telling


async def report(
    plan: Plan, orchard: Orchard, tree: Supervisor, transitions: Transitions, memory: Memory
) -> None:
    """Print a line every so often, until the time is over."""
    began = plan.now()
    due = began + plan.every
    while plan.now() < began + plan.seconds:
        await trio.sleep(0.1)
        if plan.now() >= due:
            due += plan.every
            transitions.compare(tree.snapshot())
            transitions.check_loggers()
            plan.tell(line(plan.now() - began, orchard, transitions, memory.sample()))


def line(seconds: float, orchard: Orchard, transitions: Transitions, size: int) -> str:
    """Say how far it has come."""
    counts = orchard.ledger.counts
    figures = {
        "nodes": len(transitions),
        "starts": counts["starts"],
        "deaths": counts["DEAD"],
        "operations": counts["operations"],
        "jobs": counts["jobs"],
        "sets": counts["sets"],
        "seen": counts["seen"],
    }
    told = ", ".join(f"{amount} {name}" for name, amount in figures.items())
    return f"{seconds:6.0f} s  {told}, {size / 1e6:.1f} MB"


def all_tasks() -> Iterator[Task]:
    """Walk through all tasks of this run of Trio."""
    root = current_root_task()
    rest = [root] if root is not None else []
    while rest:
        task = rest.pop()
        yield task
        for nursery in task.child_nurseries:
            rest.extend(nursery.child_tasks)

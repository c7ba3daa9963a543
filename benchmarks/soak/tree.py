"""The tree: areas in areas, with groups, pipes, pools and leaves, which fail now and then."""

from __future__ import annotations

import itertools
import math
import random
from functools import partial
from typing import TYPE_CHECKING, Final, final

import trio

import supervisor
from supervisor import (
    Backoff,
    PoolFullError,
    RestartLimit,
    RestartPolicy,
    RunError,
    Signal,
    UnknownNameError,
)
from trio_event import pipe

from .streams import Progress, Stream, Table, watch_any
from .violations import GroupTasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from supervisor import Handle, Pool

    from .violations import Findings

    Runnable = Callable[[], Awaitable[None]]

AREA_NODES: Final = 40
"""About how many nodes an area has, without the areas below."""
BACKOFF: Final = Backoff(initial=0.02, factor=2.0, maximum=1.0, reset_after=1.0)
LIMIT: Final = RestartLimit(4, within=2.0)
MEAN_LEAF_LIFE: Final = 5.0
MEAN_AREA_LIFE: Final = 60.0


class SoakError(Exception):
    """The error of the runnables that fail."""


@final
class SoakTree:
    """The runnables of the tree, and what they share."""

    def __init__(self, findings: Findings, nodes: int) -> None:
        self.findings = findings
        self.tasks = GroupTasks(findings, "root")
        # The handles of the running groups; a dict, because that keeps their order.
        self.handles: dict[Handle, None] = {}
        self.jobs = itertools.count()
        # Once set, no runnable fails and nothing is set any more.
        self.settling = False
        areas = max(2, nodes // AREA_NODES)
        # The other half of the areas are below these.
        self.upper_areas = max(1, areas // 2)
        self.streams = [Stream(findings, f"stream {index}") for index in range(self.upper_areas)]
        self.tables = [Table(findings, f"table {index}") for index in range(self.upper_areas)]

    async def root(self) -> None:
        """Start the upper areas."""
        self.tasks.add_start("root")
        with self.tasks.count_task():
            handles = [
                self.run(self.tasks, f"area{index}", partial(self.area, index), grace=0.05)
                for index in range(self.upper_areas)
            ]
            await self.hold(self.tasks, handles, math.inf)

    async def area(self, index: int, tasks: GroupTasks, *, lower: bool = False) -> None:
        """Start the nodes of an area, and fail after some time."""
        stream, table = self.streams[index], self.tables[index]
        handles = [
            self.run(tasks, f"leaf{number}", self.leaf, limit=LIMIT if number == 0 else None)
            for number in range(12)
        ]
        handles += [
            self.run(tasks, f"graceful{number}", self.graceful_leaf, grace=0.05)
            for number in range(4)
        ]
        handles += [self.run_group(tasks, f"g{number}", 4, number % 2) for number in range(3)]
        handles.append(self.run_pipe(tasks, stream))
        pool = supervisor.run_pool("pool", max_children=8, backoff=BACKOFF)
        handles.append(self.run(tasks, "feeder", partial(self.feed_pool, pool, tasks)))
        if lower:
            handles.append(self.run(tasks, "select", self.select))
        else:
            handles.append(self.run(tasks, "sets", partial(self.set_all, stream, table)))
            lower_area = partial(self.area, index, lower=True)
            handles.append(self.run(tasks, "lower", lower_area, limit=LIMIT, grace=0.02))
        await self.hold(tasks, handles, MEAN_AREA_LIFE)

    async def hold(self, tasks: GroupTasks, handles: list[Handle], mean: float) -> None:
        """Let operators use the handles, and fail after so many seconds on average."""
        self.handles.update(dict.fromkeys(handles))
        try:
            supervisor.signal(Signal.HEALTHY)
            await self.pause(mean)
            raise SoakError(tasks.name)
        finally:
            for handle in handles:
                del self.handles[handle]

    async def pause(self, mean: float) -> None:
        """Wait for so many seconds on average; for ever once the tree settles."""
        await trio.sleep(math.inf if mean == math.inf else random.expovariate(1 / mean))
        if self.settling:
            await trio.sleep_forever()

    # Starting

    def run(
        self,
        parent: GroupTasks,
        name: str,
        body: Callable[[GroupTasks], Awaitable[None]],
        *,
        limit: RestartLimit | None = None,
        grace: float = 0.0,
    ) -> Handle:
        """Start a runnable whose tasks are counted."""
        tasks = GroupTasks(self.findings, name, parent)
        return supervisor.run(
            name, run_counted, tasks, name, None, body, backoff=BACKOFF, limit=limit, grace=grace
        )

    def run_group(self, parent: GroupTasks, name: str, members: int, ordered: int) -> Handle:
        """Start leaves in a group, whose members are made anew in each round."""
        tasks = GroupTasks(self.findings, name, parent)

        def make() -> dict[str, Runnable]:
            round_ = object()
            return {
                f"{name}m{number}": partial(run_counted, tasks, f"m{number}", round_, self.leaf)
                for number in range(members)
            }

        return supervisor.run_group(make, backoff=BACKOFF, ordered=bool(ordered))

    def run_pipe(self, parent: GroupTasks, stream: Stream) -> Handle:
        """Start a pipe and its consumer, with a new channel in each round."""
        tasks = GroupTasks(self.findings, "pipe", parent)
        progress = Progress(self.findings, f"the consumer of {tasks.name}")

        def make() -> dict[str, Runnable]:
            round_ = object()
            send, receive = trio.open_memory_channel[int](0)
            run_pipe = pipe(stream.value, send)

            async def consume(tasks: GroupTasks) -> None:
                progress.restart()
                supervisor.signal(Signal.HEALTHY)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stream.receive, progress, receive)
                    await self.pause(MEAN_LEAF_LIFE)
                    raise SoakError(tasks.name)

            return {
                "pipe": partial(run_counted, tasks, "pipe", round_, lambda _: run_pipe()),
                "consumer": partial(run_counted, tasks, "consumer", round_, consume),
            }

        return supervisor.run_group(make, backoff=BACKOFF)

    # Running and failing

    async def leaf(self, tasks: GroupTasks) -> None:
        """Run in one of several ways, and end in one of several ways."""
        draw = random.random()
        if draw < 0.02 and not self.settling:
            raise SoakError("died when NEW")
        supervisor.signal(Signal.HEALTHY)
        try:
            if draw < 0.3:
                async with trio.open_nursery() as nursery:
                    for _ in range(2):
                        nursery.start_soon(self.leaf_task, tasks)
            else:
                await self.pause(MEAN_LEAF_LIFE)
        finally:
            if draw > 0.7:
                # Bounded: a stop has to wait for it.
                with trio.CancelScope(shield=True):
                    await trio.sleep(random.uniform(0, 0.02))
            if draw > 0.95:
                raise SoakError("could not clean up")
        if draw < 0.4:
            return  # which is a death, for it was not DONE
        if draw < 0.5:
            supervisor.signal(Signal.DONE)
            return
        raise SoakError("died")

    async def graceful_leaf(self, _: GroupTasks) -> None:
        """Run until it is asked to stop."""
        supervisor.signal(Signal.HEALTHY)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.pause, MEAN_LEAF_LIFE)
                await supervisor.wait_stop_requested()
                await trio.sleep(random.uniform(0, 0.1))  # it may take longer than its grace
                scope.cancel()

    async def leaf_task(self, tasks: GroupTasks) -> None:
        """Run as a task inside a leaf."""
        with tasks.count_task():
            await self.pause(MEAN_LEAF_LIFE)
            raise SoakError("a task inside a leaf died")

    async def feed_pool(self, pool: Pool, parent: GroupTasks, _: GroupTasks) -> None:
        """Start jobs in a pool, and stop some of them."""
        supervisor.signal(Signal.HEALTHY)
        last = ""
        while True:
            await self.pause(0.5)
            name = f"job{next(self.jobs)}"
            tasks = GroupTasks(self.findings, name, parent)
            try:
                pool.run(
                    name,
                    run_counted,
                    tasks,
                    "job",
                    None,
                    self.job,
                    restart=RestartPolicy.ON_FAILURE,
                    backoff=BACKOFF,
                )
                if last and random.random() < 0.2:
                    await pool.stop(last)
            except (PoolFullError, RunError, UnknownNameError):
                pass  # it is full, it restarts, or the last job is done
            last = name

    async def job(self, _: GroupTasks) -> None:
        """Run as a child of a pool, which is done in the end but may fail at first."""
        self.findings.counts["jobs"] += 1
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(random.expovariate(1.0))
        if random.random() < 0.3:
            raise SoakError("the job failed")
        supervisor.signal(Signal.DONE)

    async def set_all(self, stream: Stream, table: Table, tasks: GroupTasks) -> None:
        """Set a stream and a table, sometimes several times at once."""
        supervisor.signal(Signal.HEALTHY)
        while True:
            await self.pause(0.05)
            for _ in range(random.choice((1, 1, 3))):
                stream.set()
                table.change()
            if random.random() < 0.02:
                await trio.sleep(1.0)
                stream.check_followers()
            if random.random() < 0.002:
                raise SoakError(tasks.name)

    async def select(self, tasks: GroupTasks) -> None:
        """Watch several streams at once."""
        supervisor.signal(Signal.HEALTHY)
        streams = random.sample(self.streams, min(5, len(self.streams)))
        progresses = [Progress(self.findings, f"{tasks.name} of {each.name}") for each in streams]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_any, streams, progresses)
            await self.pause(MEAN_LEAF_LIFE)
            raise SoakError(tasks.name)


async def run_counted(
    tasks: GroupTasks,
    member: str,
    round_: object,
    body: Callable[[GroupTasks], Awaitable[None]],
) -> None:
    """Run the body of a group's member, and count its task."""
    tasks.add_start(member, round_)
    with tasks.count_task():
        await body(tasks)

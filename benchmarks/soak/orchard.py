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
    RunError,
    Signal,
    UnknownNameError,
)
from trio_event import pipe

from .ledger import Place
from .streams import Progress, Stream, Table, watch_any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from supervisor import Handle, Pool

    from .ledger import Ledger

    Runnable = Callable[[], Awaitable[None]]

PER_AREA: Final = 40
"""About how many nodes an area has, without the areas below."""
SOON: Final = Backoff(initial=0.02, factor=2.0, maximum=1.0, reset_after=1.0)
FEW: Final = RestartLimit(4, within=2.0)
LEAF_LIFE: Final = 5.0
AREA_LIFE: Final = 60.0


class TroubleError(Exception):
    """What runnables die of."""


@final
class Orchard:
    """What grows, and what all of it shares."""

    def __init__(self, ledger: Ledger, nodes: int) -> None:
        self.ledger = ledger
        self.place = Place(ledger, "root")
        # Handles of the groups that run, by nothing in particular.
        self.handles: dict[Handle, None] = {}
        self.jobs = itertools.count()
        # From then on nobody dies, and nothing is set.
        self.calm = False
        areas = max(2, nodes // PER_AREA)
        # Half of the areas lie below another one.
        self.trunks = max(1, areas // 2)
        self.streams = [Stream(ledger, f"stream {index}") for index in range(self.trunks)]
        self.tables = [Table(ledger, f"table {index}") for index in range(self.trunks)]

    async def root(self) -> None:
        """Be the root."""
        self.place.start("root")
        with self.place.task():
            handles = [
                self.run(self.place, f"area{index}", partial(self.area, index), grace=0.05)
                for index in range(self.trunks)
            ]
            await self.live(self.place, handles, math.inf)

    async def area(self, index: int, place: Place, *, low: bool = False) -> None:
        """Be an inner node: start what lies in the area, and die one day."""
        stream, table = self.streams[index], self.tables[index]
        handles = [
            self.run(place, f"leaf{number}", self.leaf, limit=FEW if number == 0 else None)
            for number in range(12)
        ]
        handles += [
            self.run(place, f"polite{number}", self.polite, grace=0.05) for number in range(4)
        ]
        handles += [self.run_group(place, f"g{number}", 4, number % 2) for number in range(3)]
        handles.append(self.run_pipe(place, stream))
        pool = supervisor.run_pool("pool", max_children=8, backoff=SOON)
        handles.append(self.run(place, "feeder", partial(self.feed, pool, place)))
        if low:
            handles.append(self.run(place, "select", self.select))
        else:
            handles.append(self.run(place, "sets", partial(self.set_all, stream, table)))
            handles.append(
                self.run(place, "low", partial(self.area, index, low=True), limit=FEW, grace=0.02)
            )
        await self.live(place, handles, AREA_LIFE)

    async def live(self, place: Place, handles: list[Handle], mean: float) -> None:
        """Let operators have the handles, for a life that is so long on average."""
        self.handles.update(dict.fromkeys(handles))
        try:
            supervisor.signal(Signal.HEALTHY)
            await self.pause(mean)
            raise TroubleError(place.name)
        finally:
            for handle in handles:
                del self.handles[handle]

    async def pause(self, mean: float) -> None:
        """Wait for so long on average; for ever once all is calm."""
        await trio.sleep(math.inf if mean == math.inf else random.expovariate(1 / mean))
        if self.calm:
            await trio.sleep_forever()

    # Starting

    def run(
        self,
        above: Place,
        name: str,
        body: Callable[[Place], Awaitable[None]],
        *,
        limit: RestartLimit | None = None,
        grace: float = 0.0,
    ) -> Handle:
        """Start a runnable that writes down that it lives."""
        place = Place(self.ledger, name, above)
        return supervisor.run(
            name, written_down, place, name, None, body, backoff=SOON, limit=limit, grace=grace
        )

    def run_group(self, above: Place, name: str, members: int, ordered: int) -> Handle:
        """Start leaves in a group, which is a new one each time."""
        place = Place(self.ledger, name, above)

        def make() -> dict[str, Runnable]:
            round_ = object()
            return {
                f"{name}m{number}": partial(written_down, place, f"m{number}", round_, self.leaf)
                for number in range(members)
            }

        return supervisor.run_group(make, backoff=SOON, ordered=bool(ordered))

    def run_pipe(self, above: Place, stream: Stream) -> Handle:
        """Start a pipe and its consumer, with a new channel each time."""
        place = Place(self.ledger, "pipe", above)
        progress = Progress(self.ledger, f"the consumer of {place.name}")

        def make() -> dict[str, Runnable]:
            round_ = object()
            send, receive = trio.open_memory_channel[int](0)
            carry = pipe(stream.value, send)

            async def consume(place: Place) -> None:
                progress.restart()
                supervisor.signal(Signal.HEALTHY)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stream.receive, progress, receive)
                    await self.pause(LEAF_LIFE)
                    raise TroubleError(place.name)

            return {
                "pipe": partial(written_down, place, "pipe", round_, lambda _: carry()),
                "consumer": partial(written_down, place, "consumer", round_, consume),
            }

        return supervisor.run_group(make, backoff=SOON)

    # Living and dying

    async def leaf(self, place: Place) -> None:
        """Live, in one of several manners, and end in one of several manners."""
        manner = random.random()
        if manner < 0.02 and not self.calm:
            raise TroubleError("died when NEW")
        supervisor.signal(Signal.HEALTHY)
        try:
            if manner < 0.3:
                async with trio.open_nursery() as nursery:
                    for _ in range(2):
                        nursery.start_soon(self.limb, place)
            else:
                await self.pause(LEAF_LIFE)
        finally:
            if manner > 0.7:
                # Bounded: it is what the stop has to wait for.
                with trio.CancelScope(shield=True):
                    await trio.sleep(random.uniform(0, 0.02))
            if manner > 0.95:
                raise TroubleError("could not clean up")
        if manner < 0.4:
            return  # which is a death, for it was not DONE
        if manner < 0.5:
            supervisor.signal(Signal.DONE)
            return
        raise TroubleError("died")

    async def polite(self, _: Place) -> None:
        """Be a leaf that ends when it is asked to."""
        supervisor.signal(Signal.HEALTHY)
        with trio.CancelScope() as life:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.pause, LEAF_LIFE)
                await supervisor.wait_stop_requested()
                await trio.sleep(random.uniform(0, 0.1))  # it may take longer than its grace
                life.cancel()

    async def limb(self, place: Place) -> None:
        """Be a task inside a leaf."""
        with place.task():
            await self.pause(LEAF_LIFE)
            raise TroubleError("a task inside a leaf died")

    async def feed(self, pool: Pool, above: Place, _: Place) -> None:
        """Give a pool work, and stop some of it."""
        supervisor.signal(Signal.HEALTHY)
        last = ""
        while True:
            await self.pause(0.5)
            name = f"job{next(self.jobs)}"
            job = Place(self.ledger, name, above)
            try:
                pool.run(name, written_down, job, "job", None, self.job, backoff=SOON)
                if last and random.random() < 0.2:
                    await pool.stop(last)
            except (PoolFullError, RunError, UnknownNameError):
                pass  # it is full, it restarts, or the last job is done
            last = name

    async def job(self, _: Place) -> None:
        """Be a child of a pool: done in the end, perhaps not at first."""
        self.ledger.counts["jobs"] += 1
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(random.expovariate(1.0))
        if random.random() < 0.3:
            raise TroubleError("the job failed")
        supervisor.signal(Signal.DONE)

    async def set_all(self, stream: Stream, table: Table, place: Place) -> None:
        """Set a stream and a table, now and then several times at once."""
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
                raise TroubleError(place.name)

    async def select(self, place: Place) -> None:
        """Watch several streams at once."""
        supervisor.signal(Signal.HEALTHY)
        streams = random.sample(self.streams, min(5, len(self.streams)))
        progresses = [Progress(self.ledger, f"{place.name} of {each.name}") for each in streams]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_any, streams, progresses)
            await self.pause(LEAF_LIFE)
            raise TroubleError(place.name)


async def written_down(
    place: Place, member: str, round_: object, body: Callable[[Place], Awaitable[None]]
) -> None:
    """Run a body, and write down when it begins and ends."""
    place.start(member, round_)
    with place.task():
        await body(place)

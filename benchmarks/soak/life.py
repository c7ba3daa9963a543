"""The whole life of a small tree with a bit of everything in it, to be disturbed at each step.

Runnables count themselves while they live, so that one which is left over shows.
"""

from __future__ import annotations

import enum
from functools import partial
from typing import TYPE_CHECKING, NoReturn, final

import trio

import supervisor
from supervisor import Backoff, RestartLimit, Signal
from supervisor.testing import open_harness

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from supervisor import Pool, Supervisor


@final
class Ending(enum.Enum):
    """How a life ends when nothing disturbs it."""

    FINISH = enum.auto()
    GIVE_UP = enum.auto()
    STOP = enum.auto()


ONCE = RestartLimit(0, within=1.0)


@final
class Life:
    """One life of the tree, which takes about five times ``unit`` seconds."""

    def __init__(self, ending: Ending, unit: float) -> None:
        self.ending = ending
        self.unit = unit
        self.alive = 0
        self.is_whole = False
        """It has come to its last part."""
        self.backoff = Backoff(initial=unit / 2, factor=1.0, jitter=0.0)

    async def work(self, life: float, *, crash: bool = False) -> None:
        self.alive += 1
        try:
            supervisor.signal(Signal.HEALTHY)
            await trio.sleep(life * self.unit)
            if crash and supervisor.current_dn().endswith(".a"):
                raise OSError("once")
            supervisor.signal(Signal.DONE)
        finally:
            self.alive -= 1

    async def wait_for_stop(self) -> None:
        self.alive += 1
        try:
            supervisor.signal(Signal.HEALTHY)
            await supervisor.wait_stop_requested()
            await trio.sleep(self.unit / 2)
        finally:
            self.alive -= 1

    async def inner(self) -> None:
        """Have a group that crashes once, and a pool if the tree is to be stopped."""
        crashes = [True]

        async def crash_once() -> None:
            await self.work(1.0, crash=bool(crashes and crashes.pop()))

        members: dict[str, Callable[[], Awaitable[object]]] = {
            "a": crash_once,
            "b": partial(self.work, 1.5),
        }
        supervisor.run_group(members, ordered=True, start_timeout=50.0 * self.unit)
        if self.ending is not Ending.STOP:
            supervisor.signal(Signal.HEALTHY)
            supervisor.signal(Signal.DONE)
            self.is_whole = True
            return
        supervisor.run("late", self.wait_for_stop, grace=self.unit)
        pool = supervisor.run_pool("pool")
        supervisor.signal(Signal.HEALTHY)
        await self.use(pool)
        self.is_whole = True
        await trio.sleep_forever()

    async def use(self, pool: Pool) -> None:
        await pool.wait_healthy()
        pool.run("short", self.work, 0.25)
        pool.run("long", self.work, 99.0)
        await pool.stop("long")

    async def root(self) -> None:
        inner = supervisor.run("inner", self.inner, grace=self.unit / 4)
        await inner.wait_healthy()
        work = supervisor.run("work", self.work, 2.0)
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(self.unit)
        if self.ending is Ending.STOP:
            await inner.restart()
            await work.stop()
        if self.ending is Ending.GIVE_UP:
            await trio.sleep(self.unit)
            self.give_up()
        supervisor.signal(Signal.DONE)

    def give_up(self) -> NoReturn:
        """Raise what the root dies of."""
        raise OSError("the last")

    # The ways in which it can be lived

    async def supervise(self) -> None:
        with trio.move_on_after(4.0 * self.unit):
            await supervisor.supervise(self.root, backoff=self.backoff, limit=ONCE)

    async def open(self) -> None:
        async with supervisor.open_supervisor(self.root, backoff=self.backoff, limit=ONCE) as tree:
            await trio.sleep(4.0 * self.unit)
            if self.ending is Ending.STOP:
                await tree.stop(timeout=3.0 * self.unit)
            else:
                await tree.wait_settled()

    async def open_harness(self) -> None:
        async with open_harness(self.root, backoff=self.backoff) as tree:
            await trio.sleep(4.0 * self.unit)
            await tree.stop(timeout=3.0 * self.unit)

    def main(self, *, beside: bool = False) -> NoReturn:
        """Live it as a process's, with sidecars ``beside`` it."""

        def sidecars(_: Supervisor) -> dict[str, Callable[[], Awaitable[object]]]:
            return {"well": self.wait_for_stop, "ill": self.give_up_beside}

        supervisor.main(
            self.root,
            backoff=self.backoff,
            limit=ONCE,
            timeout=30.0,
            sidecars=sidecars if beside else None,
        )

    async def give_up_beside(self) -> None:
        """Die, beside the tree, and die when it is stopped."""
        try:
            await self.wait_for_stop()
        finally:
            self.give_up()

"""The whole life of a client of etcd with a bit of everything, disturbed at each point in turn.

Ctrl-C comes at each point where CPython looks for signals, and a cancellation at each step of a
task; see :mod:`benchmarks.soak.sweep`. Whenever it comes, it is what ends the life, and nothing is
left: no connection, stream, watch, lease, key of a lease, or task. The cluster is one in memory, at
the seam.
"""

from __future__ import annotations

import contextlib
import gc
import random
import warnings
from functools import partial
from typing import TYPE_CHECKING, Final, final

import attrs
import trio
from trio.testing import MockClock

import supervisor
from supervisor import Signal
from tests.trio_event.etcd.helpers.store import Store
from trio_event import MemoryValue
from trio_event.etcd import (
    Bytes,
    Compare,
    EtcdClient,
    EtcdError,
    Get,
    Put,
    Text,
    announce,
    current_leadership,
    elect,
)

from .sweep import Interruption, Steps, ignore_unstarted, interrupt_run, watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .sweep import Points


HANGS: Final = 600.0
"""What has not ended after so many seconds, on a clock that jumps, never will."""


@final
class Client:
    """One life of a client; ``unit`` is how many seconds it does nothing, now and then."""

    def __init__(self, make: Callable[[], EtcdClient], unit: float) -> None:
        self.unit = unit
        self.alive = 0
        self.is_whole = False
        """It has come to its last part."""
        self._make = make
        # The cluster, if it can be told to lose something.
        self.store: Store | None = None

    async def run(self) -> None:
        """Live; what waits in vain is told."""
        # Not by fail_after(): Ctrl-C in the frames of contextlib would leave its scope open.
        with trio.move_on_after(HANGS) as scope:
            async with self._make() as client:
                parts = [self.call, self.follow, self.announce, self.lead]
                if self.store is not None:
                    parts += [self.compete, self.lose]
                for part in parts:
                    try:
                        await part(client)
                    except* EtcdError:
                        pass
                self.is_whole = True
        if scope.cancelled_caught:
            raise trio.TooSlowError

    async def call(self, client: EtcdClient) -> None:
        await client.put("life/a", b"1")
        await client.get("life/a")
        await client.get_range("life/")
        compare = [Compare("life/a", "value", "==", b"1")]
        await client.transaction(compare, [Put("life/b", b"2")], [Get("life/b")])
        await client.delete("life/b")

    async def follow(self, client: EtcdClient) -> None:
        async with (
            client.value("life/a", Text()) as value,
            client.map("life/", Bytes()) as several,
            client.lease(10) as lease,
        ):
            revision = await value.put("2", lease=lease)
            await value.wait_revision(revision)
            await several.wait_revision(await client.put("other", b""))
            await value.update(lambda _: "3")
            await value.compare_and_set(value.version, "4")
            with value.watch() as watcher:
                await watcher.get()
            await several.put("c", b"5", lease=lease)
            await several.replace_all({"d": b"6"})
            await several.delete("d")
            with trio.move_on_after(self.unit):
                await lease.wait_lost()

    async def announce(self, client: EtcdClient) -> None:
        data = MemoryValue(b"1")
        with trio.move_on_after(self.unit):
            await announce(client, "life/me", data, ttl=3)

    async def lead(self, client: EtcdClient) -> None:
        await client.put("life/leader/0", b"an older candidate")

        async def make_way() -> None:
            supervisor.signal(Signal.HEALTHY)
            await trio.sleep(self.unit)
            with contextlib.suppress(EtcdError):
                await client.delete("life/leader/0")
            supervisor.signal(Signal.DONE)

        async def root() -> None:
            supervisor.run("make_way", make_way)
            supervisor.run("leader", elect(client, "life/leader", self.leader, ttl=3))
            supervisor.signal(Signal.HEALTHY)
            supervisor.signal(Signal.DONE)

        with trio.move_on_after(10 * self.unit):
            await supervisor.supervise(root)

    async def compete(self, client: EtcdClient) -> None:
        """Write as several do, so that some find newer data."""
        async with client.value("life/n", Text()) as value, trio.open_nursery() as nursery:

            async def update() -> None:
                with contextlib.suppress(EtcdError):
                    await value.update(lambda _: "n")

            for _ in range(3):
                nursery.start_soon(update)
            await value.compare_and_set(value.version + 1, "stale")
            with contextlib.suppress(EtcdError):
                await value.delete()

    async def lose(self, client: EtcdClient) -> None:
        """Announce a key and lead, while leases and streams are lost."""
        assert self.store is not None
        data = MemoryValue(b"1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(announce, client, "life/me", data, ttl=3))
            nursery.start_soon(supervisor.supervise, partial(self.reign, client))
            for disturb in (data.close, self.store.lose_leases, self.store.lose_streams):
                await trio.sleep(2 * self.unit)
                disturb()
            await trio.sleep(2 * self.unit)
            with contextlib.suppress(EtcdError):
                for item in (await client.get_range("life/reign")).items:
                    await client.delete(item.key)
            await trio.sleep(2 * self.unit)
            nursery.cancel_scope.cancel()

    async def reign(self, client: EtcdClient) -> None:
        """Lead until the leadership is lost."""
        supervisor.run("leader", elect(client, "life/reign", self.rule, ttl=3))
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async def rule(self) -> None:
        self.alive += 1
        try:
            supervisor.signal(Signal.HEALTHY)
            await trio.sleep_forever()
        finally:
            self.alive -= 1

    async def leader(self) -> None:
        self.alive += 1
        try:
            supervisor.signal(Signal.HEALTHY)
            leadership = current_leadership()
            await leadership.put("life/led", b"7", lease=leadership.lease)
            await leadership.delete("life/led")
            supervisor.signal(Signal.DONE)
        finally:
            self.alive -= 1


# What comes of it


@final
@attrs.define
class Attempt:
    """A life that was disturbed, and what came of it."""

    store: Store
    life: Client
    error: BaseException | None = None
    faults: list[str] = attrs.field(factory=list)

    def check(self, *expected: type[BaseException] | None) -> None:
        """Add a fault unless it ended with one of these, and nothing is left."""
        if (None if self.error is None else type(self.error)) not in expected:
            self.faults.append(f"it ended with {self.error!r}")
        if self.life.alive:
            self.faults.append("the leader is left")
        self.faults += [f"left: {each}" for each in self.store.left()]


def begin(*, is_troubled: bool = False) -> Attempt:
    """Return a life that has not begun."""
    store = Store(is_troubled=is_troubled)
    return Attempt(store, Client(store.client, 1.0))


def interrupt(attempt: Attempt, interruption: Interruption, *, only_at_checkpoints: bool) -> None:
    """Live a life on a clock that jumps, with Ctrl-C in it; then a client uses the same cluster."""
    clock = MockClock(autojump_threshold=0)
    live(attempt, interruption, clock=clock, only_at_checkpoints=only_at_checkpoints)
    trio.run(use, attempt.store, clock=MockClock(autojump_threshold=0))


def live(
    attempt: Attempt,
    interruption: Interruption,
    *,
    clock: trio.abc.Clock | None = None,
    only_at_checkpoints: bool = False,
) -> None:
    """Live a life, with Ctrl-C in it."""
    run = partial(
        trio.run,
        attempt.life.run,
        clock=clock,
        instruments=[interruption],
        restrict_keyboard_interrupt_to_checkpoints=only_at_checkpoints,
    )
    interrupt_run(attempt, interruption, run)


async def use(store: Store) -> None:
    """Use a cluster as the next client."""
    async with store.client() as client, client.value("life/next", Bytes()) as value:
        await value.wait_revision(await value.put(b"1"))
        await value.delete()


def sweep_interrupts(points: Points, *, only_at_checkpoints: bool = False) -> Iterator[str]:
    """Yield the faults that Ctrl-C shows at the points that ``points`` chooses of so many."""
    whole = Interruption(0)
    attempt = begin()
    interrupt(attempt, whole, only_at_checkpoints=only_at_checkpoints)
    attempt.check(None)
    assert attempt.life.is_whole
    yield from attempt.faults
    for number in points(whole.points):
        for times, apart in ((1, 1), (2, random.choice((1, 10, 100, 1000)))):
            interruption = Interruption(number, times=times, apart=apart)
            attempt = begin()
            interrupt(attempt, interruption, only_at_checkpoints=only_at_checkpoints)
            # Trio shuffles its tasks: a life may have fewer points than the first one had.
            attempt.check(None if interruption.points < number else KeyboardInterrupt)
            for fault in attempt.faults:
                yield f"{times} SIGINT from point {number} on ({interruption.where}): {fault}"
            del attempt
    with warnings.catch_warnings():
        ignore_unstarted()
        gc.collect()


# At the steps of tasks


async def cancelled(attempt: Attempt, scope: trio.CancelScope) -> None:
    """Live a life in a scope that is cancelled some time."""
    life = attempt.life
    life.store = attempt.store
    with scope:
        await life.run()


def cancel_at(attempt: Attempt, number: int) -> int:
    """Live a life that is cancelled at a step; return its number of steps."""
    scope = trio.CancelScope()
    steps = Steps(number, scope.cancel)
    with watched(attempt):
        trio.run(
            cancelled,
            attempt,
            scope,
            clock=MockClock(autojump_threshold=0),
            instruments=[steps],
        )
    return steps.steps


def sweep_steps(points: Points) -> Iterator[str]:
    """Yield the faults that a cancellation shows at the steps that ``points`` chooses."""
    for is_troubled in (False, True):
        attempt = begin(is_troubled=is_troubled)
        whole = cancel_at(attempt, 0)
        assert attempt.life.is_whole
        for number in points(whole):
            attempt = begin(is_troubled=is_troubled)
            cancel_at(attempt, number)
            attempt.check(None)
            for fault in attempt.faults:
                how = ", in trouble" if is_troubled else ""
                yield f"cancelled at step {number}{how}: {fault}"

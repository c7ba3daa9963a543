"""Runnables that play what is planned for them, and tell a witness."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, final

import attrs
import trio

import supervisor
from supervisor import Pool, Signal

from . import actions as deeds
from .strategies import End, GroupPlan, Life, Plan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from supervisor import Supervisor

    from .group_model import Ledger
    from .observer import Witness


@final
@attrs.define(eq=False)
class Stage:
    """What the players of one tree share."""

    witness: Witness
    tree: Supervisor | None = None
    pools: dict[str, Pool] = attrs.field(factory=dict)

    async def play(self, plan: Plan) -> None:
        """Be a runnable."""
        witness, dn = self.witness, supervisor.current_dn()
        self.look()
        with witness.task(dn):
            witness.runs[dn] += 1
            life = plan.life(witness.runs[dn])
            for number, group in enumerate(plan.groups):
                self.start(dn, number, group)
            polite = False
            try:
                if life.polite or life.helpers:
                    async with trio.open_nursery() as nursery:

                        async def leave() -> None:
                            nonlocal polite
                            await supervisor.wait_stop_requested()
                            polite = True
                            nursery.cancel_scope.cancel()

                        if life.polite:
                            nursery.start_soon(leave)
                        for _ in range(life.helpers):
                            nursery.start_soon(self.help, dn)
                        await self.work(dn, life)
                        nursery.cancel_scope.cancel()
                else:
                    await self.work(dn, life)
            except trio.Cancelled:
                witness.interrupted(dn)
                await self.clean_up(life)
                if life.stop_fault:
                    raise witness.fault(dn)  # noqa: B904  it hides the Cancelled on purpose
                raise
            if polite:
                witness.interrupted(dn)
                await self.clean_up(life)
                if life.stop_fault:
                    raise witness.fault(dn)

    async def work(self, dn: str, life: Life) -> None:
        await trio.sleep(life.set_up)
        if life.healthy:
            supervisor.signal(Signal.HEALTHY)
            self.look()
        await trio.sleep(life.work)
        ledger = self.witness.find(dn)
        if ledger is not None and ledger.handle is not None:  # the root has none
            if life.end is End.STOP_OWN:
                await deeds.stop(self.witness, ledger)
            elif life.end is End.RESTART_OWN:
                await deeds.restart(self.witness, ledger)
        if life.end in {End.STAY, End.STOP_OWN, End.RESTART_OWN}:
            await trio.sleep_forever()
        await self.clean_up(life)
        if life.end is End.DIE:
            raise self.witness.fault(dn)
        if life.end is End.DIE_TWICE:
            faults = [self.witness.fault(dn), self.witness.fault(dn)]
            raise ExceptionGroup("both", faults)
        if life.end is End.FATAL:
            raise self.witness.leave(dn)
        if life.end is End.DONE:
            supervisor.signal(Signal.DONE)

    async def clean_up(self, life: Life) -> None:
        self.look()
        if life.clean_up:
            with trio.CancelScope(shield=life.shielded):
                await trio.sleep(life.clean_up)

    async def help(self, dn: str) -> None:
        with self.witness.task(dn):
            await trio.sleep_forever()

    def look(self) -> None:
        """Look at the tree in the middle of whatever goes on."""
        assert self.tree is not None
        self.witness.glance(self.tree)

    def start(self, parent: str, number: int, group: GroupPlan) -> None:
        """Start a group of children of the calling runnable."""
        names = [f"g{number}m{member}" for member in range(len(group.members))]
        ledger = self.witness.open(parent, group, names)
        if group.pool:
            pool = supervisor.run_pool(names[0], backoff=group.backoff, limit=group.limit)
            self.pools[ledger.dns[0]] = pool
            return
        runnables = {
            name: partial(self.play, plan) for name, plan in zip(names, group.members, strict=True)
        }
        ledger.handle = supervisor.run_group(
            partial(self.make, ledger, runnables) if group.factory else runnables,
            backoff=group.backoff,
            limit=group.limit,
            grace=group.grace,
            ordered=group.ordered,
            start_timeout=group.start_timeout,
        )

    def make(
        self, ledger: Ledger, runnables: Mapping[str, Callable[[], Awaitable[None]]]
    ) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """Be the function that makes the runnables of a group."""
        ledger.calls += 1
        if ledger.calls in ledger.plan.factory_faults:
            ledger.fail_to_renew(trio.current_time())
            raise self.witness.fault(ledger.dns[0])
        return runnables

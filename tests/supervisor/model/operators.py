"""Operators of a tree: what they do to it at any time, and what has to come of it (S19, S23)."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, final

import attrs
import pytest
import trio
from hypothesis import strategies as st

from supervisor import DuplicateNameError, RunError, UnknownNameError

from . import actions as deeds
from .strategies import GroupPlan, children

if TYPE_CHECKING:
    from supervisor import Pool

    from .group_model import Ledger
    from .runnables import Stage


class Deed(enum.Enum):
    """What an operator can do."""

    STOP = "Handle.stop()"
    RESTART = "Handle.restart()"
    WAIT = "Handle.wait_healthy()"
    POOL_RUN = "Pool.run()"
    POOL_STOP = "Pool.stop()"
    STOP_TREE = "Supervisor.stop()"
    STOP_TREE_SOON = "Supervisor.stop(timeout=1.0)"


@final
@attrs.frozen
class Act:
    """What an operator does at some time."""

    tick: int
    deed: Deed
    which: int
    """To whom, of those that there are."""
    patience: float | None
    """After how many seconds he is cancelled himself."""
    child: GroupPlan | None
    """What is to run in a pool."""


often = [Deed.STOP, Deed.RESTART, Deed.POOL_RUN, Deed.POOL_STOP]
usual = st.sampled_from([*often, *often, *often, Deed.WAIT, Deed.STOP_TREE, Deed.STOP_TREE_SOON])
patiences = st.sampled_from([None, None, None, 0.0, 0.5])


@st.composite
def bursts(draw: st.DrawFn) -> list[Act]:
    """Draw some acts of several operators at once, who have the same in mind."""
    tick = draw(st.sampled_from([1, 1, 2, 2, 3, 4]) | st.integers(0, 30))
    which = draw(st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4, 5]))
    number = draw(st.integers(1, 4))
    several = []
    for _ in range(number):
        deed = draw(usual)
        child = draw(children) if deed is Deed.POOL_RUN else None
        several.append(Act(tick, deed, which, draw(patiences), child))
    return several


acts = st.lists(bursts(), min_size=1, max_size=8).map(
    lambda several: [act for acts in several for act in acts]
)


@final
@attrs.define(eq=False)
class Operators:
    """Those who operate one tree."""

    stage: Stage
    busy: int = 0
    """How many of them are at it."""
    known: list[Ledger] = attrs.field(factory=list)
    """All groups whose handles they ever had."""

    async def act(self, act: Act) -> None:
        """Do it, and judge what comes of it."""
        self.known += [each for each in self.stage.witness.handled if each not in self.known]
        pools = list(self.stage.pools.values())
        patience = trio.CancelScope()
        if act.patience is not None:
            patience.deadline = trio.current_time() + act.patience
        self.busy += 1
        with patience:
            if act.deed in {Deed.STOP_TREE, Deed.STOP_TREE_SOON}:
                budget = 1.0 if act.deed is Deed.STOP_TREE_SOON else None
                assert self.stage.tree is not None
                await deeds.stop_tree(self.stage.witness, self.stage.tree, budget)
            elif act.child is not None and pools:
                self.pool_run(pools[act.which % len(pools)], f"c{act.which % 3}", act.child)
            elif act.deed is Deed.POOL_STOP and pools:
                await self.pool_stop(pools[act.which % len(pools)], f"c{act.which % 3}")
            elif self.known:
                ledger = self.known[act.which % len(self.known)]
                if act.deed is Deed.STOP:
                    await deeds.stop(self.stage.witness, ledger)
                elif act.deed is Deed.RESTART:
                    await deeds.restart(self.stage.witness, ledger)
                elif act.deed is Deed.WAIT:
                    await deeds.wait_healthy(self.stage.witness, ledger)
        self.busy -= 1

    def pool_run(self, pool: Pool, name: str, child: GroupPlan) -> None:
        witness = self.stage.witness
        if f"{pool.dn}.{name}" in witness.states:
            refusals = (DuplicateNameError,) if witness.steady(pool.dn) else (ValueError, RunError)
            with pytest.raises(refusals):
                pool.run(name, trio.sleep_forever)
        elif pool.dn in witness.states:
            ledger = witness.open(pool.dn, child, [name])
            try:
                ledger.handle = pool.run(
                    name,
                    self.stage.play,
                    child.members[0],
                    backoff=child.backoff,
                    limit=child.limit,
                    grace=child.grace,
                    start_timeout=child.start_timeout,
                )
            except RunError:
                witness.shut(ledger)
                assert not witness.steady(pool.dn)

    async def pool_stop(self, pool: Pool, name: str) -> None:
        witness, dn = self.stage.witness, f"{pool.dn}.{name}"
        ledger = witness.find(dn)
        over = ledger is None or ledger.over
        if ledger is not None:
            ledger.over = True
        try:
            await pool.stop(name)
        except UnknownNameError:
            assert ledger is None
        except RunError:
            if ledger is not None:
                ledger.over = over
            assert not witness.steady(pool.dn)
        else:
            assert ledger is not None
            assert witness.find(dn) is not ledger or not witness.steady(pool.dn)

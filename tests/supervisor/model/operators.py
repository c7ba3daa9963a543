"""Operators of a tree, who call handles, pools and the tree at any time (S19, S23)."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, final

import attrs
import pytest
import trio
from hypothesis import strategies as st

from supervisor import DuplicateNameError, RestartPolicy, RunError, UnknownNameError

from . import actions
from .observer import DeadlyError
from .strategies import GroupPlan, children

if TYPE_CHECKING:
    from supervisor import Pool

    from .group_model import GroupModel
    from .runnables import Runnables


class Operation(enum.Enum):
    """What an operator can call."""

    STOP = "Handle.stop()"
    RESTART = "Handle.restart()"
    WAIT = "Handle.wait_healthy()"
    POOL_RUN = "Pool.run()"
    POOL_STOP = "Pool.stop()"
    POOL_CLOSE = "Pool.close()"
    POOL_DRAIN = "Pool.drain()"
    STOP_TREE = "Supervisor.stop()"
    STOP_TREE_SOON = "Supervisor.stop(timeout=1.0)"


@final
@attrs.frozen
class Command:
    """A call of an operator, and when it is made."""

    tick: int
    operation: Operation
    which: int
    """Which of the groups, or pools, that exist."""
    timeout: float | None
    """After how many seconds the call is cancelled."""
    child: GroupPlan | None
    """What a pool is to run."""


often = [Operation.STOP, Operation.RESTART, Operation.POOL_RUN, Operation.POOL_STOP]
usual = st.sampled_from(
    [
        *often * 5,
        Operation.WAIT,
        Operation.WAIT,
        Operation.POOL_CLOSE,
        Operation.POOL_DRAIN,
        Operation.STOP_TREE,
        Operation.STOP_TREE,
        Operation.STOP_TREE_SOON,
    ]
)
timeouts = st.sampled_from([None, None, None, 0.0, 0.5])


@st.composite
def bursts(draw: st.DrawFn) -> list[Command]:
    """Draw calls that several operators make at once, about the same group or pool."""
    tick = draw(st.sampled_from([1, 1, 2, 2, 3, 4]) | st.integers(0, 30))
    which = draw(st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4, 5]))
    number = draw(st.integers(1, 4))
    several = []
    for _ in range(number):
        operation = draw(usual)
        child = draw(children) if operation is Operation.POOL_RUN else None
        several.append(Command(tick, operation, which, draw(timeouts), child))
    return several


commands = st.lists(bursts(), min_size=1, max_size=8).map(
    lambda several: [command for commands in several for command in commands]
)


@final
@attrs.define(eq=False)
class Operators:
    """The operators of one tree."""

    runnables: Runnables
    busy: int = 0
    """How many of their calls have not returned."""
    known: list[GroupModel] = attrs.field(factory=list)
    """The groups of all handles that they have had."""

    async def execute(self, command: Command) -> None:
        """Make a call, and check what comes of it."""
        self.known += [
            each for each in self.runnables.observer.with_handles if each not in self.known
        ]
        pools = list(self.runnables.pools.values())
        scope = trio.CancelScope()
        if command.timeout is not None:
            scope.deadline = trio.current_time() + command.timeout
        self.busy += 1
        with scope:
            if command.operation in {Operation.STOP_TREE, Operation.STOP_TREE_SOON}:
                budget = 1.0 if command.operation is Operation.STOP_TREE_SOON else None
                assert self.runnables.tree is not None
                await actions.stop_tree(self.runnables.observer, self.runnables.tree, budget)
            elif command.child is not None and pools:
                self.pool_run(
                    pools[command.which % len(pools)], f"c{command.which % 3}", command.child
                )
            elif command.operation is Operation.POOL_STOP and pools:
                await self.pool_stop(pools[command.which % len(pools)], f"c{command.which % 3}")
            elif command.operation is Operation.POOL_CLOSE and pools:
                self.pool_close(pools[command.which % len(pools)])
            elif command.operation is Operation.POOL_DRAIN and pools:
                await self.pool_drain(pools[command.which % len(pools)])
            elif self.known:
                model = self.known[command.which % len(self.known)]
                if command.operation is Operation.STOP:
                    await actions.stop(self.runnables.observer, model)
                elif command.operation is Operation.RESTART:
                    await actions.restart(self.runnables.observer, model)
                elif command.operation is Operation.WAIT:
                    await actions.wait_healthy(self.runnables.observer, model)
        self.busy -= 1

    def pool_run(self, pool: Pool, name: str, child: GroupPlan) -> None:
        observer = self.runnables.observer
        if f"{pool.dn}.{name}" in observer.states:
            open_ = observer.is_steady(pool.dn) and pool.dn not in observer.closed
            refusals = (DuplicateNameError,) if open_ else (ValueError, RunError)
            with pytest.raises(refusals):
                pool.run(name, trio.sleep_forever)
        elif pool.dn in observer.states:
            model = observer.add_group(pool.dn, child, [name])
            try:
                model.handle = pool.run(
                    name,
                    self.runnables.run,
                    child.members[0],
                    backoff=None if child.never else child.backoff,
                    limit=None if child.never else child.limit,
                    grace=child.grace,
                    start_timeout=child.start_timeout,
                    heartbeat=child.heartbeat,
                    restart=RestartPolicy.NEVER if child.never else RestartPolicy.ON_FAILURE,
                    fatal=DeadlyError,
                )
            except RunError:
                observer.remove_group(model)
                assert not observer.is_steady(pool.dn) or pool.dn in observer.closed

    async def pool_stop(self, pool: Pool, name: str) -> None:
        observer, dn = self.runnables.observer, f"{pool.dn}.{name}"
        model = observer.find(dn)
        over = model is None or model.over
        if model is not None:
            model.over = True
        try:
            await pool.stop(name)
        except UnknownNameError:
            assert model is None
        except RunError:
            if model is not None:
                model.over = over
            assert not observer.is_steady(pool.dn)
        else:
            assert model is not None
            assert observer.find(dn) is not model or not observer.is_steady(pool.dn)

    def pool_close(self, pool: Pool) -> None:
        observer = self.runnables.observer
        try:
            pool.close()
        except RunError:
            assert not observer.is_steady(pool.dn)
        else:
            observer.closed.add(pool.dn)

    async def pool_drain(self, pool: Pool) -> None:
        observer = self.runnables.observer
        model = observer.find(pool.dn)
        steady, rounds = observer.is_steady(pool.dn), model and model.rounds
        # It closes before its first checkpoint, if it closes the pool at all.
        before = pool.dn in observer.closed
        observer.closed.add(pool.dn)
        try:
            await pool.drain()
        except RunError:
            assert not steady
            if not before:
                observer.closed.discard(pool.dn)
        else:
            assert model is None or model.rounds != rounds or not len(pool)

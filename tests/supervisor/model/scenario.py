"""A tree from its start to its end, watched at each instant at which something may happen."""

from __future__ import annotations

import enum
from functools import partial
from typing import TYPE_CHECKING, Final, final

import trio
from trio.testing import wait_all_tasks_blocked

from supervisor import GaveUpError, RestartLimitExceeded, open_supervisor

from .actions import stop_tree, wait_healthy
from .observer import RUNNING, FatalError, Records, Witness
from .operators import Operators
from .runnables import Stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from supervisor import Supervisor

    from .group_model import Ledger
    from .operators import Act
    from .strategies import GroupPlan

TICK: Final = 0.5
TICKS: Final = 40
BUDGET: Final = 3.0
"""For a stop that has one."""
PATIENCE: Final = 500.0
"""More than any tree needs to stop."""


class Ending(enum.Enum):
    """How a tree ends, if it does not end by itself."""

    STOP = "stopped"
    BUDGET = "stopped, within some seconds"
    LEAVE = "left by the body of open_supervisor()"
    CANCEL = "cancelled from outside"


@final
class Drama:
    """One run of a tree."""

    def __init__(self, root: GroupPlan, ending: Ending, acts: Sequence[Act] = ()) -> None:
        self._root = root
        self._ending = ending
        self._acts = acts
        self._witness = Witness(root)
        self._stage = Stage(self._witness)
        self._operators = Operators(self._stage)
        self._records = Records()
        # What is waited for, and whether it is so.
        self._waits: dict[object, Callable[[], bool]] = {}

    async def run(self) -> None:
        """Run the tree, end it, and look at what is left."""
        tasks = trio.lowlevel.current_statistics().tasks_living
        left: list[BaseException] = []
        with self._records.kept(), trio.fail_after(TICKS * TICK + PATIENCE):
            async with trio.open_nursery() as nursery:
                with trio.CancelScope() as outside:
                    try:
                        await self._live(nursery, outside)
                    except (RestartLimitExceeded, FatalError, BaseExceptionGroup) as error:
                        left.append(error)
                await wait_all_tasks_blocked()
                assert not self._operators.busy, "somebody waits for what will never be"
                nursery.cancel_scope.cancel()
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        self._judge([leaf for error in left for leaf in leaves_of(error)])

    async def _live(self, nursery: trio.Nursery, outside: trio.CancelScope) -> None:
        async with open_supervisor(
            self._stage.play,
            self._root.members[0],
            backoff=self._root.backoff,
            limit=self._root.limit,
            grace=self._root.grace,
            metrics=self._witness,
        ) as tree:
            self._stage.tree = tree
            for tick in range(TICKS):
                for act in self._acts:
                    if act.tick == tick:
                        nursery.start_soon(self._operators.act, act)
                self._wait_for_everything(tree, nursery)
                await wait_all_tasks_blocked()
                self._witness.rest(tree)
                for key, so in self._waits.items():
                    assert not so(), f"{key} is so, but still waited for"
                await trio.sleep(TICK)
            await self._end(tree, outside)

    async def _end(self, tree: Supervisor, outside: trio.CancelScope) -> None:
        if self._ending is Ending.CANCEL:
            self._witness.end(trio.current_time())
            outside.cancel()
        elif self._ending is Ending.LEAVE:
            self._witness.end(None)
        else:
            budget = BUDGET if self._ending is Ending.BUDGET else None
            await stop_tree(self._witness, tree, budget)

    def _wait_for_everything(self, tree: Supervisor, nursery: trio.Nursery) -> None:
        """Have somebody wait for whatever one can wait for."""

        def settled() -> bool:
            return self._witness.settled(tree.snapshot())

        def wait(key: object, start: Callable[[], Awaitable[None]], so: Callable[[], bool]) -> None:
            if key not in self._waits:
                self._waits[key] = so
                nursery.start_soon(self._wait, key, start)

        wait("settled", tree.wait_settled, settled)
        for dn in self._witness.states:
            wait(dn, partial(tree.wait_ready, dn), partial(tree.ready, dn))
        for ledger in self._witness.handled:
            wait(ledger, partial(wait_healthy, self._witness, ledger), partial(self._known, ledger))

    async def _wait(self, key: object, start: Callable[[], Awaitable[None]]) -> None:
        try:
            await start()
        except GaveUpError:
            assert self._witness.over, f"{key} is given up in a tree that goes on"
            del self._waits[key]
            return
        so = self._waits.pop(key)
        assert so() or not isinstance(key, str), f"{key} is waited for no more, but is not so"

    def _known(self, ledger: Ledger) -> bool:
        """Return whether nobody has to wait for a group to be healthy."""
        return self._witness.ready_group(ledger) or ledger.hopeless

    def _judge(self, left: list[BaseException]) -> None:
        """Check what is left of it all, and what has left it."""
        witness, text = self._witness, "\n".join(self._records.texts)
        assert not witness.violations
        assert not +witness.tasks
        assert not RUNNING & set(witness.states.values())
        for fault in witness.faults:
            assert fault in text, f"{fault} is lost"
        if not witness.fatal:
            assert witness.deaths == text.count(" died in incarnation ")
        fatal = [error for error in left if isinstance(error, FatalError)]
        assert set(fatal) == set(witness.fatal)
        exceeded = [error for error in left if isinstance(error, RestartLimitExceeded)]
        # A stop wins over a limit that was exceeded when it comes before the tasks are gone.
        assert len(exceeded) <= witness.root.gives_up
        assert exceeded or witness.ended or not witness.root.gives_up
        assert len(left) == len(fatal) + len(exceeded)


def leaves_of(error: BaseException) -> list[BaseException]:
    """Return the exceptions in a group."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in leaves_of(each)]
    return [error]

"""A tree from its start to its end, checked at each instant at which something may happen."""

from __future__ import annotations

import enum
from functools import partial
from typing import TYPE_CHECKING, Final, final

import trio
from trio.testing import wait_all_tasks_blocked

from supervisor import GaveUpError, RestartLimitExceeded, open_supervisor

from .actions import stop_tree, wait_healthy
from .observer import RUNNING, FatalError, Observer, Records
from .operators import Operators
from .runnables import Runnables

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from supervisor import Supervisor

    from .group_model import GroupModel
    from .operators import Command
    from .strategies import GroupPlan

TICK: Final = 0.5
TICKS: Final = 40
BUDGET: Final = 3.0
"""For a stop that has one."""
LONGEST_STOP: Final = 500.0
"""More than any tree needs to stop."""


class Ending(enum.Enum):
    """How a tree ends, if it does not end by itself."""

    STOP = "stopped"
    BUDGET = "stopped, within some seconds"
    LEAVE = "left by the body of open_supervisor()"
    CANCEL = "cancelled from outside"


@final
class Scenario:
    """One run of a tree."""

    def __init__(self, root: GroupPlan, ending: Ending, commands: Sequence[Command] = ()) -> None:
        self._root = root
        self._ending = ending
        self._commands = commands
        self._observer = Observer(root)
        self._runnables = Runnables(self._observer)
        self._operators = Operators(self._runnables)
        self._records = Records()
        # What is waited for, and whether it holds.
        self._waits: dict[object, Callable[[], bool]] = {}

    async def run(self) -> None:
        """Run the tree, end it, and check what is left."""
        tasks = trio.lowlevel.current_statistics().tasks_living
        left: list[BaseException] = []
        with self._records.recorded(), trio.fail_after(TICKS * TICK + LONGEST_STOP):
            async with trio.open_nursery() as nursery:
                with trio.CancelScope() as outside:
                    try:
                        await self._run_tree(nursery, outside)
                    except (RestartLimitExceeded, FatalError, BaseExceptionGroup) as error:
                        left.append(error)
                await wait_all_tasks_blocked()
                assert not self._operators.busy, "an operator's call has not returned"
                nursery.cancel_scope.cancel()
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        self._check_result([leaf for error in left for leaf in leaves_of(error)])

    async def _run_tree(self, nursery: trio.Nursery, outside: trio.CancelScope) -> None:
        async with open_supervisor(
            self._runnables.run,
            self._root.members[0],
            backoff=self._root.backoff,
            limit=self._root.limit,
            grace=self._root.grace,
            metrics=self._observer,
        ) as tree:
            self._runnables.tree = tree
            for tick in range(TICKS):
                for command in self._commands:
                    if command.tick == tick:
                        nursery.start_soon(self._operators.execute, command)
                self._start_waits(tree, nursery)
                await wait_all_tasks_blocked()
                self._observer.check_when_blocked(tree)
                for key, condition in self._waits.items():
                    assert not condition(), f"{key} holds, but is still waited for"
                await trio.sleep(TICK)
            await self._end_tree(tree, outside)

    async def _end_tree(self, tree: Supervisor, outside: trio.CancelScope) -> None:
        if self._ending is Ending.CANCEL:
            self._observer.stop_requested(trio.current_time())
            outside.cancel()
        elif self._ending is Ending.LEAVE:
            self._observer.stop_requested(None)
        else:
            budget = BUDGET if self._ending is Ending.BUDGET else None
            await stop_tree(self._observer, tree, budget)

    def _start_waits(self, tree: Supervisor, nursery: trio.Nursery) -> None:
        """Start a task for each wait that there can be."""

        def settled() -> bool:
            return self._observer.settled(tree.snapshot())

        def wait(
            key: object, start: Callable[[], Awaitable[None]], condition: Callable[[], bool]
        ) -> None:
            if key not in self._waits:
                self._waits[key] = condition
                nursery.start_soon(self._wait, key, start)

        wait("settled", tree.wait_settled, settled)
        for dn in self._observer.states:
            wait(dn, partial(tree.wait_ready, dn), partial(tree.ready, dn))
        for model in self._observer.with_handles:
            wait(
                model,
                partial(wait_healthy, self._observer, model),
                partial(self._needs_no_wait, model),
            )

    async def _wait(self, key: object, start: Callable[[], Awaitable[None]]) -> None:
        try:
            await start()
        except GaveUpError:
            assert self._observer.tree_is_over, f"{key} is given up in a tree that goes on"
            del self._waits[key]
            return
        condition = self._waits.pop(key)
        assert condition() or not isinstance(key, str), (
            f"{key} is no longer waited for, but does not hold"
        )

    def _needs_no_wait(self, model: GroupModel) -> bool:
        """Return whether a wait for a group to be healthy returns or raises at once."""
        return self._observer.ready_group(model) or model.will_not_be_ready

    def _check_result(self, left: list[BaseException]) -> None:
        """Check what the tree has logged and raised, and that nothing of it is left."""
        observer, text = self._observer, "\n".join(self._records.texts)
        assert not observer.violations
        assert not +observer.tasks
        assert not RUNNING & set(observer.states.values())
        for fault in observer.faults:
            assert fault in text, f"{fault} is lost"
        if not observer.fatal:
            assert observer.deaths == text.count(" died in incarnation ")
        fatal = [error for error in left if isinstance(error, FatalError)]
        assert set(fatal) == set(observer.fatal)
        exceeded = [error for error in left if isinstance(error, RestartLimitExceeded)]
        # A stop wins over a limit that was exceeded when it comes before the tasks are gone.
        assert len(exceeded) <= observer.root.gives_up
        assert exceeded or observer.ended or not observer.root.gives_up
        assert len(left) == len(fatal) + len(exceeded)


def leaves_of(error: BaseException) -> list[BaseException]:
    """Return the exceptions in a group."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in leaves_of(each)]
    return [error]

"""The owner of a nursery: where the children of one incarnation run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, final

import trio
from trio.lowlevel import (
    Abort,
    current_task,
    enable_ki_protection,
    reschedule,
    wait_task_rescheduled,
)

from ._crash import unwrapped
from ._stuck import watch

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Awaitable, Callable

    from ._node import Group
    from ._tree import Tree

ArgT = TypeVar("ArgT")


@final
class Host:
    """Owns the nursery in which the groups of one parent run.

    It ends when it is sealed (no more groups can come) and all groups have ended,
    or when it is cancelled and all their tasks are gone. It raises nothing.

    The hosts of a tree are nested in one another and in nothing else: no runnable's cancel scope
    is around a host. So a runnable can be cancelled while its children live on, and a
    cancellation from outside reaches everybody at once.

    A host waits with an abort function of its own, which Trio calls synchronously wherever the
    cancellation comes from. So ``cancelled`` is set before any task below runs again.
    """

    __slots__ = (
        "_changed",
        "_live",
        "_nursery",
        "_pending",
        "_sealed",
        "_waiting",
        "awaited",
        "cancelled",
        "ended",
        "over",
        "tree",
    )

    def __init__(self, tree: Tree, *, sealed: bool) -> None:
        self.tree: Tree = tree
        self.cancelled: bool = False
        # No group can start any more: the last has ended, or all are cancelled.
        self.over: bool = False
        self.ended: bool = False
        # Those who wait for the end; None while nobody does.
        self._changed: trio.lowlevel.ParkingLot | None = None
        self._sealed: bool = sealed
        self._nursery: trio.Nursery | None = None
        # What was started before the nursery was open.
        self._pending: list[
            tuple[contextvars.Context, Callable[[Any], Awaitable[object]], object, str]
        ] = []
        # How many groups have not ended.
        self._live: int = 0
        self._waiting: trio.lowlevel.Task | None = None
        # The groups whose changes somebody waits for; None as long as nobody has.
        self.awaited: set[Group] | None = None

    def start_soon(
        self,
        context: contextvars.Context,
        async_fn: Callable[[ArgT], Awaitable[object]],
        arg: ArgT,
        name: str,
    ) -> None:
        """Start a task in a copy of ``context``, as soon as the nursery is open."""
        if self._nursery is None:
            self._pending.append((context, async_fn, arg, name))
        else:
            # It is Trio that makes the copy. Mypy can't fit a TypeVarTuple into a ParamSpec.
            context.run(self._nursery.start_soon, async_fn, arg, name=name)  # type: ignore[arg-type]

    def enter(self) -> None:
        """Take note that there is one more group."""
        self._live += 1

    def leave(self) -> None:
        """Take note that a group has ended for good."""
        self._live -= 1
        self._wake()

    def seal(self) -> None:
        """Take note that no more groups will come."""
        self._sealed = True
        self._wake()

    def cancel(self, reason: str) -> None:
        """Cancel everything below at once."""
        self.cancelled = True
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel(reason)

    @enable_ki_protection
    async def run(self) -> None:
        """Own the nursery until the end."""
        try:
            await self._run()
        except BaseException as error:  # noqa: BLE001  a fault of ours: those above must not wait
            self.tree.leave(unwrapped(error))
        self._nursery = None
        self.ended = True
        self.tell()

    @enable_ki_protection
    async def _run(self) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            if self.cancelled:
                nursery.cancel_scope.cancel("the tree was stopped before it began")
            self._start_pending()
            try:
                # A group may come back between the wake-up and this task's next step.
                while self._live or not self._sealed:
                    self._waiting = current_task()
                    await wait_task_rescheduled(self._abort)
            except trio.Cancelled:
                # Those below see it too; the nursery waits for them.
                if self is self.tree.root.host:
                    watch(self.tree.root)
            except BaseException as error:  # noqa: BLE001  Ctrl-C, where this is Trio's main task
                self.tree.leave(error)
            self.over = True

    async def wait_changed(self) -> None:
        """Wait until it has ended, or something is to be told to those who wait for that."""
        if self._changed is None:
            self._changed = trio.lowlevel.ParkingLot()
        await self._changed.park()

    def tell(self) -> None:
        """Wake those who wait."""
        if self._changed is not None:
            self._changed.unpark_all()

    def _start_pending(self) -> None:
        # Not in run, whose variables live as long as it: the last node would outlive its end.
        pending, self._pending = self._pending, []
        for context, async_fn, arg, name in pending:
            self.start_soon(context, async_fn, arg, name)

    def _abort(self, _: object) -> Abort:
        self._waiting = None
        self.cancelled = True
        self.tree.tell()
        for group in self.awaited or ():
            group.tell()
        return Abort.SUCCEEDED

    def _wake(self) -> None:
        if self._waiting is not None and self._sealed and not self._live:
            task, self._waiting = self._waiting, None
            reschedule(task)

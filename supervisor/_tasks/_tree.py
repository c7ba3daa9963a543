"""What the tasks keep of a tree beside its model: scopes, nurseries, observers, those who wait.

What waits is protected from Ctrl-C: Trio's events and parking lots are not, and one that keeps a
task which is gone breaks the run when it wakes it.

Each class adds slots to the model's class of the same name. The model's own slots are written by
``supervisor._core._steps`` alone, these by the modules of ``supervisor._tasks``.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, final

import trio
from trio.lowlevel import (
    Abort,
    current_task,
    enable_ki_protection,
    reschedule,
    wait_task_rescheduled,
)

from supervisor._core import _steps as steps, _tree as core
from supervisor._core._events import Event, NodeRemoved
from supervisor._text._crash import unwrapped
from supervisor._text._printable import type_name

from ._stop_waiters import StopWaiters
from ._timers import Timers

if TYPE_CHECKING:
    import contextvars
    import logging
    from collections.abc import Awaitable

    from supervisor._core._restart import Backoff

    from ._heartbeat import Heartbeat
    from ._timers import Timer

ArgT = TypeVar("ArgT")

FIRST_REPORT: Final = 5.0
"""Seconds from a stop request to the first report of what has not ended."""


class Report(NamedTuple):
    """When a group was asked to stop, and when it is to be reported, on Trio's clock."""

    asked: float
    due: float


LOOKS: Final = 10
"""Nodes that stay ``NEW`` are looked for this often in the time until the first report."""


class CutShort(NamedTuple):
    """A stop whose time was over before the tree had stopped."""

    seconds: float
    dns: tuple[str, ...]
    """The nodes that were running then."""


Observer = Callable[[Event], object]


# A worker thread that makes a logger changes the observers, too.
_OBSERVERS: Final = threading.Lock()


class _Observing(NamedTuple):
    observer: Observer
    moves: bool
    removals: bool
    at_end: Callable[[], object] | None


@final
class Tree(core.Tree):
    """A tree with its run of Trio, its observers, its timers, and what leaves it."""

    __slots__ = (
        "_delivering",
        "_observers",
        "changed",
        "clock",
        "cut_short",
        "end_time",
        "errors",
        "find_logger",
        "next_report",
        "next_start_report",
        "on_observer_error",
        "propagate",
        "report_after",
        "report_due",
        "report_starts",
        "reports",
        "run_member",
        "settled",
        "stop_began",
        "stop_handler",
        "supervisor",
        "timers",
        "token",
    )

    root: Group  # type: ignore[mutable-override]  # set_root() gets no other

    def __init__(
        self,
        backoff: Backoff,
        run_member: Callable[[Incarnation], Awaitable[None]],
        report_due: Callable[[Tree], None],
        report_starts: Callable[[Tree], None],
        *,
        report_after: float | None,
        propagate: bool,
    ) -> None:
        super().__init__(backoff, Incarnation)  # type: ignore[arg-type]  # all nodes are of its class
        # The task of each incarnation, and what reports the groups that do not end and the nodes
        # that stay NEW. They are built on this module, hence they are passed here.
        self.run_member: Callable[[Incarnation], Awaitable[None]] = run_member
        self.report_due: Callable[[Tree], None] = report_due
        self.report_starts: Callable[[Tree], None] = report_starts
        self.timers: Timers = Timers()
        self._observers: tuple[_Observing, ...] = ()
        self._delivering: bool = False
        # Returns the logger of a node that has that name. Set before any task runs.
        self.find_logger: Callable[[core.Node, str], logging.Logger]
        # Told which observer has raised what, at which event.
        self.on_observer_error: Callable[[Observer, Event, Exception], object] | None = None
        self.propagate: bool = propagate
        # The object that users have of it, set by that.
        self.supervisor: object = None
        # The run of Trio in which the tree lives.
        self.token: trio.lowlevel.TrioToken = trio.lowlevel.current_trio_token()
        # Its clock, which any thread may read; and when the tree ended, once it has.
        self.clock: trio.abc.Clock = trio.lowlevel.current_clock()
        self.end_time: float | None = None
        # When its stop began, if it was stopped.
        self.stop_began: float | None = None
        # The first stop whose time was over.
        self.cut_short: CutShort | None = None
        # Carries out requests to stop, if that is not the tree's own affair; set by the process.
        self.stop_handler: Callable[[str], object] | None = None
        # What will leave supervise().
        self.errors: list[BaseException] = []
        # Those who wait for any change in the tree; None while nobody does.
        self.changed: trio.lowlevel.ParkingLot | None = None
        # Those who wait until it is settled.
        self.settled: trio.lowlevel.ParkingLot = trio.lowlevel.ParkingLot()
        # The groups that were asked to stop and have not ended, and when the next one is reported.
        self.reports: dict[Group, Report] = {}
        self.next_report: float = math.inf
        # After how many seconds a node that is still NEW is reported; None for never.
        self.report_after: float | None = report_after
        # When the next look for nodes that are still NEW is.
        self.next_start_report: float = math.inf

    def time(self) -> float:
        """Return the time in the tree: on its run's clock, until it ended (S16)."""
        return self.clock.current_time() if self.end_time is None else self.end_time

    def abort(self, error: BaseException) -> None:
        """Cancel the whole tree, and let ``error`` leave it (S11)."""
        self.errors.append(error)
        self.root.siblings.cancel(f"{type_name(error)} leaves the tree")

    def watch(self, group: Group) -> None:
        """Report ``group`` from time to time as long as it has not ended (S18)."""
        now = trio.current_time()
        self.reports[group] = Report(asked=now, due=now + FIRST_REPORT)
        # The timer stays when the group ends: it serves the next group that is stopped.
        if now + FIRST_REPORT < self.next_report:
            self.next_report = now + FIRST_REPORT
            self.timers.set(FIRST_REPORT, partial(self.report_due, self))

    def watch_starts(self, due: float) -> None:
        """Look at ``due`` for nodes that are still ``NEW`` (S34).

        The timer stays when they are not ``NEW`` any more: it goes off once, and is not set again.
        """
        self.next_start_report = due
        self.timers.set(max(0.0, due - trio.current_time()), partial(self.report_starts, self))

    def publish(self) -> None:
        """Deliver the events of a step, and wake those who wait for a change in the tree."""
        if self.events and not self._delivering:
            self._deliver()
        if self.starting and self.report_after is not None:
            # All that have started since the last look are due later than the last one.
            last = next(reversed(self.starting))
            due = last.started + self.report_after
            if due + self.report_after / LOOKS < self.next_start_report:
                self.watch_starts(due)
        # As notify() does: this is called several times for each restart.
        if self.changed is not None:
            self.changed.unpark_all()
        if not self.unsettled and self.settled:
            self.settled.unpark_all()

    def notify(self) -> None:
        """Wake those who wait for a change in the tree."""
        if self.changed is not None:
            self.changed.unpark_all()
        if not self.unsettled and self.settled:
            self.settled.unpark_all()

    def add_observer(
        self,
        observer: Observer,
        *,
        moves: bool = True,
        removals: bool = True,
        at_end: Callable[[], object] | None = None,
    ) -> None:
        """Tell ``observer`` of everything from now on, in order, right after each step (S16).

        Args:
            observer: Called in Trio's thread; it must return quickly. An ``Exception`` that it
                raises is reported and harms nobody; any other exception leaves the tree, as a
                runnable's does. What it does to the tree itself, such as stopping a node, is told
                after what is being told now.
            moves: It wants to know of each move of a node or group, which are many.
            removals: It wants to know of each removal of a node.
            at_end: Called when the tree has ended; it must not raise.
        """
        with _OBSERVERS:
            entry = _Observing(observer, moves, removals, at_end)
            self._set_observers((*self._observers, entry))

    def remove_observer(self, observer: Observer) -> None:
        """Tell ``observer`` nothing more."""
        with _OBSERVERS:
            kept = tuple(each for each in self._observers if each.observer != observer)
            self._set_observers(kept)

    def observe_removals(self) -> None:
        """Tell all observers of removals, from now on."""
        with _OBSERVERS:
            self._set_observers(tuple(each._replace(removals=True) for each in self._observers))

    def notify_end(self) -> None:
        """Call what observers want to be called at the end of the tree."""
        for entry in self._observers:
            if entry.at_end is not None:
                entry.at_end()

    def _set_observers(self, entries: tuple[_Observing, ...]) -> None:
        self._observers = entries
        steps.observe(
            self,
            moves=any(entry.moves for entry in entries),
            removals=any(entry.removals for entry in entries),
        )

    def _deliver(self) -> None:
        """Tell the observers what has happened."""
        # What an observer does to the tree adds events at the end; this loop comes to them.
        self._delivering = True
        removed = False
        try:
            while self.events:
                event: Event = steps.next_event(self)  # type: ignore[assignment]  # it has no others
                removed = removed or isinstance(event, NodeRemoved)
                for entry in self._observers:
                    try:
                        entry.observer(event)
                    except Exception as error:  # noqa: BLE001  it is reported
                        if self.on_observer_error is not None:
                            self.on_observer_error(entry.observer, event, error)
                    except BaseException as error:  # noqa: BLE001  it leaves, as a runnable's does
                        self.abort(error)
        finally:
            self._delivering = False
        if removed:
            steps.forget_dn(self)  # an observer may have asked for the DN of a node that is gone

    @enable_ki_protection
    async def wait_changed(self) -> None:
        """Wait for any change in the tree."""
        if self.changed is None:
            self.changed = trio.lowlevel.ParkingLot()
        await self.changed.park()

    @enable_ki_protection
    async def wait_settled(self) -> None:
        """Wait until no node is ``NEW`` and no group ``STOPPING`` (S16)."""
        while self.unsettled and not self.root.siblings.ended:
            await self.settled.park()


@final
class Node(core.Node):
    """A runnable's place, whose parts are those of this module."""

    __slots__ = ()

    group: Group  # type: ignore[mutable-override]  # __init__ gets no other
    incarnation: Incarnation | None  # type: ignore[mutable-override]  # as make_incarnation makes it

    if TYPE_CHECKING:

        def __init__(
            self,
            name: str,
            call: Callable[[], Awaitable[object]],
            group: Group,
            grace: float = 0.0,
        ) -> None: ...


@final
class Incarnation(core.Incarnation):
    """One run of a node, with its task."""

    __slots__ = ("heartbeat", "scope", "stop_waiters", "task", "timer")

    node: Node  # type: ignore[mutable-override]  # __init__ gets no other
    siblings: ChildNursery | None  # type: ignore[mutable-override]  # as add_siblings() gets it
    children: dict[str, Node] | None  # type: ignore[assignment]  # as members are
    on_child_end: Callable[[Group], object] | None  # type: ignore[assignment]  # likewise

    def __init__(self, node: Node, now: float) -> None:
        super().__init__(node, now)
        # The task that runs the runnable and then waits for the children.
        self.task: trio.lowlevel.Task | None = None
        # Cancels that task alone; None where the group's scope is enough.
        self.scope: trio.CancelScope | None = None
        # Those who wait for a stop to be requested; None as long as nobody has.
        self.stop_waiters: StopWaiters | None = None
        # When it has beaten, if it has to.
        self.heartbeat: Heartbeat | None = None
        # Its start timeout, or the end of its grace.
        self.timer: Timer | None = None

    def waiters(self) -> StopWaiters:
        """Return those who wait for its stop request, of which there may be none yet."""
        if self.stop_waiters is None:
            self.stop_waiters = StopWaiters()
            if self.stop_requested:
                self.stop_waiters.wake("a stop was requested before")
        return self.stop_waiters

    if TYPE_CHECKING:

        def groups(self) -> list[Group]: ...  # type: ignore[override]  # as members are


@final
class Group(core.Group):
    """A group, with the scope of its tasks."""

    __slots__ = ("changed", "context", "scope")

    siblings: ChildNursery  # type: ignore[mutable-override]  # __init__ gets no other
    parent: Incarnation | None  # type: ignore[mutable-override]  # likewise
    members: tuple[Node, ...]  # type: ignore[mutable-override]  # as set_members() gets them

    def __init__(
        self,
        parent: Incarnation | None,
        siblings: ChildNursery,
        options: core.GroupOptions,
        context: contextvars.Context,
    ) -> None:
        super().__init__(parent, siblings, options)
        # What the runnables find in their context variables, in each incarnation anew.
        self.context: contextvars.Context = context
        # Cancels the members of the present round, if they have no scopes of their own;
        # or the wait for the next round.
        self.scope: trio.CancelScope | None = None
        # Those who wait for it to change; None while nobody does.
        self.changed: trio.lowlevel.ParkingLot | None = None

    def draw_share(self) -> float:
        """Draw where in the range of its jitter the next delay is (S9, S11)."""
        try:
            return self.backoff._draw()
        except BaseException as error:  # noqa: BLE001  the random source is a user's; it leaves
            self.siblings.tree.abort(error)
            return 0.0

    def publish(self) -> None:
        """Tell of a step: to observers, and to those who wait for the group or the tree."""
        if self.changed is not None:
            self.changed.unpark_all()
        self.siblings.tree.publish()

    def ended(self) -> None:
        """Tell its parent that it has ended for good (S13, S23)."""
        self.siblings.close_if_idle()
        if self.parent is not None and self.parent.on_child_end is not None:
            self.parent.on_child_end(self)

    @enable_ki_protection
    async def wait_changed(self) -> None:
        """Wait until its state or readiness changes, or all is cancelled."""
        changed, siblings = self.changed, self.siblings
        if changed is None:
            changed = self.changed = trio.lowlevel.ParkingLot()
        if siblings.awaited is None:
            siblings.awaited = set()
        siblings.awaited.add(self)
        try:
            await changed.park()
        finally:
            if not changed:
                siblings.awaited.discard(self)

    @enable_ki_protection
    async def wait_idle(self) -> None:
        """Wait until nothing of it runs, and nothing will by itself."""
        while not (self.is_idle or self.siblings.ended):
            await self.wait_changed()


@final
class ChildNursery(core.Siblings):
    """The nursery in which the groups of one parent run.

    Its task ends when no more groups can come and all have ended, or when it is cancelled and all
    their tasks are gone. A group that has failed and never restarts by itself keeps it open until
    the parent's runnable has ended, which may bring it back. It raises nothing.

    These nurseries are nested in one another and in nothing else: no runnable's cancel scope
    is around one. So a runnable can be cancelled while its children live on, and a
    cancellation from outside reaches everybody at once (S12).

    The task waits with an abort function of its own, which Trio calls synchronously wherever the
    cancellation comes from. So ``cancelled`` is set before any task below runs again.
    """

    __slots__ = ("_changed", "_nursery", "_pending", "_waiting", "awaited")

    tree: Tree  # type: ignore[mutable-override]  # __init__ gets no other

    def __init__(self, tree: Tree, *, closed: bool) -> None:
        super().__init__(tree, closed=closed)
        # Those who wait for the end; None while nobody does.
        self._changed: trio.lowlevel.ParkingLot | None = None
        self._nursery: trio.Nursery | None = None
        # What was started before the nursery was open.
        self._pending: list[
            tuple[contextvars.Context, Callable[[Any], Awaitable[object]], object, str]
        ] = []
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

    def close(self) -> None:
        """Let no more groups come."""
        steps.close(self)
        self.close_if_idle()

    def close_if_idle(self) -> None:
        """End, if no more groups will come and all have ended."""
        if self._waiting is not None and self.can_end:
            task, self._waiting = self._waiting, None
            reschedule(task)

    def cancel(self, reason: str) -> None:
        """Cancel everything below at once."""
        steps.cancelled(self)
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel(reason)

    @enable_ki_protection
    async def wait_changed(self) -> None:
        """Wait until it has ended, or the parent has failed."""
        if self._changed is None:
            self._changed = trio.lowlevel.ParkingLot()
        await self._changed.park()

    def notify(self) -> None:
        """Wake those who wait."""
        if self._changed is not None:
            self._changed.unpark_all()

    @enable_ki_protection
    async def run(self) -> None:
        """Keep the nursery open until the end."""
        try:
            await self._run()
        except BaseException as error:  # noqa: BLE001  a fault of ours: those above must not wait
            self.tree.abort(unwrapped(error))
        self._nursery = None
        steps.tasks_ended(self)
        self.notify()
        self._wake_awaited()

    @enable_ki_protection
    async def _run(self) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            if self.cancelled:
                nursery.cancel_scope.cancel("the tree was stopped before it began")
            self._start_pending()
            try:
                # A group may come back between the wake-up and this task's next step.
                while not self.can_end:
                    self._waiting = current_task()
                    await wait_task_rescheduled(self._abort)
            except trio.Cancelled:
                # Those below see it too; the nursery waits for them.
                if self.tree.root.siblings is self:
                    self.tree.watch(self.tree.root)
            except BaseException as error:  # noqa: BLE001  Ctrl-C, where this is Trio's main task
                self.tree.abort(error)
            steps.set_final(self)

    def _start_pending(self) -> None:
        # Not in run, whose variables live as long as it: the last node would outlive its end.
        pending, self._pending = self._pending, []
        for context, async_fn, arg, name in pending:
            self.start_soon(context, async_fn, arg, name)

    def _abort(self, _: object) -> Abort:
        self._waiting = None
        steps.cancelled(self)
        self._wake_awaited()
        self.tree.notify()
        return Abort.SUCCEEDED

    def _wake_awaited(self) -> None:
        for group in self.awaited or ():
            if group.changed is not None:
                group.changed.unpark_all()

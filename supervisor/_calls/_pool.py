"""Pools: nodes whose children come and go."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NoReturn, TypeVarTuple, Unpack, final

import attrs
import trio
from trio.lowlevel import enable_ki_protection

from supervisor._core import _steps as steps
from supervisor._core._arguments import check_count, plain, shown
from supervisor._core._errors import (
    GaveUpError,
    PoolFullError,
    RunError,
    SignalError,
    UnknownNameError,
)
from supervisor._core._restart import RestartPolicy
from supervisor._core._states import (
    FINISHED,
    HEALTHY,
    LEAVING,
    NEW,
    SIGNALLED_DONE,
    SIGNALLED_HEALTHY,
    GroupState,
    NodeState,
)
from supervisor._tasks._current import acting_incarnation, check_run, current
from supervisor._tasks._members import Placed, bind, check_runnable
from supervisor._tasks._stop_waiters import StopScope
from supervisor._tasks._stopping import OwnStop, end_group

from ._start import make_options, new_group, start_alone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from supervisor._core._restart import Backoff, RestartLimit
    from supervisor._tasks._tree import Group, Incarnation, Node

    from ._handle import Handle

ArgsT = TypeVarTuple("ArgsT")


@trio.lowlevel.enable_ki_protection
def run_pool(
    name: str,
    *,
    max_children: int | None = None,
    backoff: Backoff | None = None,
    limit: RestartLimit | None = None,
) -> Pool:
    """Start a :class:`Pool` as a child of the calling runnable, in a group of its own (S23).

    Args:
        name: Its name under the caller, of the form of any runnable's.
        max_children: How many children it may have at a time; by default any number.
        backoff: The delays before restarts of the pool, which dies if one of its children
            gives up; by default those of the tree.
        limit: How often the pool may restart before the caller dies of it.

    Returns:
        The pool.

    Raises:
        InvalidNameError: if the name has a wrong form.
        DuplicateNameError: if the name is taken.
        RunError: if the caller is not ``NEW`` or has been asked to stop.
        TypeError: if an option is of a wrong kind.
        ValueError: if ``max_children`` is not above 0.
        NotSupervisedError: if no runnable calls, or another thread does.
        StaleRunnableError: if the caller's incarnation has ended.

    Checkpoints:
        Never. The pool is ``HEALTHY`` when it has run, after the caller next waits.

    Example::

        async def server() -> None:
            jobs = supervisor.run_pool("jobs", max_children=100)
            supervisor.signal(Signal.HEALTHY)
            async for order in orders():
                await jobs.wait_for_slot()
                jobs.run(None, handle, order)
    """
    parent = acting_incarnation("run_pool")
    pool = Pool(max_children=max_children)
    group = new_group(parent, make_options(backoff, limit))
    start_alone(group, name, pool)
    return pool


@final
@attrs.frozen(kw_only=True)
class PoolStatistics:
    """What has become of the children of a pool, through all its incarnations."""

    max_children: int | None
    """How many children it may have at a time; ``None`` for any number."""
    running: int
    """How many it has now, those that wait for a restart included."""
    done: int
    """How many were ``DONE``."""
    failed: int
    """How many have died and were not started again."""
    stopped: int
    """How many were stopped, on demand or with the pool."""


@final
class Pool(Placed):
    """A runnable whose children come and go (S23, S29).

    It is started as any runnable is, under a name in a group, or by :func:`run_pool` alone. It is
    ``HEALTHY`` from the start. Each child is in a group of its own. One that is ``DONE``, with its
    own children, is removed from the tree, its metrics and its loggers, and its name is free again;
    so is one that has died, unless it restarts. A pool that restarts begins empty, and open.

    When the pool is asked to stop, its children are stopped as those of any node.

    Args:
        max_children: How many children it may have at a time; by default any number.

    Raises:
        TypeError: if ``max_children`` is no whole number.
        ValueError: if it is not above 0.

    Example::

        async def root() -> None:
            clients = Pool(max_children=100)
            supervisor.run_group({"clients": clients, "server": partial(serve, clients)})
            supervisor.signal(Signal.HEALTHY)
            supervisor.signal(Signal.DONE)
    """

    __slots__ = (
        "_done",
        "_emptied",
        "_failed",
        "_found",
        "_incarnation",
        "_is_closed",
        "_is_placed",
        "_max_children",
        "_node",
        "_number",
        "_stopped",
    )

    def __init__(self, *, max_children: int | None = None) -> None:
        """Make a pool that is yet to be started."""
        if max_children is not None:
            check_count("max_children", max_children, least=1)
        self._max_children = max_children
        # The node where it runs, will run, or ran last. Whether it is that node's runnable, and not
        # called by it. For each Trio run, what wakes the tasks that wait until it has a node.
        self._node: Node | None = None
        self._is_placed = False
        self._found: dict[trio.lowlevel.TrioToken, trio.Event] = {}
        # Its present run, or the last one.
        self._incarnation: Incarnation | None = None
        # It takes no children, and it has none.
        self._is_closed = False
        self._emptied = trio.Event()
        # The last number that was a child's name, and what has become of children.
        self._number = 0
        self._done = self._failed = self._stopped = 0

    def __repr__(self) -> str:
        """Name the pool, and count its children."""
        if self._node is None:
            return "<Pool, not started>"
        closed = ", closed" if self._is_closed else ""
        counts = f"{len(self)} running, {self._done} done, {self._failed} failed"
        return f"<Pool {self.dn}: {counts}{closed}>"

    def __len__(self) -> int:
        """Return how many children there are, those included that end with the pool."""
        incarnation = self._incarnation
        if incarnation is None or incarnation.ended or incarnation.siblings is None:
            return 0
        return incarnation.siblings.unended

    def statistics(self) -> PoolStatistics:
        """Count what has become of its children.

        Checkpoints:
            Never. It may be called from any thread.
        """
        return PoolStatistics(
            max_children=self._max_children,
            running=len(self),
            done=self._done,
            failed=self._failed,
            stopped=self._stopped,
        )

    @property
    def dn(self) -> str:
        """The DN of the pool's node. A pool that was not started raises ``RunError``."""
        return self._placed().dn

    @property
    def state(self) -> GroupState:
        """The state of the pool's group. A pool that was not started raises ``RunError``."""
        return self._placed().group.state

    @enable_ki_protection
    async def __call__(self) -> None:
        """Run as the calling runnable: be ``HEALTHY``, and ``DONE`` when closed and empty.

        Raises:
            RunError: if the pool is running already, or the runnable has children of its own, or
                runs another pool.
            SignalError: if the runnable has signalled ``DONE``.
            NotSupervisedError: if no runnable calls.
            StaleRunnableError: if the caller's incarnation has ended.

        Checkpoints:
            Always, unless it raises.

        Cancellation:
            The children are stopped when the runnable has ended.
        """
        incarnation = acting_incarnation("Pool", waits=True)
        self._check_place(incarnation)
        self._node, self._incarnation = incarnation.node, incarnation
        self._is_placed = incarnation.node.call is self
        self._is_closed, self._emptied = False, trio.Event()
        now = trio.current_time()
        if incarnation.phase is NEW:
            steps.signal(incarnation, SIGNALLED_HEALTHY, now)
        steps.become_pool(incarnation, self._child_ended)  # type: ignore[arg-type]  # of its class
        if incarnation.heartbeat is not None:
            incarnation.heartbeat.stop()  # the runnable has signalled HEALTHY itself
        self._tell_found()
        incarnation.node.group.publish()
        with StopScope(incarnation.waiters()):
            await self._emptied.wait()
            # Each child that is to come would be refused: it is closed.
            if incarnation.siblings is not None:
                incarnation.siblings.close()
            steps.signal(incarnation, SIGNALLED_DONE, trio.current_time())

    def place(self, node: Node) -> None:
        """Learn that it is the runnable of ``node`` from now on."""
        if self._incarnation is None or self._incarnation.ended:
            self._node, self._is_placed = node, True
            self._tell_found()

    def _tell_found(self) -> None:
        """Wake those who wait; in another run of Trio they find that the pool is not theirs."""
        here = trio.lowlevel.current_trio_token()
        while self._found:
            token, found = self._found.popitem()
            if token is here:
                found.set()
            else:
                with contextlib.suppress(trio.RunFinishedError):
                    token.run_sync_soon(found.set)

    def _check_place(self, incarnation: Incarnation) -> None:
        last = self._incarnation
        if last is not None and not last.ended:
            msg = f"{incarnation.node.dn} is a Pool that runs as {last.node.dn}: make one for each"
            raise RunError(msg)
        if incarnation.is_pool:
            msg = f"{incarnation.node.dn} is a Pool already: start each as a child of its own"
            raise RunError(msg)
        if incarnation.phase is LEAVING:
            msg = f"{incarnation.node.dn} has signalled DONE, and can't be a Pool any more"
            raise SignalError(msg)
        if incarnation.children:
            msg = f"{incarnation.node.dn} has children, and can't be a Pool: start it as a child"
            raise RunError(msg)

    async def wait_healthy(self) -> None:
        """Wait until children can be started, through restarts and until the pool is started.

        It does not wait for other members of the pool's group.

        Raises:
            GaveUpError: as soon as that can't happen any more: the pool is closed or stopped, has
                failed, has ended with its parent, or its group's function has made another one.
            NotSupervisedError: if another thread calls, or another run of Trio.

        Checkpoints:
            Always.

        Cancellation:
            Leaves nothing behind.
        """
        await self._wait("wait_healthy", self._takes_children)

    @enable_ki_protection
    async def _wait(self, function: str, is_so: Callable[[], bool]) -> None:
        """Wait until ``is_so()``, which can only be while the pool takes children."""
        if self._node is None:
            found = self._found.setdefault(trio.lowlevel.current_trio_token(), trio.Event())
            if self._node is None:  # still, for another thread may have placed it
                await found.wait()
        self._check_run(self._placed(), function, waits=True)
        await trio.lowlevel.checkpoint()
        while not is_so():
            node = self._placed()
            why = self._why_none(node)
            if why:
                msg = f"the pool {node.dn} will take no children: {why}"
                raise GaveUpError(msg)
            await node.group.wait_changed()

    def _why_none(self, node: Node) -> str:
        """Return why it will take no children any more; nothing if it may take some."""
        group = node.group
        if self._is_replaced(node):
            return "the function of its group has put something else in its place"
        if self._stays_closed(node):
            return "it is closed"
        if not group.is_at_rest:
            return ""
        if group.state is GroupState.FAILED:
            return group.reason
        return "it was stopped" if group.is_held else "it is stopped for good"

    def _is_replaced(self, node: Node) -> bool:
        """Return whether its place is another's now (S8)."""
        if node not in node.group.members:
            return True
        if self._is_placed:
            return node.call is not self
        run = node.incarnation
        return run is not None and run.is_pool and run.on_child_end != self._child_ended

    def _stays_closed(self, node: Node) -> bool:
        """Return whether it was closed, and is not about to run anew, open again."""
        is_current = node.is_present and node.incarnation is self._incarnation
        return self._is_closed and is_current and (node.group.is_running or node.group.is_ended)

    def _takes_children(self) -> bool:
        incarnation = self._incarnation
        return (
            incarnation is not None
            and incarnation.phase is HEALTHY
            and not incarnation.stop_requested
            and not self._is_closed
        )

    @enable_ki_protection
    def run(
        self,
        name: str | None,
        async_fn: Callable[[Unpack[ArgsT]], Awaitable[object]],
        *args: *ArgsT,
        backoff: Backoff | None = None,
        limit: RestartLimit | None = None,
        grace: float | None = None,
        start_timeout: float | None = None,
        heartbeat: float | None = None,
        restart: RestartPolicy = RestartPolicy.NEVER,
        fatal: type[Exception] | tuple[type[Exception], ...] = (),
    ) -> Handle:
        """Start a child; any task of the same Trio run may do so.

        By default it is not started again when it dies, for it mostly carries what dies with it,
        such as a connection: the death is logged, and the child vanishes as one that is ``DONE``.

        Args:
            name: Its name in the pool; ``None`` for the next number that is free.
            async_fn: The runnable.
            *args: Its arguments.
            backoff: As for :func:`supervisor.run`, like the other arguments.
            limit: How often it may restart before the pool dies of it.
            grace: How long it gets to stop; by default its own, as for :func:`supervisor.run`.
            start_timeout: How long it may be ``NEW``.
            heartbeat: How often it has to call :func:`beat`.
            restart: ``RestartPolicy.ON_FAILURE`` to start it again when it dies. It keeps its name
                and its place meanwhile.
            fatal: By which errors' death the pool dies.

        Returns:
            The child's handle.

        Raises:
            InvalidNameError: if the name has a wrong form.
            DuplicateNameError: if a child has the name.
            PoolFullError: if there are ``max_children`` children.
            RunError: if the pool is not ``HEALTHY``, is closed, or has been asked to stop.
            TypeError: if ``async_fn`` is not callable, or an option is of a wrong kind.
            ValueError: if a number of seconds is out of its range, or ``backoff`` or ``limit`` is
                given for what never restarts.
            NotSupervisedError: if another thread calls, or another run of Trio.

        Checkpoints:
            Never; the child starts when the caller next waits.
        """
        parent = self._acting("run")
        check_runnable(async_fn, "run(%s)", name)
        options = make_options(
            backoff,
            limit,
            grace=grace,
            start_timeout=start_timeout,
            heartbeat=heartbeat,
            restart=restart,
            fatal=fatal,
        )
        if not self._has_slot(parent):
            msg = (
                f"the pool {self.dn} is full: it has its {self._max_children} children, and "
                f"{shown(name)} has to wait until one has ended, as by wait_for_slot()"
            )
            raise PoolFullError(msg)
        group = new_group(parent, options)
        if name is None:
            name = self._next_number(parent)
        return start_alone(group, name, bind(async_fn, args))

    def _has_slot(self, incarnation: Incarnation) -> bool:
        return self._max_children is None or len(incarnation.children or ()) < self._max_children

    def _next_number(self, incarnation: Incarnation) -> str:
        """Return the next number that is no child's name, nor a sub-logger's."""
        children, loggers = incarnation.children or (), incarnation.loggers or ()
        self._number += 1
        while (name := str(self._number)) in children or name in loggers:
            self._number += 1
        return name

    async def wait_for_slot(self) -> None:
        """Wait until there are fewer children than ``max_children``, so that one can be started.

        As :meth:`wait_healthy` does, it waits through restarts and until the pool is started. A
        :meth:`run` that follows without a checkpoint finds the slot free. Where several tasks
        wait, each is woken when a child ends, and the one that runs first has the slot.

        Raises:
            GaveUpError: as soon as that can't happen any more, as for :meth:`wait_healthy`.
            NotSupervisedError: if another thread calls, or another run of Trio.

        Checkpoints:
            Always.

        Cancellation:
            Leaves nothing behind.
        """
        await self._wait("wait_for_slot", self._takes_one_more)

    def _takes_one_more(self) -> bool:
        incarnation = self._incarnation
        return self._takes_children() and incarnation is not None and self._has_slot(incarnation)

    @enable_ki_protection
    def close(self) -> None:
        """Take no more children: the pool is ``DONE`` as soon as it has none.

        A pool that restarts is open again. One that is being stopped, or has ended for good, takes
        no children anyway.

        Raises:
            RunError: if the pool has not started, or is about to start again.
            NotSupervisedError: if another thread calls, or another run of Trio.

        Checkpoints:
            Never.
        """
        self._close("close")

    def _close(self, function: str, *, waits: bool = False) -> Incarnation:
        node = self._placed()
        self._check_run(node, function, waits=waits)
        incarnation = self._incarnation
        if incarnation is None or self._is_replaced(node):
            self._refuse(node)
        group = node.group
        if incarnation.ended and (node.incarnation is not incarnation or group.will_restart):
            msg = (
                f"{function}() of the pool {node.dn}, which has ended and is about to start again: "
                "it would be open then; await its wait_healthy() before"
            )
            raise RunError(msg)
        self._is_closed = True
        if not incarnation.children:
            self._emptied.set()
        group.publish()
        return incarnation

    @enable_ki_protection
    async def drain(self) -> None:
        """Take no more children, and wait until the last one has ended.

        That is also so when the pool is being stopped: it returns when the children are gone. A
        child that its handle has stopped has not ended, for the handle may restart it;
        :meth:`stop` ends it.

        Raises:
            RunError: if the pool has not started, or is about to start again; or if a child of the
                pool calls, or a node below one, which would wait for its own end.
            NotSupervisedError: if another thread calls, or another run of Trio.

        Checkpoints:
            Always.

        Cancellation:
            The pool is closed all the same.
        """
        self._check_outside("drain")
        incarnation = self._close("drain", waits=True)
        await trio.lowlevel.checkpoint()
        while incarnation.children and not incarnation.ended:
            await incarnation.node.group.wait_changed()

    def _check_outside(self, function: str) -> None:
        """Refuse a call by what is in the pool."""
        caller = current.get(None)
        above = caller
        while above is not None and not above.ended:
            above = above.node.group.parent
            if above is not None and above is self._incarnation:
                assert caller is not None
                msg = (
                    f"{caller.node.dn} called {function}() of its own pool {self.dn}, and would "
                    "wait for its own end: call close(), or let a node outside of the pool wait"
                )
                raise RunError(msg)

    @enable_ki_protection
    async def stop(self, name: str) -> None:
        """Stop a child, as its handle would, and let it vanish.

        Args:
            name: The child's name.

        Raises:
            UnknownNameError: if there is no child of that name.
            RunError: if the pool is not running.
            NotSupervisedError: if another thread calls, or another run of Trio.

        Checkpoints:
            Always; it returns when all tasks of the child are gone, and the name is free.

        Cancellation:
            The child is stopped all the same, only not waited for.
        """
        children = self._acting("stop", waits=True, closed=True).children or {}
        child = children.get(plain(name) or "")
        if child is None:
            msg = f"the pool {self.dn} has no child {shown(name)}"
            raise UnknownNameError(msg)
        group = child.group
        with OwnStop(group):
            end_group(group, f"{group.dn} is stopped on demand")
            await trio.lowlevel.checkpoint()
            await group.wait_idle()

    def _child_ended(self, group: Group) -> None:
        """Count a child that has ended, and remove it, unless the pool itself ends."""
        if group.phase is FINISHED:
            self._done += 1
        elif group.state is GroupState.FAILED:
            self._failed += 1
        else:
            self._stopped += 1
        incarnation = group.parent
        assert incarnation is not None
        if steps.remove_pool_child(group):
            if self._is_closed and not incarnation.children:
                self._emptied.set()
            group.publish()
        if incarnation.node.group.changed is not None:
            incarnation.node.group.publish()  # to those who wait for a slot

    def _placed(self) -> Node:
        if self._node is None:
            msg = "this pool was not started: pass it to run_group() or run(), or call run_pool()"
            raise RunError(msg)
        return self._node

    def _check_run(self, node: Node, function: str, *, waits: bool) -> None:
        check_run(node.group.siblings.tree, node, "pool", function, waits=waits)

    def _acting(self, function: str, *, waits: bool = False, closed: bool = False) -> Incarnation:
        """Return the incarnation that takes children; ``closed``: it need not take more."""
        node = self._placed()
        self._check_run(node, function, waits=waits)
        incarnation = node.incarnation
        if (
            incarnation is None
            or incarnation is not self._incarnation
            or incarnation.state is not NodeState.HEALTHY
        ):
            self._refuse(node)
        if self._is_closed and not closed:
            msg = f"the pool {self.dn} is closed, and takes no more children"
            raise RunError(msg)
        return incarnation

    def _refuse(self, node: Node) -> NoReturn:
        """Say why the pool can't be used now."""
        run = node.incarnation
        if self._is_replaced(node):
            why = "was replaced by the function of its group: use what that has made"
        elif run is None or (run is not self._incarnation and run.state is not NodeState.DEAD):
            why = "has not started: await its wait_healthy() before"
        else:
            why = f"is not HEALTHY, but {run.state.name}"
        msg = f"the pool {node.dn} {why}"
        raise RunError(msg)

"""A tree as a whole: run it, look at it, wait for it, stop it."""

from __future__ import annotations

import math
from contextlib import AbstractAsyncContextManager
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVarTuple, Unpack, final

import attrs
import trio
from trio.lowlevel import enable_ki_protection

from supervisor._core import _steps as steps
from supervisor._core._arguments import check_dn, check_flag, check_seconds, plain, shown
from supervisor._core._errors import GaveUpError, UnknownNameError
from supervisor._core._restart import Backoff
from supervisor._core._states import GroupState
from supervisor._observing._gates import Gates
from supervisor._observing._life_log import log_life
from supervisor._observing._logging import TreeLog
from supervisor._observing._metrics import add_metrics, check_metrics
from supervisor._observing._observers import check_observer, check_observers
from supervisor._observing._ready import is_ready, wait_ready
from supervisor._observing._snapshot import Snapshot, take_snapshot
from supervisor._tasks._current import calling_incarnation, check_run
from supervisor._tasks._incarnation import run_incarnation
from supervisor._tasks._members import bind, check_runnable
from supervisor._tasks._port import Port
from supervisor._tasks._rounds import start_round
from supervisor._tasks._stopping import OwnStop, stop_timeout, stop_tree
from supervisor._tasks._tree import ChildNursery, Group, Node, Tree
from supervisor._tasks._watchdog import report_due, report_starts
from supervisor._text._crash import unwrapped, without_repeated_interrupts
from supervisor._text._printable import cut, single_line

from ._handle import Handle
from ._start import check_backoff, make_options

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from supervisor._core._events import Event
    from supervisor._core._restart import RestartLimit
    from supervisor._observing._life_log import LifeLog
    from supervisor._observing._metrics import Metrics

ArgsT = TypeVarTuple("ArgsT")

ROOT: Final = "root"
"""The name of the root node, with which each DN begins."""

REASON_LENGTH: Final = 500
"""At most so many characters of the reason for a stop are kept."""


@enable_ki_protection
async def supervise(
    root: Callable[[Unpack[ArgsT]], Awaitable[object]],
    *args: *ArgsT,
    backoff: Backoff | None = None,
    limit: RestartLimit | None = None,
    metrics: Metrics | Sequence[Metrics] | None = None,
    grace: float | None = None,
    observers: Sequence[Callable[[Event], object]] | None = None,
    report_after: float | None = 10.0,
    propagate: bool = False,
) -> None:
    """Run a supervision tree until it is cancelled, finished or has given up.

    Modelled on ``supervisor.New`` of Monogon's ``osbase/supervisor``, which
    runs for ever.

    Args:
        root: The root runnable. Its DN is ``root``.
        *args: Its arguments.
        backoff: The delays before restarts, of the root and of every group
            that is started without its own; by default ``Backoff()``.
        limit: How often the root may restart before this function raises; by
            default any number of times.
        metrics: Is told of every transition; one object, or a sequence of them.
        grace: How many seconds the root gets, when the supervisor stops it, from
            :func:`wait_stop_requested` until it is cancelled; by default those of its attribute
            ``grace``, or 0 if it has none.
        observers: Functions that are told each event: see :mod:`supervisor.tree_events`.
        report_after: A node that is still ``NEW`` this many seconds after its start is reported on
            the log, with where its tasks wait, and again at growing intervals; ``None`` for never.
        propagate: Let the first death leave as the runnable's own exception
            instead of restarting anything: for tests and debugging.

    Raises:
        RestartLimitExceeded: if the root's ``limit`` is exceeded.
        TypeError: if ``root`` is not callable, ``metrics`` is no ``Metrics``, or an option is
            of a wrong kind.
        ValueError: if ``grace`` or ``report_after`` is out of its range.
        BaseException: what a runnable raised that is not an ``Exception``
            (``KeyboardInterrupt``, ``SystemExit``); with ``propagate``, the
            first death. Several at once leave as an exception group.

    Checkpoints:
        Always.

    Cancellation:
        All runnables are cancelled at once; when it returns, all their tasks
        are gone.

    Example::

        async def root() -> None:
            supervisor.run("clock", clock)
            supervisor.signal(Signal.HEALTHY)
            supervisor.signal(Signal.DONE)

        trio.run(supervisor.supervise, root)
    """
    check_runnable(root, "supervise()")
    tree = Supervisor(
        bind(root, args),
        backoff,
        limit,
        metrics,
        grace,
        observers=observers,
        report_after=report_after,
        propagate=propagate,
    )
    await tree._run()
    raise_all(tree._tree.errors)
    await trio.lowlevel.checkpoint_if_cancelled()


def open_supervisor(
    root: Callable[[Unpack[ArgsT]], Awaitable[object]],
    *args: *ArgsT,
    backoff: Backoff | None = None,
    limit: RestartLimit | None = None,
    metrics: Metrics | Sequence[Metrics] | None = None,
    grace: float | None = None,
    observers: Sequence[Callable[[Event], object]] | None = None,
    report_after: float | None = 10.0,
    propagate: bool = False,
) -> AbstractAsyncContextManager[Supervisor]:
    """Run a supervision tree beside the body of an ``async with``.

    Leaving the body stops the tree as :meth:`Supervisor.stop` does, and waits until all its tasks
    are gone; an exception that leaves the body cancels it at once. When the tree
    finishes, the body goes on.

    Args:
        root: As for :func:`supervise`, like the other arguments.
        *args: Its arguments.
        backoff: The default delays before restarts.
        limit: How often the root may restart.
        metrics: Is told of every transition.
        grace: How long the root gets to stop; by default its own.
        observers: Functions that are told each event: see :mod:`supervisor.tree_events`.
        report_after: How long a node may be ``NEW`` before that is reported.
        propagate: Let the first death leave.

    Returns:
        A context manager of the running tree.

    Raises:
        RestartLimitExceeded: as :func:`supervise` does. Whatever leaves the tree
            cancels the body. If the body raises as well, both leave in an
            exception group.
        RuntimeError: if it is entered a second time.

    Checkpoints:
        On leaving.

    Cancellation:
        As for :func:`supervise`.

    Ctrl-C can come between any two instructions: the tree is never left behind.

    Example::

        async with supervisor.open_supervisor(root) as tree:
            await tree.wait_settled()
            print(tree.snapshot())
    """
    check_runnable(root, "open_supervisor()")
    call = bind(root, args)
    make = partial(
        Supervisor,
        call,
        backoff,
        limit,
        metrics,
        grace,
        observers=observers,
        report_after=report_after,
        propagate=propagate,
    )
    return OpenSupervisor(make)


@final
class OpenSupervisor(AbstractAsyncContextManager["Supervisor"]):
    """What :func:`open_supervisor` returns.

    It is no ``asynccontextmanager``, for the same reason as Trio's nurseries are none: a
    ``KeyboardInterrupt`` in the frames of :mod:`contextlib`, which are not protected, would leave
    the generator where it is, with the tree in it.
    """

    __slots__ = ("_is_entered", "_make", "_nursery", "_opened", "_tree")

    def __init__(self, make: Callable[[], Supervisor]) -> None:
        self._make: Callable[[], Supervisor] = make
        self._is_entered: bool = False

    @enable_ki_protection
    async def __aenter__(self) -> Supervisor:
        if self._is_entered:
            msg = "open_supervisor() was entered before: call it for each tree that is to run"
            raise RuntimeError(msg)
        self._is_entered = True
        self._tree: Supervisor = self._make()
        self._opened: AbstractAsyncContextManager[trio.Nursery, bool | None] = trio.open_nursery(
            strict_exception_groups=True
        )
        self._nursery: trio.Nursery = await self._opened.__aenter__()
        self._nursery.start_soon(self._run, name="supervisor")
        return self._tree

    @enable_ki_protection
    async def _run(self) -> None:
        await self._tree._run()
        if self._tree._tree.errors:
            self._nursery.cancel_scope.cancel("the supervision tree has failed")

    @enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if exc is None:
            self._tree._port.stop("the body of open_supervisor() has ended")
        errors: list[BaseException] = []
        try:
            # Cancelled from outside, all tasks of the tree are, and it waits for them.
            handled = await self._opened.__aexit__(exc_type, exc, traceback)  # noqa: ASYNC102
        except BaseExceptionGroup as group:
            # The nursery's own wrapper around what the body raised: its tasks raise nothing.
            left: BaseExceptionGroup | None = group
            if self._tree._tree.errors:
                _, left = group.split(trio.Cancelled)  # they say more than that it was cancelled
            errors.extend(left.exceptions if left is not None else ())
            handled = True
        errors += self._tree._tree.errors
        if len(errors) == 1 and errors[0] is exc:
            return False  # noqa: ASYNC910  the exit of the nursery is a checkpoint
        try:
            raise_all(errors)
        finally:
            del errors, exc  # they would keep this frame alive, and it them
        await trio.lowlevel.checkpoint_if_cancelled()  # noqa: ASYNC102  nothing is left to clean up
        return bool(handled)


def current_supervisor() -> Supervisor:
    """Return the supervisor of the tree in which the caller runs (S28).

    So a runnable can look at its tree, wait for parts of it, and stop or restart them, wherever the
    tree was started: under :func:`main` there is no other way.

    In a sidecar of :func:`main` it is the tree of sidecars that has it, whose DNs begin with
    ``sidecars``. The tree of the process is what the function ``sidecars=`` gets. Only
    :meth:`request_stop` of either stops the process.

    Raises:
        NotSupervisedError: if no runnable calls.
        StaleRunnableError: if the caller's incarnation has ended.

    Checkpoints:
        Never. It may be called from a worker thread of the runnable; most of what the supervisor
        does is for the tree's own thread.

    Example::

        async def status_page() -> None:
            print(supervisor.current_supervisor().snapshot())
    """
    tree = calling_incarnation("current_supervisor").node.group.siblings.tree
    assert isinstance(tree.supervisor, Supervisor)
    return tree.supervisor


async def run_tree(supervisor: Supervisor) -> None:
    """Run a tree to its end, which is in ``errors`` of its port; this raises nothing."""
    await supervisor._run()


def port_of(supervisor: Supervisor) -> Port:
    """Return the port of a tree, for the process that it runs in."""
    return supervisor._port


def gates_of(supervisor: Supervisor, function: str) -> Gates:
    """Return the gates of a tree, for a public function that is called in the tree's thread.

    Raises:
        NotSupervisedError: if another thread calls, or another run of Trio.
    """
    tree = supervisor._tree
    check_run(tree, tree.root, "supervisor", function, waits=False)
    return supervisor._gates


def raise_all(errors: list[BaseException]) -> None:
    """Raise what is to leave: a single exception as it is, several as a group (S11)."""
    errors = without_repeated_interrupts(errors)
    try:
        if len(errors) == 1:
            raise errors[0]
        if errors:
            msg = "several exceptions left the supervision tree"
            raise BaseExceptionGroup(msg, errors)
    finally:
        del errors


def _report_after(seconds: object) -> float | None:
    """Return after how many seconds a ``NEW`` node is reported; ``None`` for never (S34)."""
    if seconds is None:
        return None
    seconds = check_seconds("report_after", seconds, above_zero=True)
    return seconds if math.isfinite(seconds) else None


@final
class Supervisor:
    """A running tree, as :func:`open_supervisor` yields it."""

    __slots__ = ("_gates", "_gone", "_life", "_log", "_port", "_tree")

    def __init__(
        self,
        call: Callable[[], Awaitable[object]],
        backoff: Backoff | None,
        limit: RestartLimit | None,
        metrics: Metrics | Sequence[Metrics] | None,
        grace: float | None,
        *,
        observers: Sequence[Callable[[Event], object]] | None,
        report_after: float | None,
        propagate: bool,
        fatal: Callable[[Exception], bool] | None = None,
        name: str = ROOT,
        tells_life: bool = True,
    ) -> None:
        """Make a tree that is yet to run; users get theirs from :func:`open_supervisor`.

        ``fatal`` says whether an error of which the root dies is not retried. ``name`` is the
        root's, and ``tells_life`` whether the log has when the tree is ready and how it ends.
        """
        several = check_metrics(metrics)
        functions = check_observers(observers)
        check_backoff(backoff)
        check_flag("propagate", propagate)
        options = attrs.evolve(make_options(None, limit, grace=grace), fatal=fatal)
        grace = options.grace_of(name, call)
        self._gone = trio.Event()
        backoff = Backoff() if backoff is None else backoff
        tree = self._tree = Tree(
            backoff,
            run_incarnation,
            report_due,
            report_starts,
            report_after=_report_after(report_after),
            propagate=propagate,
        )
        self._port = Port(tree)
        self._gates = Gates(self._port)
        self._log = TreeLog(self._port)
        tree.on_observer_error = self._log.observer_failed
        tree.find_logger = self._log.find_logger
        add_metrics(self._port, several)
        self._port.add_observer(self._log.observe, moves=False, removals=False)
        self._life: LifeLog | None = log_life(self._port) if tells_life else None
        for function in functions:
            self._port.add_observer(function)
        root = Group(None, ChildNursery(tree, closed=True), options, copy_context())
        tree.supervisor = self
        steps.set_root(tree, root)
        steps.add_only_member(root, Node(name, call, root, grace=grace))
        start_round(root)

    def __repr__(self) -> str:
        """Tell the state of the root's group."""
        return f"<Supervisor {self._tree.root.state.name}>"

    def snapshot(self) -> Snapshot:
        """Take an immutable picture of all nodes at this instant.

        It can be called from any thread, and after the end of the tree or of its run of Trio.
        Its time is then that of the end. In another thread the tree may go on while
        the picture is taken.

        Returns:
            The snapshot. It costs time and memory in proportion to the number
            of nodes.

        Checkpoints:
            Never.
        """
        return take_snapshot(self._port)

    async def wait_settled(self) -> None:
        """Wait until no node is ``NEW`` and no group is being stopped (S16).

        A tree is settled when each runnable has got as far as saying that it is
        healthy, or has died and waits for its restart. Don't wait for it in a
        runnable that has not signalled ``HEALTHY`` itself.

        Raises:
            NotSupervisedError: if another thread calls, or another run of Trio.

        Checkpoints:
            Always.

        Cancellation:
            Leaves nothing behind.
        """
        self._check_run("wait_settled")
        await trio.lowlevel.checkpoint()
        await self._port.wait_settled()

    def ready(self, dn: str | None = None) -> bool:
        """Return whether a node and all nodes below it are ``HEALTHY`` or ``DONE``.

        A subtree that has been asked to stop, or whose parent has, is not ready. Nor is one
        that is not there.

        Args:
            dn: The top node of the subtree; by default the whole tree.

        Raises:
            InvalidNameError: if no node can ever have that DN.

        Checkpoints:
            Never. It may be called from any thread. It costs time in proportion to the nodes below.
        """
        return is_ready(self._port, self._top(dn))

    async def wait_ready(self, dn: str | None = None) -> None:
        """Wait until a node and all nodes below it are ``HEALTHY`` or ``DONE``.

        It waits through restarts, and for a node that is not there yet.

        Args:
            dn: The top node of the subtree; by default the whole tree.

        Raises:
            GaveUpError: as soon as that can't happen any more: the tree is stopped, or has ended.
            InvalidNameError: if no node can ever have that DN.
            NotSupervisedError: if another thread calls, or another run of Trio.

        Checkpoints:
            Always.

        Cancellation:
            Leaves nothing behind.
        """
        self._check_run("wait_ready")
        dn = self._top(dn)
        await trio.lowlevel.checkpoint()
        await wait_ready(self._port, dn)

    @property
    def state(self) -> GroupState:
        """The state of the root's group, which is that of the tree. Any thread may read it."""
        return self._tree.root.state

    async def wait_finished(self) -> None:
        """Wait until all of the tree is ``DONE`` (S28).

        Raises:
            GaveUpError: as soon as that can't happen any more: the tree is stopped, has given up,
                or was cancelled.
            NotSupervisedError: if another thread calls, or another run of Trio.

        Checkpoints:
            Always.

        Cancellation:
            Leaves nothing behind.

        Example::

            async with supervisor.open_supervisor(jobs) as tree:
                await tree.wait_finished()
        """
        self._check_run("wait_finished")
        await trio.lowlevel.checkpoint()
        while self.state is not GroupState.FINISHED:
            if self._port.is_ending:
                msg = "the tree will not finish: it is stopped, or has ended"
                raise GaveUpError(msg)
            await self._port.wait_changed()

    @enable_ki_protection
    async def restart(self, dn: str) -> tuple[str, ...]:
        """Restart the group of a node, as :meth:`Handle.restart` does (S28).

        Args:
            dn: The node.

        Returns:
            The DNs of the group's members.

        Raises:
            GaveUpError: as for :meth:`Handle.restart`.
            InvalidNameError: if no node can ever have that DN.
            UnknownNameError: if there is no such node.
            NotSupervisedError: if another thread calls, or another run of Trio.

        Checkpoints:
            Always; it returns when the members have been started.

        Cancellation:
            The group is restarted all the same, only not waited for.
        """
        self._check_run("restart")
        handle = Handle(self._group_at(dn))
        await handle.restart()
        return handle.dns

    @enable_ki_protection
    async def stop_node(self, dn: str) -> tuple[str, ...]:
        """Stop the group of a node until it is restarted, as :meth:`Handle.stop` does (S28).

        Args:
            dn: The node; not the root, for which there is :meth:`stop`.

        Returns:
            The DNs of the group's members.

        Raises:
            InvalidNameError: if no node can ever have that DN.
            UnknownNameError: if there is no such node.
            ValueError: if it is the root.
            NotSupervisedError: if another thread calls, or another run of Trio.

        Checkpoints:
            Always; it returns when all tasks of the group are gone.

        Cancellation:
            The group is stopped all the same, only not waited for.
        """
        self._check_run("stop_node")
        group = self._group_at(dn)
        if group.parent is None:
            msg = f"{dn} is the root: call stop(), which stops the tree"
            raise ValueError(msg)
        handle = Handle(group)
        await handle.stop()
        return handle.dns

    def _group_at(self, dn: str) -> Group:
        path = self._port.path(check_dn(dn, self._root_name))
        if path is None:
            msg = f"the tree has no node {dn}; {self._port.nearest(dn)}"
            raise UnknownNameError(msg)
        return self._port.group_of(path[-1])

    def _top(self, dn: str | None) -> str:
        """Return the DN of a node that this tree may have; without one, that of its root."""
        return self._root_name if dn is None else check_dn(dn, self._root_name)

    @property
    def _root_name(self) -> str:
        (root,) = self._tree.root.members
        return root.name

    def add_observer(self, observer: Callable[[Event], object]) -> None:
        """Tell a function each event from now on (S34): see :mod:`supervisor.tree_events`.

        Raises:
            TypeError: if it is not callable, or is async.
            NotSupervisedError: if another thread calls, or another run of Trio.

        Checkpoints:
            Never.

        Example::

            tree.add_observer(lambda event: print(event))
        """
        self._check_run("add_observer", waits=False)
        self._port.add_observer(check_observer(observer))

    def remove_observer(self, observer: Callable[[Event], object]) -> None:
        """Tell a function nothing more; one that was not added is no error.

        Raises:
            NotSupervisedError: if another thread calls, or another run of Trio.

        Checkpoints:
            Never.
        """
        self._check_run("remove_observer", waits=False)
        self._port.remove_observer(observer)

    @enable_ki_protection
    async def stop(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109  it bounds the stop, not the wait for it
        """Stop the tree in good order, and wait until all its tasks are gone (S21).

        Each node is asked to stop (:func:`wait_stop_requested`), and cancelled after its
        grace: first a node's own runnable, then its groups of children, the last started first, the
        members of a group side by side. From the first moment on, nothing is
        ready.

        Args:
            timeout: All grace periods together get so many seconds. Then everything that
                is left is reported, with where it waits, and cancelled. By default there is no
                limit but the grace periods.

        Raises:
            StopTimeoutError: if the time was over before the tree had stopped; it has
                now. It names the nodes that were running. Of several stops each raises it,
                whichever's time it was.
            TypeError: if ``timeout`` is not a number.
            ValueError: if ``timeout`` is out of its range.
            NotSupervisedError: if another thread calls, or another run of Trio.

        Checkpoints:
            Always.

        Cancellation:
            The tree is stopped all the same, only not waited for.
        """
        self._check_run("stop")
        if timeout is not None:
            timeout = check_seconds("timeout", timeout)
        stop_tree(self._tree, "the tree is stopped", timeout)
        with OwnStop(self._tree.root):
            await self._gone.wait()
        error = stop_timeout(self._tree)
        if error is not None:
            raise error

    @enable_ki_protection
    def request_stop(self, reason: str) -> None:
        """Begin to stop the tree in good order, and do not wait for it (S21).

        Under :func:`main`, the process drains and stops as at a signal, within the same times, and
        ends with status 0. The log says why. A tree that is being stopped is stopped only once.

        Args:
            reason: Why, in a few words; at most 500 characters of it are kept.

        Raises:
            TypeError: if ``reason`` is no text.
            ValueError: if it is empty.
            NotSupervisedError: if another thread calls, or another run of Trio.

        Checkpoints:
            Never.

        Example::

            async def update(tree: Supervisor) -> None:
                if await a_new_version_is_there():
                    tree.request_stop("a new version is installed")
        """
        self._check_run("request_stop", waits=False)
        text = plain(reason)
        if not text:
            msg = f"reason={shown(reason)} does not say why: pass it in a few words"
            raise TypeError(msg) if text is None else ValueError(msg)
        text = single_line(cut(text, REASON_LENGTH))
        if not (self._gone.is_set() or self._port.request_stop(text)):
            self._log.stop_requested(text)
            self._port.stop(f"stop requested: {text}")

    def _check_run(self, function: str, *, waits: bool = True) -> None:
        try:
            here = trio.lowlevel.current_trio_token()
        except RuntimeError:
            here = None
        if here is not self._tree.token:
            check_run(self._tree, self._tree.root, "tree", function, waits=waits)

    @enable_ki_protection
    async def _run(self) -> None:  # noqa: ASYNC910  the nursery waits, or is cancelled
        """Run the tree to its end. What it ends with is in its ``errors``; this raises nothing."""
        tree = self._tree
        try:
            async with trio.open_nursery() as nursery:
                tree.timers.open(nursery)
                try:
                    await tree.root.siblings.run()
                finally:
                    tree.timers.close()  # its task is shielded, and would go on for ever
        except BaseException as error:  # noqa: BLE001  Ctrl-C while the last tasks were awaited
            tree.errors.append(unwrapped(error))
        tree.end_time = tree.time()
        self._gone.set()
        tree.publish()
        tree.notify_end()
        tree.settled.unpark_all()
        if self._life is not None:
            self._life.ended()
        if self._log.loggers:
            self._log.close()

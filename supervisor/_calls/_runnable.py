"""What a runnable can call: start children, send signals, log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVarTuple, Unpack

import trio

from supervisor._core import _steps as steps
from supervisor._core._arguments import check_flag, plain, shown
from supervisor._core._errors import SignalError
from supervisor._core._restart import RestartPolicy
from supervisor._core._states import (
    NEW,
    SIGNALLED_DONE,
    SIGNALLED_HEALTHY,
    IllegalEventError,
    NodeState,
    Signal,
)
from supervisor._observing._logging import node_logger
from supervisor._observing._raw_logger import RawLogger
from supervisor._tasks._current import acting_incarnation, calling_incarnation
from supervisor._tasks._members import bind, check_free, check_name, check_runnable
from supervisor._tasks._stop_waiters import StopScope
from supervisor._tasks._stopping import start_heartbeat
from supervisor._text._printable import cut, single_line

from ._start import make_options, new_group, start_alone, start_together

REASON_LENGTH: Final = 500
"""At most this many characters of a reason are kept."""

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractContextManager

    from supervisor._core._restart import Backoff, RestartLimit
    from supervisor._tasks._tree import Incarnation

    from ._handle import Handle

ArgsT = TypeVarTuple("ArgsT")


@trio.lowlevel.enable_ki_protection
def run(
    name: str,
    async_fn: Callable[[Unpack[ArgsT]], Awaitable[object]],
    *args: *ArgsT,
    backoff: Backoff | None = None,
    limit: RestartLimit | None = None,
    grace: float | None = None,
    start_timeout: float | None = None,
    heartbeat: float | None = None,
    restart: RestartPolicy = RestartPolicy.ON_FAILURE,
    fatal: type[Exception] | tuple[type[Exception], ...] = (),
) -> Handle:
    """Start a runnable as a child of the calling one, in a group of its own.

    It is started again whenever it dies, after a delay, and ends with the caller's incarnation. It
    can ask for a restart itself, by :exc:`RestartRequested`. It does not run in any cancel scope
    or nursery that the caller has opened: only the supervisor stops it. In each incarnation it
    finds the context variables as they are now.

    Args:
        name: Its name under the caller: 1 to 64 of ``a-z``, ``0-9`` and
            ``_``, which no other child or sub-logger of the caller has.
        async_fn: The runnable.
        *args: Its arguments; use :func:`functools.partial` for keyword
            arguments.
        backoff: The delays before its restarts; by default those of the tree.
        limit: How often it may restart before the caller dies of it; by
            default any number of times.
        grace: How many seconds the runnable gets, when the supervisor stops it, from
            :func:`wait_stop_requested` until it is cancelled; by default those of its
            attribute ``grace``, or 0 if it has none.
        start_timeout: It dies if it is still ``NEW`` after this many seconds.
        heartbeat: The most seconds, at least 0.01, between two calls of :func:`beat`, once it is
            ``HEALTHY``; it
            dies of a :exc:`HeartbeatError` if it misses one. By default it need not call it.
        restart: ``RestartPolicy.NEVER``: when it dies, that is logged, its group is ``FAILED``, and
            the caller goes on. :meth:`Handle.restart` still brings it back.
        fatal: A class of exceptions, or a tuple of such classes. A death by one of these, alone or
            in an exception group, is not retried: the group is ``FAILED``, and the caller dies of
            a :exc:`FatalDeathError`.

    Returns:
        A handle, which may be ignored.

    Raises:
        InvalidNameError: if the name has a wrong form.
        DuplicateNameError: if the name is taken.
        RunError: if the caller is not ``NEW`` or has been asked to stop.
        TypeError: if ``async_fn`` is not callable, or an option or the runnable's ``grace`` is
            of a wrong kind.
        ValueError: if a number of seconds is out of its range, or ``backoff`` or ``limit`` is
            given for what never restarts.
        NotSupervisedError: if no runnable calls, or another thread does.
        StaleRunnableError: if the caller's incarnation has ended.

    Checkpoints:
        Never; the runnable starts when the caller next waits.

    Example::

        async def root() -> None:
            supervisor.run("server", serve, 8080, fatal=PermissionError)
            supervisor.run("warm_up", fill_cache, restart=RestartPolicy.NEVER)
            supervisor.signal(Signal.HEALTHY)
            supervisor.signal(Signal.DONE)
    """
    parent = acting_incarnation("run")
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
    return start_alone(new_group(parent, options), name, bind(async_fn, args))


@trio.lowlevel.enable_ki_protection
def run_group(
    runnables: (
        Mapping[str, Callable[[], Awaitable[object]]]
        | Callable[[], Mapping[str, Callable[[], Awaitable[object]]]]
    ),
    *,
    backoff: Backoff | None = None,
    limit: RestartLimit | None = None,
    grace: float | Mapping[str, float] | None = None,
    ordered: bool = False,
    start_timeout: float | None = None,
    heartbeat: float | Mapping[str, float] | None = None,
    restart: RestartPolicy = RestartPolicy.ON_FAILURE,
    fatal: type[Exception] | tuple[type[Exception], ...] = (),
) -> Handle:
    """Start several runnables as children of the calling one, in one group.

    When one of them dies, the others are stopped (those already ``DONE``
    included), the group waits for its backoff, and all start again. *No
    member starts while any task of the group's previous incarnation is
    alive.*

    Args:
        runnables: The runnables by name, in the order in which they are to be
            started; or a function that returns such a mapping. The function is
            called now and before each restart, so that channels which it
            makes are new each time, with nothing stale in them.
        backoff: The delays before restarts; by default those of the tree.
        limit: How often the group may restart before the caller dies of it;
            by default any number of times.
        grace: How many seconds each member gets, when the supervisor stops it, from
            :func:`wait_stop_requested` until it is cancelled; or a mapping from
            members' names to their seconds. A member for which nothing is given gets those
            of the attribute ``grace`` of its runnable, or 0 if it has none.
        ordered: Start each member when the one before it is ``HEALTHY`` or ``DONE``. One
            that dies before keeps the later ones waiting, through the group's restarts.
        start_timeout: A member dies if it is still ``NEW`` this many seconds after its start.
        heartbeat: The most seconds between two calls of :func:`beat`, once a member is
            ``HEALTHY``, for all, or by name; it dies of a :exc:`HeartbeatError` if it misses one.
            By default no member need call it.
        restart: ``RestartPolicy.NEVER``: when a member dies, that is logged, the others are
            stopped, the group is ``FAILED``, and the caller goes on. :meth:`Handle.restart`
            still brings it back.
        fatal: A class of exceptions, or a tuple of such classes. A death by one of these, alone or
            in an exception group, is not retried: the group is ``FAILED``, and the caller dies of
            a :exc:`FatalDeathError`.

    Returns:
        A handle of the group, which may be ignored.

    Raises:
        InvalidNameError: if a name has a wrong form.
        DuplicateNameError: if a name is taken.
        ValueError: if the mapping is empty, a number of seconds is out of its range, ``grace``
            names a member that there is not, or ``backoff`` or ``limit`` is given for what never
            restarts.
        RunError: if the caller is not ``NEW`` or has been asked to stop, or if two members are
            one :class:`Pool`.
        TypeError: if what is passed is no such mapping or function, or an option is of a
            wrong kind.
        NotSupervisedError: if no runnable calls, or another thread does.
        StaleRunnableError: if the caller's incarnation has ended.

        Whatever it raises, nothing has been started. What a function passed for
        ``runnables`` raises now is raised here; at a restart it counts as a
        failure of the group, which tries again after its backoff.

    Checkpoints:
        Never; the runnables start when the caller next waits.

    Example::

        def group() -> dict[str, Callable[[], Awaitable[None]]]:
            send, receive = trio.open_memory_channel[bytes](0)
            return {"reader": partial(read, send), "writer": partial(write, receive)}

        async def root() -> None:
            supervisor.run_group(group)
            supervisor.signal(Signal.HEALTHY)
            supervisor.signal(Signal.DONE)
    """
    parent = acting_incarnation("run_group")
    options = make_options(
        backoff,
        limit,
        grace=grace,
        by_name=True,
        ordered=ordered,
        start_timeout=start_timeout,
        heartbeat=heartbeat,
        restart=restart,
        fatal=fatal,
    )
    return start_together(new_group(parent, options), runnables)


@trio.lowlevel.enable_ki_protection
def signal(signal: Signal) -> None:
    """Tell the supervisor that the calling runnable is healthy, or is about to be done (S4).

    ``Signal.HEALTHY`` says that set-up is over: the node becomes ``HEALTHY``
    and can start no more children. ``Signal.DONE`` announces that the runnable
    will return because its work is over: when it then does, the node is
    ``DONE`` and not ``DEAD``, and its children live on.

    Args:
        signal: ``Signal.HEALTHY`` once, when ``NEW``; ``Signal.DONE`` once, when
            ``HEALTHY``.

    Raises:
        SignalError: if the state does not admit the signal. Nothing changes.
        TypeError: if it is not a :class:`Signal`.
        NotSupervisedError: if no runnable calls, or another thread does.
        StaleRunnableError: if the caller's incarnation has ended.

    Checkpoints:
        Never.

    Example::

        async def migrate() -> None:
            supervisor.signal(Signal.HEALTHY)
            await apply_migrations()
            supervisor.signal(Signal.DONE)
    """
    incarnation = acting_incarnation("signal")
    passed: object = signal
    if not isinstance(passed, Signal):
        msg = f"{shown(passed)} is not a supervisor.Signal: pass Signal.HEALTHY or Signal.DONE"
        raise TypeError(msg)
    event = SIGNALLED_HEALTHY if signal is Signal.HEALTHY else SIGNALLED_DONE
    group = incarnation.node.group
    try:
        news = steps.signal(incarnation, event, trio.current_time())
    except IllegalEventError:
        raise SignalError(_wrong_signal(incarnation, signal)) from None
    if event is SIGNALLED_HEALTHY and group.options.heartbeats is not None:
        start_heartbeat(incarnation)
    if news:
        group.publish()
    else:
        group.siblings.tree.publish()
    if incarnation.siblings is not None:
        incarnation.siblings.close_if_idle()


def _wrong_signal(incarnation: Incarnation, signal: Signal) -> str:
    dn, state = incarnation.node.dn, incarnation.state.name
    if signal is Signal.HEALTHY:
        return f"{dn} signalled HEALTHY when {state}: signal it once, at the end of set-up"
    if incarnation.phase is NEW:
        return f"{dn} signalled DONE when NEW: call signal(Signal.HEALTHY) before"
    return f"{dn} signalled DONE twice: signal it once, before the runnable returns"


@trio.lowlevel.enable_ki_protection
async def wait_stop_requested() -> None:
    """Wait until the supervisor asks the calling runnable to stop (S21).

    It does so when the group restarts or the tree is stopped, and before it cancels the
    runnable: so long before as the ``grace`` that the runnable was started with. Use the
    time to finish what is under way, and return. A cancellation from outside
    of the tree asks nobody.

    Raises:
        NotSupervisedError: if no runnable calls, or another thread does.
        StaleRunnableError: if the caller's incarnation has ended, also while it waits.

    Checkpoints:
        Always.

    Cancellation:
        Leaves nothing behind.

    Example::

        async def server() -> None:
            async with trio.open_nursery() as nursery:
                await nursery.start(accept_connections)
                supervisor.signal(Signal.HEALTHY)
                await supervisor.wait_stop_requested()
                stop_accepting()  # and let the nursery wait for the open connections
    """
    incarnation = acting_incarnation("wait_stop_requested", waits=True)
    _tell_of_missing_grace(incarnation)
    await incarnation.waiters().event.wait()
    if incarnation.finished:
        calling_incarnation("wait_stop_requested")  # it raises


@trio.lowlevel.enable_ki_protection
def stop_scope() -> AbstractContextManager[trio.CancelScope, bool]:
    """Return a scope that is cancelled when the calling runnable is asked to stop (S32).

    What is in it ends at the stop request. The rest of the ``grace`` that the runnable was started
    with remains for what follows. It is ``wait_stop_requested()`` without a task that waits.

    Returns:
        A context manager of a :class:`trio.CancelScope`, for one use, in the task that calls.

    Raises:
        NotSupervisedError: if no runnable calls, or another thread does.
        StaleRunnableError: if the caller's incarnation has ended.

    Checkpoints:
        Never.

    Cancellation:
        As for any cancel scope. A cancellation from outside of the tree reaches what is in it, too.

    Example::

        async def worker(orders: trio.MemoryReceiveChannel[str]) -> None:
            supervisor.signal(Signal.HEALTHY)
            with supervisor.stop_scope():
                async for order in orders:
                    await handle(order)
            await save_progress()  # within the grace
    """
    incarnation = acting_incarnation("stop_scope")
    _tell_of_missing_grace(incarnation)
    return StopScope(incarnation.waiters())


@trio.lowlevel.enable_ki_protection
def _tell_of_missing_grace(incarnation: Incarnation) -> None:
    """Have it logged that who waits for the request is cancelled as it comes."""
    if incarnation.stop_waiters is None and not incarnation.node.grace:
        steps.waits_without_grace(incarnation)
        incarnation.node.group.siblings.tree.publish()


@trio.lowlevel.enable_ki_protection
def set_ready(ready: bool, reason: str = "") -> None:  # noqa: FBT001  it is what the function is for
    """Say that the calling runnable is not ready for now, or that it is ready again (S30).

    It is for what comes and goes, such as the connection to a broker: the node stays ``HEALTHY``,
    nothing restarts, but neither it nor any node above it is ready. The reason is logged, and
    shown by the snapshot. ``HEALTHY`` itself is signalled once, at the end of set-up, and for ever:
    a loop that "reports its health after each success" calls this.

    Args:
        ready: Whether it is ready. It may be called as often as there is something to say.
        reason: Why it is not ready; at most 500 characters of it are kept, in one line.

    Raises:
        SignalError: if the node is not ``HEALTHY``. Nothing changes.
        TypeError: if ``ready`` is no bool, or ``reason`` no text.
        ValueError: if there is no reason for not being ready, or one for being ready.
        NotSupervisedError: if no runnable calls, or another thread does.
        StaleRunnableError: if the caller's incarnation has ended.

    Checkpoints:
        Never.

    Example::

        async def consumer() -> None:
            supervisor.signal(Signal.HEALTHY)
            while True:
                async with connect() as broker:
                    supervisor.set_ready(True)
                    await consume(broker)
                supervisor.set_ready(False, "no connection to the broker")
    """
    incarnation = acting_incarnation("set_ready")
    check_flag("ready", ready)
    text = plain(reason)
    if text is None:
        msg = f"reason={shown(reason)} is no text: say in a few words why the node is not ready"
        raise TypeError(msg)
    if ready is bool(text):
        msg = f"set_ready({ready}, {shown(reason)}): pass a reason with False, and none with True"
        raise ValueError(msg)
    if incarnation.state is not NodeState.HEALTHY:
        state = incarnation.state.name
        msg = f"{incarnation.node.dn} called set_ready() when {state}: signal HEALTHY before"
        raise SignalError(msg)
    if steps.set_readiness(incarnation, None if ready else single_line(cut(text, REASON_LENGTH))):
        incarnation.node.group.publish()


def beat() -> None:
    """Say that the calling runnable goes on, where it was started with ``heartbeat=`` (S31).

    Elsewhere it does nothing, so that it may stand in code that several runnables use.

    Raises:
        NotSupervisedError: if no runnable calls.
        StaleRunnableError: if the caller's incarnation has ended.

    Checkpoints:
        Never. It may be called from a worker thread of the runnable, and costs next to nothing.

    Example::

        async def poller() -> None:
            supervisor.signal(Signal.HEALTHY)
            while True:
                await poll_once()
                supervisor.beat()
    """
    incarnation = calling_incarnation("beat")
    if incarnation.heartbeat is not None:
        incarnation.heartbeat.beat(incarnation.node.group.siblings.tree.time())


def current_dn() -> str:
    """Return the DN of the calling runnable, its dotted path from the root.

    Returns:
        Such as ``root.net.dhcp``.

    Raises:
        NotSupervisedError: if no runnable calls.
        StaleRunnableError: if the caller's incarnation has ended.

    Checkpoints:
        Never. It may be called from a worker thread of the runnable.

    Example::

        async def child() -> None:
            assert supervisor.current_dn() == "root.child"
    """
    return calling_incarnation("current_dn").node.dn


def logger() -> logging.Logger:
    """Return the logger of the calling runnable, ``supervisor.node.<dn>``.

    Raises:
        NotSupervisedError: if no runnable calls.
        StaleRunnableError: if the caller's incarnation has ended.

    Checkpoints:
        Never. It may be called from a worker thread of the runnable.

    Example::

        async def child() -> None:
            supervisor.logger().info("started")
    """
    return node_logger(calling_incarnation("logger").node)


def sub_logger(name: str) -> logging.Logger:
    """Return a logger below that of the calling runnable, ``supervisor.node.<dn>.<name>``.

    No child can have the name from then on, so that what is logged under a
    DN comes from one place. Asking again for the same sub-logger returns it
    again.

    Args:
        name: Its name, of the form of a runnable's.

    Raises:
        InvalidNameError: if the name has a wrong form.
        DuplicateNameError: if a child has the name.
        NotSupervisedError: if no runnable calls.
        StaleRunnableError: if the caller's incarnation has ended.

    Checkpoints:
        Never.
    """
    incarnation = calling_incarnation("sub_logger")
    node = incarnation.node
    name = check_name(name, node)
    check_free(name, node, incarnation.children, None)
    steps.reserve_name(incarnation, name)
    return node_logger(node, name)


def raw_logger() -> RawLogger:
    """Return a text stream whose lines are logged by the calling runnable.

    It is made for output that comes as text, such as another program's. Each line
    becomes a record of level ``INFO`` of the runnable's logger.

    Raises:
        NotSupervisedError: if no runnable calls.
        StaleRunnableError: if the caller's incarnation has ended.

    Checkpoints:
        Never, nor do the stream's methods.

    Example::

        async def child() -> None:
            print("starting", file=supervisor.raw_logger())
    """
    return RawLogger(logger())

"""Running a whole tree, alone or beside something else."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeVarTuple, Unpack

import trio

from ._members import bind, check_runnable
from ._supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ._backoff import Backoff
    from ._metrics import Metrics
    from ._restart import RestartLimit

ArgsT = TypeVarTuple("ArgsT")


async def supervise(
    root: Callable[[Unpack[ArgsT]], Awaitable[object]],
    *args: *ArgsT,
    backoff: Backoff | None = None,
    limit: RestartLimit | None = None,
    metrics: Metrics | None = None,
    grace: float = 0.0,
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
        metrics: Is told of every transition.
        grace: How many seconds the root gets, when the supervisor stops it, from
            :func:`wait_stop_requested` until it is cancelled.
        propagate: Let the first death leave as the runnable's own exception
            instead of restarting anything: for tests and debugging.

    Raises:
        RestartLimitExceeded: if the root's ``limit`` is exceeded.
        TypeError: if ``root`` is not callable.
        ValueError: if ``grace`` is out of its range.
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
    tree = Supervisor(bind(root, args), backoff, limit, metrics, grace, propagate=propagate)
    await tree._run()
    raise_all(tree._tree.errors)
    await trio.lowlevel.checkpoint_if_cancelled()


@contextlib.asynccontextmanager
async def open_supervisor(
    root: Callable[[Unpack[ArgsT]], Awaitable[object]],
    *args: *ArgsT,
    backoff: Backoff | None = None,
    limit: RestartLimit | None = None,
    metrics: Metrics | None = None,
    grace: float = 0.0,
    propagate: bool = False,
) -> AsyncIterator[Supervisor]:
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
        grace: How long the root gets to stop.
        propagate: Let the first death leave.

    Yields:
        The running tree.

    Raises:
        RestartLimitExceeded: as :func:`supervise` does. Whatever leaves the tree
            cancels the body. If the body raises as well, both leave in an
            exception group.

    Checkpoints:
        On leaving.

    Cancellation:
        As for :func:`supervise`.

    Example::

        async with supervisor.open_supervisor(root) as tree:
            await tree.wait_settled()
            print(tree.snapshot())
    """
    check_runnable(root, "open_supervisor()")
    tree = Supervisor(bind(root, args), backoff, limit, metrics, grace, propagate=propagate)
    errors: list[BaseException] = []
    try:
        async with trio.open_nursery(strict_exception_groups=True) as nursery:

            async def run() -> None:
                await tree._run()
                if tree._tree.errors:
                    nursery.cancel_scope.cancel("the supervision tree has failed")

            nursery.start_soon(run, name="supervisor")
            yield tree
            tree._end("the body of open_supervisor() has ended")
    except BaseExceptionGroup as group:
        # The nursery's own wrapper around what the body raised: its tasks raise nothing.
        errors.extend(group.exceptions)
    raise_all([*errors, *tree._tree.errors])
    await trio.lowlevel.checkpoint_if_cancelled()


def raise_all(errors: list[BaseException]) -> None:
    """Raise what is to leave: a single exception as it is, several as a group."""
    try:
        if len(errors) == 1:
            raise errors[0]
        if errors:
            msg = "several exceptions left the supervision tree"
            raise BaseExceptionGroup(msg, errors)
    finally:
        del errors

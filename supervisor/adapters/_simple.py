"""Async functions that know nothing of signals, as runnables (S24)."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Final, TypeVarTuple, Unpack, final

import trio

import supervisor
from supervisor import Signal

from ._arguments import check_async, check_seconds, check_share
from ._own_grace import WithGrace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ArgsT = TypeVarTuple("ArgsT")


def oneshot(
    async_fn: Callable[[Unpack[ArgsT]], Awaitable[object]], *args: *ArgsT
) -> Callable[[], Awaitable[None]]:
    """Make a runnable of a function whose work is over when it returns (S24).

    It is ``NEW`` while the function runs, and ``HEALTHY`` and ``DONE`` when that has returned. So
    what is ordered after it starts after its work is done, and the function can start children,
    which live on. The semantics are those of ``Type=oneshot`` in systemd. What the function raises
    is a death as ever.

    Args:
        async_fn: What to run. It does not signal.
        *args: Its arguments.

    Returns:
        A runnable, for :func:`supervisor.run` or :func:`supervisor.run_group`.

    Raises:
        TypeError: if ``async_fn`` is not callable.

    Checkpoints:
        Never. The runnable does what the function does.

    Cancellation:
        Of the runnable: is for the function; the node has not become ``HEALTHY``.

    Example::

        supervisor.run_group(
            {"migrate": oneshot(apply_migrations, database), "api": serve}, ordered=True
        )
    """
    check_async("oneshot", async_fn)

    async def run() -> None:
        await async_fn(*args)
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    return run


def from_start(
    async_fn: Callable[..., Awaitable[object]], *args: object
) -> Callable[[], Awaitable[None]]:
    """Make a runnable of a function that calls ``task_status.started()`` (S24).

    Any function that is made for :meth:`trio.Nursery.start` tells in this way that it is ready,
    :func:`trio.serve_tcp` among them. The node becomes ``HEALTHY`` at that moment. It is not run
    by ``start()``: no nursery is around it, so it may be cancelled at any time, and what it raises
    is not in a group. A return is judged as ever (S5): a function that is not to end has to
    run on.

    Args:
        async_fn: What to run; it gets a keyword argument ``task_status``.
        *args: Its other arguments; use :func:`functools.partial` for keyword arguments.

    Returns:
        A runnable, for :func:`supervisor.run` or :func:`supervisor.run_group`.

    Raises:
        TypeError: if ``async_fn`` is not callable.

    Checkpoints:
        Never. The runnable does what the function does.

    Cancellation:
        Of the runnable: is for the function.

    Example::

        supervisor.run("echo", from_start(trio.serve_tcp, echo, 8007))
    """
    check_async("from_start", async_fn)

    async def run() -> None:
        await async_fn(*args, task_status=_SIGNALS_HEALTHY)

    return run


@final
class _SignalsHealthy(trio.TaskStatus[object]):
    """A task status whose ``started()`` is the signal of the runnable that calls it.

    A second call raises a :exc:`SignalError`: to be started twice is a mistake for Trio, too.
    """

    __slots__ = ()

    def started(self, value: object = None) -> None:  # noqa: ARG002  nobody waits for a value
        """Signal ``HEALTHY``."""
        supervisor.signal(Signal.HEALTHY)


_SIGNALS_HEALTHY: Final = _SignalsHealthy()


def periodic(
    async_fn: Callable[[Unpack[ArgsT]], Awaitable[object]],
    *args: *ArgsT,
    every: float,
    jitter: float = 0.0,
) -> Callable[[], Awaitable[None]]:
    """Make a runnable that calls a function again and again (S24).

    It calls it at once, and then every so many seconds, from start to start. If a call takes
    longer than that, the starts that it missed are left out. The node is ``HEALTHY`` when a call
    has returned for the first time. What the function raises is a death: the group restarts with
    its backoff. When a stop is requested, the call that runs may end within the grace, and no other
    begins.

    Args:
        async_fn: What to call.
        *args: Its arguments.
        every: The seconds from the start of one call to that of the next.
        jitter: How much later than due a call may begin, as a share of ``every`` from 0 to 1. How
            much it is, chance decides each time; the first call begins at once.

    Returns:
        A runnable, for :func:`supervisor.run` or :func:`supervisor.run_group`. It brings a grace
        of its own, 10 seconds.

    Raises:
        TypeError: if ``async_fn`` is not callable, or a number is none.
        ValueError: if ``every`` is not above 0, or ``jitter`` is not from 0 to 1.

    Checkpoints:
        Never. The runnable does between two calls.

    Cancellation:
        Of the runnable: is for the call that runs.

    Example::

        supervisor.run("clean_up", periodic(remove_old_files, folder, every=3600.0))
    """
    check_async("periodic", async_fn)
    every = check_seconds("periodic", "every", every, above_zero=True)
    jitter = check_share("periodic", "jitter", jitter)

    async def run() -> None:
        first = trio.current_time()
        starts = 0
        await async_fn(*args)
        supervisor.signal(Signal.HEALTHY)
        while True:
            # Never the same one twice, however the division is rounded.
            starts = max(starts + 1, math.ceil((trio.current_time() - first) / every))
            late = jitter * random.random()  # noqa: S311  no secret depends on it
            if await _stop_requested_before(first + every * (starts + late)):
                return
            await async_fn(*args)

    return WithGrace(run)


async def _stop_requested_before(time: float) -> bool:
    """Wait until that time; return earlier, and ``True``, when a stop is requested."""
    with supervisor.stop_scope() as scope:
        await trio.sleep_until(time)
    return scope.cancel_called

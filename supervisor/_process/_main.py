"""A tree as a process: signals, the budget of a stop, the exit status."""

from __future__ import annotations

import logging
import os
import signal as signals
import sys
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn, TypeVarTuple, Unpack

import trio

from supervisor._calls._supervisor import Supervisor, raise_all
from supervisor._core._errors import RestartLimitExceeded, StopTimeoutError
from supervisor._observing._logging import log
from supervisor._tasks._members import bind, check_runnable

from ._log_format import preset_logging

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from supervisor._core._restart import Backoff, RestartLimit
    from supervisor._observing._metrics import Metrics
    from supervisor._tasks._port import Port

ArgsT = TypeVarTuple("ArgsT")

STOPPED: Final = 0
GAVE_UP: Final = 1
CUT_SHORT: Final = 3

LAST_RESORT: Final = 5.0
"""Seconds that cancelled tasks get to end before the process ends without them."""

_logger = logging.getLogger("supervisor")


def main(
    root: Callable[[Unpack[ArgsT]], Awaitable[object]],
    *args: *ArgsT,
    timeout: float = 30.0,
    backoff: Backoff | None = None,
    limit: RestartLimit | None = None,
    metrics: Metrics | Sequence[Metrics] | None = None,
    grace: float = 0.0,
) -> NoReturn:
    """Run a tree as a service's ``main`` until it ends or the process is told to stop (S22).

    At the first ``SIGTERM`` or ``SIGINT`` (Ctrl-C) the tree is stopped as by
    :meth:`Supervisor.stop`, within ``timeout``. A second one cancels everything at once. If a
    task has not ended 5 seconds after it was cancelled, where it waits is logged and the
    process ends without it.

    Logging is set up, unless it is already: on a terminal as text, in a pipe or a file as one JSON
    object a line, on standard error, from level ``INFO``.

    Args:
        root: The root runnable.
        *args: Its arguments.
        timeout: How many seconds a stop may take; choose it below what your process manager
            allows before it kills.
        backoff: The default delays before restarts.
        limit: How often the root may restart before the process gives up.
        metrics: Is told of every transition.
        grace: How long the root gets to stop.

    Raises:
        SystemExit: always, at last: with status 0 if the tree was stopped or finished, 1 if it
            gave up, 3 if a stop was cut short by the timeout or a second signal.
        TypeError: if ``root`` is not callable.
        ValueError: if ``grace`` or ``timeout`` is out of its range.
        BaseException: what else left the tree.

    Example::

        if __name__ == "__main__":
            supervisor.main(root)
    """
    check_runnable(root, what="main()")
    if not timeout >= 0:
        msg = f"timeout={timeout!r} is not a number of seconds of at least 0"
        raise ValueError(msg)
    if sys.stderr is not None:
        preset_logging(sys.stderr)
    make = partial(Supervisor, bind(root, args), backoff, limit, metrics, grace, propagate=False)
    sys.exit(trio.run(_serve, make, timeout))


async def _serve(make: Callable[[], Supervisor], timeout: float) -> int:  # noqa: ASYNC109  it bounds a stop
    """Run a tree, and obey signals; return the exit status."""
    tree = make()
    port = tree._port
    status = STOPPED
    with trio.open_signal_receiver(signals.SIGTERM, signals.SIGINT) as received:
        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                nonlocal status
                try:
                    await tree.stop(timeout=timeout)
                except StopTimeoutError as error:
                    log(port.abort, _logger, logging.ERROR, "%s", error)
                    status = CUT_SHORT

            async def obey() -> None:
                nonlocal status
                name = await _next(received)
                log(port.abort, _logger, logging.INFO, "%s: stopping, within %g s", name, timeout)
                nursery.start_soon(stop)
                port.call_later(timeout + LAST_RESORT, partial(_exit, port, CUT_SHORT))
                name = await _next(received)
                log(port.abort, _logger, logging.WARNING, "%s again: stopping at once", name)
                status = CUT_SHORT
                port.cancel(f"a second {name}")
                port.call_later(LAST_RESORT, partial(_exit, port, CUT_SHORT))
                while True:
                    await _next(received)  # left over, it would kill the process at the very end

            nursery.start_soon(obey)
            await tree._run()
            await trio.lowlevel.cancel_shielded_checkpoint()
            nursery.cancel_scope.cancel("the tree has ended")
    errors = port.errors
    if len(errors) == 1 and isinstance(errors[0], RestartLimitExceeded):
        log(port.abort, _logger, logging.CRITICAL, "%s", errors[0])
        if len(errors) == 1:
            return GAVE_UP
    raise_all(errors)
    return status


async def _next(received: AsyncIterator[int]) -> str:
    return signals.Signals(await anext(received)).name


def _exit(port: Port, status: int) -> None:
    """End the process although there are tasks left, which nothing can end."""
    try:
        port.report_stuck(port.running(), f"{LAST_RESORT:g} s after it was cancelled")
        log(port.abort, _logger, logging.CRITICAL, "the process ends without these nodes")
        logging.shutdown()
    finally:
        os._exit(status)

"""A tree as a process: signals, the budget of a stop, the exit status."""

from __future__ import annotations

import logging
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn, TypeVarTuple, Unpack, final

import trio

from supervisor._calls._supervisor import Supervisor, port_of, raise_all, run_tree
from supervisor._core._arguments import check_seconds
from supervisor._core._errors import GroupFailedError
from supervisor._observing._logging import log
from supervisor._tasks._members import bind, check_runnable

from ._countdown import LAST_RESORT, Request
from ._last_resort import CUT_SHORT, LastResort
from ._logging_preset import preset_logging

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from supervisor._core._restart import Backoff, RestartLimit
    from supervisor._observing._metrics import Metrics
    from supervisor._tasks._blocking import LoopThread

ArgsT = TypeVarTuple("ArgsT")

STOPPED: Final = 0
FAILED: Final = 1

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

    At the first ``SIGTERM``, ``SIGINT`` (Ctrl-C) or ``SIGHUP`` the tree is stopped as by
    :meth:`Supervisor.stop`, within ``timeout``. A second one cancels everything at once. What comes
    within 0.2 seconds of the first is the same one, sent by a terminal and by a wrapper. A signal
    that was ignored when the process started stays ignored.

    If a task has not ended 5 seconds after it was cancelled, or a runnable blocks the event loop so
    that nothing can be cancelled, that is logged, with the line where it is, and the process ends
    without it. A process that is suspended loses none of these seconds.

    ====================================== ====== ==================================================
    What happened                          Status What was logged last
    ====================================== ====== ==================================================
    The tree has finished                  0      nothing
    A signal, and the tree has stopped     0      INFO ``SIGTERM: stopping, within 30 s``
    The tree gave up                       1      CRITICAL ``root gave up: ...``
    The timeout was over                   3      ERROR ``the tree had not stopped after 30 s ...``
    A second signal                        3      WARNING ``SIGTERM again: stopping at once``
    A task did not end when cancelled      3      CRITICAL ``the process ends without these nodes``
    A runnable blocked the loop            3      CRITICAL ``root.a blocks the event loop; ...``
    A runnable raised ``SystemExit``       its    ERROR ``root.a raised SystemExit ...``
    Another exception that is no Exception 1      its traceback on standard error, unlogged
    ====================================== ====== ==================================================

    The status is decided when the tree has ended. Signals that come then change nothing, whatever
    the process still does before it exits, and handlers that were there before ``main`` do not come
    back. Only if it does not exit, a signal ends it 5 seconds later, with the status that was
    decided. A program that catches what ``main`` raises, drops it and goes on, such as a test, has
    the former handlers back.

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
        SystemExit: always, at last, with the status.
        RuntimeError: if it is not called in the main thread, or from within Trio.
        TypeError: if ``root`` is not callable, or an option is of a wrong kind.
        ValueError: if ``grace`` or ``timeout`` is out of its range.
        BaseException: what else left the tree.

    Example::

        if __name__ == "__main__":
            supervisor.main(root)
    """
    check_runnable(root, "main()")
    timeout = check_seconds("timeout", timeout)
    if threading.current_thread() is not threading.main_thread():
        msg = (
            f"main() was called in the thread {threading.current_thread().name!r}: call it in the "
            "main thread, which gets the signals, or call trio.run(supervisor.supervise, ...)"
        )
        raise RuntimeError(msg)
    preset_logging(sys.stderr)
    make = partial(Supervisor, bind(root, args), backoff, limit, metrics, grace, propagate=False)
    last_resort = LastResort(timeout)
    last_resort.start()
    try:
        status = trio.run(_serve, make, timeout, last_resort)
    except BaseException as error:
        if last_resort.is_attached:
            last_resort.decide(_status_of(error))
            last_resort.end_with(error)
        else:
            last_resort.release()  # nothing has run
        raise
    end = SystemExit(last_resort.decide(status))
    last_resort.end_with(end)
    try:
        raise end
    finally:
        del end  # its traceback refers to this frame, which would keep it alive


def _status_of(error: BaseException) -> int:
    """Return the status with which Python exits because of ``error``."""
    if not isinstance(error, SystemExit):
        return FAILED
    if error.code is None:
        return STOPPED
    return error.code & 0xFF if isinstance(error.code, int) else FAILED


async def _serve(
    make: Callable[[], Supervisor],
    timeout: float,  # noqa: ASYNC109  it bounds a stop
    last_resort: LastResort,
) -> int:
    """Run a tree, and stop it at signals; return the exit status."""
    service = _Service(make(), timeout, last_resort)
    last_resort.attach(service)
    try:
        return await service.run()
    finally:
        last_resort.detach()


@final
class _Service:
    """The tree of a process: what signals and the last resort do to it, in Trio's loop."""

    def __init__(self, tree: Supervisor, timeout: float, last_resort: LastResort) -> None:
        self._tree = tree
        self._port = port_of(tree)
        self._timeout = timeout
        self._last_resort = last_resort
        self._status = STOPPED
        self._has_ended = False
        self.token: trio.lowlevel.TrioToken = trio.lowlevel.current_trio_token()
        self.thread: LoopThread = self._port.loop_thread()

    async def run(self) -> int:
        """Run the tree to its end; return the exit status, or raise what has left it."""
        await run_tree(self._tree)
        self._has_ended = True
        late = self._port.timeout_error
        if late is not None:
            self._status = CUT_SHORT
            self._log(logging.ERROR, "%s", late)
        errors = self._port.errors
        if len(errors) == 1 and isinstance(errors[0], GroupFailedError):
            self._log(logging.CRITICAL, "%s", errors[0])
            if len(errors) == 1:  # the log may have raised another one
                return FAILED
        raise_all(errors)
        return self._status

    def carry_out(self, request: Request, name: str) -> None:
        """Do what the signal ``name`` requests, unless the tree has ended meanwhile."""
        if self._has_ended:
            return
        if request is Request.STOP:
            self._log(logging.INFO, "%s: stopping, within %g s", name, self._timeout)
            self._port.stop("the tree is stopped", self._timeout)
            # The stop was bounded first, so that it has cancelled everything when this is called.
            self._port.call_later(self._timeout, self._last_resort.cancelled)
        else:
            self._log(logging.WARNING, "%s again: stopping at once", name)
            self._status = CUT_SHORT
            self._port.cancel(f"a second {name}")
            self._last_resort.cancelled()

    def report(self, done: threading.Event) -> None:
        """Report the nodes that have not ended, and set ``done``."""
        if self._has_ended:
            return
        self._port.report_stuck(self._port.running(), f"{LAST_RESORT:g} s after it was cancelled")
        self._log(logging.CRITICAL, "the process ends without these nodes")
        done.set()

    def _log(self, level: int, text: str, *args: object) -> None:
        log(self._port.abort, _logger, level, text, *args)

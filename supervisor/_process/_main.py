"""A tree as a process: signals, the budget of a stop, the exit status."""

from __future__ import annotations

import logging
import math
import signal as signals
import sys
import threading
from functools import partial
from inspect import iscoroutine
from typing import TYPE_CHECKING, Final, Literal, NoReturn, TypeVarTuple, Unpack

import trio

from supervisor._calls._supervisor import Supervisor
from supervisor._core._arguments import check_function, check_seconds, shown
from supervisor._core._restart import RestartLimit
from supervisor._observing._logging import log
from supervisor._tasks._members import bind, check_runnable
from supervisor.logs import LogBuffer
from supervisor.logs._current import set_current

from ._countdown import Request
from ._inspection import inspection
from ._last_resort import LastResort
from ._logging_preset import check_format, check_level, preset_logging
from ._notifier import notifiers
from ._probes import probes
from ._programming_errors import is_programming_error
from ._service import Service, status_of
from ._signals import DUMP_SIGNAL, RELOAD_SIGNAL, STOP_SIGNALS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from supervisor._core._events import Event
    from supervisor._core._restart import Backoff
    from supervisor._observing._metrics import Metrics

    from ._inspection import Inspect
    from ._probes import Health
    from ._sidecars import MakeSidecar

ArgsT = TypeVarTuple("ArgsT")

_logger: Final = logging.getLogger("supervisor")

LIMIT: Final = RestartLimit(5, within=60.0)
"""How often the root may restart, unless another limit is passed."""


def main(
    root: Callable[[Unpack[ArgsT]], Awaitable[object]],
    *args: *ArgsT,
    timeout: float = 30.0,
    drain: float = 0.0,
    reload: Callable[[], object] | None = None,
    dump_signal: signals.Signals | None = DUMP_SIGNAL,
    backoff: Backoff | None = None,
    limit: RestartLimit | None = LIMIT,
    metrics: Metrics | Sequence[Metrics] | None = None,
    grace: float | None = None,
    observers: Sequence[Callable[[Event], object]] | None = None,
    report_after: float | None = 10.0,
    sidecars: Callable[[Supervisor], Mapping[str, Callable[[], Awaitable[object]]]] | None = None,
    blocked_after: float | None = 5.0,
    inspect: Inspect | None = None,
    health: Health | None = None,
    log_level: int | str = logging.INFO,
    log_format: Literal["auto", "text", "json", "journal"] = "auto",
) -> NoReturn:
    """Run a tree as a service's ``main`` until it ends or a signal stops the process (S22).

    The first ``SIGTERM``, ``SIGINT`` (Ctrl-C) or ``SIGHUP`` stops the tree as
    :meth:`Supervisor.stop` does, within ``timeout``. With ``drain``, nothing is ready from the
    signal on and the stop begins that many seconds later: a load balancer needs them to send no
    more requests. :meth:`Supervisor.request_stop` does the same from within. A second signal
    cancels everything at once, also during the drain. Signals within 0.2 seconds of the first count
    as the same one: a terminal and a wrapper may both send it. A signal that was ignored when
    ``main`` was called stays ignored.

    If a task has not ended 5 seconds after it was cancelled, or a runnable blocks the event loop so
    that nothing can be cancelled, the process logs the line where it is, and ends without it. The
    seconds in which the process is suspended are not counted.

    With ``reload``, ``SIGHUP`` does not stop: it calls that function as the root would, in a copy
    of the context of the root's task (S33). If it comes during a call, however often, one more call
    follows. What the function raises is logged, and changes nothing. A stop cancels the call.

    A root that dies of an error by which this package refuses how it is used, such as a name of a
    wrong form, ends the process: the next incarnation would die of it as well (S27).

    ``SIGUSR1`` has the tree logged: each node's state, and where its tasks wait. If a runnable
    blocks the event loop, the log says which one, and where. Without a signal it says so when the
    loop has not answered for ``blocked_after`` seconds, and again when it goes on (S18).

    *Sidecars* are runnables that show the service to the outside, such as a server for probes
    (S35). They run in a tree of their own, which starts before the service's and is stopped after
    it, within 5 seconds. They restart as other nodes do. Neither readiness nor the exit status
    depends on them. Where systemd has set ``NOTIFY_SOCKET``, ``main`` has one that tells it when
    the tree is ready, how it is, and when it stops (S40).

    ====================================== ====== ==================================================
    What happened                          Status What was logged last
    ====================================== ====== ==================================================
    The tree has finished                  0      nothing
    A signal, and the tree has stopped     0      INFO ``SIGTERM: stopping, within 30 s``
    A signal with ``drain=5``, likewise    0      INFO ``drained for 5 s: stopping, within 30 s``
    ``request_stop()``, likewise           0      INFO ``stop requested: ...; stopping ...``
    The tree gave up                       1      CRITICAL ``root gave up: ...``
    The root has used the package wrongly  1      CRITICAL ``root gave up: ... fatal (...)``
    The timeout has passed                 3      ERROR ``the tree had not stopped after 30 s ...``
    A second signal                        3      WARNING ``SIGTERM again: stopping at once``
    A task did not end when cancelled      3      CRITICAL ``the process ends without these nodes``
    A runnable blocked the loop            3      CRITICAL ``root.a blocks the event loop; ...``
    A runnable raised ``SystemExit``       its    INFO ``root.a raised SystemExit: 7, ...``
    It raised ``KeyboardInterrupt``        130    nothing; its traceback is on standard error
    It raised another BaseException        1      ERROR ``root.a raised GeneratorExit, ...``
    ====================================== ====== ==================================================

    The status is decided when the tree has ended. Signals that come later do not change it, and the
    handlers that were set before ``main`` are not set again. If the process does not exit, a signal
    ends it 5 seconds later, with the status that was decided. If a program such as a test catches
    what ``main`` raises, and drops it, the former handlers are set again.

    Unless logging is set up already, which the log says then, records from ``log_level`` on go to
    standard error: as text on a terminal, as lines with priorities to the journal of systemd, as
    one JSON object a line to anything else. The newest records are kept, by node, in a buffer that
    :func:`supervisor.logs.current_buffer` returns.

    Args:
        root: The root runnable.
        *args: Its arguments.
        timeout: How many seconds a stop may take. Choose it so that it is, with ``drain``, below
            what your process manager allows before it kills.
        drain: How many seconds nothing is ready before the stop begins.
        reload: A function without arguments, sync or async, that ``SIGHUP`` calls.
        dump_signal: What has the tree logged; ``None`` for no signal.
        backoff: The default delays before restarts.
        limit: How often the root may restart before the process gives up; by default 5 times
            within 60 seconds, with ``None`` any number of times.
        metrics: Is told of every transition.
        grace: How long the root gets to stop; by default its own, as for :func:`supervise`.
        observers: Functions that are told each event: see :mod:`supervisor.tree_events`.
        report_after: How many seconds a node may be ``NEW`` before the log shows where it waits;
            ``None`` for ever.
        sidecars: A function that gets the tree, which is yet to run, and returns the sidecars by
            their names, which must not be ``systemd``, ``systemd_watchdog``, ``inspector`` or
            ``health``.
        blocked_after: After how many seconds the log says what blocks the event loop; ``None`` for
            never. A thread asks the loop twice as often.
        inspect: Whether there is an inspector, beside the sidecars (S38): ``True``, the path of its
            socket, or a function of the tree that returns an ``inspector()``. By default,
            ``$SUPERVISOR_INSPECT`` says it: ``1`` or a path.
        health: Where probes are answered, beside the sidecars (S41): ``"HOST:PORT"``, the two as a
            pair, or a function of the tree that returns a ``health_server()``. By default nowhere.
        log_level: From which level on records are logged, as a number or a name.
        log_format: ``text``, ``json``, ``journal``, or ``auto`` for what suits standard error.

    Raises:
        SystemExit: with the status, unless one of the errors below is raised.
        RuntimeError: if it is not called in the main thread, or from within Trio.
        TypeError: if ``root``, ``reload`` or ``sidecars`` is not callable, an option is of a wrong
            kind, or a function that makes sidecars returns something else.
        ValueError: if ``grace``, ``report_after``, ``timeout``, ``drain`` or ``blocked_after`` is
            out of its range, or ``dump_signal`` can't be caught or stops the process, or ``health``
            is not of its form, or there is no such level or format.
        BaseException: what else left the tree, or what ``sidecars``, ``inspect`` or ``health``
            raised.

    Example::

        if __name__ == "__main__":
            supervisor.main(root, drain=5, reload=read_configuration)
    """
    check_runnable(root, "main()")
    timeout = check_seconds("timeout", timeout)
    drain = check_seconds("drain", drain)
    requests = _requests(reload, dump_signal)
    level, chosen = check_level(log_level), check_format(log_format)
    if blocked_after is not None:
        blocked_after = check_seconds("blocked_after", blocked_after, above_zero=True)
        if math.isinf(blocked_after):
            blocked_after = None
    if sidecars is not None:
        check_function("sidecars", sidecars, "a mapping of runnables")
    asked_for = _asked_for(inspect, health)
    if threading.current_thread() is not threading.main_thread():
        msg = (
            f"main() was called in the thread {threading.current_thread().name!r}: call it in the "
            "main thread, which gets the signals, or call trio.run(supervisor.supervise, ...)"
        )
        raise RuntimeError(msg)
    own_sidecars = notifiers() | asked_for  # the notifiers are the first, so they end last
    was_bare = preset_logging(sys.stderr, level, chosen)
    make = partial(
        Supervisor,
        bind(root, args),
        backoff,
        limit,
        metrics,
        grace,
        observers=observers,
        report_after=report_after,
        propagate=False,
        fatal=is_programming_error,
    )
    last_resort = LastResort(requests, timeout=timeout, drain=drain)
    serve = partial(
        Service,
        drain=drain,
        timeout=timeout,
        reload=reload,
        own_sidecars=own_sidecars,
        sidecars=sidecars,
        blocked_after=blocked_after,
        last_resort=last_resort,
    )
    buffer = LogBuffer()
    last_resort.start()
    logging.getLogger().addHandler(buffer)
    try:
        if not was_bare:
            _report_left_out(level, chosen)
        status = trio.run(_serve, make, serve, last_resort, buffer)
    except BaseException as error:
        if last_resort.is_attached:
            last_resort.decide(status_of(error))
            last_resort.end_with(error)
        else:
            last_resort.release()  # nothing has run
        raise
    finally:
        logging.getLogger().removeHandler(buffer)
        buffer.close()
    end = SystemExit(last_resort.decide(status))
    last_resort.end_with(end)
    try:
        raise end
    finally:
        del end  # its traceback refers to this frame, which would keep it alive


def _asked_for(inspect: Inspect | None, health: Health | None) -> dict[str, MakeSidecar]:
    """Return what makes the sidecars that arguments of ``main`` ask for, by their names."""
    made = {"inspector": inspection(inspect), "health": probes(health)}
    return {name: make for name, make in made.items() if make is not None}


def _report_left_out(level: int, log_format: str) -> None:
    """Say that logging was set up already: what was asked for then is left out (S22)."""
    asked = [f"log_level={logging.getLevelName(level)!r}"] if level != logging.INFO else []
    asked += [f"log_format={log_format!r}"] if log_format != "auto" else []
    text = "logging is set up already, so main() leaves it as it is"
    if asked:
        log(_leave, _logger, logging.WARNING, f"{text}, without %s", " and ".join(asked))
    else:
        log(_leave, _logger, logging.INFO, text)


def _leave(error: BaseException) -> NoReturn:
    raise error


def _requests(reload: object, dump_signal: object) -> dict[signals.Signals, Request]:
    """Check what signals are to do beside stopping, and return what each asks for (S33)."""
    requests = dict.fromkeys(STOP_SIGNALS, Request.STOP)
    if reload is not None:
        if not callable(reload):
            if iscoroutine(reload):
                reload.close()  # Python would warn that it was never awaited
            msg = (
                f"reload={shown(reload)} is not callable: pass a function without arguments, sync "
                "or async, and do not call it"
            )
            raise TypeError(msg)
        if RELOAD_SIGNAL is not None:
            requests[RELOAD_SIGNAL] = Request.RELOAD
    if dump_signal is not None:
        requests[_checked_signal(dump_signal)] = Request.DUMP
    return requests


def _checked_signal(number: object) -> signals.Signals:
    msg = f"dump_signal={shown(number)} is no signal: pass one, such as signal.SIGUSR1, or None"
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(msg)
    try:
        signal = signals.Signals(number)
    except ValueError:
        raise ValueError(msg) from None
    taken = {"SIGKILL", "SIGSTOP", *(each.name for each in STOP_SIGNALS)}
    if signal.name in taken:
        why = "stops the process" if signal in STOP_SIGNALS else "can't be caught"
        msg = f"dump_signal={signal.name} {why}: pass another one, such as signal.SIGUSR1, or None"
        raise ValueError(msg)
    return signal


async def _serve(
    make: Callable[[], Supervisor],
    serve: Callable[[Supervisor], Service],
    last_resort: LastResort,
    buffer: LogBuffer,
) -> int:
    """Run a tree, and carry out what signals request; return the exit status."""
    set_current(buffer)  # in the context of this task, which all runnables inherit
    service = serve(make())
    last_resort.attach(service)
    try:
        return await service.run()
    finally:
        last_resort.detach()

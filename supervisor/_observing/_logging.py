"""Logging: the loggers of nodes, the DNs on records, and the records about what happens in a tree.

Everything is standard :mod:`logging`, and nothing is configured here. The package adds two things.
A node logs to ``supervisor.node.<dn>``, so that levels and handlers can be set for subtrees by
name. And each record that is made inside a runnable, by any library, has the runnable's DN in its
attribute ``dn`` (``-`` elsewhere), and the number of its run in ``incarnation`` (``None``
elsewhere), which formatters can show.

How records get their ``dn``: ``logging.Logger.makeRecord`` and ``handle`` are wrapped when the
package is imported. ``makeRecord`` runs in the task that logs. ``handle`` also gets records that
were made in another way, as from what came over a socket, and gives them a ``dn`` only if they have
none. It is a plain attribute that the record has from the start. So it is copied, pickled and
handed to other threads with the record, and every format can name it.

Rejected: a record factory, which :mod:`logging` offers for this. ``extra=`` can't give an attribute
that the factory sets (``makeRecord`` raises ``KeyError``), and programs that log LDAP entries give
a ``dn``. A factory that is set later replaces it. Rejected: a property of ``LogRecord``, because
formats with ``%`` or ``{`` read the record's ``__dict__``. Rejected: a filter, which sees the
records of one logger or one handler only.

If ``extra=`` gives a ``dn``, the record has that one. The runnable's DN is in the attribute
``runnable_dn`` then, and the package's own formatters show it.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any, Final, final

from supervisor._core._events import (
    FactoryFailed,
    FatalErrorRaised,
    GraceMissing,
    NodeDied,
    NodeRecovered,
    NodeRemoved,
    NodesStillNew,
    NodesStuck,
    ReadinessSet,
    RestartWasRequested,
    StopErrorRaised,
)
from supervisor._core._plan import Fail, GiveUp, Retry
from supervisor._tasks._current import current
from supervisor._tasks._watchdog import stacks_of
from supervisor._text._exceptions import format_error, one_line, traceback_of
from supervisor._text._frames import without_machinery_before
from supervisor._text._printable import cut, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from supervisor._core._events import Event
    from supervisor._core._plan import Plan
    from supervisor._core._records import Crash
    from supervisor._core._tree import Group, Node
    from supervisor._tasks._port import Port
    from supervisor._tasks._tree import Tree

_logger = logging.getLogger("supervisor")

ROOT: Final = "supervisor.node"
# logging's own lock around its loggers, which has no public name. Threads make loggers, too.
_LOCK: Final[threading.RLock] = logging._lock  # type: ignore[attr-defined]

PREFIX: Final = f"{ROOT}."

NODES_REPORTED: Final = 20
"""Of one stop, at most this many nodes are reported at a time; the others are counted."""

DN_LENGTH: Final = 500
"""In a message, a DN has at most this many characters: those of deep nodes are long."""

SUMMARISED: Final = 10
"""Of equal deaths in a row, the first of each this many is logged with its traceback."""


def node_logger(node: Node, name: str | None = None, dn: str | None = None) -> logging.Logger:
    """Return the logger of a node, or the one below it that is called ``name`` (S17).

    Args:
        node: The node.
        name: The last part of a sub-logger's name.
        dn: The node's DN, where it is known already.
    """
    full = f"{PREFIX}{dn or node.dn}" if name is None else f"{PREFIX}{node.dn}.{name}"
    tree: Tree = node.group.siblings.tree  # type: ignore[assignment]  # all trees are of that class
    return tree.find_logger(node, full)


def forget_loggers(names: Iterable[str]) -> None:
    """Remove the loggers of nodes that were removed from their tree.

    :mod:`logging` keeps every logger for ever. That is right for modules, but not for the children
    of a pool, which come under ever new names. A logger that somebody has configured stays: its
    level or handler is for a node that will start again.
    """
    known = logging.Logger.manager.loggerDict
    with _LOCK:
        for name in tuple(names):
            logger = known.get(name)
            if not isinstance(logger, logging.Logger) or _is_configured(logger):
                continue
            del known[name]
            # Placeholders, which stand for names above it without a logger, refer to it as well.
            above = name
            while above != ROOT:
                above = above.rpartition(".")[0]
                place = known.get(above)
                if isinstance(place, logging.PlaceHolder):
                    place.loggerMap.pop(logger, None)
                    if not place.loggerMap:
                        del known[above]


def forget_all(names: Iterable[str]) -> None:
    """Remove all loggers of a tree that has ended, in one pass through all loggers.

    A logger that is the parent of one that stays, stays too.
    """
    known = logging.Logger.manager.loggerDict
    with _LOCK:
        removed: dict[str, logging.Logger] = {}
        for name in tuple(names):
            logger = known.get(name)
            if isinstance(logger, logging.Logger) and not _is_configured(logger):
                removed[name] = logger
        for other in known.values():
            if isinstance(other, logging.Logger) and other.name not in removed:
                parent = other.parent
                while parent is not None and removed.get(parent.name) is parent:
                    del removed[parent.name]
                    parent = parent.parent
        loggers = set(removed.values())
        for name in removed:
            del known[name]
        for name, place in tuple(known.items()):
            if isinstance(place, logging.PlaceHolder) and name.startswith(ROOT):
                for logger in loggers.intersection(place.loggerMap):
                    del place.loggerMap[logger]
                if not place.loggerMap:
                    del known[name]


def _is_configured(logger: logging.Logger) -> bool:
    return bool(
        logger.level or logger.handlers or logger.filters or logger.disabled or not logger.propagate
    )


def label_records() -> None:
    """Give each new log record the DN of the runnable that makes it (S17)."""
    make, handle = logging.Logger.makeRecord, logging.Logger.handle

    @functools.wraps(make)
    def make_labelled(
        self: logging.Logger,
        *args: Any,  # noqa: ANN401  they are passed on
        **kwargs: Any,  # noqa: ANN401  as above
    ) -> logging.LogRecord:
        record = make(self, *args, **kwargs)
        _label(record, "runnable_dn" if "dn" in record.__dict__ else "dn")
        return record

    @functools.wraps(handle)
    def handle_labelled(self: logging.Logger, record: logging.LogRecord) -> None:
        if "dn" not in record.__dict__:
            _label(record, "dn")
        handle(self, record)

    logging.Logger.makeRecord = make_labelled  # type: ignore[method-assign] # see above
    logging.Logger.handle = handle_labelled  # type: ignore[method-assign] # see above


def _label(record: logging.LogRecord, attribute: str) -> None:
    dn, incarnation = runnable_of_caller()
    setattr(record, attribute, "-" if dn is None else dn)
    record.__dict__.setdefault("incarnation", incarnation)


def runnable_of_caller() -> tuple[str | None, int | None]:
    """Return the DN of the calling runnable and the number of its run; ``None`` if there is none.

    The number is ``None`` as well if the caller is a task that a former run has left behind.
    """
    incarnation = current.get(None)
    if incarnation is None:
        return None, None
    node = incarnation.node
    return node.dn, node.number if node.incarnation is incarnation else None


label_records()


TROUBLE_LENGTH: Final = 16 * 1024
"""The traceback of what a handler raised has at most this many characters."""


def is_wanted(logger: logging.Logger, level: int) -> bool:
    """Return whether ``logger`` takes records of ``level``, before one is made."""
    try:
        return logger.isEnabledFor(level)
    except Exception:  # noqa: BLE001  its class may be a user's; log() reports the error
        return True


def log(
    abort: Callable[[BaseException], object],
    logger: logging.Logger,
    level: int,
    text: str,
    *args: object,
    exc_info: BaseException | None = None,
    exc_text: str | None = None,
    extra: Mapping[str, object] | None = None,
) -> None:
    """Log. If that fails, write to standard error what could not be logged, and why (S11, S17).

    The machinery of a tree logs by this. It must get no exception: handlers and filters of
    :mod:`logging` are users' code, and a death or a stop has to go on. If a handler raises what is
    not an ``Exception``, such as ``SystemExit``, ``abort`` is called with it.

    With ``exc_text``, formatters show this text for the exception ``exc_info``. What takes the
    exception itself gets its frames from the first one of users' code on.
    """
    try:
        try:
            if exc_info is None or exc_text is None:
                logger.log(level, text, *args, exc_info=exc_info, extra=extra, stacklevel=2)
            else:
                # By hand, as ``extra=`` can't set what a record has anyway.
                file, line, function, _ = logger.findCaller(stacklevel=2)
                info = type(exc_info), exc_info, without_machinery_before(traceback_of(exc_info))
                record = logger.makeRecord(
                    logger.name, level, file, line, text, args, info, function, extra
                )
                record.exc_text = exc_text
                logger.handle(record)
        except Exception:  # noqa: BLE001  a foreign handler may raise anything
            # Standard error, and the repr() of an argument, may raise as well.
            with contextlib.suppress(BaseException):
                sys.stderr.write(printable(cut(traceback.format_exc(limit=-20), TROUBLE_LENGTH)))
                detail = f"\n{exc_text}" if exc_text else ""
                what = f"{logger.name} could not log this: {text % args}{detail}\n"
                sys.stderr.write(printable(what))
    except BaseException as error:  # noqa: BLE001  it leaves, as a runnable's does
        abort(error)


WITHOUT_GRACE_REPORTED: Final = 100
"""Of at most this many nodes of a tree it is reported that they have no grace."""


@final
class TreeLog:
    """Logs what happens in a tree, as an observer, and removes the loggers of its nodes (S17)."""

    __slots__ = ("_event", "_port", "_without_grace", "loggers")

    def __init__(self, port: Port) -> None:
        self._port: Port = port
        # The name of the event that is logged now.
        self._event: str = ""
        # The loggers that were made for nodes, by name.
        self.loggers: dict[Node, dict[str, logging.Logger]] = {}
        # The DNs of which a missing grace was reported.
        self._without_grace: set[str] = set()

    def observe(self, event: Event) -> None:
        """Log an event, if it is one that is logged."""
        self._event = type(event).__name__
        match event:
            case NodeDied():
                self._log_death(event)
            case NodeRecovered():
                self._log_recovery(event.node, event.seconds)
            case StopErrorRaised():
                self._log_stop_error(event)
            case FatalErrorRaised():
                self._log_fatal_error(event.node, event.error)
            case RestartWasRequested():
                self._log_request(event.node, event.reason)
            case ReadinessSet():
                self._log_readiness(event.node, event.reason)
            case GraceMissing():
                self._log_missing_grace(event.node)
            case FactoryFailed():
                self._log_factory_error(event)
            case NodesStuck():
                self._log_stuck(event.nodes, event.when)
            case NodesStillNew():
                self._log_still_new(event.nodes)
            case NodeRemoved():
                self._forget(event.node, for_good=event.for_good)
            case _:
                pass

    def observer_failed(
        self, observer: Callable[[Event], object], event: Event, error: Exception
    ) -> None:
        """Report what an observer has raised."""
        text = "%r failed at %s"
        self._log(_logger, logging.ERROR, text, observer, type(event).__name__, error=error)

    def find_logger(self, node: Node, name: str) -> logging.Logger:
        """Return the logger ``name``, and remember that it is of ``node``; any thread may call."""
        made = self.loggers.get(node)
        known = None if made is None else made.get(name)
        # The end of another tree may have removed a logger of the same name.
        if known is not None and logging.Logger.manager.loggerDict.get(name) is known:
            return known
        tree = self._port.tree
        with _LOCK:
            if node not in self.loggers and not tree.observes_removals:
                tree.observe_removals()
            logger = logging.getLogger(name)
            self.loggers.setdefault(node, {})[name] = logger
        return logger

    def close(self) -> None:
        """Remove the loggers of a tree that has ended."""
        with _LOCK:
            names = {name for each in self.loggers.values() for name in each}
            self.loggers.clear()
        forget_all(names)

    def _forget(self, node: Node, *, for_good: bool) -> None:
        """Remove the loggers of a removed node, or keep their names until the tree has ended."""
        root = self._port.tree.root.members[0]
        with _LOCK:
            made = self.loggers.pop(node, {})
            if not for_good:
                self.loggers.setdefault(root, {}).update(made)
        if for_good:
            forget_loggers(made)

    def _log_death(self, event: NodeDied) -> None:
        """Report a death by one record."""
        node, crash, plan, error = event
        logger = node_logger(node, dn=crash.dn)
        if is_wanted(logger, logging.ERROR):
            text = "%s died in incarnation %d, %.1f s old: %s; %s"
            dn, consequence = cut(crash.dn, DN_LENGTH), _consequence(node.group, plan)
            args = dn, crash.incarnation, crash.uptime, crash.error, consequence
            self._log_failure(logger, node, text, *args, crash=crash, error=error)

    def _log_recovery(self, node: Node, seconds: float) -> None:
        """Report that a node is healthy again after a death (S34)."""
        logger = node_logger(node)
        if is_wanted(logger, logging.INFO):
            text = "%s is healthy again after %.1f s, incarnation %d"
            self._log(
                logger, logging.INFO, text, cut(node.dn, DN_LENGTH), seconds, node.number, node=node
            )

    def _log_stop_error(self, event: StopErrorRaised) -> None:
        """Report what a runnable raised, or was handling, after a stop was requested."""
        node, crash, was_handled, error = event
        logger, level = node_logger(node), logging.ERROR
        text = "%s was asked to stop and raised an error: %s"
        if was_handled:
            level = logging.WARNING
            text = "%s was asked to stop while it was failing with, or handling, an error: %s"
        if is_wanted(logger, level):
            args = cut(crash.dn, DN_LENGTH), crash.error
            self._log(logger, level, text, *args, node=node, crash=crash, error=error)

    def stop_requested(self, reason: str) -> None:
        """Report why the tree is stopped from within (S21)."""
        self._log(_logger, logging.INFO, "stop requested: %s", reason)

    def _log_fatal_error(self, node: Node, error: BaseException) -> None:
        """Report what leaves the tree, and which runnable raised it (S11).

        ``SystemExit`` is logged as ``INFO``, because it ends the process without a traceback, and
        on purpose. ``KeyboardInterrupt`` is not logged: its traceback shows where it came from.
        """
        if isinstance(error, KeyboardInterrupt):
            return
        level = logging.INFO if isinstance(error, SystemExit) else logging.ERROR
        logger = node_logger(node)
        if is_wanted(logger, level):
            text, dn = "%s raised %s, which leaves the tree", cut(node.dn, DN_LENGTH)
            if level == logging.ERROR:
                line, shown = one_line(error), format_error(error)
                self._log(logger, level, text, dn, line, node=node, error=error, exc_text=shown)
            else:
                self._log(logger, level, text, dn, one_line(error), node=node)

    def _log_request(self, node: Node, reason: str) -> None:
        """Report that a runnable has ended to have its group restarted (S26)."""
        logger = node_logger(node)
        if is_wanted(logger, logging.INFO):
            who = "it" if len(node.group.members) == 1 else f"its group {node.group.dn}"
            text = "%s ended to be restarted: %s; %s restarts at once"
            self._log(logger, logging.INFO, text, cut(node.dn, DN_LENGTH), reason, who, node=node)

    def _log_readiness(self, node: Node, reason: str | None) -> None:
        """Report that a healthy node is not ready, or is ready again (S30)."""
        logger = node_logger(node)
        level = logging.INFO if reason is None else logging.WARNING
        if is_wanted(logger, level):
            dn = cut(node.dn, DN_LENGTH)
            if reason is None:
                self._log(logger, level, "%s is ready again", dn, node=node)
            else:
                self._log(logger, level, "%s is not ready: %s", dn, reason, node=node)

    def _log_missing_grace(self, node: Node) -> None:
        """Report that a runnable waits for a stop request that can't help it, once (S32)."""
        parent = node.group.parent
        # The children of a pool are alike, and may be many.
        of_pool = parent is not None and parent.is_pool
        key = parent.node.dn if parent is not None and of_pool else node.dn
        if key in self._without_grace or len(self._without_grace) > WITHOUT_GRACE_REPORTED:
            return
        self._without_grace.add(key)
        if len(self._without_grace) > WITHOUT_GRACE_REPORTED:
            text = "more than %d nodes wait for their stop requests and have no grace: "
            text += "no further ones are reported"
            self._log(_logger, logging.INFO, text, WITHOUT_GRACE_REPORTED)
            return
        logger = node_logger(node)
        if is_wanted(logger, logging.INFO):
            text = "%s waits for its stop request, but will be cancelled in the same instant: "
            text += "it has no grace, so pass grace= when it is started"
            self._log(logger, logging.INFO, text, cut(node.dn, DN_LENGTH), node=node)

    def _log_factory_error(self, event: FactoryFailed) -> None:
        """Report that the function that makes a group's runnables failed."""
        group, crash, plan, error = event
        first = group.members[0]
        logger = node_logger(first)
        if is_wanted(logger, logging.ERROR):
            text = "the function that makes the runnables of %s failed: %s; %s"
            args = cut(crash.dn, DN_LENGTH), crash.error, _consequence(group, plan)
            self._log_failure(logger, first, text, *args, crash=crash, error=error)

    def _log_failure(
        self,
        logger: logging.Logger,
        node: Node,
        text: str,
        *args: object,
        crash: Crash,
        error: Exception,
    ) -> None:
        """Log a failure with its traceback, or instead how many equal ones there were in a row."""
        shown: Exception | None = error
        assert node.death_history is not None  # this death is in it
        repeats = node.death_history.repeats
        if repeats % SUMMARISED:
            text += " (the same death again, %d in a row)"
            args, shown = (*args, repeats + 1), None
        self._log(logger, logging.ERROR, text, *args, node=node, crash=crash, error=shown)

    def _log_stuck(self, late: Sequence[Node], when: str) -> None:
        """Report nodes that have not ended, and where they wait (S18)."""
        text = "%s has not ended %s; its tasks wait here:\n%s"
        for node in late[:NODES_REPORTED]:
            self._log_waiting(node, text, when)
        if len(late) > NODES_REPORTED:
            more = len(late) - NODES_REPORTED
            self._log(_logger, logging.WARNING, "%d more nodes have not ended %s", more, when)

    def _log_still_new(self, late: Sequence[Node]) -> None:
        """Report nodes that have been ``NEW`` for long, and where they wait (S34)."""
        now = self._port.time()
        for node in late[:NODES_REPORTED]:
            if node.incarnation is not None:
                text = "%s is NEW for %s s; it waits here:\n%s"
                self._log_waiting(node, text, f"{now - node.incarnation.started:.0f}")
        if len(late) > NODES_REPORTED:
            more = len(late) - NODES_REPORTED
            self._log(_logger, logging.WARNING, "%d more nodes are NEW for as long", more)

    def _log_waiting(self, node: Node, text: str, what: str) -> None:
        logger = node_logger(node)
        if is_wanted(logger, logging.WARNING) and node.incarnation is not None:
            dn, stacks = cut(node.dn, DN_LENGTH), stacks_of(node.incarnation)
            self._log(logger, logging.WARNING, text, dn, what, stacks, node=node)

    def _log(
        self,
        logger: logging.Logger,
        level: int,
        text: str,
        *args: object,
        node: Node | None = None,
        error: BaseException | None = None,
        crash: Crash | None = None,
        exc_text: str | None = None,
    ) -> None:
        extra: dict[str, object] | None = None
        if crash is None and node is not None:
            extra = {"event": self._event, "incarnation": node.number}
        elif crash is not None:
            extra = {"event": self._event, "incarnation": crash.incarnation, "crash": crash}
            exc_text = crash.traceback if error is not None else None
        abort = self._port.abort
        log(abort, logger, level, text, *args, exc_info=error, exc_text=exc_text, extra=extra)


def _consequence(group: Group, plan: Plan) -> str:
    """Return a text that says what becomes of a group after a death."""
    who = "it" if len(group.members) == 1 else f"its group {cut(group.dn, DN_LENGTH)}"
    match plan:
        case Retry() if not group.siblings.cancelled:
            return f"{who} restarts in {plan.delay:.2f} s"
        case GiveUp() if not group.siblings.cancelled:
            limit = group.options.limit
            if plan.is_fatal:
                return f"{who} gives up (that is fatal)"
            assert limit is not None
            allowed = f"{limit.restarts} restarts within {limit.within:g} s are allowed"
            return f"{who} gives up ({allowed})"
        case Fail() if not group.siblings.cancelled:
            return f"{who} does not restart (its policy is NEVER)"
        case _:
            return "it is being stopped"

"""Logging: which logger is whose, whose record is which, and the one record of a death.

Everything is standard :mod:`logging`; nothing is configured here. Two things
are added to it. A node logs to ``supervisor.node.<dn>``, so that levels and
handlers can be set for subtrees by name. And each record that is made inside a
runnable, by whatever library, carries the runnable's DN in its attribute
``dn`` (``-`` elsewhere), for formatters to show.

How records get their ``dn``: ``logging.Logger.makeRecord`` and ``handle`` are wrapped when the
package is imported. The one knows what is made in which task; the other sees what was made in some
other way, such as from what came over a socket, and gives it a ``dn`` only if it has none. It is a
plain attribute of the record from its birth, so it is copied, pickled and handed to other threads
with it, and a format may name it at any time.

Rejected: a record factory, which is what :mod:`logging` offers. An attribute that it sets can't
be given by ``extra=`` any more (makeRecord raises ``KeyError``, and those who log LDAP entries do
give a ``dn``), and who sets a factory later undoes it. Rejected: a property of ``LogRecord``,
for a format with ``%`` or ``{`` looks into the record's ``__dict__``. Rejected: a filter, which
sees what is logged to one logger or passes one handler.

Where ``extra=`` gives a ``dn``, it is the record's, as its author wants; the runnable's DN is
then in the attribute ``runnable_dn``, and the package's own formatters show that.
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
    NodeRemoved,
    NodesStuck,
    ReadinessSet,
    RestartWasRequested,
    StopErrorRaised,
)
from supervisor._core._plan import Fail, GiveUp, Retry
from supervisor._tasks._current import current
from supervisor._tasks._watchdog import stacks_of
from supervisor._text._exceptions import format_error, one_line
from supervisor._text._printable import cut, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from supervisor._core._events import Event
    from supervisor._core._plan import Plan
    from supervisor._core._records import Crash
    from supervisor._core._tree import Group, Incarnation, Node
    from supervisor._tasks._port import Port
    from supervisor._tasks._tree import Tree

_logger = logging.getLogger("supervisor")

ROOT: Final = "supervisor.node"
# logging's own lock around its loggers, which has no public name: a thread may be making one.
_LOCK: Final[threading.RLock] = logging._lock  # type: ignore[attr-defined]

PREFIX: Final = f"{ROOT}."

NODES_REPORTED: Final = 20
"""A report names at most so many nodes of one stop, and counts the rest."""

DN_LENGTH: Final = 500
"""In a message, a DN is cut to so many characters: a chain is long, and so is a group of many."""

SUMMARISED: Final = 10
"""Of deaths that repeat without a change, one in so many shows its traceback again."""


def node_logger(node: Node, name: str | None = None, dn: str | None = None) -> logging.Logger:
    """Return the logger of a node, or the one below it that is called ``name`` (S17).

    Args:
        node: The node.
        name: The last part of a sub-logger's name.
        dn: The node's DN, where it is known already.
    """
    full = f"{PREFIX}{dn or node.dn}" if name is None else f"{PREFIX}{node.dn}.{name}"
    tree: Tree = node.group.siblings.tree  # type: ignore[assignment]  # all trees are of that class
    with _LOCK:  # worker threads of runnables ask as well
        names = tree.loggers.get(node)
        if names is None:
            names = tree.loggers[node] = set()
            if not tree.observes_removals:
                tree.observe_removals()
        names.add(full)
    return logging.getLogger(full)


def forget_loggers(names: Iterable[str]) -> None:
    """Let go of loggers that were made for nodes which are gone.

    :mod:`logging` keeps every logger for ever, which is right for modules, but not for the children
    of a pool, which come and go under new names. A logger that somebody has configured stays: its
    level or handler is for a node that comes again.
    """
    known = logging.Logger.manager.loggerDict
    with _LOCK:
        for name in tuple(names):
            logger = known.get(name)
            if not isinstance(logger, logging.Logger) or _is_configured(logger):
                continue
            del known[name]
            # The names above it that are nobody's logger know it as well.
            above = name
            while above != ROOT:
                above = above.rpartition(".")[0]
                place = known.get(above)
                if isinstance(place, logging.PlaceHolder):
                    place.loggerMap.pop(logger, None)
                    if not place.loggerMap:
                        del known[above]


def forget_all(names: Iterable[str]) -> None:
    """Let go of all loggers of a tree that is over, in one pass through the loggers there are.

    One that has others below it which stay is still their parent, and stays too.
    """
    known = logging.Logger.manager.loggerDict
    with _LOCK:
        gone: dict[str, logging.Logger] = {}
        for name in tuple(names):
            logger = known.get(name)
            if isinstance(logger, logging.Logger) and not _is_configured(logger):
                gone[name] = logger
        for other in known.values():
            if isinstance(other, logging.Logger) and other.name not in gone:
                parent = other.parent
                while parent is not None and gone.get(parent.name) is parent:
                    del gone[parent.name]
                    parent = parent.parent
        loggers = set(gone.values())
        for name in gone:
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
    """Make each new log record carry the DN of the runnable it comes from (S17)."""
    make, handle = logging.Logger.makeRecord, logging.Logger.handle

    @functools.wraps(make)
    def make_labelled(
        self: logging.Logger,
        *args: Any,  # noqa: ANN401  they are passed on
        **kwargs: Any,  # noqa: ANN401  as above
    ) -> logging.LogRecord:
        record = make(self, *args, **kwargs)
        if "dn" in record.__dict__:
            record.runnable_dn = _current_dn()
        else:
            record.dn = _current_dn()
        return record

    @functools.wraps(handle)
    def handle_labelled(self: logging.Logger, record: logging.LogRecord) -> None:
        if "dn" not in record.__dict__:
            record.dn = _current_dn()
        handle(self, record)

    logging.Logger.makeRecord = make_labelled  # type: ignore[method-assign] # see above
    logging.Logger.handle = handle_labelled  # type: ignore[method-assign] # see above


def _current_dn() -> str:
    incarnation = current.get(None)
    return "-" if incarnation is None else incarnation.node.dn


label_records()


TROUBLE_LENGTH: Final = 16 * 1024
"""The traceback of what a handler raised is cut to so many characters."""


def is_wanted(logger: logging.Logger, level: int) -> bool:
    """Return whether ``logger`` takes records of ``level``, before one is made."""
    try:
        return logger.isEnabledFor(level)
    except Exception:  # noqa: BLE001  its class may be a user's; log() tells what is wrong
        return True


def log(
    abort: Callable[[BaseException], object],
    logger: logging.Logger,
    level: int,
    text: str,
    *args: object,
    exc_info: BaseException | bool | None = None,
) -> None:
    """Log; where that fails, tell standard error what could not be logged, and why (S17).

    It is for the machinery of a tree, where no exception must come: the handlers and filters of
    :mod:`logging` are users' code, and a death or a stop has to go on. What a handler raises that
    is no ``Exception``, such as ``SystemExit``, is handed to ``abort``.
    """
    try:
        try:
            logger.log(level, text, *args, exc_info=exc_info, stacklevel=2)
        except Exception:  # noqa: BLE001  a foreign handler may raise anything
            # Nor must standard error's troubles come there, or those of an argument's repr().
            with contextlib.suppress(BaseException):
                sys.stderr.write(printable(cut(traceback.format_exc(limit=-20), TROUBLE_LENGTH)))
                sys.stderr.write(printable(f"{logger.name} could not log this: {text % args}\n"))
    except BaseException as error:  # noqa: BLE001  it leaves, as a runnable's does
        abort(error)


WITHOUT_GRACE_REPORTED: Final = 100
"""Of at most this many nodes of a tree it is reported that they have no grace."""


@final
class TreeLog:
    """Logs what happens in a tree: an observer, by the port (S17)."""

    __slots__ = ("_port", "_without_grace")

    def __init__(self, port: Port) -> None:
        self._port: Port = port
        # The DNs of which a missing grace was reported.
        self._without_grace: set[str] = set()

    def observe(self, event: Event) -> None:
        """Log an event, if there is anything to say of it."""
        match event:
            case NodeDied():
                self._log_death(event.node, event.crash, event.plan)
            case StopErrorRaised():
                self._log_stop_error(event.node, event.crash, was_handled=event.was_handled)
            case FatalErrorRaised():
                self._log_fatal_error(event.node, event.error)
            case RestartWasRequested():
                self._log_request(event.node, event.reason)
            case ReadinessSet():
                self._log_readiness(event.node, event.reason)
            case GraceMissing():
                self._log_missing_grace(event.node)
            case FactoryFailed():
                self._log_factory_error(event.group, event.crash, event.plan)
            case NodesStuck():
                self._log_stuck(event.incarnations, event.when)
            case NodeRemoved():
                self._forget(event.node, for_good=event.for_good)
            case _:
                pass

    def observer_failed(
        self, observer: Callable[[Event], object], event: Event, error: Exception
    ) -> None:
        """Report what an observer has raised."""
        text = "%r failed at %s"
        self._log(_logger, logging.ERROR, text, observer, type(event).__name__, exc_info=error)

    def close(self) -> None:
        """Let go of the loggers of a tree that is over."""
        with _LOCK:
            loggers = self._port.tree.loggers
            names = {name for each in loggers.values() for name in each}
            loggers.clear()
        forget_all(names)

    def _forget(self, node: Node, *, for_good: bool) -> None:
        """Let go of the loggers of a node that is gone, or keep their names until the tree is."""
        tree = self._port.tree
        with _LOCK:
            names = tree.loggers.pop(node, set())
            if not for_good:
                tree.loggers.setdefault(tree.root.members[0], set()).update(names)
        if for_good:
            forget_loggers(names)

    def _log_death(self, node: Node, crash: Crash, plan: Plan) -> None:
        """Report a death: one record, in which the newest tells all there is to know."""
        logger = node_logger(node, dn=crash.dn)
        if is_wanted(logger, logging.ERROR):
            text = f"{cut(crash.dn, DN_LENGTH)} died in incarnation {crash.incarnation}, "
            text += f"{crash.uptime:.1f} s old: {crash.error}; {_consequence(node.group, plan)}"
            self._log(logger, logging.ERROR, "%s", text + _detail(node, crash))

    def _log_stop_error(self, node: Node, crash: Crash, *, was_handled: bool) -> None:
        """Report what a runnable raised when it had been asked to stop, or was handling then."""
        logger, level = node_logger(node), logging.ERROR
        what = "was asked to stop and raised an error"
        if was_handled:
            level = logging.WARNING
            what = "was asked to stop while it was failing with, or handling, an error"
        if is_wanted(logger, level):
            text = f"{cut(crash.dn, DN_LENGTH)} {what}: {crash.error}\n{crash.traceback}"
            self._log(logger, level, "%s", text)

    def stop_requested(self, reason: str) -> None:
        """Report why the tree is stopped from within (S21)."""
        self._log(_logger, logging.INFO, "stop requested: %s", reason)

    def _log_fatal_error(self, node: Node, error: BaseException) -> None:
        """Report what leaves the tree, and whose it is (S11).

        ``SystemExit`` ends a process without a word, but is meant to. ``KeyboardInterrupt`` says
        itself what it is, and may be raised anywhere.
        """
        if isinstance(error, KeyboardInterrupt):
            return
        level = logging.INFO if isinstance(error, SystemExit) else logging.ERROR
        logger = node_logger(node)
        if is_wanted(logger, level):
            text = f"{cut(node.dn, DN_LENGTH)} raised {one_line(error)}, which leaves the tree"
            if level == logging.ERROR:
                text += f"\n{format_error(error)}"
            self._log(logger, level, "%s", text)

    def _log_request(self, node: Node, reason: str) -> None:
        """Report that a runnable has ended to have its group restarted (S26)."""
        logger = node_logger(node)
        if is_wanted(logger, logging.INFO):
            who = "it" if len(node.group.members) == 1 else f"its group {node.group.dn}"
            text = "%s ended to be restarted: %s; %s restarts at once"
            self._log(logger, logging.INFO, text, cut(node.dn, DN_LENGTH), reason, who)

    def _log_readiness(self, node: Node, reason: str | None) -> None:
        """Report that a healthy node is not ready, or is ready again (S30)."""
        logger = node_logger(node)
        level = logging.INFO if reason is None else logging.WARNING
        if is_wanted(logger, level):
            dn = cut(node.dn, DN_LENGTH)
            if reason is None:
                self._log(logger, level, "%s is ready again", dn)
            else:
                self._log(logger, level, "%s is not ready: %s", dn, reason)

    def _log_missing_grace(self, node: Node) -> None:
        """Report that a runnable waits for a stop request that can't help it, once (S32)."""
        parent = node.group.parent
        # The children of a pool are alike, and may be many.
        of_pool = parent is not None and parent.is_pool
        key = parent.node.dn if parent is not None and of_pool else node.dn
        if key in self._without_grace or len(self._without_grace) == WITHOUT_GRACE_REPORTED:
            return
        self._without_grace.add(key)
        logger = node_logger(node)
        if is_wanted(logger, logging.INFO):
            text = "%s waits for its stop request, but will be cancelled in the same instant: "
            text += "it has no grace, so pass grace= when it is started"
            self._log(logger, logging.INFO, text, cut(node.dn, DN_LENGTH))

    def _log_factory_error(self, group: Group, crash: Crash, plan: Plan) -> None:
        """Report that the function that makes a group's runnables failed."""
        first = group.members[0]
        logger = node_logger(first)
        if is_wanted(logger, logging.ERROR):
            text = f"the function that makes the runnables of {cut(crash.dn, DN_LENGTH)} failed: "
            text += f"{crash.error}; {_consequence(group, plan)}{_detail(first, crash)}"
            self._log(logger, logging.ERROR, "%s", text)

    def _log_stuck(self, late: Sequence[Incarnation], when: str) -> None:
        """Report nodes that have not ended, and where they wait (S18)."""
        for incarnation in late[:NODES_REPORTED]:
            node = incarnation.node
            logger = node_logger(node)
            if is_wanted(logger, logging.WARNING):
                self._log(
                    logger,
                    logging.WARNING,
                    "%s has not ended %s; its tasks wait here:\n%s",
                    cut(node.dn, DN_LENGTH),
                    when,
                    stacks_of(incarnation),
                )
        if len(late) > NODES_REPORTED:
            more = len(late) - NODES_REPORTED
            self._log(_logger, logging.WARNING, "%d more nodes have not ended %s", more, when)

    def _log(
        self,
        logger: logging.Logger,
        level: int,
        text: str,
        *args: object,
        exc_info: Exception | None = None,
    ) -> None:
        log(self._port.abort, logger, level, text, *args, exc_info=exc_info)


def _detail(node: Node, crash: Crash) -> str:
    """Return the traceback of a crash, or in its place how often the same came before."""
    if node.repeats % SUMMARISED:
        return f" (the same death again, {node.repeats + 1} in a row)"
    return "\n" + crash.traceback


def _consequence(group: Group, plan: Plan) -> str:
    """Say what becomes of a group after a death."""
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

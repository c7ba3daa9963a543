"""Logging: which logger is whose, and the one record of a death.

Everything is standard :mod:`logging`; nothing is configured here. Two things
are added to it. A node logs to ``supervisor.node.<dn>``, so that levels and
handlers can be set for subtrees by name. And each record that is made inside a
runnable, by whatever library, carries the runnable's DN in its attribute
``dn`` (``-`` elsewhere), for formatters to show. So ``dn`` is taken: :mod:`logging` refuses it as
a key of ``extra``.
"""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING, Final, final

from ._current import current
from ._report import log
from ._restart import GiveUp
from ._tree import descendants

if TYPE_CHECKING:
    from ._crash import Crash
    from ._node import Group, Node

SUMMARISED: Final = 10
"""Of deaths that repeat without a change, one in so many shows its traceback again."""

LINE_LENGTH: Final = 64 * 1024
"""A raw line longer than this is logged in pieces."""


def node_logger(dn: str) -> logging.Logger:
    return logging.getLogger(f"supervisor.node.{dn}")


def forget_loggers(node: Node) -> None:
    """Let go of the loggers of a node that will not come back, and of those below it.

    :mod:`logging` keeps every logger for ever, which is right for modules, but not for the nodes of
    a pool, which come and go under new names.
    """
    assert node.incarnation is not None
    for each in (node, *descendants(node.incarnation)):
        _forget_loggers(each)


def forget_pools(node: Node) -> None:
    """Let go of the loggers of all children of pools, from ``node`` on downwards."""
    incarnation = node.incarnation
    if incarnation is None or not incarnation.children:
        return
    for each in (node, *descendants(incarnation)):
        if each.is_pool and each.incarnation is not None:
            for child in (each.incarnation.children or {}).values():
                forget_loggers(child)


def _forget_loggers(node: Node) -> None:
    dn, incarnation = node.dn, node.incarnation
    names = (incarnation.loggers if incarnation is not None else None) or ()
    for name in (f"supervisor.node.{dn}", *(f"supervisor.node.{dn}.{name}" for name in names)):
        logger = logging.Logger.manager.loggerDict.pop(name, None)
        if isinstance(logger, logging.Logger):
            # The names above it that are nobody's logger know it as well.
            above = name
            while "." in above:
                above = above.rpartition(".")[0]
                place = logging.Logger.manager.loggerDict.get(above)
                if isinstance(place, logging.PlaceHolder):
                    place.loggerMap.pop(logger, None)


def label_records() -> None:
    """Make each new log record carry the DN of the runnable it comes from.

    It wraps the record factory in force, once in a process.
    """
    global _labelling  # noqa: PLW0603  the factory it guards is global to the process as well
    if _labelling:
        return
    _labelling = True
    make = logging.getLogRecordFactory()

    def labelled(*args: object, **kwargs: object) -> logging.LogRecord:
        record: logging.LogRecord = make(*args, **kwargs)
        incarnation = current.get(None)
        record.dn = "-" if incarnation is None else incarnation.node.dn
        return record

    logging.setLogRecordFactory(labelled)


_labelling = False


def log_death(node: Node, crash: Crash) -> None:
    """Report a death: one record, in which the newest tells all there is to know."""
    text = f"{crash.dn} died in incarnation {crash.incarnation}, {crash.uptime:.1f} s old"
    text += f": {crash.error}; {_consequence(node.group)}"
    if node.repeats % SUMMARISED:
        text += f" (the same death again, {node.repeats + 1} in a row)"
    else:
        text += "\n" + crash.traceback
    log(node.group.host.tree.leave, node_logger(crash.dn), logging.ERROR, "%s", text)


def log_stop_error(node: Node, crash: Crash) -> None:
    """Report what a runnable raised when it had been asked to stop."""
    text = f"{crash.dn} was asked to stop and raised an error: {crash.error}\n{crash.traceback}"
    log(node.group.host.tree.leave, node_logger(crash.dn), logging.ERROR, "%s", text)


def log_factory_error(group: Group, crash: Crash) -> None:
    """Report that the function that makes a group's runnables failed."""
    text = f"the function that makes the runnables of {crash.dn} failed: {crash.error}"
    text += f"; {_consequence(group)}\n{crash.traceback}"
    log(group.host.tree.leave, node_logger(crash.dn), logging.ERROR, "%s", text)


def _consequence(group: Group) -> str:
    verdict = group.verdict
    if group.host.cancelled or verdict is None:
        return "it is being stopped"
    who = "it" if len(group.members) == 1 else f"its group {group.dn}"
    if isinstance(verdict, GiveUp):
        limit = group.terms.limit
        assert limit is not None
        return f"{who} gives up ({limit.restarts} restarts within {limit.within:g} s are allowed)"
    return f"{who} restarts in {verdict.delay:.2f} s"


@final
class RawLogger(io.TextIOBase):
    """A text stream whose lines become log records of a node, at level ``INFO``.

    A line is logged when it is complete, or when it exceeds 65 536 characters;
    :meth:`close` logs what is left.
    """

    def __init__(self, logger: logging.Logger) -> None:
        """Make a stream that writes to ``logger``."""
        self._logger = logger
        self._rest = ""

    def writable(self) -> bool:
        """Return ``True``."""
        return True

    def write(self, text: str, /) -> int:
        """Log the lines that ``text`` completes, and keep the rest for later."""
        if self.closed:
            msg = "write to a closed raw logger"
            raise ValueError(msg)
        *lines, rest = (self._rest + text).split("\n")
        while len(rest) > LINE_LENGTH:
            lines.append(rest[:LINE_LENGTH])
            rest = rest[LINE_LENGTH:]
        self._rest = rest  # before a handler may raise, or it would be logged again
        for line in lines:
            self._log(line)
        return len(text)

    def close(self) -> None:
        """Log an unfinished line, and refuse further ones."""
        if not self.closed and self._rest:
            self._log(self._rest)
            self._rest = ""
        super().close()

    def _log(self, line: str) -> None:
        line = line.removesuffix("\r")
        for start in range(0, max(len(line), 1), LINE_LENGTH):
            self._logger.info("%s", line[start : start + LINE_LENGTH])

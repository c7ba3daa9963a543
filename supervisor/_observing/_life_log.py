"""What the log tells of a tree as a whole: when it is ready, how it ends, each transition (S34).

A tree that nobody logs pays nothing for it: the observers are there only if the logger
``supervisor`` is enabled for their level when the tree starts. The one that waits until the tree is
ready is gone as soon as it is.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, final

from supervisor._core._errors import GroupFailedError
from supervisor._core._events import GroupMoved, NodeMoved
from supervisor._core._states import GroupState
from supervisor._text._printable import cut, type_name

from ._logging import DN_LENGTH, is_wanted, log, node_logger
from ._ready import Readiness

if TYPE_CHECKING:
    from supervisor._core._events import Event
    from supervisor._tasks._port import Port

STOPPED: Final = "has stopped"
"""How a tree has ended that was asked to stop."""

_logger: Final = logging.getLogger("supervisor")


def log_life(port: Port) -> LifeLog | None:
    """Log the life of a tree from now on, if that is wanted at all (S34)."""
    return LifeLog(port) if is_wanted(_logger, logging.INFO) else None


def how_ended(port: Port) -> str:
    """Return how a tree that has ended has done so, as what follows "the tree"."""
    errors = port.errors
    if any(isinstance(error, GroupFailedError) for error in errors):
        return "has given up"
    if errors:
        return f"has ended by {type_name(errors[0])}"
    if port.state is GroupState.FINISHED:
        return "has finished"
    return STOPPED if port.stop_began is not None else "was cancelled"


@final
class LifeLog:
    """Logs the life of a tree: an observer, by the port (S34)."""

    __slots__ = ("_port", "_readiness", "_started")

    def __init__(self, port: Port) -> None:
        self._port: Port = port
        self._started: float = port.time()
        self._readiness: Readiness = Readiness(port, "root")
        port.add_observer(self._look)
        if is_wanted(_logger, logging.DEBUG):
            port.add_observer(self._log_move, removals=False)

    def _look(self, event: Event) -> None:
        """Log that the tree is ready, the first time."""
        self._readiness.observe(event)
        if self._readiness.is_given():
            self._port.remove_observer(self._look)
            self._log(logging.INFO, "the tree is ready, %.1f s after its start", self._age)

    def _log_move(self, event: Event) -> None:
        """Log a transition."""
        if isinstance(event, NodeMoved):
            logger = node_logger(event.node)
            self._log_at(logger, "%s is %s", cut(event.node.dn, DN_LENGTH), event.state.name)
        elif isinstance(event, GroupMoved):
            logger = node_logger(event.group.members[0])
            dn = cut(event.group.dn, DN_LENGTH)
            self._log_at(logger, "the group of %s is %s", dn, event.state.name)

    def _log_at(self, logger: logging.Logger, text: str, *args: object) -> None:
        if is_wanted(logger, logging.DEBUG):
            log(self._port.abort, logger, logging.DEBUG, text, *args)

    def ended(self) -> None:
        """Log how the tree has ended."""
        how, began = how_ended(self._port), self._port.stop_began
        if how == STOPPED and began is not None:
            self._log(logging.INFO, "the tree %s, in %.1f s", how, self._port.time() - began)
        else:
            self._log(logging.INFO, "the tree %s, %.1f s after its start", how, self._age)

    @property
    def _age(self) -> float:
        return self._port.time() - self._started

    def _log(self, level: int, text: str, *args: object) -> None:
        log(self._port.abort, _logger, level, text, *args)

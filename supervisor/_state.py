"""The states of nodes and groups, and the one table of legal transitions."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final


class NodeState(enum.Enum):
    """Where one incarnation of a node is in its life."""

    if not TYPE_CHECKING:  # type checkers know of no hash but Enum's
        # Enum's own is written in Python, and each transition is looked up in a table.
        __hash__ = object.__hash__

    NEW = "NEW"
    """Started; sets itself up, and may start children."""

    HEALTHY = "HEALTHY"
    """Has signalled that it is set up and does its work."""

    DONE = "DONE"
    """Has signalled that its work is over, and returned. Its children live on."""

    DEAD = "DEAD"
    """Ended without being asked to. Its group restarts."""

    CANCELED = "CANCELED"
    """Ended because it was asked to."""


class Signal(enum.Enum):
    """What a runnable can tell its supervisor."""

    HEALTHY = "HEALTHY"
    """Set-up is over: no more children will be started, the work goes on."""

    DONE = "DONE"
    """The runnable is about to return, and that is as it should be."""


class GroupState(enum.Enum):
    """Where a group, the unit of restarts, is in its life."""

    if not TYPE_CHECKING:
        __hash__ = object.__hash__  # as above

    RUNNING = "RUNNING"
    """Its members were started and none has died."""

    STOPPING = "STOPPING"
    """A member died, or a stop was asked for; the tasks of all are being joined."""

    BACKOFF = "BACKOFF"
    """All tasks are gone; the next start waits for the deadline."""

    FINISHED = "FINISHED"
    """All members and their subtrees are ``DONE``."""

    FAILED = "FAILED"
    """Its restart limit was exceeded."""

    STOPPED = "STOPPED"
    """It was stopped: on demand, or with its parent."""


# NEW is where each incarnation begins. DONE -> DEAD is the death of a node that had
# returned and whose children gave up afterwards.
TRANSITIONS: Final[dict[NodeState, frozenset[NodeState]]] = {
    NodeState.NEW: frozenset({NodeState.HEALTHY, NodeState.DEAD, NodeState.CANCELED}),
    NodeState.HEALTHY: frozenset({NodeState.DONE, NodeState.DEAD, NodeState.CANCELED}),
    NodeState.DONE: frozenset({NodeState.DEAD}),
    NodeState.DEAD: frozenset(),
    NodeState.CANCELED: frozenset(),
}

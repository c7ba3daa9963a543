"""The states of nodes and groups, what can happen to them, and the two tables that decide (S3).

1. Every change of a state is looked up in a table, by one reader for each table
   (``_set_node_state`` and ``_set_group_state`` in ``_steps``). An event that the table does not
   have for a state raises :exc:`IllegalEventError`, and nothing has changed.
2. Users see fewer states than there are. The tables work on a *phase*; the *state* is what is shown
   of it. ``LEAVING`` is shown as ``HEALTHY``, ``HELD`` and ``RESTARTING`` as ``STOPPED``, ``DOWN``
   as ``FAILED``.
3. How a group goes on when all its tasks are gone is no event from outside. It follows from the
   group's plan (``_plan``), and each plan has its event here.

The members have names of their own in this module: Python 3.11 takes longer to find a member in its
class than to look it up in a table.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final


class _Symbol(enum.Enum):
    """Members that are looked up in tables, by identity."""

    if not TYPE_CHECKING:  # type checkers know of no hash but Enum's
        # Enum's own is written in Python, and each transition is looked up in a table.
        __hash__ = object.__hash__


# What users see


class NodeState(_Symbol):
    """Where one incarnation of a node is in its life (S3)."""

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


class GroupState(_Symbol):
    """Where a group, the unit of restarts, is in its life (S3)."""

    RUNNING = "RUNNING"
    """Its members were started and none has died."""

    STOPPING = "STOPPING"
    """A member died, or a stop was asked for; the tasks of all are being joined."""

    BACKOFF = "BACKOFF"
    """All tasks are gone; the next start waits for the deadline."""

    FINISHED = "FINISHED"
    """All members and their subtrees are ``DONE``."""

    FAILED = "FAILED"
    """A member died, and it is not started again: by its limit, its policy or ``fatal``."""

    STOPPED = "STOPPED"
    """It was stopped, on demand or with its parent, or waits for the start that was demanded."""


class Signal(enum.Enum):
    """What a runnable can tell its supervisor (S4)."""

    HEALTHY = "HEALTHY"
    """Set-up is over: no more children will be started, the work goes on."""

    DONE = "DONE"
    """The runnable is about to return, and that is as it should be."""


# Nodes


class NodePhase(_Symbol):
    """What decides about an incarnation: its states, and one that users do not see."""

    NEW = NodeState.NEW, "NEW"
    HEALTHY = NodeState.HEALTHY, "HEALTHY"
    LEAVING = NodeState.HEALTHY, "LEAVING"
    """Has signalled ``DONE`` and not yet returned."""
    DONE = NodeState.DONE, "DONE"
    DEAD = NodeState.DEAD, "DEAD"
    CANCELED = NodeState.CANCELED, "CANCELED"

    def __init__(self, shown: NodeState, _: str) -> None:
        self.shown: Final = shown


class NodeEvent(_Symbol):
    """What can happen to an incarnation."""

    SIGNALLED_HEALTHY = "signalled HEALTHY"
    SIGNALLED_DONE = "signalled DONE"
    RETURNED = "returned"
    DIED = "died"
    """It raised, or returned without ``DONE``, or failed with its children or over its start."""
    STOPPED = "ended after a stop request"


NEW: Final = NodePhase.NEW
HEALTHY: Final = NodePhase.HEALTHY
LEAVING: Final = NodePhase.LEAVING
DONE: Final = NodePhase.DONE
DEAD: Final = NodePhase.DEAD
CANCELED: Final = NodePhase.CANCELED

SIGNALLED_HEALTHY: Final = NodeEvent.SIGNALLED_HEALTHY
SIGNALLED_DONE: Final = NodeEvent.SIGNALLED_DONE
RETURNED: Final = NodeEvent.RETURNED
DIED: Final = NodeEvent.DIED
NODE_STOPPED: Final = NodeEvent.STOPPED

# NEW is where each incarnation begins. Only a node that is LEAVING may return; any other return is
# a death (S5). DONE -> DEAD is the death of a node whose children gave up after it had returned.
NODE_TABLE: Final[dict[NodePhase, dict[NodeEvent, NodePhase]]] = {
    NEW: {SIGNALLED_HEALTHY: HEALTHY, DIED: DEAD, NODE_STOPPED: CANCELED},
    HEALTHY: {SIGNALLED_DONE: LEAVING, DIED: DEAD, NODE_STOPPED: CANCELED},
    LEAVING: {RETURNED: DONE, DIED: DEAD, NODE_STOPPED: CANCELED},
    DONE: {DIED: DEAD},
    DEAD: {},
    CANCELED: {},
}

RUNS: Final = frozenset({NEW, HEALTHY, LEAVING})
"""The runnable has not ended."""

READY: Final = frozenset({HEALTHY, LEAVING, DONE})
"""The node serves, or has done its work."""

FINAL: Final = frozenset({DEAD, CANCELED})
"""Nothing follows but the end of the incarnation."""


# Groups


class GroupPhase(_Symbol):
    """What decides about a group: its states, and three that users see as another one."""

    RUNNING = GroupState.RUNNING, "RUNNING"
    STOPPING = GroupState.STOPPING, "STOPPING"
    BACKOFF = GroupState.BACKOFF, "BACKOFF"
    RESTARTING = GroupState.STOPPED, "RESTARTING"
    """It was idle, and a task was started that will carry out its plan."""
    HELD = GroupState.STOPPED, "HELD"
    """An operator stopped it, and can restart it. Its parent does not finish meanwhile."""
    FINISHED = GroupState.FINISHED, "FINISHED"
    FAILED = GroupState.FAILED, "FAILED"
    DOWN = GroupState.FAILED, "DOWN"
    """A member died, and its policy is not to restart. An operator can restart it."""
    STOPPED = GroupState.STOPPED, "STOPPED"

    def __init__(self, shown: GroupState, _: str) -> None:
        self.shown: Final = shown


class GroupEvent(_Symbol):
    """What can happen to a group.

    The first four interrupt what it does; the others tell how it goes on when all tasks are gone.
    """

    MEMBER_DIED = "a member died, or is to die"
    HOLD_DEMANDED = "an operator stops it"
    RESTART_DEMANDED = "an operator restarts it"
    END_DEMANDED = "its parent ends, or a pool removes it"

    ROUND_BEGUN = "its next round begins"
    BACKOFF_BEGUN = "it waits for its backoff"
    ALL_DONE = "all members and their subtrees are DONE"
    GAVE_UP = "it may not restart again"
    LEFT_DOWN = "its policy is not to restart"
    PUT_ON_HOLD = "it stays stopped until it is restarted"
    CLOSED = "it is stopped for good"


class Action(_Symbol):
    """What the tasks' side has to do after a step; ``None`` if there is nothing."""

    STOP_MEMBERS = "ask each member to stop, and cancel it after its grace"
    STOP_CHILDREN = "wake the task of a member that waits for its children: it stops them"
    CUT_BACKOFF = "wake the task that waits for the backoff, if it still waits"
    START_TASK = "start a task that carries out the group's plan"


RUNNING: Final = GroupPhase.RUNNING
STOPPING: Final = GroupPhase.STOPPING
BACKOFF: Final = GroupPhase.BACKOFF
RESTARTING: Final = GroupPhase.RESTARTING
HELD: Final = GroupPhase.HELD
FINISHED: Final = GroupPhase.FINISHED
FAILED: Final = GroupPhase.FAILED
DOWN: Final = GroupPhase.DOWN
STOPPED: Final = GroupPhase.STOPPED

MEMBER_DIED: Final = GroupEvent.MEMBER_DIED
HOLD_DEMANDED: Final = GroupEvent.HOLD_DEMANDED
RESTART_DEMANDED: Final = GroupEvent.RESTART_DEMANDED
END_DEMANDED: Final = GroupEvent.END_DEMANDED
ROUND_BEGUN: Final = GroupEvent.ROUND_BEGUN
BACKOFF_BEGUN: Final = GroupEvent.BACKOFF_BEGUN
ALL_DONE: Final = GroupEvent.ALL_DONE
GAVE_UP: Final = GroupEvent.GAVE_UP
LEFT_DOWN: Final = GroupEvent.LEFT_DOWN
PUT_ON_HOLD: Final = GroupEvent.PUT_ON_HOLD
CLOSED: Final = GroupEvent.CLOSED

STOP_MEMBERS: Final = Action.STOP_MEMBERS
STOP_CHILDREN: Final = Action.STOP_CHILDREN
CUT_BACKOFF: Final = Action.CUT_BACKOFF
START_TASK: Final = Action.START_TASK

Row = dict[GroupEvent, tuple[GroupPhase, Action | None]]

# Its tasks are gone, and it has not ended: it can go on in any way but ALL_DONE.
_GOES_ON: Final[Row] = {
    ROUND_BEGUN: (RUNNING, None),
    BACKOFF_BEGUN: (BACKOFF, None),
    GAVE_UP: (FAILED, None),
    LEFT_DOWN: (DOWN, None),
    PUT_ON_HOLD: (HELD, None),
    CLOSED: (STOPPED, None),
}

GROUP_TABLE: Final[dict[GroupPhase, Row]] = {
    RUNNING: {
        MEMBER_DIED: (STOPPING, STOP_MEMBERS),
        HOLD_DEMANDED: (STOPPING, STOP_MEMBERS),
        RESTART_DEMANDED: (STOPPING, STOP_MEMBERS),
        END_DEMANDED: (STOPPING, STOP_MEMBERS),
        ALL_DONE: (FINISHED, None),
        CLOSED: (STOPPED, None),  # all were cancelled from outside
    },
    STOPPING: {
        MEMBER_DIED: (STOPPING, None),
        HOLD_DEMANDED: (STOPPING, None),
        RESTART_DEMANDED: (STOPPING, None),
        END_DEMANDED: (STOPPING, None),
        **_GOES_ON,
    },
    BACKOFF: {
        HOLD_DEMANDED: (BACKOFF, CUT_BACKOFF),
        RESTART_DEMANDED: (BACKOFF, CUT_BACKOFF),
        END_DEMANDED: (BACKOFF, CUT_BACKOFF),
        **_GOES_ON,
    },
    RESTARTING: {
        HOLD_DEMANDED: (RESTARTING, None),
        RESTART_DEMANDED: (RESTARTING, None),
        END_DEMANDED: (RESTARTING, None),
        **_GOES_ON,
    },
    HELD: {
        RESTART_DEMANDED: (RESTARTING, START_TASK),
        END_DEMANDED: (STOPPED, None),
    },
    FINISHED: {
        RESTART_DEMANDED: (RESTARTING, START_TASK),
        END_DEMANDED: (FINISHED, None),
    },
    FAILED: {END_DEMANDED: (FAILED, None)},
    DOWN: {
        RESTART_DEMANDED: (RESTARTING, START_TASK),
        END_DEMANDED: (DOWN, None),
    },
    STOPPED: {END_DEMANDED: (STOPPED, None)},
}

IDLE: Final = frozenset({HELD, FINISHED, FAILED, DOWN, STOPPED})
"""Nothing of it runs, and nothing will unless an operator demands it."""

ENDED: Final = frozenset({FINISHED, FAILED, DOWN, STOPPED})
"""Its parent need not wait for it any more."""


class IllegalEventError(AssertionError):
    """It can't have happened: a fault of this package, or a signal that is not legal now."""

"""What a supervision tree is made of: nodes, incarnations, groups.

The tree alternates between two kinds of things that have children. A *node* is
a runnable's place; each run of it is an *incarnation*, and it is the
incarnation that has children, for they come and go with it. The children of an
incarnation are divided into *groups*, the units of restarts, fixed when they
are started.

    tree ── group ─┬─ node ── incarnation ─┬─ group ── node ── …
                   └─ node ── incarnation  └─ group ── node ── …

A node is found by reference, never by its DN: a DN is put together when somebody
wants to read it, and never taken apart to act on it. (Upstream finds nodes by
DN; a wrong name or a stale caller then kills its process, or reaches the wrong
incarnation.) Nor is a DN stored with its node: in a chain of ten thousand nodes the
names alone would take a hundred megabytes. The tree keeps one, that of the parent
whose child was asked last.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import TYPE_CHECKING, Final, final

import attrs

from ._restart import Restart, Restarts
from ._state import GroupState, NodeState

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Awaitable, Callable, Mapping

    import trio

    from ._alarms import Alarm
    from ._backoff import Backoff
    from ._crash import Crash
    from ._host import Host
    from ._restart import GiveUp, RestartLimit

    Graces = float | Mapping[str, float]

CRASHES_KEPT: Final = 5


@final
class Node:
    """A runnable's place in the tree, through all its incarnations."""

    __slots__ = (
        "call",
        "crashes",
        "grace",
        "group",
        "incarnation",
        "is_pool",
        "name",
        "number",
        "repeats",
        "stop_error",
    )

    def __init__(
        self, name: str, call: Callable[[], Awaitable[object]], group: Group, grace: float
    ) -> None:
        self.name: str = name
        self.call: Callable[[], Awaitable[object]] = call
        self.group: Group = group
        # How long the runnable may take, in seconds, from being asked to stop to being cancelled.
        self.grace: float = grace
        # It starts children as long as it is HEALTHY, and they vanish when they are done.
        self.is_pool: bool = False
        # The current or last one, and its number, from 1.
        self.incarnation: Incarnation | None = None
        self.number: int = 0
        # The last few deaths, oldest first; most nodes never have one.
        self.crashes: tuple[Crash, ...] = ()
        # How many deaths in a row were the same as the one before.
        self.repeats: int = 0
        # What the last incarnation raised when it had been asked to stop.
        self.stop_error: Crash | None = None

    @property
    def dn(self) -> str:
        parent = self.group.parent
        if parent is None:
            return self.name
        return f"{self.group.host.tree.dn_of(parent.node)}.{self.name}"

    def keep(self, crash: Crash) -> None:
        """Add a death to the record."""
        last = self.crashes[-1] if self.crashes else None
        same = last is not None and (last.error, last.traceback) == (crash.error, crash.traceback)
        self.repeats = self.repeats + 1 if same else 0
        self.crashes = (*self.crashes, crash)[-CRASHES_KEPT:]


@final
class Incarnation:
    """One run of a node, with all its descendants."""

    __slots__ = (
        "alarm",
        "children",
        "ended",
        "failure",
        "host",
        "loggers",
        "node",
        "round",
        "scope",
        "signalled_done",
        "since",
        "started",
        "state",
        "stop_requested",
        "task",
    )

    def __init__(self, node: Node, now: float) -> None:
        self.node: Node = node
        self.state: NodeState = NodeState.NEW
        self.started: float = now
        self.since: float = now
        # Which of the group's rounds it belongs to.
        self.round: int = node.group.rounds
        self.signalled_done: bool = False
        # The runnable and all children are gone.
        self.ended: bool = False
        # The task that runs the runnable and then waits for the children.
        self.task: trio.lowlevel.Task | None = None
        # Cancels that task alone; None where the group's scope is enough.
        self.scope: trio.CancelScope | None = None
        # What wakes those who wait for a stop to be requested; None while nobody does.
        self.stop_requested: trio.Event | None = None
        # Its start timeout, or the end of its grace.
        self.alarm: Alarm | None = None
        self.host: Host | None = None
        self.children: dict[str, Node] | None = None
        self.loggers: set[str] | None = None
        # What this incarnation dies of although its runnable did not raise it: a group of
        # children gave up, or the start timeout was over.
        self.failure: Exception | None = None

    @property
    def asked(self) -> bool:
        """The supervisor, or a cancellation from outside, wants it to end."""
        group = self.node.group
        return group.state is GroupState.STOPPING or group.host.cancelled

    @property
    def stale(self) -> bool:
        """It has ended, or is beyond doing anything but end."""
        return self.ended or self.state in _OVER

    def groups(self) -> list[Group]:
        """Return the groups of its children, in order of start."""
        nodes = self.children.values() if self.children else ()
        return list({id(node.group): node.group for node in nodes}.values())


_OVER: Final = frozenset({NodeState.DEAD, NodeState.CANCELED})


@final
@attrs.frozen
class Terms:
    """What was asked for when a group was started, besides its members."""

    backoff: Backoff | None = None
    limit: RestartLimit | None = None
    graces: Graces = 0.0
    """The seconds between asking a member to stop and cancelling it, for all or by name."""
    ordered: bool = False
    """Each member starts when the one before it is ``HEALTHY`` or ``DONE``."""
    start_timeout: float | None = None

    def grace_of(self, name: str) -> float:
        return self.graces if isinstance(self.graces, float) else self.graces.get(name, 0.0)


USUAL: Final = Terms()
"""The terms of all groups for which nothing was asked: most of them."""


@final
class Group:
    """Nodes that start together, and restart together when one of them dies."""

    __slots__ = (
        "alarm",
        "causes",
        "changed",
        "context",
        "deadline",
        "death",
        "factory",
        "host",
        "members",
        "obituary",
        "operator_restarts",
        "parent",
        "ready_since",
        "restarts",
        "rounds",
        "scope",
        "state",
        "terms",
        "unready",
        "verdict",
        "waking",
        "wish",
    )

    def __init__(
        self,
        parent: Incarnation | None,
        host: Host,
        terms: Terms,
        context: contextvars.Context,
    ) -> None:
        self.parent: Incarnation | None = parent
        self.host: Host = host
        self.terms: Terms = terms
        # What the runnables find in their context variables, in each incarnation anew.
        self.context: contextvars.Context = context
        self.members: tuple[Node, ...] = ()
        # Makes the members' runnables for each start, where the user gave a function.
        self.factory: Callable[[], object] | None = None
        self.state: GroupState = GroupState.RUNNING
        # What is to become of it when the present round has ended, or its backoff.
        self.wish: Wish | None = None
        # It rested, and a task has been started that will do as it was wished since.
        self.waking: bool = False
        # How often it was started, and how often of these on an operator's demand.
        self.rounds: int = 0
        self.operator_restarts: int = 0
        # Those who wait for it to change; None while nobody does.
        self.changed: trio.lowlevel.ParkingLot | None = None
        # Reports it while it is STOPPING.
        self.alarm: Alarm | None = None
        # When the backoff ends, on Trio's clock.
        self.deadline: float | None = None
        # How many members are still NEW; since when there are none and all are well.
        self.unready: int = 0
        self.ready_since: float | None = None
        # Cancels the members of the present round, if they have no scopes of their own;
        # or the wait for the next round.
        self.scope: trio.CancelScope | None = None
        # Its past failures, once there are any.
        self.restarts: Restarts | None = None
        # Where there is a limit, as many of the last failures as it admits, and one more.
        self.causes: deque[Crash] | None = None
        # What ended the present round, and what follows from it.
        self.death: tuple[Crash, Exception] | None = None
        self.verdict: Restart | GiveUp | None = None
        # Why it gave up, once it has.
        self.obituary: str = ""

    @property
    def dn(self) -> str:
        if len(self.members) == 1:
            return self.members[0].dn
        names = ",".join(node.name for node in self.members)
        assert self.parent is not None  # the root's group has one member
        return f"{self.parent.node.dn}.{{{names}}}"

    @property
    def at_rest(self) -> bool:
        """Nothing of it runs, and nothing will unless somebody demands it."""
        return self.state in _AT_REST and not self.waking

    def failed(self, crash: Crash, error: Exception) -> None:
        """Take note of what ends the present round: whoever ends after it was asked to."""
        self.death = crash, error
        limit = self.terms.limit
        if self.restarts is None:
            self.restarts = Restarts(self.terms.backoff or self.host.tree.backoff, limit)
            self.causes = None if limit is None else deque(maxlen=limit.restarts + 1)
        if self.causes is not None:
            self.causes.append(crash)
        self.end_readiness(crash.time)
        try:
            self.verdict = self.restarts.failed(crash.time)
        except BaseException as mistake:  # noqa: BLE001  the random source is a user's; it leaves
            self.host.tree.leave(mistake)
            self.verdict = Restart(0.0)

    def end_readiness(self, now: float) -> None:
        """Take note that the members are ready no longer; to have been so makes up for failures."""
        if self.ready_since is not None and self.restarts is not None:
            self.restarts.was_ready(now - self.ready_since)
        self.ready_since = None

    def tell(self) -> None:
        """Wake those who wait for a change."""
        if self.changed is not None:
            self.changed.unpark_all()


_AT_REST: Final = frozenset({GroupState.FINISHED, GroupState.FAILED, GroupState.STOPPED})


class Wish(enum.Enum):
    """What somebody wants to become of a group."""

    HOLD = "hold"
    """To be stopped until it is restarted."""

    RESTART = "restart"
    """To start again at once."""

    END = "end"
    """To be stopped for good: its parent has ended, or it is thrown out of a pool."""

"""What a supervision tree is made of: trees, groups, nodes, incarnations. ``_steps`` writes it.

A tree alternates between two kinds of things that have children. A *node* is a runnable's place;
each run of it is an *incarnation*, and it is the incarnation that has children, for they come and
go with it. The children of an incarnation are divided into *groups*, the units of restarts; all
groups of one parent are *siblings*. One joint life of a group's members is a *round*.

    tree ── group ─┬─ node ── incarnation ─┬─ group ── node ── …
                   └─ node ── incarnation  └─ group ── node ── …

A node is found by reference, never by its DN: a DN is put together when somebody
wants to read it, and never taken apart to act on it. (Upstream finds nodes by
DN; a wrong name or a stale caller then kills its process, or reaches the wrong
incarnation.) Nor is a DN stored with its node: in a chain of ten thousand nodes the
names alone would take a hundred megabytes. The tree keeps one, that of the parent
whose child was asked last.

Everybody may read; only ``_steps`` writes. What the tasks' side keeps for a tree, a group, siblings
or an incarnation, it keeps in subclasses with slots of their own (``supervisor._tasks._tree``). So
the class that has the slot says who may write it, and no incarnation needs a second object.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import attrs

from ._arguments import own_grace
from ._plan import END, FINISH, HOLD, Begin, Restart, Retry
from ._restart import RestartPolicy
from ._states import (
    BACKOFF,
    DOWN,
    ENDED,
    FAILED,
    FINAL,
    FINISHED,
    HEALTHY,
    IDLE,
    NEW,
    READY,
    RUNNING,
    STOPPING,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from ._plan import Plan
    from ._records import Crash
    from ._restart import Backoff, RestartHistory, RestartLimit
    from ._states import GroupPhase, GroupState, NodePhase, NodeState


class Tree:
    """What all nodes of one tree share."""

    __slots__ = (
        "backoff",
        "events",
        "is_draining",
        "last_dn",
        "make_incarnation",
        "observes_moves",
        "observes_removals",
        "overdue",
        "root",
        "starting",
        "unsettled",
    )

    def __init__(
        self, backoff: Backoff, make_incarnation: Callable[[Node, float], Incarnation]
    ) -> None:
        self.backoff: Backoff = backoff
        self.make_incarnation: Callable[[Node, float], Incarnation] = make_incarnation
        self.root: Group
        # What has happened and was not delivered yet: those of ``_events``, which name the classes
        # of this module.
        self.events: deque[tuple[object, ...]] = deque()
        # Whether anybody wants NodeMoved and GroupMoved; and NodeRemoved.
        self.observes_moves: bool = False
        self.observes_removals: bool = False
        # It will be stopped soon: nothing is ready any more, and nothing stops yet.
        self.is_draining: bool = False
        # The incarnations that are NEW: those that were not reported for that, in the order of
        # their start; and the others, with when each is reported again.
        self.starting: dict[Incarnation, None] = {}
        self.overdue: dict[Incarnation, float] = {}
        # How many nodes are NEW, groups STOPPING, and ordered starts under way.
        self.unsettled: int = 0
        # The last answer of dn_of. One tuple, since threads ask too.
        self.last_dn: tuple[Node, str] | None = None

    def dn_of(self, parent: Node) -> str:
        """Put together the DN of a node that has children.

        A start, a stop and a walk go down the tree. So a caller mostly wants the same as the last
        one, or one level more, and need not begin at the root: in a chain of ten thousand nodes
        that would be fifty million steps for all of them.
        """
        last, dn = self.last_dn or (None, "")
        if parent is last:
            return dn
        names: list[str] = []
        node: Node = parent
        while node is not last:
            names.append(node.name)
            above = node.group.parent
            if above is None:
                break
            node = above.node
        else:
            names.append(dn)
        dn = ".".join(reversed(names))
        self.last_dn = (parent, dn)
        return dn


class Siblings:
    """The groups of one parent, as far as they share a fate."""

    __slots__ = (
        "cancelled",
        "closed",
        "down",
        "ended",
        "final",
        "parent_has_ended",
        "tree",
        "unended",
    )

    def __init__(self, tree: Tree, *, closed: bool) -> None:
        self.tree: Tree = tree
        # All of them were cancelled, from outside or by an error that leaves the tree.
        self.cancelled: bool = False
        # No more groups will come.
        self.closed: bool = closed
        # How many have not ended for good.
        self.unended: int = 0
        # How many have failed, and never restart by themselves. The parent's runnable may restart
        # them until it has ended itself.
        self.down: int = 0
        self.parent_has_ended: bool = False
        # None can start any more: the last has ended, or all are cancelled.
        self.final: bool = False
        # All their tasks are gone.
        self.ended: bool = False

    @property
    def can_end(self) -> bool:
        """No more groups come, all have ended, and the parent brings none of them back (S26)."""
        return self.closed and not self.unended and (self.parent_has_ended or not self.down)


class DeathHistory:
    """What a node keeps of its deaths (S14)."""

    __slots__ = ("crashes", "deaths", "down_since", "repeats")

    def __init__(self) -> None:
        # The last few, oldest first, and how many there were in all.
        self.crashes: tuple[Crash, ...] = ()
        self.deaths: int = 0
        # When the node died, or died first, if it was not HEALTHY since.
        self.down_since: float | None = None
        # How many deaths in a row were the same as the one before.
        self.repeats: int = 0


class Node:
    """A runnable's place in the tree, through all its incarnations."""

    __slots__ = (
        "call",
        "death_history",
        "grace",
        "group",
        "incarnation",
        "name",
        "number",
        "stop_error",
    )

    def __init__(
        self,
        name: str,
        call: Callable[[], Awaitable[object]],
        group: Group,
        grace: float = 0.0,
    ) -> None:
        self.name: str = name
        self.call: Callable[[], Awaitable[object]] = call
        self.group: Group = group
        # How long the runnable may take, in seconds, from being asked to stop to being cancelled.
        self.grace: float = grace
        # The current or last one, and its number, from 1.
        self.incarnation: Incarnation | None = None
        self.number: int = 0
        # Most nodes never die.
        self.death_history: DeathHistory | None = None
        # What the last incarnation raised when it had been asked to stop.
        self.stop_error: Crash | None = None

    @property
    def dn(self) -> str:
        """Its dotted path from the root."""
        parent = self.group.parent
        if parent is None:
            return self.name
        return f"{self.group.siblings.tree.dn_of(parent.node)}.{self.name}"

    @property
    def crashes(self) -> tuple[Crash, ...]:
        """The last few deaths, oldest first."""
        return () if self.death_history is None else self.death_history.crashes

    @property
    def deaths(self) -> int:
        """How many deaths there were in all."""
        return 0 if self.death_history is None else self.death_history.deaths

    @property
    def is_present(self) -> bool:
        """It has begun in the present round: in an ordered group it waits its turn."""
        return self.incarnation is not None and self.incarnation.round == self.group.rounds

    @property
    def is_ready(self) -> bool:
        """It serves, or has done its work, in a group that is not being stopped (S25, S30)."""
        incarnation = self.incarnation
        return (
            incarnation is not None
            and incarnation.phase in READY
            and incarnation.unready_reason is None
            and self.is_present
            and self.group.is_serving
        )


class Incarnation:
    """One run of a node, with all its descendants."""

    __slots__ = (
        "children",
        "ended",
        "failure",
        "loggers",
        "node",
        "on_child_end",
        "phase",
        "round",
        "siblings",
        "since",
        "started",
        "unready_reason",
    )

    def __init__(self, node: Node, now: float) -> None:
        self.node: Node = node
        self.phase: NodePhase = NEW
        self.started: float = now
        self.since: float = now
        # Which of the group's rounds it belongs to.
        self.round: int = node.group.rounds
        # What it dies of although its runnable did not raise it: a group of children gave up, or
        # the start timeout was over.
        self.failure: Exception | None = None
        # The runnable and all children are gone.
        self.ended: bool = False
        # Its children by name, in order of start, and their groups; most nodes have none.
        self.children: dict[str, Node] | None = None
        self.siblings: Siblings | None = None
        # The names of its sub-loggers, which no child can have.
        self.loggers: set[str] | None = None
        # Only a pool has this: it is called with each group of children that has ended for good.
        self.on_child_end: Callable[[Group], object] | None = None
        # Why it is not ready although it is HEALTHY, if it has said so.
        self.unready_reason: str | None = None

    @property
    def state(self) -> NodeState:
        return self.phase.shown

    @property
    def stop_requested(self) -> bool:
        """The supervisor, or a cancellation from outside, wants it to end (S5)."""
        group = self.node.group
        return group.phase is STOPPING or group.siblings.cancelled

    @property
    def finished(self) -> bool:
        """It has ended, or nothing follows but its end."""
        return self.ended or self.phase in FINAL

    @property
    def is_pool(self) -> bool:
        """It starts children as long as it is ``HEALTHY``, and they are removed when they end."""
        return self.on_child_end is not None

    @property
    def admits_children(self) -> bool:
        """Its state is one in which it may start children (S6, S23)."""
        return self.phase is (NEW if self.on_child_end is None else HEALTHY)

    def groups(self) -> list[Group]:
        """Return the groups of its children, in order of start."""
        nodes = self.children.values() if self.children else ()
        return list({id(node.group): node.group for node in nodes}.values())


@attrs.frozen
class GroupOptions:
    """What was asked for when a group was started, besides its members."""

    backoff: Backoff | None = None
    limit: RestartLimit | None = None
    grace_periods: float | Mapping[str, float] | None = None
    """The seconds between asking a member to stop and cancelling it, for all or by name.

    A member for which nothing is given has the grace of its runnable, if that brings one.
    """
    ordered: bool = False
    """Each member starts when the one before it is ``HEALTHY`` or ``DONE``."""
    start_timeout: float | None = None
    restart: RestartPolicy = RestartPolicy.ON_FAILURE
    fatal: Callable[[Exception], bool] | None = None
    """Whether an error of which a member dies is not retried; ``None`` if all are."""
    heartbeats: float | Mapping[str, float] | None = None
    """The seconds within which a member has to beat, for all or by name."""

    def heartbeat_of(self, name: str) -> float | None:
        beats = self.heartbeats
        if beats is None:
            return None
        return beats.get(name) if isinstance(beats, Mapping) else beats

    def is_fatal(self, error: Exception) -> bool:
        """Return whether a failure by ``error`` is not retried (S26)."""
        return self.fatal is not None and self.fatal(error)

    def grace_of(self, name: str, runnable: object) -> float:
        """Return the grace of a member that runs ``runnable`` (S21).

        Raises:
            TypeError: if its own attribute counts, and is no number.
            ValueError: if that is out of its range.
        """
        periods = self.grace_periods
        if periods is not None:
            given = periods.get(name) if isinstance(periods, Mapping) else periods
            if given is not None:
                return given
        return own_grace(name, runnable) or 0.0


DEFAULT_OPTIONS: Final = GroupOptions()
"""The options of all groups for which nothing was asked: most of them."""


class Group:
    """Nodes that start together, and restart together when one of them dies."""

    __slots__ = (
        "backoff_end",
        "causes",
        "error",
        "factory",
        "history",
        "members",
        "operator_restarts",
        "options",
        "parent",
        "phase",
        "plan",
        "ready_since",
        "reason",
        "rounds",
        "siblings",
        "unready",
    )

    def __init__(
        self, parent: Incarnation | None, siblings: Siblings, options: GroupOptions
    ) -> None:
        self.parent: Incarnation | None = parent
        self.siblings: Siblings = siblings
        self.options: GroupOptions = options
        self.members: tuple[Node, ...] = ()
        # Makes the members' runnables for each start, where the user gave a function.
        self.factory: Callable[[], object] | None = None
        self.phase: GroupPhase = RUNNING
        # What becomes of it when all tasks of the round, or the wait for the next one, are gone.
        self.plan: Plan = FINISH
        # How often it was started, and how often of these on an operator's demand.
        self.rounds: int = 0
        self.operator_restarts: int = 0
        # How many members are still NEW; since when there are none and all are well.
        self.unready: int = 0
        self.ready_since: float | None = None
        # When the backoff ends, while there is one.
        self.backoff_end: float = 0.0
        # Its past failures, once there are any; the last of them, if their number is limited.
        self.history: RestartHistory | None = None
        self.causes: deque[Crash] | None = None
        # The last of its failures, until what follows is decided: it keeps alive what members used.
        self.error: Exception | None = None
        # Why it is FAILED, while it is.
        self.reason: str = ""

    @property
    def dn(self) -> str:
        """That of its member, or of all its members with their names in braces."""
        if len(self.members) == 1:
            return self.members[0].dn
        names = ",".join(node.name for node in self.members)
        assert self.parent is not None  # the root's group has one member
        return f"{self.parent.node.dn}.{{{names}}}"

    @property
    def state(self) -> GroupState:
        """What users see of its phase."""
        return self.phase.shown

    @property
    def deadline(self) -> float | None:
        """When the backoff ends; ``None`` unless the group waits for that."""
        return self.backoff_end if self.phase is BACKOFF else None

    @property
    def backoff(self) -> Backoff:
        """Its own, or that of the tree."""
        return self.options.backoff or self.siblings.tree.backoff

    @property
    def failures(self) -> int:
        """How many failures in a row the next delay depends on."""
        return 0 if self.history is None else self.history.failures

    @property
    def is_idle(self) -> bool:
        """Nothing of it runs, and nothing will unless an operator demands it."""
        return self.phase in IDLE

    @property
    def is_ended(self) -> bool:
        """Its parent need not wait for it any more."""
        return self.phase in ENDED

    @property
    def is_running(self) -> bool:
        """It runs a round, and nothing stops or cancels it."""
        return self.phase is RUNNING and not self.siblings.cancelled

    @property
    def is_serving(self) -> bool:
        """Its members run, or have done their work, and the tree is not about to stop."""
        siblings = self.siblings
        serves = self.phase is RUNNING or self.phase is FINISHED
        return serves and not siblings.cancelled and not siblings.tree.is_draining

    @property
    def is_healthy(self) -> bool:
        """All members are ``HEALTHY`` or ``DONE`` (S19)."""
        return not self.unready and (self.is_running or self.phase is FINISHED)

    @property
    def will_restart(self) -> bool:
        """Another round follows the one that is ending or has ended, or a wait for it."""
        return isinstance(self.plan, (Begin, Restart, Retry))

    @property
    def is_held(self) -> bool:
        """An operator stops it, or has stopped it."""
        return self.plan is HOLD

    @property
    def is_at_rest(self) -> bool:
        """It will not run again, unless an operator restarts it (S19)."""
        return self.is_held or self.phase is DOWN or self.is_final

    @property
    def is_final(self) -> bool:
        """It will never run again, whatever an operator does."""
        return (
            self.plan is END
            or self.siblings.cancelled
            or self.phase is FAILED
            or (self.phase in ENDED and self.siblings.final)
            or (self.parent is not None and self.parent.ended)
        )


def subtree(node: Node) -> Iterator[Node]:
    """Walk through ``node`` and all nodes below it, each before its own children."""
    incarnation = node.incarnation
    yield node
    if incarnation is not None:
        yield from descendants(incarnation)


def descendants(incarnation: Incarnation) -> Iterator[Node]:
    """Walk through the nodes below ``incarnation``, each before its own children.

    Another thread may walk through a tree that goes on meanwhile. So children are listed before
    they are walked through, and nothing below a node is younger than the step to the node.
    """
    rest = [iter(tuple((incarnation.children or {}).values()))]
    while rest:
        for node in rest[-1]:
            below = node.incarnation
            yield node
            if below is not None and below.children:
                rest.append(iter(tuple(below.children.values())))
                break
        else:
            rest.pop()

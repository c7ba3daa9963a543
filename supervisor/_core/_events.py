"""What observers of a tree are told, in order, right after the step in which it happened.

Nodes and groups are passed by reference, so an observer that does not read a DN pays for none.
Moves and removals are queued only while somebody observes them (``Tree.observes_moves``,
``Tree.observes_removals``); the other events are rare, and always queued.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ._plan import Plan
    from ._records import Crash
    from ._states import GroupState, NodeState
    from ._tree import Group, Node


class NodeMoved(NamedTuple):
    """A node is in another state; ``NEW`` begins an incarnation."""

    node: Node
    state: NodeState


class NodeRemoved(NamedTuple):
    """A node is not in the tree any more."""

    node: Node
    for_good: bool
    """No node of its name is expected: a pool's child, or a member that its group has no more."""


class NodeDied(NamedTuple):
    """A node has died."""

    node: Node
    crash: Crash
    plan: Plan
    """What becomes of its group."""
    error: Exception
    """What it has died of. An observer that keeps it keeps what the runnable used."""


class NodeRecovered(NamedTuple):
    """A node is ``HEALTHY`` again after a death."""

    node: Node
    seconds: float
    """The time since the death."""


class StopErrorRaised(NamedTuple):
    """A runnable raised an error after it had been asked to stop, or was handling one then."""

    node: Node
    crash: Crash
    was_handled: bool
    """The error was raised before the stop request: cancellation replaced it on its way out."""
    error: Exception
    """What was raised. An observer that keeps it keeps what the runnable used."""


class FatalErrorRaised(NamedTuple):
    """A runnable raised what is no ``Exception``, which leaves the tree."""

    node: Node
    error: BaseException


class RestartWasRequested(NamedTuple):
    """A runnable ended by ``RestartRequested``: its group restarts, which is no failure."""

    node: Node
    reason: str


class ReadinessSet(NamedTuple):
    """A healthy runnable has said that it is not ready, or that it is ready again."""

    node: Node
    reason: str | None
    """Why it is not ready; ``None`` if it is."""


class GraceMissing(NamedTuple):
    """A runnable without a grace waits for its stop request: it is cancelled at that instant."""

    node: Node


class FactoryFailed(NamedTuple):
    """The function that makes a group's runnables has failed at a restart."""

    group: Group
    crash: Crash
    plan: Plan
    error: Exception
    """What the function has raised. An observer that keeps it keeps what the function used."""


class GroupMoved(NamedTuple):
    """A group is in another state."""

    group: Group
    state: GroupState
    deadline: float | None
    """When the backoff ends, on Trio's clock; ``None`` unless ``BACKOFF``."""


class GroupGaveUp(NamedTuple):
    """A group may not restart again, and its parent dies of ``error``."""

    group: Group
    error: Exception


class DrainBegun(NamedTuple):
    """The tree will be stopped soon: nothing of it is ready any more, and nothing stops yet."""

    reason: str


class NodesStillNew(NamedTuple):
    """Some nodes have been ``NEW`` for long."""

    nodes: tuple[Node, ...]


class NodesStuck(NamedTuple):
    """Some nodes have not ended, so many seconds after they were asked to stop."""

    nodes: tuple[Node, ...]
    when: str
    """Since when, in words."""


Event = (
    NodeMoved
    | NodeRemoved
    | NodeDied
    | NodeRecovered
    | StopErrorRaised
    | FatalErrorRaised
    | RestartWasRequested
    | ReadinessSet
    | GraceMissing
    | FactoryFailed
    | GroupMoved
    | GroupGaveUp
    | DrainBegun
    | NodesStillNew
    | NodesStuck
)

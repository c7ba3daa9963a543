"""The transitions of nodes: which are legal, and metrics that record them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import trio

from supervisor import NodeState

if TYPE_CHECKING:
    from collections.abc import Mapping

NEW, HEALTHY, DONE = NodeState.NEW, NodeState.HEALTHY, NodeState.DONE
DEAD, CANCELED = NodeState.DEAD, NodeState.CANCELED

LEGAL: Final[Mapping[NodeState, frozenset[NodeState]]] = {
    NEW: frozenset({HEALTHY, DEAD, CANCELED}),
    HEALTHY: frozenset({DONE, DEAD, CANCELED}),
    # Its runnable had returned, and then its children gave up.
    DONE: frozenset({DEAD}),
    DEAD: frozenset(),
    CANCELED: frozenset(),
}
"""The transitions of one incarnation, as S3 words them."""


@final
class Transitions:
    """Metrics that record the states of all nodes; ``None`` says that the node is gone."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, NodeState | None]] = []

    def notify_node_state(self, dn: str, state: NodeState) -> None:
        self.seen.append((dn, state))

    def notify_node_gone(self, dn: str) -> None:
        self.seen.append((dn, None))

    def of(self, dn: str) -> list[NodeState | None]:
        """Return the states of one node."""
        return [state for name, state in self.seen if name == dn]

    def take(self) -> list[tuple[str, NodeState | None]]:
        """Return what has been recorded since the last call."""
        seen, self.seen = self.seen, []
        return seen


@final
class TimedTransitions:
    """Metrics that record the states of the nodes below the root, with their times."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, str, str]] = []

    def notify_node_state(self, dn: str, state: NodeState) -> None:
        if dn != "root":
            self.seen.append((trio.current_time(), dn.removeprefix("root."), state.name))

    def notify_node_gone(self, dn: str) -> None:
        """Ignore it: these are times of transitions."""

    @property
    def starts(self) -> list[tuple[float, str]]:
        """When each incarnation was started."""
        return [(time, name) for time, name, state in self.seen if state == "NEW"]

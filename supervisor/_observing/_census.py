"""How many nodes a tree has, and which are dead or not ready, kept up to date by its events.

To ask costs nothing, so it can be told again and again what a tree of any size is like.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from supervisor._core._events import NodeDied, NodeMoved, NodeRecovered, NodeRemoved

from ._ready import Readiness, begun

if TYPE_CHECKING:
    from collections.abc import Collection

    from supervisor._core._events import Event
    from supervisor._core._tree import Node
    from supervisor._tasks._port import Port


@final
class Census:
    """Counts the nodes of a tree, and those not ready: it has to be told each event."""

    def __init__(self, port: Port) -> None:
        """Walk once through what is there."""
        self._readiness: Final = Readiness(port, port.group.dn)
        self._nodes: set[Node] = set(port.nodes())
        self._readiness.is_given()  # it finds out what is not ready now
        down = {node: since for node in self.unready if (since := _down_since(node)) is not None}
        self._died: dict[Node, None] = dict.fromkeys(sorted(down, key=down.__getitem__))

    @property
    def total(self) -> int:
        """How many nodes there are; some may wait for their turn in an ordered group."""
        return len(self._nodes)

    @property
    def unready(self) -> Collection[Node]:
        """Those that are not ready, the one first that is not for the longest time."""
        return self._readiness.unready

    @property
    def died(self) -> Collection[Node]:
        """Those of them that have died since they were ``HEALTHY`` last, the earliest first."""
        return self._died.keys()

    @property
    def is_ready(self) -> bool:
        """The whole tree is ready."""
        return self._readiness.is_given()

    def observe(self, event: Event) -> None:
        """Count what has changed."""
        self._readiness.observe(event)
        if isinstance(event, NodeMoved):
            self._nodes.update(begun(event))
        elif isinstance(event, NodeDied):
            if event.node in self._nodes:
                self._died.setdefault(event.node)
        elif isinstance(event, NodeRecovered):
            self._died.pop(event.node, None)
        elif isinstance(event, NodeRemoved):
            self._nodes.discard(event.node)
            self._died.pop(event.node, None)


def _down_since(node: Node) -> float | None:
    return None if node.death_history is None else node.death_history.down_since

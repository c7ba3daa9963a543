"""Observing a tree from outside: what it tells, as it happens."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, final

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._state import NodeState


class Metrics(Protocol):
    """What observes a tree; pass one as ``metrics=``.

    Both methods are called synchronously, in Trio's thread, in the order in
    which things happen, and must return quickly. An ``Exception`` that one
    raises is logged on the logger ``supervisor``, and the tree goes on. Any other
    exception leaves the tree, as a runnable's does.
    """

    def notify_node_state(self, dn: str, state: NodeState) -> None:
        """Take note that the node ``dn`` is now in ``state``.

        It is called for each transition, ``NEW`` at each start included, to
        the end of the tree's shutdown.
        """

    def notify_node_gone(self, dn: str) -> None:
        """Take note that the node ``dn`` has vanished.

        Children vanish when their parent starts again. The nodes that a tree
        ends with do not: their last states stay true.
        """


@final
@attrs.frozen
class NodeStatus:
    """What :class:`InMemoryMetrics` knows of a node."""

    state: NodeState
    since: float
    """When it reached its state, in seconds on Trio's clock."""


@final
class InMemoryMetrics:
    """The present state of each node, in memory.

    Example::

        metrics = InMemoryMetrics()
        async with open_supervisor(root, metrics=metrics) as tree:
            await tree.wait_settled()
            assert metrics.nodes()["root"].state is NodeState.HEALTHY
    """

    def __init__(self) -> None:
        """Begin with no nodes."""
        self._nodes: dict[str, NodeStatus] = {}

    def __repr__(self) -> str:
        """Say how many nodes there are."""
        return f"<InMemoryMetrics of {len(self._nodes)} nodes>"

    def notify_node_state(self, dn: str, state: NodeState) -> None:
        """See :meth:`Metrics.notify_node_state`."""
        self._nodes[dn] = NodeStatus(state, trio.current_time())

    def notify_node_gone(self, dn: str) -> None:
        """See :meth:`Metrics.notify_node_gone`."""
        del self._nodes[dn]

    def nodes(self) -> Mapping[str, NodeStatus]:
        """Return an immutable copy, by DN. It may be called from any thread."""
        return MappingProxyType(self._nodes.copy())

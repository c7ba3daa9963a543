"""Metrics: objects of users that are told the states of a tree's nodes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol, TypeGuard, final

import attrs
import trio

from supervisor._core._arguments import is_async, shown
from supervisor._core._events import NodeMoved, NodeRemoved

from ._logging import log

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from supervisor._core._events import Event
    from supervisor._core._states import NodeState
    from supervisor._tasks._port import Port

_logger = logging.getLogger("supervisor")


class Metrics(Protocol):
    """What observes a tree; pass one, or a sequence of several, as ``metrics=`` (S16).

    Both methods are called synchronously, in Trio's thread, in the order in
    which things happen, and must return quickly. An ``Exception`` that one
    raises is logged on the logger ``supervisor``, and the tree goes on. Any other
    exception leaves the tree, as a runnable's does.
    """

    def notify_node_state(self, dn: str, state: NodeState) -> None:
        """Record that the node ``dn`` is now in ``state``.

        It is called for each transition, ``NEW`` at each start included, to
        the end of the tree's shutdown.
        """

    def notify_node_gone(self, dn: str) -> None:
        """Record that the node ``dn`` was removed from the tree.

        Children are removed when their parent starts again. The nodes that exist
        at the end of a tree are not: their last states stay true.
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


def check_metrics(metrics: object) -> tuple[Metrics, ...]:
    """Return ``metrics`` as a tuple: one object, the elements of a sequence, or nothing.

    Raises:
        TypeError: if something else is among them.
    """
    if metrics is None:
        return ()
    if _is_metrics(metrics):
        return (metrics,)
    wrong: list[object] = [metrics]
    if isinstance(metrics, Sequence) and not isinstance(metrics, (str, bytes)):
        wrong = [each for each in metrics if not _is_metrics(each)]
        if not wrong:
            return tuple(metrics)
    msg = (
        f"metrics={shown(metrics)}: {shown(wrong[0])} is no Metrics; pass an object with the "
        f"methods {' and '.join(_METHODS)}, which are not async, or a sequence of such objects"
    )
    raise TypeError(msg)


def _is_metrics(value: object) -> TypeGuard[Metrics]:
    methods = [getattr(value, name, None) for name in _METHODS]
    return not isinstance(value, type) and all(
        callable(method) and not is_async(method) for method in methods
    )


_METHODS: Final = ("notify_node_state", "notify_node_gone")


def add_metrics(port: Port, several: Iterable[Metrics]) -> None:
    """Tell each of ``several`` of all transitions and removals of nodes (S16)."""
    for metrics in several:
        port.add_observer(_Reporter(port, metrics).observe)


@final
class _Reporter:
    """Tells an object of a user the moves and removals of a tree's nodes."""

    def __init__(self, port: Port, metrics: Metrics) -> None:
        self._port: Port = port
        self._metrics: Metrics = metrics

    def observe(self, event: Event) -> None:
        if not isinstance(event, (NodeMoved, NodeRemoved)):
            return
        dn = event.node.dn
        try:
            if isinstance(event, NodeMoved):
                self._metrics.notify_node_state(dn, event.state)
            elif event.node.number:  # of a node that has never started nothing was told
                self._metrics.notify_node_gone(dn)
        except Exception as error:  # noqa: BLE001  it is logged
            what = f"the removal of {dn}"
            if isinstance(event, NodeMoved):
                what = f"the transition of {dn} to {event.state.name}"
            text = "%r failed at %s"
            log(self._port.abort, _logger, logging.ERROR, text, self._metrics, what, exc_info=error)

"""Snapshots: a picture of the whole tree at one instant."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, final

import attrs

from supervisor._core._states import GroupState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from supervisor._core._records import Crash
    from supervisor._core._states import NodeState
    from supervisor._core._tree import Group, Node
    from supervisor._tasks._port import Port


@final
@attrs.frozen(kw_only=True)
class GroupSnapshot:
    """A group, the unit of restarts, at one instant."""

    dn: str
    """The DN of the one member, or ``parent.{a,b}`` for several."""
    state: GroupState
    deadline: float | None
    """When the backoff ends, in seconds on Trio's clock; ``None`` unless ``BACKOFF``."""
    failures: int
    """How many failures in a row the next delay depends on."""
    operator_restarts: int
    """How often it was restarted by :meth:`Handle.restart`, which are no failures."""


@final
@attrs.frozen(kw_only=True)
class NodeSnapshot:
    """A node at one instant."""

    dn: str
    state: NodeState
    since: float
    """When it reached its state, in seconds on Trio's clock."""
    incarnation: int
    """Which run of the node it is; the first is 1."""
    crashes: tuple[Crash, ...]
    """The last few deaths, oldest first."""
    deaths: int
    """How many there were in all."""
    unready_reason: str | None
    """Why it says that it is not ready although it is ``HEALTHY``: see :func:`set_ready`."""
    stop_error: Crash | None
    """What it last raised when it had been asked to stop."""
    group: GroupSnapshot


@final
@attrs.frozen(kw_only=True)
class Snapshot:
    """A supervision tree at one instant, from :meth:`Supervisor.snapshot`.

    ``str()`` of it is a picture of the tree.
    """

    time: float
    """When it was taken, in seconds on Trio's clock."""
    nodes: Mapping[str, NodeSnapshot]
    """All nodes by DN, each before its children, children in order of start."""

    def __reduce__(self) -> tuple[object, ...]:
        """Copy and pickle the nodes as a dictionary: a mapping proxy has no copies."""
        return _snapshot, (self.time, dict(self.nodes))

    def __str__(self) -> str:
        """Draw the tree, a line for each node."""
        names = {dn: _indented(dn) for dn in self.nodes}
        width = max((len(name) for name in names.values()), default=0)
        return "\n".join(
            f"{names[dn]:{width}}  {self._describe(node)}" for dn, node in self.nodes.items()
        )

    def _describe(self, node: NodeSnapshot) -> str:
        text = f"{node.state.name:8}  {self.time - node.since:.1f} s"
        if node.unready_reason is not None:
            text += f"  not ready: {node.unready_reason}"
        if node.group.state is not GroupState.RUNNING:
            text += f"  group {node.group.state.name}"
        if node.group.deadline is not None:
            text += f", restarts in {node.group.deadline - self.time:.1f} s"
        if node.crashes:
            last = node.crashes[-1]
            text += f"  incarnation {node.incarnation}, last died of {last.error}"
            if last.meanwhile:
                text += f", while {last.meanwhile}"
        return text


LEVELS_INDENTED: Final = 30
"""Deeper levels are not indented further: in a picture, all lines are as wide as the widest."""


def _indented(dn: str) -> str:
    level = dn.count(".")
    name = dn.rpartition(".")[2]
    if level > LEVELS_INDENTED:
        name = f"(level {level}) {name}"
    return "  " * min(level, LEVELS_INDENTED) + name


def _snapshot(time: float, nodes: dict[str, NodeSnapshot]) -> Snapshot:
    return Snapshot(time=time, nodes=MappingProxyType(nodes))


def take_snapshot(port: Port) -> Snapshot:
    """Take the snapshot of a tree (S16)."""
    groups: dict[Group, GroupSnapshot] = {}
    nodes: dict[str, NodeSnapshot] = {}
    dns: dict[Node, str] = {}
    for node in port.nodes():
        if node.incarnation is None:
            continue  # it has not started: others in its ordered group come before it
        parent = node.group.parent
        dn = dns[node] = node.name if parent is None else f"{dns[parent.node]}.{node.name}"
        nodes[dn] = _node(node, dn, groups)
    return _snapshot(port.time(), nodes)


def _node(node: Node, dn: str, groups: dict[Group, GroupSnapshot]) -> NodeSnapshot:
    group = groups.get(node.group)
    if group is None:
        group = groups[node.group] = GroupSnapshot(
            dn=node.group.dn,
            state=node.group.state,
            deadline=node.group.deadline,
            failures=node.group.failures,
            operator_restarts=node.group.operator_restarts,
        )
    incarnation = node.incarnation
    assert incarnation is not None
    return NodeSnapshot(
        dn=dn,
        state=incarnation.state,
        since=incarnation.since,
        incarnation=node.number,
        crashes=node.crashes,
        deaths=node.deaths,
        unready_reason=incarnation.unready_reason,
        stop_error=node.stop_error,
        group=group,
    )

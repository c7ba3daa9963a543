"""A tree as text for who asks what a process does: its nodes, and where their tasks wait (S33).

The tree may have ten thousand nodes, and is not to be held up. So there is a limit to the nodes
that are drawn, those that don't serve before the others, and equal stacks are shown once.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from supervisor._core._states import GroupState, NodeState
from supervisor._text._printable import cut

from ._snapshot import Snapshot, take_snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from supervisor._tasks._port import Port

    from ._snapshot import NodeSnapshot

NODES_SHOWN: Final = 200
"""So many nodes are drawn; the others are counted."""

PICTURE_LENGTH: Final = 48 * 1024
"""The picture of the tree is cut to so many characters."""


def describe_tree(port: Port) -> str:
    """Draw a tree, and show where the tasks of the nodes that run wait (S33)."""
    snapshot = take_snapshot(port)
    picture = cut(_picture(snapshot), PICTURE_LENGTH)
    stacks = port.stacks(port.running())
    draining = ", draining" if port.is_draining else ""
    many = len(snapshot.nodes)
    text = f"{many} node{'' if many == 1 else 's'}{draining}\n{picture}"
    return f"{text}\n{stacks}" if stacks else text


def _picture(snapshot: Snapshot) -> str:
    nodes = snapshot.nodes
    if len(nodes) <= NODES_SHOWN:
        return str(snapshot)
    chosen = _chosen(nodes)
    drawn = {dn: node for dn, node in nodes.items() if dn in chosen}
    left_out = Counter(node.state.name for dn, node in nodes.items() if dn not in chosen)
    more = ", ".join(f"{count} {state}" for state, count in left_out.items())
    return f"{Snapshot(time=snapshot.time, nodes=drawn)}\nand {more}"


def _chosen(nodes: Mapping[str, NodeSnapshot]) -> set[str]:
    """Choose what does not serve, each with the nodes above it, and then what comes first."""
    chosen: set[str] = set()
    for dn in sorted(nodes, key=lambda each: _serves(nodes[each])):
        above = dn
        while above and above not in chosen:
            if len(chosen) == NODES_SHOWN:
                return chosen
            chosen.add(above)
            above = above.rpartition(".")[0]
    return chosen


def _serves(node: NodeSnapshot) -> bool:
    serves = node.state in {NodeState.HEALTHY, NodeState.DONE} and node.unready_reason is None
    return serves and node.group.state in {GroupState.RUNNING, GroupState.FINISHED}

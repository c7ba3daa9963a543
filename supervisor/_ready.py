"""Whether a part of a tree is ready to serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from ._state import GroupState, NodeState
from ._tree import descendants

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._node import Group, Node
    from ._tree import Tree

_READY: Final = frozenset({NodeState.HEALTHY, NodeState.DONE})
_SERVING: Final = frozenset({GroupState.RUNNING, GroupState.FINISHED})


def is_ready(tree: Tree, dn: str) -> bool:
    """Return whether all nodes of the subtree at ``dn`` serve, and those above are not stopping."""
    path = find(tree, dn)
    if path is None or not all(_serves(node.group) for node in path):
        return False
    return first_unready(path[-1]) is None


def first_unready(top: Node) -> Node | None:
    """Return the first node of the subtree at ``top`` that is not ready."""
    below: Iterable[Node] = () if top.incarnation is None else descendants(top.incarnation)
    for node in (top, *below):
        if not _is_ready(node):
            return node
    return None


def _is_ready(node: Node) -> bool:
    incarnation = node.incarnation
    return (
        incarnation is not None
        # In an ordered group it may yet have to wait for its turn in the present round.
        and incarnation.round == node.group.rounds
        and incarnation.state in _READY
        and _serves(node.group)
    )


async def wait_ready(tree: Tree, dn: str) -> None:
    """Wait until the subtree at ``dn`` is ready."""
    while not is_ready(tree, dn):
        path = find(tree, dn)
        blocker = None if path is None else first_unready(path[-1])
        await wait_moved(tree)
        # While a large tree starts, one look at the node that it waits for does for most moves.
        while blocker is not None and _is_starting(blocker):
            await wait_moved(tree)


async def wait_moved(tree: Tree) -> None:
    """Wait for any transition in the tree."""
    if tree.moved is None:
        tree.moved = trio.lowlevel.ParkingLot()
    await tree.moved.park()


def _is_starting(node: Node) -> bool:
    incarnation = node.incarnation
    return (
        incarnation is not None
        and incarnation.state is NodeState.NEW
        and node.group.state is GroupState.RUNNING
        and not node.group.host.cancelled
    )


def find(tree: Tree, dn: str) -> list[Node] | None:
    """Return the nodes from the root to ``dn``, if it is there."""
    nodes = {node.name: node for node in tree.root.members}
    path = []
    for name in dn.split("."):
        if name not in nodes:
            return None
        path.append(nodes[name])
        incarnation = path[-1].incarnation
        nodes = (incarnation.children if incarnation is not None else None) or {}
    return path


def _serves(group: Group) -> bool:
    return group.state in _SERVING and not group.host.cancelled

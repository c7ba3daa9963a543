"""Whether a part of a tree is ready to serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from ._errors import GaveUpError
from ._node import Wish
from ._state import GroupState, NodeState
from ._tree import descendants

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._node import Group, Node
    from ._tree import Tree

_READY: Final = frozenset({NodeState.HEALTHY, NodeState.DONE})
_SERVING: Final = frozenset({GroupState.RUNNING, GroupState.FINISHED})


def is_ready(tree: Tree, dn: str) -> bool:
    """Return whether all nodes of the subtree at ``dn`` serve, and those above are not stopping."""
    path = find(tree, dn)
    if path is None or not all(_is_present(node) and _serves(node.group) for node in path):
        return False
    return first_unready(path[-1]) is None


def first_unready(top: Node) -> Node | None:
    """Return the first node of the subtree at ``top`` that is not ready."""
    return next((node for node in _subtree(top) if not _is_ready(node)), None)


def _subtree(top: Node) -> Iterator[Node]:
    yield top
    if top.incarnation is not None:
        yield from descendants(top.incarnation)


def _is_ready(node: Node) -> bool:
    incarnation = node.incarnation
    return (
        incarnation is not None
        and _is_present(node)
        and incarnation.state in _READY
        and _serves(node.group)
    )


def _is_present(node: Node) -> bool:
    """Return whether it has begun in the present round: in an ordered group it waits its turn."""
    return node.incarnation is not None and node.incarnation.round == node.group.rounds


async def wait_ready(tree: Tree, dn: str) -> None:
    """Wait until the subtree at ``dn`` is ready.

    Raises:
        GaveUpError: if that can't happen any more.
    """
    while not is_ready(tree, dn):
        if is_ending(tree):
            msg = f"{dn} will not be ready: the tree is stopped, or has ended"
            raise GaveUpError(msg)
        await wait_moved(tree)
        # While a large tree starts, one look at the node that it waits for does for most moves;
        # and to find the next one it need not begin with the first again.
        path = find(tree, dn)
        for node in [] if path is None else list(_subtree(path[-1])):
            while _is_starting(node) and not is_ending(tree):
                await wait_moved(tree)
            if not _is_ready(node):
                break


def is_ending(tree: Tree) -> bool:
    """Return whether no node will start any more."""
    return tree.root.wish is Wish.END or tree.root.host.cancelled or tree.root.host.ended


async def wait_moved(tree: Tree) -> None:
    """Wait for any transition in the tree."""
    if tree.moved is None:
        tree.moved = trio.lowlevel.ParkingLot()
    await tree.moved.park()


def _is_starting(node: Node) -> bool:
    """Return whether ``node`` is ``NEW``, or waits for its turn in an ordered group."""
    group, incarnation = node.group, node.incarnation
    if group.state is not GroupState.RUNNING or group.host.cancelled:
        return False
    if incarnation is not None and incarnation.round == group.rounds:
        return incarnation.state is NodeState.NEW
    # Its turn will come, if it has not vanished meanwhile.
    return group.parent is not None and (group.parent.children or {}).get(node.name) is node


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

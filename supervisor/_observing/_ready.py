"""Whether a part of a tree is ready to serve.

To ask once costs a walk through the subtree. To wait must not: a tree of ten thousand nodes makes
transitions all the time. So a wait walks once, and then follows the events: it keeps the set of the
nodes that are not ready, and a transition costs it the way from the node up to the top.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from supervisor._core._errors import GaveUpError
from supervisor._core._events import GroupMoved, NodeMoved, NodeRemoved, ReadinessSet
from supervisor._core._states import NodeState
from supervisor._core._tree import subtree

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from supervisor._core._events import Event
    from supervisor._core._tree import Group, Node
    from supervisor._tasks._port import Port


def is_ready(port: Port, dn: str) -> bool:
    """Return whether the subtree at ``dn`` serves, and nothing above it is stopping (S25)."""
    path = port.path(dn)
    return path is not None and serves(path) and all(node.is_ready for node in subtree(path[-1]))


async def wait_ready(port: Port, dn: str) -> None:
    """Wait until the subtree at ``dn`` is ready (S25).

    Raises:
        GaveUpError: if that can't happen any more.
    """
    readiness = Readiness(port, dn)
    port.add_observer(readiness.observe)
    try:
        while not readiness.is_given():
            if port.is_ending or port.is_draining:
                msg = f"{dn} will not be ready: the tree is stopped, or has ended"
                raise GaveUpError(msg)
            await port.wait_changed()
    finally:
        port.remove_observer(readiness.observe)


def begun(event: NodeMoved) -> Sequence[Node]:
    """Return the nodes that are there, and not ready, from this event on.

    The later members of an ordered group are there as soon as the first one begins, and have no
    event of theirs before it is their turn.
    """
    if event.state is not NodeState.NEW:
        return ()
    group = event.node.group
    is_first = group.options.ordered and event.node is group.members[0]
    return group.members if is_first else (event.node,)


def serves(path: Iterable[Node]) -> bool:
    """Return whether none of the nodes from the root down is being stopped, or waits its turn."""
    return all(node.is_present and node.group.is_serving for node in path)


@final
class Readiness:
    """Which nodes of a subtree are not ready, kept up to date by the tree's events."""

    def __init__(self, port: Port, dn: str) -> None:
        self._port: Final = port
        self._dn: Final = dn
        # The top of the subtree, if it is there, and what is not ready in it, the oldest first.
        self._top: Node | None = None
        self._unready: dict[Node, None] = {}

    @property
    def unready(self) -> Collection[Node]:
        """What is not ready in itself, the one first that is not for the longest time."""
        return self._unready.keys()

    def is_given(self) -> bool:
        """Return whether the whole subtree is ready."""
        if self._top is None:
            self._find_top()
        if self._top is None or self._unready:
            return False
        path = self._port.path(self._dn)
        return path is not None and path[-1] is self._top and serves(path)

    def observe(self, event: Event) -> None:
        if self._top is None:
            return  # is_given() looks for it, and walks through what is there by then
        if isinstance(event, ReadinessSet):
            self._look_at(event.node.group, (event.node,))
        elif isinstance(event, NodeMoved):
            self._look_at(event.node.group, begun(event) or (event.node,))
        elif isinstance(event, GroupMoved):
            self._look_at(event.group, event.group.members)
        elif isinstance(event, NodeRemoved):
            self._unready.pop(event.node, None)
            if event.node is self._top:
                self._top = None

    def _find_top(self) -> None:
        path = self._port.path(self._dn)
        if path is not None:
            self._top = path[-1]
            unready = (node for node in subtree(self._top) if not node.is_ready)
            self._unready = dict.fromkeys(unready)

    def _look_at(self, group: Group, nodes: Iterable[Node]) -> None:
        is_below = self._is_below_top(group)
        for node in nodes:
            if is_below or node is self._top:
                if node.is_ready:
                    self._unready.pop(node, None)
                else:
                    self._unready.setdefault(node)

    def _is_below_top(self, group: Group) -> bool:
        if self._top is not None and self._top.group.parent is None:
            return True  # it is the root
        while group.parent is not None:
            if group.parent.node is self._top:
                return True
            group = group.parent.node.group
        return False

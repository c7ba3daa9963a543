"""Whether a part of a tree is ready to serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor._core._errors import GaveUpError
from supervisor._core._tree import subtree

if TYPE_CHECKING:
    from supervisor._core._tree import Node
    from supervisor._tasks._port import Port


def is_ready(port: Port, dn: str) -> bool:
    """Return whether the subtree at ``dn`` serves, and nothing above it is stopping (S25)."""
    path = port.path(dn)
    if path is None or not all(node.is_present and node.group.is_serving for node in path):
        return False
    return first_unready(path[-1]) is None


def first_unready(top: Node) -> Node | None:
    """Return the first node of the subtree at ``top`` that is not ready."""
    return next((node for node in subtree(top) if not node.is_ready), None)


async def wait_ready(port: Port, dn: str) -> None:
    """Wait until the subtree at ``dn`` is ready (S25).

    Raises:
        GaveUpError: if that can't happen any more.
    """
    while not is_ready(port, dn):
        if port.is_ending:
            msg = f"{dn} will not be ready: the tree is stopped, or has ended"
            raise GaveUpError(msg)
        await port.wait_changed()
        # While a large tree starts, one look at the node that it waits for does for most moves;
        # and to find the next one it need not begin with the first again.
        path = port.path(dn)
        for node in [] if path is None else list(subtree(path[-1])):
            while node.is_starting and not port.is_ending:
                await port.wait_changed()
            if not node.is_ready:
                break

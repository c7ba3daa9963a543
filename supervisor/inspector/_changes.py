"""What has changed in a tree, for all who look at it (S37).

An observer notes the nodes that have changed, by reference, as long as anybody looks. What has
changed within ``GATHERED`` seconds is rendered once, a few nodes at a time, so that no slice holds
up the loop; all viewers get the same bytes.

A viewer that is behind does not get all of that. What waits for it is the newest state of each
node. So it may be slow, and no queue grows; in the end it sees what is true.

A picture and the changes that follow it: a viewer joins before its picture is made, and gets what
has changed meanwhile after it. So a node that has vanished in between vanishes there as well. A row
may come that is older than the one in the picture, but then a newer one is on its way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import trio

from supervisor._core._events import (
    DrainBegun,
    FactoryFailed,
    GroupMoved,
    NodeDied,
    NodeMoved,
    NodeRemoved,
    ReadinessSet,
)
from supervisor._core._tree import subtree

from ._rows import row_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervisor._core._events import Event
    from supervisor._core._tree import Node
    from supervisor._tasks._port import Port

GATHERED: Final = 0.1
"""For so many seconds changes are gathered."""

SLICE: Final = 100
"""So many nodes are rendered between two checkpoints: it takes about a millisecond."""


@final
class Viewer:
    """Somebody who looks at a tree: what it has yet to be told."""

    __slots__ = ("changed", "has_drained", "rows")

    def __init__(self) -> None:
        # By DN; None for a node that has vanished.
        self.rows: dict[str, bytes | None] = {}
        self.has_drained: bool = False
        self.changed: trio.Event = trio.Event()

    def take(self) -> dict[str, bytes | None]:
        """Take what there is to tell."""
        rows, self.rows, self.changed = self.rows, {}, trio.Event()
        return rows


@final
class Changes:
    """Tells viewers what changes in a tree."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._viewers: set[Viewer] = set()
        # The nodes that have changed, and those that have vanished.
        self._dirty: dict[Node, None] = {}
        self._gone: dict[Node, None] = {}
        self._has_drained = False
        self._noted = trio.Event()

    def join(self) -> Viewer:
        """Tell a new viewer of what changes from now on."""
        viewer = Viewer()
        if not self._viewers:
            self._port.add_observer(self._observe)
        self._viewers.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Tell a viewer nothing more."""
        self._viewers.discard(viewer)
        if not self._viewers:
            self._port.remove_observer(self._observe)
            self._dirty.clear()
            self._gone.clear()

    async def run(self) -> None:
        """Render what changes, for ever."""
        while True:
            await self._noted.wait()
            await trio.sleep(GATHERED)
            self._noted = trio.Event()
            await self._render()

    def _observe(self, event: Event) -> None:
        if isinstance(event, (NodeMoved, NodeDied, ReadinessSet)):
            self._dirty[event.node] = None
            self._gone.pop(event.node, None)
        elif isinstance(event, (GroupMoved, FactoryFailed)):
            self._dirty.update(dict.fromkeys(event.group.members))
        elif isinstance(event, NodeRemoved):
            self._dirty.pop(event.node, None)
            self._gone[event.node] = None
        elif isinstance(event, DrainBegun):
            self._has_drained = True
        else:
            return
        self._noted.set()

    async def _render(self) -> None:
        dirty, self._dirty = self._dirty, {}
        gone, self._gone = self._gone, {}
        has_drained, self._has_drained = self._has_drained, False
        rows: dict[str, bytes | None] = {node.dn: None for node in gone}
        count = 0
        for node in dirty:
            if not _is_there(node):
                continue
            dn = node.dn
            rows.pop(dn, None)  # there is another node of that name: the last word is its row
            rows[dn] = row_of(node, dn)
            count += 1
            if count % SLICE == 0:
                await trio.lowlevel.checkpoint()
        for viewer in self._viewers:
            viewer.rows.update(rows)
            viewer.has_drained = viewer.has_drained or has_drained
            viewer.changed.set()
        await trio.lowlevel.checkpoint()


def slices(top: Node) -> Iterator[tuple[list[bytes], bool]]:
    """Render a subtree, a few nodes at a time, and say of each few whether all of them are ready.

    The caller lets others run after each: it sends them.
    """
    rows: list[bytes] = []
    are_ready = True
    for node in subtree(top):
        if node.incarnation is None:
            continue  # it waits for others of its ordered group
        rows.append(row_of(node, node.dn))
        are_ready = are_ready and node.is_ready
        if len(rows) == SLICE:
            yield rows, are_ready
            rows = []
    yield rows, are_ready


def _is_there(node: Node) -> bool:
    """Return whether a node has not vanished, and has begun."""
    parent = node.group.parent
    if node.incarnation is None:
        return False  # it waits for others of its ordered group
    return parent is None or (parent.children or {}).get(node.name) is node

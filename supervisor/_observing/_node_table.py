"""What metrics show of a tree: a table that follows it, and that any thread may read (S42).

An observer keeps the table, so a scrape does not walk through the tree. Rows are immutable. An
event puts another row in the place of the last one, and a reader copies the references under a
lock. So what it has got is the state after one event, however long it takes to render it, and the
loop waits for no more than that copy.

The number of series is bounded in two ways:

- Children of a pool, and what is below them, have no rows, for they come and go, and each would
  stay in the database that collects them. A pool counts its children by state, and their deaths.
- At most ``max_nodes`` nodes have rows. The others wait in the order in which they appeared. When a
  row is free, the oldest of them gets it: a node that has series keeps them.

Nodes are found by reference. So a node that has vanished and another one that has its DN are never
mixed up, and only a DN that is shown is put together.

The tree does not keep the table: one that nobody has any more is told nothing. Nor does the table
keep a tree that has ended: only its last picture is left. What reads it may be there as long as the
process, and a tree holds its runnables, and all that they hold.
"""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING, Final, NamedTuple, final

import attrs
import trio

from supervisor._core._events import FactoryFailed, GroupMoved, NodeMoved, NodeRemoved
from supervisor._core._plan import Retry
from supervisor._core._states import NodeState

if TYPE_CHECKING:
    from supervisor._core._events import Event
    from supervisor._core._tree import Group, Node
    from supervisor._tasks._port import Port

STATES: Final = tuple(NodeState)
_PLACES: Final = {state: place for place, state in enumerate(STATES)}


class Row(NamedTuple):
    """What is shown of a node."""

    dn: str
    state: NodeState
    starts: int
    deaths: int
    moved_at: float
    """When it reached its state, in seconds since 1970."""
    backoff: float
    """The seconds of the backoff that its group waits for; 0 unless it waits."""
    operator_restarts: int


class PoolRow(NamedTuple):
    """What is shown of the children of a pool."""

    dn: str
    children: tuple[int, ...]
    """How many there are in each of ``STATES``."""
    deaths: int


class Picture(NamedTuple):
    """A tree after one event."""

    rows: tuple[Row, ...]
    pools: tuple[PoolRow, ...]
    nodes: tuple[int, ...]
    """How many nodes of the whole tree are in each of ``STATES``."""
    nodes_without_row: int
    """How many have none because there are too many of them."""


class _Pool(NamedTuple):
    """The children of a pool."""

    children: tuple[int, ...] = (0,) * len(STATES)
    deaths: int = 0


@final
@attrs.define
class _Seen:
    """What was last seen of a node that is in the tree."""

    is_pooled: bool
    """It is a pool's child, or below one."""
    pool: Node | None
    """The pool, if it is a child of one."""
    state: NodeState | None = None
    known_deaths: int = 0


@final
class NodeTable:
    """The rows of a tree's nodes.

    It is made in the tree's run of Trio, and read in any thread.
    """

    def __init__(self, port: Port, *, max_nodes: int) -> None:
        """Take the nodes that are there, and follow the tree from now on."""
        self.root_dn: Final = port.group.dn
        self._port: Port | None = port
        self._last: Picture | None = None
        self._max_nodes = max_nodes
        self._lock = threading.Lock()
        self._seen: dict[Node, _Seen] = {}
        self._rows: dict[Node, Row] = {}
        self._pools: dict[Node, _Pool] = {}
        # The nodes that should have a row and have none, oldest first.
        self._waiting: dict[Node, None] = {}
        self._counts = [0] * len(STATES)
        for node in port.nodes():
            if node.incarnation is not None:  # else it waits for others of its ordered group
                self._see(node, node.incarnation.state)
        feed = _Feed(port, self)
        port.add_observer(feed.observe, at_end=feed.end)

    @property
    def is_over(self) -> bool:
        """The tree has ended."""
        return self._port is None

    def is_of(self, port: Port) -> bool:
        """Return whether the table follows this tree."""
        return self._port is not None and self._port.tree is port.tree

    def end(self) -> None:
        """Keep the last picture instead of the tree."""
        last = self.picture()
        with self._lock:
            self._last, self._port = last, None
            for nodes in (self._seen, self._rows, self._pools, self._waiting):
                nodes.clear()

    def picture(self) -> Picture:
        """Return what is shown now."""
        with self._lock:
            if self._last is not None:
                return self._last
            rows, pools = self._rows.copy(), self._pools.copy()
            counts, waiting = tuple(self._counts), len(self._waiting)
        shown = tuple(
            PoolRow(rows[node].dn, *counted) for node, counted in pools.items() if node in rows
        )
        return Picture(tuple(rows.values()), shown, counts, waiting)

    def observe(self, event: Event) -> None:
        """Record what has happened."""
        with self._lock:
            if isinstance(event, NodeMoved):
                self._see(event.node, event.state)
                self._update(event.node, moved_at=time.time())
            elif isinstance(event, GroupMoved):
                self._update_group(event.group, _seconds_until(event.deadline))
            elif isinstance(event, FactoryFailed):
                # It waits again, if it does, without another event: it has waited before.
                delay = event.plan.delay if isinstance(event.plan, Retry) else 0.0
                self._update_group(event.group, delay)
            elif isinstance(event, NodeRemoved):
                self._forget(event.node)

    def _see(self, node: Node, state: NodeState) -> None:
        """Count a node in its state, and give it a row if it is new, and there is one."""
        seen = self._seen.get(node)
        if seen is None:
            seen = self._seen[node] = self._place(node)
            if not seen.is_pooled:
                self._waiting[node] = None
                self._fill_rows()
        self._count(seen, state, node.deaths)
        run = node.incarnation
        if run is not None and run.is_pool:
            self._pools.setdefault(node, _Pool())

    def _place(self, node: Node) -> _Seen:
        parent = node.group.parent
        if parent is None:
            return _Seen(is_pooled=False, pool=None)
        if parent.is_pool:
            self._pools.setdefault(parent.node, _Pool())
            return _Seen(is_pooled=True, pool=parent.node)
        return _Seen(is_pooled=self._seen[parent.node].is_pooled, pool=None)

    def _forget(self, node: Node) -> None:
        seen = self._seen.pop(node, None)
        if seen is None:
            return  # it has never begun
        self._count(seen, None, node.deaths)
        self._pools.pop(node, None)
        self._waiting.pop(node, None)
        self._rows.pop(node, None)
        self._fill_rows()

    def _count(self, seen: _Seen, state: NodeState | None, deaths: int) -> None:
        """Count a node in this state instead of its last one; ``None`` if it has vanished."""
        before, seen.state = seen.state, state
        _move(self._counts, before, state)
        new_deaths, seen.known_deaths = deaths - seen.known_deaths, deaths
        counted = None if seen.pool is None else self._pools.get(seen.pool)
        if seen.pool is not None and counted is not None:  # else it has vanished before its child
            children = list(counted.children)
            _move(children, before, state)
            self._pools[seen.pool] = _Pool(tuple(children), counted.deaths + new_deaths)

    def _fill_rows(self) -> None:
        if self._waiting and len(self._rows) < self._max_nodes:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            self._rows[oldest] = _row_of(oldest)

    def _update(self, node: Node, *, moved_at: float) -> None:
        row = self._rows.get(node)
        if row is not None:
            state = self._seen[node].state
            assert state is not None
            self._rows[node] = row._replace(
                state=state, starts=node.number, deaths=node.deaths, moved_at=moved_at
            )

    def _update_group(self, group: Group, backoff: float) -> None:
        for node in group.members:
            row = self._rows.get(node)
            if row is not None:
                self._rows[node] = row._replace(
                    deaths=node.deaths, backoff=backoff, operator_restarts=group.operator_restarts
                )


@final
class _Feed:
    """Tells a table what happens, as long as somebody has it."""

    def __init__(self, port: Port, table: NodeTable) -> None:
        self._port: Port = port
        self._table = weakref.ref(table)

    def observe(self, event: Event) -> None:
        table = self._table()
        if table is None:
            self._port.remove_observer(self.observe)
        else:
            table.observe(event)

    def end(self) -> None:
        self._port.remove_observer(self.observe)
        table = self._table()
        if table is not None:
            table.end()


def _row_of(node: Node) -> Row:
    """Make a row of what the tree knows of a node."""
    run, group = node.incarnation, node.group
    assert run is not None
    return Row(
        dn=node.dn,
        state=run.state,
        starts=node.number,
        deaths=node.deaths,
        moved_at=time.time() - (trio.current_time() - run.since),
        backoff=_seconds_until(group.deadline),
        operator_restarts=group.operator_restarts,
    )


def _seconds_until(deadline: float | None) -> float:
    return 0.0 if deadline is None else max(0.0, deadline - trio.current_time())


def _move(counts: list[int], before: NodeState | None, after: NodeState | None) -> None:
    if before is not None:
        counts[_PLACES[before]] -= 1
    if after is not None:
        counts[_PLACES[after]] += 1

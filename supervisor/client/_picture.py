"""What a viewer knows of a tree, and which of its nodes it draws (S43).

A stream tells of the tree: first the whole picture, and from ``synced`` on what changes. When the
stream begins anew, the picture before stays until the new one is whole. So a viewer never shows a
part of a tree as if it were all of it, and has something to show when nothing comes any more.

Nothing here draws, or asks. The time is that of the tree, which goes on by this process's clock as
long as there is a connection, and stands still without one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple, final

from ._text import LEVELS_INDENTED, is_ready, summary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._connection import Json, ServerEvent

ROWS: Final = 2000
"""At most so many nodes are drawn."""


class Drawn(NamedTuple):
    """A node that is drawn: its own DN, and that of the node below which it is drawn.

    The node above is not always the parent: nodes deeper than ``LEVELS_INDENTED`` are drawn side by
    side.
    """

    dn: str
    above: str | None


@final
class Picture:
    """What is known of a tree."""

    def __init__(self) -> None:
        self.name: str = ""
        self.rows: dict[str, Json] = {}
        self.is_draining: bool = False
        # Whether the stream is there, and the picture is whole.
        self.is_live: bool = False
        # Grows when nodes come or go in ``rows``, and with a new picture.
        self.shape: int = 0
        self._coming: dict[str, Json] | None = None
        self._tree_time = 0.0
        self._heard = time.monotonic()
        self._lost: float | None = None

    def begin(self) -> None:
        """Expect a new stream, and with it a new picture."""
        self._coming = {}

    def lose(self) -> None:
        """Let the time of the tree stand still: the stream has broken off."""
        self.is_live = False
        self._coming = None
        if self._lost is None:
            self._lost = time.monotonic()

    def take(self, event: ServerEvent) -> None:
        """Learn from an event of the stream."""
        data = event.data
        rows = self.rows if self._coming is None else self._coming
        if event.name == "nodes":
            for row in data["nodes"]:
                self.shape += row["dn"] not in rows
                rows[row["dn"]] = row
        elif event.name == "gone":
            for dn in data["dns"]:
                self.shape += rows.pop(dn, None) is not None
        elif event.name == "synced":
            self.name, self.is_draining = data["name"], data["draining"]
            self.shape += rows is not self.rows
            self.rows, self._coming = rows, None
            self.is_live = True
        if self.is_live:
            self._tree_time, self._heard = data["time"], time.monotonic()
            self._lost = None

    @property
    def now(self) -> float:
        """The time of the tree."""
        until = time.monotonic() if self._lost is None else self._lost
        return self._tree_time + until - self._heard

    @property
    def silence(self) -> float:
        """For how many seconds there has been no connection."""
        return 0.0 if self._lost is None else time.monotonic() - self._lost

    @property
    def summary(self) -> str:
        """A line about the whole tree."""
        rows = list(self.rows.values())
        ready = not self.is_draining and all(map(is_ready, rows))
        return summary({"name": self.name, "nodes": rows, "ready": ready})


def drawn(rows: Mapping[str, Json], text: str = "") -> tuple[list[Drawn], int]:
    """Return the nodes to be drawn, each after the one above it, and how many more there are.

    Args:
        rows: The nodes, by DN.
        text: A part of a DN or a state, or ``not ready``. Nodes that have none of it are left out,
            but for those above others that have.
    """
    ordered = _in_order(rows)
    wanted = text.strip().lower()
    if wanted:
        kept: set[str] = set()
        for dn, above in reversed(ordered):
            if dn in kept or wanted in _searched(rows[dn]):
                kept.add(dn)
                if above is not None:
                    kept.add(above)
        ordered = [(dn, above) for dn, above in ordered if dn in kept]
    return [Drawn(*each) for each in ordered[:ROWS]], max(0, len(ordered) - ROWS)


def _searched(row: Json) -> str:
    ready = "" if is_ready(row) else " not ready"
    return f"{row['dn']} {row['state']} {row['group_state']}{ready}".lower()


def _in_order(rows: Mapping[str, Json]) -> list[tuple[str, str | None]]:
    """Return each DN after that of its parent, with the one below which it is drawn.

    Siblings come in the order in which they were first seen. What has no parent here is below the
    nearest node that is here: the events of a stream may tell of a child's new life first.
    """
    below: dict[str, list[str]] = {}
    for dn in rows:
        parent = dn.rpartition(".")[0]
        while parent and parent not in rows:
            parent = parent.rpartition(".")[0]
        below.setdefault(parent, []).append(dn)
    found: list[tuple[str, str | None]] = []
    tops = below.get("", [])
    # DN, level, and the DN above. There is one top, unless the root's new life is not told yet.
    rest: list[tuple[str, int, str | None]] = [(dn, 1, tops[0]) for dn in tops[:0:-1]]
    rest.extend((dn, 0, None) for dn in tops[:1])
    while rest:
        dn, level, above = rest.pop()
        found.append((dn, above))
        # The children of a node at the last level are drawn beside it.
        next_above = above if level == LEVELS_INDENTED else dn
        next_level = min(level + 1, LEVELS_INDENTED)
        rest.extend((child, next_level, next_above) for child in below.get(dn, ())[::-1])
    return found

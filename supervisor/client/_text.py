"""Answers of an inspector as text for a terminal.

What answers may be something else than an inspector. So nothing of an answer steers the terminal,
whatever field it is in (S38).
"""

from __future__ import annotations

import logging
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Final

from supervisor._text._durations import duration
from supervisor._text._printable import printable, single_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ._connection import Json

LEVELS_INDENTED: Final = 30
"""Deeper nodes are not indented further, so that lines stay readable."""

_SERVES: Final = frozenset({"HEALTHY", "DONE"})
_RUNS: Final = frozenset({"RUNNING", "FINISHED"})


def is_ready(row: Json) -> bool:
    """Return whether a node itself is ready."""
    return row["state"] in _SERVES and row["group_state"] in _RUNS and row["not_ready"] is None


def summary(tree: Json) -> str:
    """Return a line about the whole tree."""
    rows = tree["nodes"]
    counts = Counter(row["state"] for row in rows)
    states = ", ".join(f"{count} {state}" for state, count in counts.items())
    many = f"{len(rows)} node{'' if len(rows) == 1 else 's'}"
    ready = "ready" if tree["ready"] else "not ready"
    return printable(f"{tree['name']} is {ready}; {many}: {states}")


def table(rows: Sequence[Json], now: float, *, indented: bool) -> Iterator[str]:
    """Return a line for each node."""
    top = min((row["dn"].count(".") for row in rows), default=0)
    names = [printable(_indented(row["dn"], top) if indented else row["dn"]) for row in rows]
    width = max(map(len, names), default=0)
    for name, row in zip(names, rows, strict=True):
        yield f"{name:{width}}  {facts(row, now)}"


def facts(row: Json, now: float) -> str:
    """Return the state of a node, since when it has that, and what else is to be said."""
    since = duration(now - row["since"])
    return printable(f"{row['state']:8}  {since:>11}  {_note(row, now)}".rstrip())


def _note(row: Json, now: float) -> str:
    notes: list[str] = []
    if row["run"] > 1:
        notes.append(f"run {row['run']}")
    if row["not_ready"] is not None:
        notes.append(f"not ready: {single_line(row['not_ready'])}")
    if row["deadline"] is not None:
        notes.append(f"restarts in {duration(row['deadline'] - now)}")
    elif row["group_state"] not in _RUNS:
        notes.append(f"group {row['group_state']}")
    if row["error"] is not None:
        died = f"died {row['deaths']} times, last of" if row["deaths"] > 1 else "died of"
        notes.append(f"{died} {single_line(row['error'])}")
    return "; ".join(notes)


def _indented(dn: str, top: int) -> str:
    level = dn.count(".") - top
    name = dn.rpartition(".")[2] if level else dn
    if level > LEVELS_INDENTED:
        name = f"(level {level}) {name}"
    return "  " * min(level, LEVELS_INDENTED) + name


def entry(data: Json) -> str:
    """Return a log record, whose text may have several lines."""
    when = datetime.fromtimestamp(data["time"]).astimezone().strftime("%H:%M:%S")
    level = logging.getLevelName(data["level"])
    return printable(f"{when} {level:7} {data['dn']}: {data['text']}")


def missed(data: Json) -> str:
    """Return a line for what is missing of a log."""
    if data["missed"] is None:
        return "-- another process from here on --"
    return printable(f"-- {data['missed']} records are missing here --")


def acted(action: str, dns: Sequence[str]) -> str:
    """Return what a restart or stop has begun."""
    return printable(f"{'restarts' if action == 'restart' else 'stops'}: {', '.join(dns)}")

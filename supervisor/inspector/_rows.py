"""Nodes as JSON: the schema is in ``docs/inspector.md`` (S37)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from supervisor._text._printable import cut

if TYPE_CHECKING:
    from collections.abc import Iterable

    from supervisor._core._records import Crash
    from supervisor._core._tree import Group, Node
    from supervisor.logs import LogEntry

ERROR_LENGTH: Final = 300
"""At most so many characters of an error are shown with a node."""

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


def encode(what: object) -> bytes:
    """Return something as JSON."""
    return _encode(what).encode("ascii")


def fields_of(node: Node, dn: str) -> dict[str, object]:
    """Return what is shown of a node in the tree, which has begun."""
    incarnation, group = node.incarnation, node.group
    assert incarnation is not None
    return {
        "dn": dn,
        "state": incarnation.state.name,
        "since": incarnation.since,
        "run": node.number,
        "deaths": node.deaths,
        "error": cut(node.crashes[-1].error, ERROR_LENGTH) if node.crashes else None,
        "not_ready": incarnation.unready_reason,
        "group_state": group.state.name,
        "deadline": group.deadline,
    }


def row_of(node: Node, dn: str) -> bytes:
    """Return the fields of a node as JSON."""
    return encode(fields_of(node, dn))


def group_of(group: Group) -> dict[str, object]:
    """Return what is shown of a group."""
    return {
        "dn": group.dn,
        "state": group.state.name,
        "members": [node.dn for node in group.members],
        "deadline": group.deadline,
        "failures": group.failures,
        "operator_restarts": group.operator_restarts,
    }


def crash_of(crash: Crash) -> dict[str, object]:
    """Return all that is kept of a death."""
    return {
        "time": crash.time,
        "uptime": crash.uptime,
        "run": crash.incarnation,
        "error": crash.error,
        "traceback": crash.traceback,
        "meanwhile": crash.meanwhile,
    }


def entry_of(entry: LogEntry) -> dict[str, object]:
    """Return a log entry."""
    return {
        "seq": entry.seq,
        "time": entry.time,
        "level": entry.level,
        "dn": entry.dn,
        "logger": entry.logger,
        "text": entry.text,
        "stream": entry.stream,
    }


def joined(rows: Iterable[bytes]) -> bytes:
    """Return a JSON array of what is JSON already."""
    return b"[" + b",".join(rows) + b"]"


def sse(event: str, data: bytes, number: str | None = None) -> bytes:
    """Return a server-sent event."""
    head = f"event: {event}\n" if number is None else f"id: {number}\nevent: {event}\n"
    return b"%bdata: %b\n\n" % (head.encode("ascii"), data)

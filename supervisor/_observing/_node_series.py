"""Which metrics a tree has, and what their samples are: the same for all who collect them (S42).

A name is that of OpenTelemetry. That of Prometheus has underscores, and the unit at its end, as
OpenTelemetry's own translation makes it. So an alert rule serves both.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from ._node_table import STATES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._node_table import Picture, Row

Samples: TypeAlias = "Iterator[tuple[tuple[str, ...], float]]"
"""For each sample the values of its labels, and its own."""


class Kind(enum.Enum):
    """What a number means over time, and over several series."""

    COUNTER = "it only grows, from 0, and begins anew with its node"
    SUM = "it is what there is now, and a sum of several makes sense"
    GAUGE = "it is what there is now"


class Series(NamedTuple):
    """A metric."""

    kind: Kind
    name: str
    unit: str
    """In OpenTelemetry's writing: what is in braces counts something."""
    labels: tuple[str, ...]
    text: str
    samples: Callable[[Picture], Samples]

    @property
    def prometheus_name(self) -> str:
        """Its name for Prometheus; a counter's samples add ``_total``."""
        suffix = "_seconds" if self.unit == "s" else ""
        return self.name.replace(".", "_") + suffix


def _of_each(number: Callable[[Row], float]) -> Callable[[Picture], Samples]:
    return lambda picture: (((row.dn,), number(row)) for row in picture.rows)


def _states(picture: Picture) -> Samples:
    for row in picture.rows:
        for state in STATES:
            yield (row.dn, state.name), int(row.state is state)


def _children(picture: Picture) -> Samples:
    for pool in picture.pools:
        for state, count in zip(STATES, pool.children, strict=True):
            yield (pool.dn, state.name), count


def _child_deaths(picture: Picture) -> Samples:
    return (((pool.dn,), pool.deaths) for pool in picture.pools)


def _nodes(picture: Picture) -> Samples:
    return (((state.name,), count) for state, count in zip(STATES, picture.nodes, strict=True))


def _without_series(picture: Picture) -> Samples:
    yield (), picture.nodes_without_row


ALL_SERIES: Final = (
    Series(
        Kind.GAUGE,
        "supervisor.node.state",
        "",
        ("dn", "state"),
        "Whether the node is in the state: 1 or 0.",
        _states,
    ),
    Series(
        Kind.COUNTER,
        "supervisor.node.starts",
        "{start}",
        ("dn",),
        "How often the node was started.",
        _of_each(lambda row: row.starts),
    ),
    Series(
        Kind.COUNTER,
        "supervisor.node.deaths",
        "{death}",
        ("dn",),
        "How often the node has died.",
        _of_each(lambda row: row.deaths),
    ),
    Series(
        Kind.GAUGE,
        "supervisor.node.last_transition.timestamp",
        "s",
        ("dn",),
        "When the node reached its state, in Unix time.",
        _of_each(lambda row: row.moved_at),
    ),
    Series(
        Kind.GAUGE,
        "supervisor.node.backoff",
        "s",
        ("dn",),
        "The backoff that the node's group waits for; 0 unless it waits.",
        _of_each(lambda row: row.backoff),
    ),
    Series(
        Kind.COUNTER,
        "supervisor.operator_restarts",
        "{restart}",
        ("dn",),
        "How often the node's group was restarted on demand.",
        _of_each(lambda row: row.operator_restarts),
    ),
    Series(
        Kind.SUM,
        "supervisor.nodes",
        "{node}",
        ("state",),
        "How many nodes of the tree are in the state.",
        _nodes,
    ),
    Series(
        Kind.SUM,
        "supervisor.nodes_without_series",
        "{node}",
        (),
        "How many nodes have no series of their own because there are too many nodes.",
        _without_series,
    ),
    Series(
        Kind.SUM,
        "supervisor.pool.children",
        "{node}",
        ("dn", "state"),
        "How many children of the pool are in the state.",
        _children,
    ),
    Series(
        Kind.COUNTER,
        "supervisor.pool.child_deaths",
        "{death}",
        ("dn",),
        "How often children of the pool have died.",
        _child_deaths,
    ),
)

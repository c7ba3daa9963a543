"""What a viewer knows of a tree, and which nodes it draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from supervisor.client._connection import ServerEvent
from supervisor.client._picture import ROWS, Picture, drawn
from supervisor.client._text import LEVELS_INDENTED

if TYPE_CHECKING:
    from collections.abc import Mapping

    Json = Any


def row(dn: str, **more: Json) -> Json:
    known = {"dn": dn, "state": "HEALTHY", "group_state": "RUNNING", "not_ready": None}
    return known | more


def rows(*dns: str) -> Mapping[str, Json]:
    return {dn: row(dn) for dn in dns}


def nodes(*dns: str, time: float = 1.0) -> ServerEvent:
    return ServerEvent("nodes", {"time": time, "nodes": [row(dn) for dn in dns]}, None)


def synced(time: float = 1.0, *, draining: bool = False) -> ServerEvent:
    data = {"version": 1, "name": "netd", "time": time, "draining": draining}
    return ServerEvent("synced", data, None)


def dns_of(known: Mapping[str, Json], text: str = "") -> list[str]:
    return [each.dn for each in drawn(known, text)[0]]


def test_each_node_comes_before_its_children() -> None:
    """S43: siblings come in the order in which they were first seen."""
    known = rows("root", "root.b", "root.a", "root.b.y", "root.a.x", "root.b.x")
    assert dns_of(known) == ["root", "root.b", "root.b.y", "root.b.x", "root.a", "root.a.x"]
    assert dict(drawn(known)[0])["root.b.x"] == "root.b"
    assert drawn({}) == ([], 0)


def test_a_node_without_its_parent_is_below_the_nearest_one() -> None:
    """S43: a child's new life may be told before its parent's."""
    assert drawn(rows("root.a.x", "root", "root.b"))[0] == [
        ("root", None),
        ("root.a.x", "root"),
        ("root.b", "root"),
    ]
    assert drawn(rows("root.a", "root.b", "root.b.x"))[0] == [
        ("root.a", None),
        ("root.b", "root.a"),
        ("root.b.x", "root.b"),
    ]


def test_a_filter_keeps_what_is_above() -> None:
    """S43: it chooses by DN and state."""
    known = {
        **rows("root", "root.net", "root.web"),
        "root.net.dhcp": row("root.net.dhcp", state="DEAD", group_state="BACKOFF"),
        "root.net.dns": row("root.net.dns", not_ready="no peer"),
    }
    assert dns_of(known, " DHCP ") == ["root", "root.net", "root.net.dhcp"]
    assert dns_of(known, "dead") == ["root", "root.net", "root.net.dhcp"]
    assert dns_of(known, "backoff") == ["root", "root.net", "root.net.dhcp"]
    assert dns_of(known, "not ready") == ["root", "root.net", "root.net.dhcp", "root.net.dns"]
    assert dns_of(known, "web") == ["root", "root.web"]
    assert dns_of(known, "nothing of it") == []


def test_at_most_so_many_rows_are_drawn() -> None:
    """S43: and it is known how many are not."""
    known = rows("root", *(f"root.n{number}" for number in range(ROWS + 4)))
    shown, more = drawn(known)
    assert (len(shown), more) == (ROWS, 5)
    assert drawn(known, f"n{ROWS + 3}") == ([("root", None), (f"root.n{ROWS + 3}", "root")], 0)


def test_deep_nodes_are_drawn_side_by_side() -> None:
    """S43: in the order of the tree, so that no depth is too much."""
    deep = [".".join(["root", *["a"] * level]) for level in range(1500)]
    shown, _ = drawn(rows(*deep))
    assert [each.dn for each in shown] == deep
    above = [each.above for each in shown]
    assert above[1 : LEVELS_INDENTED + 1] == deep[:LEVELS_INDENTED]
    assert set(above[LEVELS_INDENTED + 1 :]) == {deep[LEVELS_INDENTED - 1]}


def test_the_picture_before_stays_until_the_new_one_is_whole() -> None:
    """S43: a part of a tree is never shown as if it were all of it."""
    picture = Picture()
    picture.begin()
    picture.take(nodes("root", "root.a"))
    assert not picture.rows
    picture.take(synced())
    assert (picture.is_live, picture.name, list(picture.rows)) == (True, "netd", ["root", "root.a"])
    picture.take(nodes("root.b"))
    picture.take(ServerEvent("gone", {"time": 1.0, "dns": ["root.a", "root.x"]}, None))
    assert list(picture.rows) == ["root", "root.b"]
    picture.lose()
    picture.begin()
    picture.take(nodes("root"))
    assert not picture.is_live
    assert list(picture.rows) == ["root", "root.b"]
    picture.take(synced())
    assert (picture.is_live, list(picture.rows)) == (True, ["root"])


def test_the_shape_changes_only_when_nodes_come_or_go() -> None:
    """S43: a new state is no reason to look at all nodes."""
    picture = Picture()
    picture.begin()
    picture.take(nodes("root", "root.a"))
    before = picture.shape
    picture.take(synced())
    assert picture.shape != before
    before = picture.shape
    picture.take(synced())
    picture.take(nodes("root.a"))
    picture.take(ServerEvent("gone", {"time": 1.0, "dns": ["root.x"]}, None))
    assert picture.shape == before
    picture.take(ServerEvent("gone", {"time": 1.0, "dns": ["root.a"]}, None))
    assert picture.shape != before


def test_a_tree_that_drains_is_not_ready() -> None:
    """S43: whatever its nodes do."""
    picture = Picture()
    picture.begin()
    picture.take(nodes("root"))
    picture.take(synced())
    assert picture.summary == "netd is ready; 1 node: 1 HEALTHY"
    picture.take(synced(draining=True))
    assert picture.summary == "netd is not ready; 1 node: 1 HEALTHY"


def test_the_time_of_the_tree_stands_still_without_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """S43: the last picture does not get older than it is."""
    here = 100.0
    monkeypatch.setattr("time.monotonic", lambda: here)
    picture = Picture()
    picture.begin()
    picture.take(nodes("root"))
    picture.take(synced(time=5.0))
    here += 2.0
    assert (picture.now, picture.silence) == (7.0, 0.0)
    picture.lose()
    here += 10.0
    picture.begin()
    picture.lose()
    assert (picture.now, picture.silence) == (7.0, 10.0)
    picture.begin()
    picture.take(nodes("root", time=1.0))
    assert picture.now == 7.0
    picture.take(synced(time=1.0))
    here += 1.0
    assert (picture.now, picture.silence) == (2.0, 0.0)

"""What an inspector answers, and what it does to the tree."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import NodeState
from supervisor.inspector import inspector
from supervisor.logs import LogBuffer
from supervisor.testing import Remote, open_harness
from trio_event import MemoryValue

from ..helpers.backoffs import LONG
from ..helpers.inspected import open_beside, open_inspected
from ..helpers.records import record
from ..helpers.runnables import idle

if TYPE_CHECKING:
    from pathlib import Path

    from ..helpers.inspected import Json


async def root() -> None:
    supervisor.run_group({"one": idle, "two": idle})
    supervisor.run("three", idle)


def rows(tree: Json) -> dict[str, Json]:
    return {row.pop("dn"): row for row in tree["nodes"]}


async def test_the_tree_has_a_row_for_each_node(
    tmp_path: Path,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S37: each before its children, with what is true now."""
    remote = Remote()

    async def dying() -> None:
        supervisor.run("dhcp", remote, backoff=LONG)

    async with open_inspected(dying, tmp_path / "s") as (_, asker):
        await remote.die()
        await trio.sleep(2)
        tree = await asker.get("/v1/tree")
        assert (tree["version"], tree["time"], tree["ready"]) == (1, trio.current_time(), False)
        assert rows(tree) == {
            "root": {
                "state": "DONE",
                "since": 0.0,
                "run": 1,
                "deaths": 0,
                "error": None,
                "not_ready": None,
                "group_state": "RUNNING",
                "deadline": None,
            },
            "root.dhcp": {
                "state": "DEAD",
                "since": tree["time"] - 2,
                "run": 1,
                "deaths": 1,
                "error": "RemoteDeathError: died on request",
                "not_ready": None,
                "group_state": "BACKOFF",
                "deadline": tree["time"] + 998,
            },
        }


async def test_a_subtree_can_be_asked_for(tmp_path: Path) -> None:
    """S37: ready tells of it alone, and of what is above it."""
    async with open_inspected(root, tmp_path / "s") as (tree, asker):
        found = await asker.get("/v1/tree?dn=root.one")
        assert list(rows(found)) == ["root.one"]
        assert found["ready"]
        await tree.stop_node("root.three")
        assert (await asker.get("/v1/tree?dn=root.one"))["ready"]
        assert not (await asker.get("/v1/tree"))["ready"]


async def test_a_large_tree_is_sent_in_slices(tmp_path: Path) -> None:
    """S37: no node is missing where two slices meet."""

    async def large() -> None:
        for number in range(250):
            supervisor.run(f"n{number}", idle)

    async with open_inspected(large, tmp_path / "s") as (_, asker):
        found = await asker.get("/v1/tree")
    assert [row["dn"] for row in found["nodes"]] == [
        "root",
        *(f"root.n{number}" for number in range(250)),
    ]


async def test_a_node_has_all_that_is_known_of_it(
    tmp_path: Path,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S37: why, its group, its crashes with their tracebacks."""
    remote = Remote()

    async def dying() -> None:
        supervisor.run_group({"dhcp": remote, "dns": idle}, backoff=LONG)

    async with open_inspected(dying, tmp_path / "s") as (_, asker):
        await remote.die(OSError("no lease"))
        await wait_all_tasks_blocked()
        node = await asker.get("/v1/nodes/root.dhcp")
    assert node["why"].startswith("root.dhcp died 0.0 s ago (OSError: no lease)")
    assert not node["ready"]
    assert node["node"]["state"] == "DEAD"
    assert node["group"] == {
        "dn": "root.{dhcp,dns}",
        "state": "BACKOFF",
        "members": ["root.dhcp", "root.dns"],
        "deadline": node["time"] + 1000,
        "failures": 1,
        "operator_restarts": 0,
    }
    (crash,) = node["crashes"]
    assert crash["error"] == "OSError: no lease"
    assert crash["traceback"] == "OSError: no lease"
    assert node["stop_error"] is None


async def test_a_member_that_waits_for_its_turn_has_no_row(tmp_path: Path) -> None:
    """S37: it is explained all the same."""

    async def ordered() -> None:
        supervisor.run_group({"first": trio.sleep_forever, "second": idle}, ordered=True)

    async with open_inspected(ordered, tmp_path / "s") as (_, asker):
        assert "root.second" not in rows(await asker.get("/v1/tree"))
        node = await asker.get("/v1/nodes/root.second")
        assert node["node"] is None
        assert node["why"].startswith("root.second waits for its turn, and root.first is NEW")


async def test_stacks_are_those_of_a_subtree(tmp_path: Path) -> None:
    """S37: equal ones are shown once."""
    async with open_inspected(root, tmp_path / "s") as (_, asker):
        found = await asker.get("/v1/nodes/root/stack")
        assert found["stack"].startswith("task root.one and 2 more tasks:\n")
        found = await asker.get("/v1/nodes/root.three/stack")
        assert found["stack"].startswith("task root.three:\n")


async def test_a_restart_of_a_member_restarts_its_group_once(tmp_path: Path) -> None:
    """S37: the answer has the DNs of all of it; others go on."""
    async with open_inspected(root, tmp_path / "s") as (tree, asker):
        status, body = await asker.ask("/v1/nodes/root.two/restart", method="POST")
        assert (status, body) == (202, {"dns": ["root.one", "root.two"]})
        await tree.wait_ready()
        nodes = tree.snapshot().nodes
        assert [nodes[f"root.{name}"].incarnation for name in ("one", "two", "three")] == [2, 2, 1]
        assert nodes["root.one"].group.operator_restarts == 1


async def test_a_stop_lasts_until_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """S37: the log tells of both."""
    caplog.set_level(logging.INFO, "supervisor")
    async with open_inspected(root, tmp_path / "s") as (tree, asker):
        status, body = await asker.ask("/v1/nodes/root.three/stop", method="POST")
        assert (status, body) == (202, {"dns": ["root.three"]})
        await wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root.three"].state is NodeState.CANCELED
        await asker.ask("/v1/nodes/root.three/restart", method="POST")
        await tree.wait_ready()
    told = [text for text in caplog.messages if text.startswith("the inspector was asked")]
    assert told == [
        "the inspector was asked to stop root.three",
        "the inspector was asked to restart root.three",
    ]


@pytest.mark.parametrize("action", ["restart", "stop"])
async def test_the_roots_group_is_the_processs(tmp_path: Path, action: str) -> None:
    """S37: the answer says what to send it."""
    async with open_inspected(root, tmp_path / "s") as (tree, asker):
        status, body = await asker.ask(f"/v1/nodes/root/{action}", method="POST")
        assert status == 409
        assert "SIGTERM" in body["error"]
        await wait_all_tasks_blocked()
        assert tree.ready()


async def test_a_group_that_is_over_does_not_come_back(tmp_path: Path) -> None:
    """S37: its restart is refused."""
    remote = Remote()

    async def parent() -> None:
        supervisor.run("child", idle)
        await remote()

    async def dying() -> None:
        supervisor.run("parent", parent, backoff=LONG)

    async with open_inspected(dying, tmp_path / "s") as (_, asker):
        await remote.die()
        await wait_all_tasks_blocked()
        status, body = await asker.ask("/v1/nodes/root.parent.child/restart", method="POST")
        assert status == 409
        assert "stopped for good" in body["error"]


@pytest.mark.parametrize(
    ("target", "method", "status", "error"),
    [
        ("/v1/nodes/root.four", "GET", 404, "the tree has no node root.four; root has one, three"),
        ("/v1/nodes/root.one.x/stack", "GET", 404, "root.one has no children"),
        ("/v1/nodes/root.four/logs", "GET", 404, "the tree has no node root.four"),
        ("/v1/nodes/root.four/restart", "POST", 404, "the tree has no node root.four"),
        ("/v1/tree?dn=root.four", "GET", 404, "the tree has no node root.four"),
        ("/v1/nodes/..", "GET", 400, "can be no node's"),
        ("/v1/nodes/%00", "GET", 400, "can be no node's"),
        ("/v1/nodes/../../etc/passwd", "GET", 404, "no such page"),
        ("/v1/nodes/ROOT/logs", "GET", 400, ""),
        ("/../x", "GET", 404, "no such page"),
        ("/v2/tree", "GET", 404, "no such page"),
        ("/v1/tree/", "GET", 404, "no such page"),
        ("/v1/tree", "POST", 405, "the method of this page is GET"),
        ("/v1/stream", "POST", 405, "the method of this page is GET"),
        ("/v1/values", "POST", 405, "the method of this page is GET"),
        ("/v1/nodes/root", "POST", 405, "the method of this page is GET"),
        ("/v1/nodes/root/stack", "POST", 405, "the method of this page is GET"),
        ("/v1/nodes/root/logs", "POST", 405, "the method of this page is GET"),
        ("/v1/nodes/root.one/restart", "GET", 405, "the method of this page is POST"),
        ("/v1/nodes/root/logs?n=x", "GET", 400, "n=x is not a whole number"),
        ("/v1/nodes/root/logs?n=9999999999", "GET", 400, "is not a whole number"),
        ("/v1/nodes/root/logs?level=loud", "GET", 400, "level=loud is not a whole number"),
    ],
)
async def test_a_wrong_request_is_answered_with_what_is_wrong(
    tmp_path: Path, target: str, method: str, status: int, error: str
) -> None:
    """S37: nothing happens to the tree, nor to the inspector."""
    async with open_inspected(root, tmp_path / "s", logs=LogBuffer()) as (tree, asker):
        found, body = await asker.ask(target, method=method)
        assert found == status
        assert error in body["error"]
        await wait_all_tasks_blocked()
        assert tree.ready()


async def test_an_inspector_that_only_shows_does_nothing(tmp_path: Path) -> None:
    """S37: with control=False."""
    async with open_inspected(root, tmp_path / "s", control=False) as (_, asker):
        status, body = await asker.ask("/v1/nodes/root.one/restart", method="POST")
        assert (status, body) == (403, {"error": "this inspector only shows: see control="})


async def test_log_entries_are_those_of_a_subtree(tmp_path: Path) -> None:
    """S37: the newest n of a level, with the records of nodes that are gone."""
    buffer = LogBuffer()
    for number in range(150):
        buffer.handle(record("root.gone", f"line {number}"))
    buffer.handle(record("root.one", "careful", logging.WARNING))
    async with open_inspected(root, tmp_path / "s", logs=buffer) as (_, asker):
        found = await asker.get("/v1/nodes/root/logs")
        assert [entry["text"] for entry in found["entries"]] == [
            *(f"line {number}" for number in range(51, 150)),
            "careful",
        ]
        found = await asker.get("/v1/nodes/root/logs?n=1000&level=warning")
        (entry,) = found["entries"]
        assert (entry.pop("time") > 0, entry) == (
            True,
            {
                "seq": 151,
                "level": 30,
                "dn": "root.one",
                "logger": "x",
                "text": "careful",
                "stream": None,
            },
        )
        found = await asker.get("/v1/nodes/root.gone/logs?n=1000")
        assert len(found["entries"]) == 150
        assert await asker.get("/v1/nodes/root.two/logs") == {"dn": "root.two", "entries": []}


async def test_without_a_buffer_there_are_no_logs(tmp_path: Path) -> None:
    """S37: the answer says what to pass."""
    async with open_inspected(root, tmp_path / "s") as (_, asker):
        status, body = await asker.ask("/v1/nodes/root/logs")
        assert (status, body) == (
            404,
            {"error": "there is no buffer of log records: pass logs=LogBuffer()"},
        )


class Broken:
    """Held by a value, and can't be shown."""

    def __repr__(self) -> str:
        msg = "secret"
        raise RuntimeError(msg)


@attrs.frozen
class Figures:
    sets: int = 3
    owner: object = None


class Shown:
    """What is no value of trio_event."""

    version = 7

    def peek(self) -> object:
        return "x" * 1000

    def statistics(self) -> object:
        return Figures()


class Failing(Shown):
    def statistics(self) -> object:
        msg = "none"
        raise OSError(msg)


async def test_values_are_shown_by_name(tmp_path: Path) -> None:
    """S37: shortened; what fails is named, and harms nobody."""
    values: dict[str, Any] = {
        "lease": MemoryValue("10.0.0.7"),
        "unset": MemoryValue[int](),
        "broken": MemoryValue(Broken()),
        "other": Shown(),
        "failing": Failing(),
    }
    async with open_inspected(root, tmp_path / "s", values=values) as (_, asker):
        shown = {each.pop("name"): each for each in (await asker.get("/v1/values"))["values"]}
    assert shown["lease"]["repr"] == "'10.0.0.7'"
    assert shown["lease"]["version"] == 1
    assert shown["lease"]["error"] is None
    assert shown["unset"]["repr"] is None
    assert "UnsetError" in shown["unset"]["error"]
    assert shown["broken"]["error"] == "its repr() raised RuntimeError: secret"
    assert len(shown["other"]["repr"]) < 250
    assert shown["other"]["statistics"] == {"sets": 3}
    assert shown["failing"]["error"] == "its statistics() raised OSError: none"


async def test_a_fault_of_the_inspector_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S37: it ends that client; the tree and the inspector go on."""
    buffer = LogBuffer()

    def fail(*_: object, **__: object) -> None:
        msg = "broken"
        raise RuntimeError(msg)

    monkeypatch.setattr(buffer, "read", fail)
    async with open_inspected(root, tmp_path / "s", logs=buffer) as (tree, asker):
        async with await asker.connect() as stream:
            await asker.send(stream, "/v1/nodes/root/logs")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 500 ")
        assert (await asker.get("/v1/tree"))["ready"]
        assert tree.ready()
    (told,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert told.getMessage() == "a request to the inspector failed"
    assert told.exc_info is not None


async def test_it_is_ready_when_it_listens_and_dies_of_what_prevents_it(tmp_path: Path) -> None:
    """S37: the tree that it shows is not concerned."""
    (tmp_path / "s").write_text("mine")
    async with open_harness(root, patience=60.0) as tree:

        async def sidecars() -> None:
            supervisor.run("inspector", inspector(tree, path=tmp_path / "s"), backoff=LONG)
            await idle()

        async with supervisor.open_supervisor(sidecars) as beside:
            await wait_all_tasks_blocked()
            (crash,) = beside.snapshot().nodes["root.inspector"].crashes
            assert crash.error.startswith("FileExistsError: ")
            assert tree.ready()


async def test_it_can_be_restarted(tmp_path: Path) -> None:
    """S37: the socket is there again, with its mode."""
    async with open_harness(root, patience=60.0) as tree:
        for _ in range(2):
            async with open_beside(tree, tmp_path / "s") as asker:
                assert (await asker.get("/v1/tree"))["ready"]
                assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
        assert not (tmp_path / "s").exists()


async def test_arguments_are_checked_at_the_call(tmp_path: Path) -> None:
    """S2: each error names the argument, the value and the remedy."""
    async with open_harness(root, patience=60.0) as tree:
        for options, error, message in (
            ({"path": 3}, TypeError, "path=3 is no path"),
            ({"path": b"x"}, TypeError, "path=b'x' is no path"),
            ({"path": "x" * 108}, ValueError, "has 108 bytes, and may have 107"),
            ({"control": "yes"}, ValueError, "control='yes' is not True, False or 'http'"),
            ({"logs": []}, TypeError, "logs=.* is not a LogBuffer"),
            ({"values": [1]}, TypeError, "values=.* is no mapping"),
            ({"values": {"A": MemoryValue(1)}}, TypeError, "values= has the name 'A'"),
            ({"values": {"a": 1}}, TypeError, "values= has 1, which has no version"),
        ):
            with pytest.raises(error, match=message):
                inspector(tree, **options)
        with pytest.raises(TypeError, match="tree=3 is not a Supervisor"):
            inspector(3, path=tmp_path / "s")  # type: ignore[arg-type]  # it is wrong


async def test_a_missing_extra_is_named_at_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """S24: with the command that installs it."""
    monkeypatch.delitem(sys.modules, "supervisor._http._client", raising=False)
    monkeypatch.setitem(sys.modules, "h11", None)
    async with open_harness(root, patience=60.0) as tree:
        with pytest.raises(ImportError, match=r"inspector\(\) needs h11: .*\[inspect\]"):
            inspector(tree)

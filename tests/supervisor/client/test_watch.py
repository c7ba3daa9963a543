"""The terminal view of a service that is a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import pty
import random
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from textual.widgets import Input

from supervisor.client._commands import status_of
from supervisor.client._connection import ServerEvent
from supervisor.client._feeds import TREE, WAITING, DetailsFeed, Feed, Lost, StreamFeed
from supervisor.client._picture import ROWS, drawn

from ..helpers.answers import answer, answering, stream
from ..helpers.internals import parse
from ..helpers.screens import Screen, open_screen
from ..helpers.services import ENVIRONMENT, next_line, service

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from textual.widgets.tree import TreeNode

    from supervisor.client._feeds import Told
    from supervisor.client._watch import Watch


@contextlib.contextmanager
def netd(path: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a service whose node dhcp dies when it is told to."""
    with service(
        "inspected.py", path, *(arguments or ("mortal",)), stderr=subprocess.DEVNULL
    ) as process:
        assert next_line(process) == "ready"
        yield process


def tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    assert next_line(process) == "done"


def look(path: Path, test: Callable[[Screen], Awaitable[None]]) -> None:
    """Run a test of what is on the screen."""

    async def main() -> None:
        async with open_screen(path) as screen:
            await screen.until_shown("netd is", "obey")
            await test(screen)

    asyncio.run(main())


def test_nodes_are_shown_as_they_are(tmp_path: Path) -> None:
    """S43: each below its parent, with its state in words."""

    async def test(screen: Screen) -> None:
        assert [line.partition("HEALTHY")[0].rstrip() for line in screen.lines[1:6]] == [
            "▼ root",
            "├ ▼ net",
            "│ ├   dhcp",
            "│ └   dns",
            "└   obey",
        ]
        assert screen.lines[0] == "netd is ready; 5 nodes: 5 HEALTHY"
        columns = {line.index("HEALTHY") for line in screen.lines[1:6]}
        assert len(columns) == 1
        tell(process, "let dhcp die")
        await screen.until_shown("1 DEAD", "1 CANCELED", "died of OSError: no lease")
        assert screen.lines[0] == "netd is not ready; 5 nodes: 3 HEALTHY, 1 DEAD, 1 CANCELED"

    with netd(tmp_path / "netd.sock") as process:
        look(tmp_path / "netd.sock", test)


def test_log_and_stack_of_the_node_under_the_cursor_are_shown(tmp_path: Path) -> None:
    """S43: with the reason for its state, and as they change."""

    async def test(screen: Screen) -> None:
        await screen.until_shown("root is HEALTHY", "task root:")
        screen.press("end")
        await screen.until_shown("root.obey is HEALTHY for", "task root.obey:", "in obey")
        tell(process, "a line")
        await screen.until_shown("INFO    root.obey: a line")
        screen.press("up")
        await screen.until_shown("root.net.dns is HEALTHY for", "task root.net.dns:")
        assert "a line" not in screen.text
        tell(process, "let dhcp die")
        await screen.until_shown("root.net.dns is CANCELED since", "nothing of root.net.dns runs")

    with netd(tmp_path / "netd.sock") as process:
        look(tmp_path / "netd.sock", test)


def test_a_tree_that_changes_all_the_time_hides_no_node(tmp_path: Path) -> None:
    """S43: what counts is that the cursor rests."""

    async def change(screen: Screen) -> None:
        while True:
            screen.app._show()
            await asyncio.sleep(0)

    async def test(screen: Screen) -> None:
        changes = asyncio.create_task(change(screen))
        screen.press("end")
        await screen.until_shown("root.obey is HEALTHY for")
        changes.cancel()

    with netd(tmp_path / "netd.sock"):
        look(tmp_path / "netd.sock", test)


def test_restart_and_stop_ask_before(tmp_path: Path) -> None:
    """S43: and act on the group of the node under the cursor."""

    async def test(screen: Screen) -> None:
        screen.press("down", "down")
        await screen.until_shown("root.net.dhcp is HEALTHY")
        screen.press("r")
        await screen.until_shown(
            "Restart the group of root.net.dhcp (root.net.dhcp, root.net.dns)?"
        )
        screen.press("s", "n")
        await screen.until(lambda: "Restart the group" not in screen.text)
        assert "run 2" not in screen.text
        screen.press("r")
        await screen.until_shown("Restart the group")
        screen.press("y")
        await screen.until_shown("restarts: root.net.dhcp, root.net.dns", "run 2")
        screen.press("s")
        await screen.until_shown("Stop the group of root.net.dhcp")
        screen.press("y")
        await screen.until_shown("stops: root.net.dhcp, root.net.dns", "2 CANCELED")
        screen.press("home", "s")
        await screen.until_shown("Stop the group of root?")
        screen.press("y")
        await screen.until_shown("root ends with the process: send that SIGTERM")

    with netd(tmp_path / "netd.sock"):
        look(tmp_path / "netd.sock", test)


def test_q_ends_it_while_a_question_is_open(tmp_path: Path) -> None:
    """S43: nothing is restarted or stopped then."""

    async def main() -> None:
        async with open_screen(tmp_path / "none.sock") as screen:
            app = screen.app
            fill(app, [row("root")])
            app._show()
            await screen.until(lambda: app.nodes.dn == "root")
            screen.press("s")
            await screen.until_shown("Stop the group of root?")
            screen.press("q")
            await screen.until(lambda: app._exit)
        assert app.return_value is None

    asyncio.run(main())


def test_a_question_names_the_first_members_of_a_large_group(tmp_path: Path) -> None:
    """S43: so that the question itself is seen; so does what tells that it was done."""
    dns = [f"root.n{number}" for number in range(300)]
    some = f"({', '.join(dns[:10])}, and 290 more)?"
    node = {"why": "", "stack": "", "group": {"members": dns}, "dns": dns}

    async def main() -> None:
        async with open_screen(path) as screen:
            app = screen.app
            await screen.until(lambda: app._members == dns)
            screen.press("r")
            await screen.until(lambda: some in " ".join(screen.text.replace("│", "").split()))
            screen.press("y")
            await screen.until_shown(f"restarts: {', '.join(dns[:10])}, and 290 more")

    path = tmp_path / "netd.sock"
    first = stream(*told_of(row("root.n0")))
    with answering(path, itertools.chain([first], itertools.repeat(answer(node)))):
        asyncio.run(main())


def test_a_filter_chooses_which_nodes_are_drawn(tmp_path: Path) -> None:
    """S43: those above them stay; Enter goes back to the nodes, Escape draws all of them."""

    async def test(screen: Screen) -> None:
        await screen.choose("obey")
        await screen.until(lambda: list(screen.nodes) == ["root", "obey"])
        screen.press("down")
        await screen.until_shown("root.obey is HEALTHY for")
        screen.press("escape")
        await screen.until(lambda: len(screen.nodes) == 5)
        await screen.choose("dead")
        await screen.until(lambda: not screen.nodes)
        screen.press("r")
        tell(process, "let dhcp die")
        await screen.until(lambda: list(screen.nodes) == ["root", "net", "dhcp"])
        assert screen.nodes["dhcp"] == "DEAD"

    with netd(tmp_path / "netd.sock") as process:
        look(tmp_path / "netd.sock", test)


def test_the_last_picture_stays_and_a_new_service_is_shown(tmp_path: Path) -> None:
    """S43: with a line that says so while there is none."""

    async def test(screen: Screen) -> None:
        tell(first, "of the first")
        await screen.until_shown("of the first", "task root:")
        first.kill()
        first.wait()
        await screen.until_shown("the service has ended, or does not answer (no answer from")
        await screen.until_shown("Connection refused); this is the last picture,")
        await screen.until_shown("of the first", "task root:", "root is HEALTHY for")
        assert set(screen.nodes.values()) == {"HEALTHY"}
        assert list(screen.nodes) == ["root", "net", "dhcp", "dns", "obey"]
        with netd(tmp_path / "netd.sock", "well") as second:
            await screen.until(lambda: list(screen.nodes) == ["root", "obey"])
            await screen.until_shown("netd is ready; 2 nodes", "another process from here on")
            assert "has ended" not in screen.text
            tell(second, "of the second")
            await screen.until_shown("of the second")

    with netd(tmp_path / "netd.sock") as first:
        look(tmp_path / "netd.sock", test)


def test_rows_come_and_go_in_the_order_of_the_tree(tmp_path: Path) -> None:
    """S43: whatever has changed between two pictures; a cursor is always at a node."""
    chance = random.Random(43)  # noqa: S311  it keeps no secret
    some = ["a", "b", "a.x", "a.y", "b.x", "a.x.p", "a.x.q", "b.x.p"]
    deep = [".".join(["d"] * level) for level in range(1, 40)]

    async def test(screen: Screen) -> None:
        nodes = screen.app.nodes
        for _ in range(60):
            names = chance.sample([*some, *deep], chance.randrange(len(some) + len(deep)))
            rows = dict.fromkeys(["root", *(f"root.{name}" for name in names)])
            wanted, _ = drawn(rows)
            nodes.bring_in_line(wanted)
            assert walk(nodes.root) == [each.dn for each in wanted]
            assert nodes.last_line == len(wanted) - 1
            assert nodes.dn in rows
            nodes.move_cursor_to_line(chance.randrange(len(wanted)))

    async def main() -> None:
        async with open_screen(tmp_path / "none.sock") as screen:
            await test(screen)

    asyncio.run(main())


def walk(top: TreeNode[str]) -> list[str]:
    """Return the DNs of a node and of those below it, as they are drawn."""
    found = []
    rest = [top]
    while rest:
        node = rest.pop()
        assert node.data is not None
        found.append(node.data)
        assert node.allow_expand == bool(node.children)
        rest.extend(reversed(node.children))
    return found


def test_a_tree_with_too_many_nodes_is_drawn_in_part(tmp_path: Path) -> None:
    """S43: and a line says so."""

    async def main() -> None:
        async with open_screen(tmp_path / "none.sock") as screen:
            app = screen.app
            await screen.until_shown("no answer from", "No such file or directory; trying again")
            rows = [row("root"), *(row(f"root.n{number}") for number in range(ROWS + 4))]
            fill(app, rows)
            screen.press("slash")
            await screen.until(lambda: isinstance(app.focused, Input))
            screen.press("n", "1")
            await screen.until_shown("the tree drains", "netd is not ready")
            screen.press("escape")
            await screen.until_shown("5 more nodes are not drawn: use the filter")

    asyncio.run(main())


def test_no_field_of_an_answer_steers_the_terminal(tmp_path: Path) -> None:
    """S43: what listens may be anything."""

    async def main() -> None:
        async with open_screen(tmp_path / "none.sock") as screen:
            await screen.until_shown("no answer from")
            fill(screen.app, [row("root") | {"dn": "\x1b[2J", "state": "\x1b[3J"}])
            screen.app._show()
            await screen.until_shown("\\x1b[2J  \\x1b[3J", "netd is not ready; 1 node: 1 \\x1b[3J")
            screen.press("r")
            await screen.until_shown("Restart the group of \\x1b[2J?")

    asyncio.run(main())


def test_another_server_is_no_inspector(tmp_path: Path) -> None:
    """S43: the line about the connection says so."""

    async def main() -> None:
        async with open_screen(tmp_path / "other.sock") as screen:
            await screen.until_shown("is no inspector; trying again")

    with answering(tmp_path / "other.sock", itertools.repeat(answer({}))):
        asyncio.run(main())


def fill(app: Watch, rows: list[dict[str, Any]]) -> None:
    """Let the picture be that of a tree of these rows."""
    app.picture.begin()
    for name, data in told_of(*rows):
        app.picture.take(ServerEvent(name, data, None))


def told_of(*rows: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the events that tell of a tree of these rows."""
    synced = {"version": 1, "name": "netd", "time": 1.0, "draining": True}
    return [("nodes", {"time": 1.0, "nodes": rows}), ("synced", synced)]


def row(dn: str) -> dict[str, Any]:
    return {
        "dn": dn,
        "state": "HEALTHY",
        "since": 0.5,
        "run": 1,
        "deaths": 0,
        "error": None,
        "not_ready": None,
        "group_state": "RUNNING",
        "deadline": None,
    }


def test_a_feed_that_is_closed_is_no_client_any_more(tmp_path: Path) -> None:
    """S43: whatever it waits for; an inspector serves 32 clients."""
    feeds: list[Feed] = []
    woken = threading.Event()
    path = tmp_path / "netd.sock"
    with netd(path):
        for _ in range(40):
            woken.clear()
            feeds = [
                StreamFeed(path, woken.set, TREE),
                DetailsFeed(path, woken.set, "root.net"),
            ]
            woken.wait()
            for feed in feeds:
                feed.close()
                assert not any(isinstance(each, Lost) for each in feed.take())


class Counting(Feed):
    """A feed that is told of numbers as long as it is open."""

    def __init__(self, path: Path, wake: Callable[[], object]) -> None:
        self.is_full = threading.Event()
        super().__init__(path, wake)

    def _ask(self) -> float:
        for number in itertools.count():
            if number == WAITING:
                self.is_full.set()
            self._put(ServerEvent("number", number, None))
            if self._over.is_set():
                break
        return 0.0


def test_what_waits_to_be_taken_is_bounded(tmp_path: Path) -> None:
    """S43: a terminal may be stopped while the tree changes; nothing is lost when it goes on."""
    woken = threading.Event()
    feed = Counting(tmp_path / "none.sock", woken.set)
    feed.is_full.wait()
    told: list[Told] = []
    while len(told) < 10 * WAITING:
        woken.wait()
        woken.clear()
        taken = feed.take()
        assert len(taken) <= WAITING
        told += taken
    feed.close()
    assert told == [ServerEvent("number", number, None) for number in range(len(told))]


def test_a_feed_that_has_no_room_can_be_closed(tmp_path: Path) -> None:
    """S43: its thread ends at once."""
    feed = Counting(tmp_path / "none.sock", threading.Event().set)
    feed.is_full.wait()
    feed.close()
    assert len(feed.take()) == WAITING


def test_what_is_refused_is_told(tmp_path: Path) -> None:
    """S43: in place of what was asked for."""
    woken = threading.Event()
    path = tmp_path / "netd.sock"
    with netd(path):
        feed = DetailsFeed(path, woken.set, "root.nte")
        woken.wait()
        (told,) = feed.take()
        feed.close()
    assert told == Lost("the tree has no node root.nte; root has net, obey", is_refused=True)


def test_without_the_extra_a_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """S43: with the status of a failure."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "textual"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "textual", None)
    monkeypatch.delitem(sys.modules, "supervisor.client._watch")
    assert status_of(parse(["watch"])) == 1
    told = "watch needs Textual: python -m pip install 'trio-supervisor[tui]'\n"
    assert capsys.readouterr() == ("", told)


def test_without_a_terminal_it_is_a_wrong_argument(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """S43: and without a service there is no connection, as for the other commands."""
    command = ["watch", "--socket", str(tmp_path / "netd.sock")]
    assert status_of(parse(command)) == 1
    assert "No such file or directory" in capsys.readouterr().err
    with netd(tmp_path / "netd.sock"):
        assert status_of(parse(command)) == 2
    assert capsys.readouterr() == ("", "watch needs a terminal: elsewhere, use status\n")


def test_it_runs_in_a_terminal_until_q(tmp_path: Path) -> None:
    """S43: as a process of its own."""
    ours, theirs = pty.openpty()
    with netd(tmp_path / "netd.sock") as process:
        viewer = subprocess.Popen(
            [sys.executable, "-m", "supervisor", "watch", "--socket", tmp_path / "netd.sock"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=ENVIRONMENT | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"},
            start_new_session=True,
        )
        os.close(theirs)
        with os.fdopen(ours, "rb", buffering=0) as screen, viewer:
            seen = b""
            while b"netd is ready" not in seen:
                seen += screen.read(65536)
            os.write(ours, b"q")
            with contextlib.suppress(OSError):  # that is how the end of a terminal reads
                while screen.read(65536):
                    pass
            assert viewer.wait() == 0
        assert process.poll() is None

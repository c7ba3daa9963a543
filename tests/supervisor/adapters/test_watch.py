"""Restarts when files change (S24): real files, watched by watchfiles."""

from __future__ import annotations

import logging
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import NodeState
from supervisor.adapters import restart_on_change
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import AT_ONCE, LONG
from ..helpers.runnables import idle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from supervisor import Supervisor

CHILD = "root.watch.runnable"


class Watched:
    """A runnable that tells of its starts, and what its file had in it then."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.may_be_healthy = trio.Event()
        self.may_be_healthy.set()
        self._send, self._receive = trio.open_memory_channel[str](100)

    async def __call__(self) -> None:
        self._send.send_nowait(self.path.read_text() if self.path.is_file() else "")
        await self.may_be_healthy.wait()
        await idle()

    async def started(self) -> str:
        return await self._receive.receive()

    @property
    def untold(self) -> int:
        return self._receive.statistics().current_buffer_used


@asynccontextmanager
async def watching(watched: Watched, *paths: str | Path) -> AsyncIterator[Supervisor]:
    """Run it, watched; it has been started once."""
    async with open_harness(run, watched, paths, backoff=LONG) as tree:
        await tree.wait_ready("root.watch")
        await watched.started()
        yield tree


async def run(runnable: Callable[[], Any], paths: tuple[str | Path, ...]) -> None:
    supervisor.run("watch", restart_on_change(runnable, *paths))


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "settings"
    path.write_text("old")
    return path


def put(path: Path, text: str) -> None:
    path.write_text(text)


def write(path: Path) -> None:
    put(path, "newer")


def replace(path: Path, text: str = "new") -> None:
    draft = path.with_name("draft")
    draft.write_text(text)
    draft.replace(path)


def touch(path: Path) -> None:
    os.utime(path, ns=(0, 0))


@pytest.mark.parametrize(
    ("change", "text"), [(write, "newer"), (replace, "new"), (touch, "old"), (Path.unlink, "")]
)
async def test_a_change_restarts_the_runnable_without_backoff(
    change: Callable[[Path], object], text: str, settings: Path
) -> None:
    """S24, S19: it is an operator's restart, and no failure."""
    watched = Watched(settings)
    async with watching(watched, settings) as tree:
        change(settings)
        assert await watched.started() == text
        await tree.wait_ready()
        group = tree.snapshot().nodes[CHILD].group
        assert (group.operator_restarts, group.failures) == (1, 0)
        put(settings, "and once more")
        assert await watched.started() == "and once more"


async def test_each_replacement_of_a_file_is_seen(settings: Path) -> None:
    """S24: what watches the file itself would miss all but the first."""
    watched = Watched(settings)
    async with watching(watched, settings):
        for number in range(3):
            replace(settings, f"version {number}")
            assert await watched.started() == f"version {number}"


async def test_a_file_that_appears_is_a_change(tmp_path: Path) -> None:
    """S24: a path need not be there; the folder of a file need be."""
    watched = Watched(tmp_path / "later")
    async with watching(watched, tmp_path / "later"):
        (tmp_path / "later").write_text("here")
        assert await watched.started() == "here"


async def test_a_link_whose_target_is_replaced_is_a_change(tmp_path: Path) -> None:
    """S24: Kubernetes replaces the folder to which the links of a configuration lead."""
    for version in ("old", "new"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "settings").write_text(version)
    (tmp_path / "data").symlink_to("old")
    settings = tmp_path / "settings"
    settings.symlink_to("data/settings")
    watched = Watched(settings)
    async with watching(watched, settings):
        (tmp_path / "data2").symlink_to("new")
        (tmp_path / "data2").replace(tmp_path / "data")
        assert await watched.started() == "new"


async def test_another_file_in_the_folder_is_no_change(
    settings: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """S24: nor is what happens in folders below. The log says which path it was."""
    caplog.set_level(logging.INFO, logger="supervisor")
    watched = Watched(settings)
    (settings.parent / "below").mkdir()
    async with watching(watched, settings):
        for path in (settings.with_name("other"), settings.parent / "below" / "settings", settings):
            put(path, "changed")
        assert await watched.started() == "changed"
        await wait_all_tasks_blocked()
        assert watched.untold == 0
    assert [record.getMessage() for record in caplog.records if "changed" in record.msg] == [
        f"{settings} has changed: {CHILD} restarts"
    ]


async def test_a_folder_is_watched_with_all_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S24: but for what watchfiles leaves out by default; a relative path is that of the call."""
    pages = tmp_path / "pages"
    for folder in (pages / "below", pages / "__pycache__", tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
    watched = Watched(pages / "below" / "index")
    monkeypatch.chdir(tmp_path)
    child = restart_on_change(watched, "pages", "settings")
    monkeypatch.chdir("elsewhere")

    async def root() -> None:
        supervisor.run("watch", child)

    async with open_harness(root) as tree:
        await tree.wait_ready()
        await watched.started()
        put(pages / "__pycache__" / "module.pyc", "left out")
        put(pages / "below" / "index", "new")
        assert await watched.started() == "new"
        put(tmp_path / "settings", "beside it")
        assert await watched.started() == "new"


async def test_the_node_is_healthy_when_its_child_is_for_the_first_time(settings: Path) -> None:
    """S24: so what is ordered after it waits; changes before that count as well."""
    watched = Watched(settings)
    watched.may_be_healthy = trio.Event()
    async with open_harness(run, watched, (settings,)) as tree:
        assert await watched.started() == "old"
        put(settings, "newer")
        assert await watched.started() == "newer"
        await wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root.watch"].state is NodeState.NEW
        watched.may_be_healthy.set()
        await tree.wait_ready()
        assert tree.snapshot().nodes["root.watch"].state is NodeState.HEALTHY


async def test_a_change_ends_the_backoff_of_the_child(settings: Path) -> None:
    """S24, S9: who corrects the settings need not wait."""
    remote = Remote()
    async with open_harness(run, remote, (settings,), backoff=LONG) as tree:
        await remote.become_healthy()
        await remote.die()
        await wait_all_tasks_blocked()
        put(settings, "newer")
        await remote.become_healthy()
        await tree.wait_ready()
        assert remote.incarnations == 2


async def test_what_an_operator_has_stopped_stays_stopped(
    settings: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """S24, S19: a change does not start it, and the log says so."""
    caplog.set_level(logging.INFO, logger="supervisor")
    told = trio.Event()

    class Notice(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            if "stays stopped" in record.msg:
                told.set()
            return True

    watched = Watched(settings)
    with caplog.filtering(Notice()):
        async with watching(watched, settings) as tree:
            await tree.stop_node(CHILD)
            put(settings, "newer")
            await told.wait()
            await tree.restart(CHILD)
            assert await watched.started() == "newer"
            await tree.wait_ready()
            put(settings, "and once more")
            assert await watched.started() == "and once more"


async def test_a_child_that_is_stopped_before_it_is_healthy_is_no_error(settings: Path) -> None:
    """S24, S19: the node is not healthy then, and goes on."""
    watched = Watched(settings)
    watched.may_be_healthy = trio.Event()
    async with open_harness(run, watched, (settings,)) as tree:
        await watched.started()
        await tree.stop_node(CHILD)
        await wait_all_tasks_blocked()
        node = tree.snapshot().nodes["root.watch"]
        assert (node.state, node.incarnation) == (NodeState.NEW, 1)


async def test_a_stop_before_the_child_is_healthy_ends_both(settings: Path) -> None:
    """S24, S12: cancelled here, in the wait for its health."""
    watched = Watched(settings)
    watched.may_be_healthy = trio.Event()
    async with open_harness(run, watched, (settings,)) as tree:
        await watched.started()
        await tree.stop()
        nodes = tree.snapshot().nodes
        assert nodes["root.watch"].stop_error is None
        assert nodes["root.watch"].state is nodes[CHILD].state is NodeState.CANCELED


async def test_a_restart_of_the_node_watches_again(settings: Path) -> None:
    """S24, S19: by an operator; its child starts anew with it."""
    watched = Watched(settings)
    async with watching(watched, settings) as tree:
        await tree.restart("root.watch")
        assert await watched.started() == "old"
        put(settings, "newer")
        assert await watched.started() == "newer"


async def test_a_member_that_dies_takes_the_node_with_it(settings: Path) -> None:
    """S24, S7: as any; what it runs is its child, and ends before."""
    watched, mate = Watched(settings), Remote()

    async def root() -> None:
        watch = restart_on_change(watched, settings)
        supervisor.run_group({"watch": watch, "mate": mate}, backoff=AT_ONCE)

    async with open_harness(root):
        await mate.become_healthy()
        assert await watched.started() == "old"
        await mate.die()
        assert await watched.started() == "old"
        put(settings, "newer")
        assert await watched.started() == "newer"
        await mate.become_healthy()


async def test_a_missing_folder_is_a_death_that_names_it(tmp_path: Path) -> None:
    """S24: at the start, and when it is removed later."""
    missing = tmp_path / "missing"
    child = restart_on_change(idle, missing / "settings")
    with pytest.raises(FileNotFoundError, match=f"no such folder to watch: '{missing}'"):
        await supervisor.supervise(child, propagate=True)
    missing.mkdir()

    async def remove_it() -> None:
        async with supervisor.open_supervisor(child, propagate=True) as tree:
            await tree.wait_ready()
            missing.rmdir()
            await trio.sleep_forever()

    with pytest.raises(FileNotFoundError, match=f"no such folder to watch: '{missing}'"):
        await remove_it()


async def test_a_stop_ends_the_thread_soon(settings: Path) -> None:
    """S24, S12: cancelled here, while it watches; watchfiles would look on for five seconds."""
    async with watching(Watched(settings), settings, settings.parent):
        began = trio.current_time()
    assert trio.current_time() - began < 2.5


async def test_a_stop_before_the_watching_has_begun_starts_nothing(settings: Path) -> None:
    """S24, S12: cancelled here, in the start of the thread."""
    watched = Watched(settings)
    async with open_harness(run, watched, (settings,)) as tree:
        await wait_all_tasks_blocked()
        assert set(tree.snapshot().nodes) == {"root", "root.watch"}
    assert watched.untold == 0


async def test_a_stop_in_a_restart_of_the_child_waits_for_the_child(settings: Path) -> None:
    """S24, S12: cancelled here, in the restart; there is no stop error."""
    ending, may_end = trio.Event(), trio.Event()

    async def end_slowly() -> None:
        try:
            await idle()
        finally:
            ending.set()
            with trio.CancelScope(shield=True):
                await may_end.wait()

    async with open_harness(run, end_slowly, (settings,)) as tree:
        await tree.wait_ready()
        put(settings, "newer")
        await ending.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tree.stop)
            await wait_all_tasks_blocked()
            may_end.set()
        nodes = tree.snapshot().nodes
        assert nodes["root.watch"].stop_error is None
        assert nodes["root.watch"].state is nodes[CHILD].state is NodeState.CANCELED


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        ((), {}, ValueError, r"restart_on_change\(\) got no path: pass the files"),
        ((5,), {}, TypeError, "got 5, which is no path: pass a str or a Path"),
        ((b"x",), {}, TypeError, "got b'x', which is no path"),
        (("x",), {"debounce": -1}, ValueError, "debounce=-1 is not a number of seconds of at lea"),
        (("x",), {"name": "A b"}, supervisor.InvalidNameError, "invalid name 'A b': use 1 to 64"),
    ],
)
def test_a_wrong_argument_is_refused_at_the_call(
    args: tuple[Any, ...], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """S24, S2: the message names it, and says what to pass."""
    with pytest.raises(error, match=message):
        restart_on_change(idle, *args, **options)


def test_a_runnable_that_is_none_is_refused_at_the_call() -> None:
    """S24, S2: as by supervisor.run()."""
    with pytest.raises(TypeError, match=r"restart_on_change\(\) got 5, which is not an async f"):
        restart_on_change(5, "x")  # type: ignore[arg-type]  # that is the test

"""Who gets an answer from an inspector, and who may act."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
from typing import TYPE_CHECKING

import pytest
import trio

import supervisor
from supervisor import NotSupervisedError
from supervisor.inspector import inspector
from supervisor.testing import open_harness

from ..helpers.inspected import Asker, open_beside, open_inspected
from ..helpers.runnables import idle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from supervisor import Supervisor


async def root() -> None:
    supervisor.run("one", idle)


@contextlib.asynccontextmanager
async def open_port(
    path: Path,
    capfd: pytest.CaptureFixture[str],
    control: object = True,  # noqa: FBT002  as given
) -> AsyncIterator[tuple[Supervisor, Asker]]:
    """Run a tree with an inspector on a port; the client has its token."""
    async with open_inspected(root, path, http="127.0.0.1:0", control=control) as (tree, asker):
        written = capfd.readouterr().err
        found = re.search(
            r"the inspector is at http://127\.0\.0\.1:(\d+)/#token=(\S{22})\n", written
        )
        assert found is not None
        asker.port = int(found[1])
        asker.headers = {"host": f"127.0.0.1:{found[1]}", "authorization": f"Bearer {found[2]}"}
        yield tree, asker


async def test_the_token_opens_the_port(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """S37: it is written to standard error, and is in no log."""
    async with open_port(tmp_path / "s", capfd) as (_, asker):
        assert (await asker.get("/v1/tree"))["ready"]
        asker.headers["host"] = f"localhost:{asker.port}"
        asker.headers["origin"] = f"http://localhost:{asker.port}"
        assert (await asker.get("/v1/tree"))["ready"]


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("authorization", "", "does not have this run's token"),
        ("authorization", "Bearer x", "does not have this run's token"),
        ("authorization", "Basic eDp5", "does not have this run's token"),
        ("host", "evil.example", "Host does not name this port"),
        ("host", "127.0.0.1", "Host does not name this port"),
        ("origin", "http://evil.example", "Origin names another site"),
        ("origin", "null", "Origin names another site"),
    ],
)
async def test_a_wrong_header_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, value: str, why: str
) -> None:
    """S37: with 403, whatever is asked for."""
    async with open_port(tmp_path / "s", capfd) as (_, asker):
        asker.headers[name] = value
        for target, method in (
            ("/v1/tree", "GET"),
            ("/v1/stream", "GET"),
            ("/v1/nodes/root.one/restart", "POST"),
            ("/none", "GET"),
        ):
            status, body = await asker.ask(target, method=method)
            assert status == 403
            assert why in body["error"]


async def test_each_run_has_a_token_of_its_own(tmp_path: Path) -> None:
    """S37: of 128 bits."""
    async with open_harness(root, patience=60.0) as tree:
        tokens = {inspector(tree, path=tmp_path / "s")._access.token for _ in range(3)}  # type: ignore[attr-defined]  # it is an Inspector
    assert len(tokens) == 3
    assert {len(token) for token in tokens} == {22}


async def test_the_port_is_announced_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """S37: its token is that of the run, through all restarts of the inspector."""
    async with open_harness(root, patience=60.0) as tree:
        runnable = inspector(tree, path=tmp_path / "s", http="127.0.0.1:0")
        for _ in range(2):

            async def beside() -> None:
                supervisor.run("inspector", runnable)
                await idle()

            async with supervisor.open_supervisor(beside) as other:
                await other.wait_ready()
    assert capfd.readouterr().err.count("#token=") == 1


@pytest.mark.parametrize(("control", "status"), [(True, 403), (False, 403), ("http", 202)], ids=str)
async def test_the_port_shows_and_acts_only_if_it_may(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], control: object, status: int
) -> None:
    """S37: with control="http"; a stream says which."""
    async with open_port(tmp_path / "s", capfd, control) as (_, asker):
        async with asker.stream("/v1/stream") as events:
            assert (await events.until("synced"))["control"] == (status == 202)
        assert (await asker.ask("/v1/nodes/root.one/restart", method="POST"))[0] == status


async def test_an_inspector_that_can_not_be_healthy_closes_its_port(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """S37: here nobody runs it, so it has no logger."""
    async with open_harness(root, patience=60.0) as tree:
        with pytest.raises(NotSupervisedError) as kept:  # with the frames that have the listener
            await inspector(tree, path=tmp_path / "s", http="127.0.0.1:0")()
        port = int(capfd.readouterr().err.partition("127.0.0.1:")[2].partition("/")[0])
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream("127.0.0.1", port)
    del kept


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    """S37: the inspector dies of it, and the tree goes on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with open_harness(root, patience=60.0) as tree:
            runnable = inspector(tree, path=tmp_path / "s", http=f"127.0.0.1:{port}")

            async def beside() -> None:
                supervisor.run("inspector", runnable)
                await idle()

            async with supervisor.open_supervisor(beside) as other:
                await other.wait_settled()
                await trio.testing.wait_all_tasks_blocked()
                crash = other.snapshot().nodes["root.inspector"].crashes[0]
                assert f"can't listen on 127.0.0.1:{port}: " in crash.error
                assert tree.ready()


@pytest.mark.parametrize(
    ("http", "error", "message"),
    [
        (8007, TypeError, "http=8007 is not of the form HOST:PORT"),
        ("8007", ValueError, "http='8007' is not of the form HOST:PORT"),
        (":8007", ValueError, "is not of the form HOST:PORT"),
        ("127.0.0.1:x", ValueError, "is not of the form HOST:PORT"),
        ("127.0.0.1:65536", ValueError, "is not of the form HOST:PORT"),
        ("0.0.0.0:8007", ValueError, "the loopback interface only"),
        ("192.168.0.1:8007", ValueError, "the loopback interface only"),
        ("[::]:8007", ValueError, "the loopback interface only"),
        ("example.org:8007", ValueError, "the loopback interface only"),
    ],
)
async def test_a_port_of_another_interface_is_refused(
    http: object, error: type[Exception], message: str
) -> None:
    """S37: at the call, with what to do instead."""
    async with open_harness(root, patience=60.0) as tree:
        with pytest.raises(error, match=message):
            inspector(tree, http=http)  # type: ignore[arg-type]  # it is wrong


CONNECT = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
with socket.socket(socket.AF_UNIX) as client:
    try:
        client.connect(sys.argv[1])
        print(client.recv(1000).split(b"\\r\\n")[0].decode())
    except OSError as error:
        print(type(error).__name__)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
@pytest.mark.parametrize(
    ("is_open", "expected"), [(False, "PermissionError"), (True, "HTTP/1.1 403 Forbidden")]
)
async def test_another_user_is_refused(tmp_path: Path, *, is_open: bool, expected: str) -> None:
    """S37: by the modes; and by who it is, where somebody has changed these."""
    path = tmp_path / "s"
    os.chmod(tmp_path, 0o711)  # noqa: PTH101, S103  the socket's own mode is what counts
    async with open_harness(root, patience=60.0) as tree, open_beside(tree, path):
        if is_open:
            path.chmod(0o666)
        done = await trio.run_process(
            [sys.executable, "-c", CONNECT, str(path)], capture_stdout=True
        )
    assert done.stdout.decode().strip() == expected

"""Whether a process answers probes, and until when."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

import supervisor
from supervisor.testing import open_harness

from ..helpers.internals import parse, probes
from ..helpers.probed import WHERE, ask
from ..helpers.runnables import idle
from ..helpers.services import (
    ENVIRONMENT,
    SIGINT,
    SIGTERM,
    end_of,
    next_line,
    send_second,
    service,
    wait_for_log,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from supervisor import Supervisor

HERE = Path(__file__).parents[2]
ROOT = "services.endings:finish"


def port_of(process: subprocess.Popen[str]) -> int:
    """Wait until the tree is ready and probes are answered, and return where that is."""
    assert process.stderr is not None
    port, is_ready = None, False
    while port is None or not is_ready:  # each may come first
        message = json.loads(process.stderr.readline())["message"]
        is_ready = is_ready or message.startswith("the tree is ready")
        found = WHERE.fullmatch(message)
        port = int(found[1]) if found else port
    return port


# Around a stop


async def test_a_process_is_not_ready_from_the_signal_on_and_answers_to_its_end() -> None:
    """S41, S33: while the last request is served, in the stop, and it lives meanwhile."""
    with service("probed.py", "127.0.0.1:0", 0.0) as process:
        health = port_of(process)
        assert [(await ask(health, page)).status for page in ("/livez", "/readyz")] == [200, 200]
        async with await trio.open_tcp_stream("127.0.0.1", int(next_line(process))) as request:
            assert await request.receive_some(6) == b"hello "
            process.send_signal(SIGTERM)
            wait_for_log(process, "SIGTERM: stopping")
            answer = await ask(health, "/readyz")
            assert (answer.status, answer.text) == (
                503,
                "[-]root is being stopped\nreadyz check failed\n",
            )
            assert (await ask(health, "/livez")).text == "ok"
            assert (await ask(health, "/startupz")).text == "ok"
            await request.send_all(b"\n")
            assert await request.receive_some() == b"done"
        assert end_of(process) == (0, [])


async def test_a_process_that_drains_is_not_ready_and_serves() -> None:
    """S41, S33: from the signal on, and long before the stop."""
    with service("probed.py", "127.0.0.1:0", 3600) as process:
        health, port = port_of(process), int(next_line(process))
        process.send_signal(SIGTERM)
        wait_for_log(process, "SIGTERM: draining for 3600 s")
        answer = await ask(health, "/readyz")
        assert (answer.status, answer.text) == (
            503,
            "[-]root will be stopped\nreadyz check failed\n",
        )
        assert (await ask(health, "/livez")).status == 200
        async with await trio.open_tcp_stream("127.0.0.1", port) as request:
            await request.send_all(b"\n")
            assert b"".join([part async for part in request]) == b"hello done"
        send_second(process, SIGINT)
        assert end_of(process)[0] == 3


def test_a_port_that_is_taken_changes_neither_readiness_nor_status() -> None:
    """S41, S35: the log has it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        with service("probed.py", where, 0.0) as process:
            assert next_line(process)  # it serves
            died = wait_for_log(process, "sidecars.health died")
            assert f"can't listen on {where}: " in died["message"]
            process.send_signal(SIGTERM)
            assert end_of(process)[0] == 0


# What is asked for


@pytest.mark.parametrize(
    ("health", "where"),
    [
        ("0.0.0.0:8080", "0.0.0.0:8080"),
        ("[::1]:0", "[::1]:0"),
        ("[fe80::1%eth0]:80", "[fe80::1%eth0]:80"),
        (("localhost", 80), "localhost:80"),
    ],
)
async def test_main_has_a_server_where_it_is_to_be(health: object, where: str) -> None:
    """S41: by a text or a pair."""
    make = probes(health)
    assert make is not None
    async with open_harness(idle) as tree:
        assert repr(make(tree)) == f"<health server at {where}>"


def test_main_has_none_without_a_place() -> None:
    """S41: that is the default."""
    assert probes(None) is None


async def test_a_function_makes_the_server() -> None:
    """S41: with what options it likes."""

    def make_one(tree: Supervisor) -> Callable[[], Awaitable[object]]:
        made_of.append(tree)
        return idle

    made_of: list[Supervisor] = []
    make = probes(make_one)
    assert make is not None
    async with open_harness(idle) as tree:
        assert make(tree) is idle
    assert made_of == [tree]


@pytest.mark.parametrize(
    ("health", "error", "message"),
    [
        (8080, TypeError, "health=8080 is no place for a server: pass 'HOST:PORT' or a pair"),
        (True, TypeError, "health=True is no place for a server"),
        (("x", "80"), TypeError, "is no place for a server"),
        (("x", 80, 80), TypeError, "is no place for a server"),
        (("x", 65536), ValueError, "health=65536 is not the number of a port"),
        (("x", False), TypeError, "health=False is not the number of a port"),
        ("8080", ValueError, "health='8080' is not of the form HOST:PORT, such as '0.0.0.0:8080'"),
        ("x:65536", ValueError, "health='x:65536' is not of the form HOST:PORT"),
        (":80", ValueError, "health=':80' is not of the form HOST:PORT"),
        ("[]:80", ValueError, "is not of the form HOST:PORT"),
        ("[[::1]:80", ValueError, "is not of the form HOST:PORT"),
        ("::1]:80", ValueError, "is not of the form HOST:PORT"),
        ("[::1:80", ValueError, "is not of the form HOST:PORT"),
        ("::1:80", ValueError, r"is not of the form HOST:PORT, .* or '\[::1\]:8080'"),
        ("[localhost]:80", ValueError, "is not of the form HOST:PORT"),
        ("http://x:80", ValueError, "is not of the form HOST:PORT"),
        (" x:80", ValueError, "is not of the form HOST:PORT"),
        (("", 80), ValueError, "health='' is no host: pass one, such as '0.0.0.0'"),
        ("x:" + "9" * 5000, ValueError, "is not of the form HOST:PORT"),
    ],
)
def test_what_is_no_place_is_refused(health: object, error: type[Exception], message: str) -> None:
    """S41, S2: before anything starts."""
    with pytest.raises(error, match=message):
        supervisor.main(idle, health=health)  # type: ignore[arg-type]  # it is wrong


def test_a_wrong_place_is_an_error_of_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """S41, S33: with status 2, in one line behind the usage."""
    monkeypatch.syspath_prepend(HERE)
    with pytest.raises(SystemExit) as caught:
        parse(["run", ROOT, "--health", "80"])
    assert caught.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "health='80' is not of the form HOST:PORT" in last


def test_run_answers_probes() -> None:
    """S41: with --health."""
    environment = {**ENVIRONMENT, "PYTHONUNBUFFERED": "1"}
    environment.pop("PYTHONSAFEPATH", None)  # the module is found from the working directory
    command = [sys.executable, "-m", "supervisor", "run", "services.asked:idle", "--no-inspect"]
    with subprocess.Popen(
        [*command, "--health", "127.0.0.1:0"],
        cwd=HERE,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        health = port_of(process)
        answer = trio.run(ask, health, "/readyz?verbose")
        assert answer.text == "[+]root ok\nreadyz check passed\n"
        process.terminate()
        assert end_of(process)[0] == 0

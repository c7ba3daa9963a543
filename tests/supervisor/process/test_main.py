"""A tree as a process: signals, the budget of a stop, exit statuses, the logging preset (S22)."""

from __future__ import annotations

import contextlib
import logging
import os
import pty
import re
import signal as signals
import socket
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import trio

import supervisor
from supervisor import Backoff, InMemoryMetrics, NodeState, RestartLimit, Signal

from ..helpers.runnables import finish
from ..helpers.services import (
    ENVIRONMENT,
    LONG,
    SERVICES,
    SIGINT,
    SIGTERM,
    end_of,
    keep_handlers,
    next_line,
    send_second,
    service,
    status_of,
    wait_for_log,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def _handlers() -> Iterator[None]:
    """Set the handlers of signals again, which main() leaves as they are at the end."""
    with keep_handlers():
        yield


def begin_request(stack: contextlib.ExitStack, port: int) -> socket.socket:
    """Send the first line of a request, and have it answered."""
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
    connection.sendall(b"first\n")
    assert connection.recv(100) == b"first\n"
    return connection


# Stopping in good order


@pytest.mark.parametrize("signal", [SIGTERM, SIGINT])
def test_a_server_finishes_what_it_has_begun(signal: signals.Signals) -> None:
    """S22: at a signal, the server listens no more, answers all 50 open requests, and exits 0."""
    with service("server.py", 5.0, LONG) as process, contextlib.ExitStack() as stack:
        port = int(next_line(process))
        requests = [begin_request(stack, port) for _ in range(50)]
        process.send_signal(signal)
        assert next_line(process) == "no longer listening"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        for request in requests:
            request.sendall(b"second\n")
        assert [request.makefile().read() for request in requests] == ["second\n"] * 50
        status, log = end_of(process)
    assert status == 0
    assert [record["message"] for record in log] == [f"{signal.name}: stopping, within 3600 s"]


@pytest.mark.parametrize("signal", [SIGTERM, SIGINT])
def test_a_stop_ends_when_its_budget_is_spent(signal: signals.Signals) -> None:
    """S22: a request that never ends costs no more than timeout=; status and log tell of it."""
    with service("server.py", LONG, 0.1) as process, contextlib.ExitStack() as stack:
        begin_request(stack, int(next_line(process)))
        process.send_signal(signal)
        status, log = end_of(process)
    assert status == 3
    asked, late, cut_short = log
    assert asked["message"] == f"{signal.name}: stopping, within 0.1 s"
    assert (late["level"], late["dn"]) == ("WARNING", "root.server")
    assert late["message"].startswith(
        "root.server has not ended within the 0.1 s that the stop of the tree may take; "
    )
    # Of the server's tasks, the one that answers is there, with the line that waits.
    assert re.search(
        r"server\.py\", line \d+, in answer\n"
        r"    await stream\.send_all\(await stream\.receive_some\(\)\)\n",
        late["message"],
    )
    assert cut_short["level"] == "ERROR"
    assert cut_short["message"] == (
        "the tree had not stopped after 0.1 s and was cancelled; "
        "these nodes were running: root.server"
    )


@pytest.mark.parametrize("first", [SIGTERM, SIGINT])
@pytest.mark.parametrize("second", [SIGTERM, SIGINT])
def test_a_second_signal_ends_the_process_at_once(
    first: signals.Signals, second: signals.Signals
) -> None:
    """S22: neither grace nor timeout hold up a second signal, of either kind; the status is 3."""
    with service("server.py", LONG, LONG) as process, contextlib.ExitStack() as stack:
        begin_request(stack, int(next_line(process)))
        process.send_signal(first)
        assert next_line(process) == "no longer listening"
        send_second(process, second)
        status, log = end_of(process)
    assert status == 3
    assert [(record["level"], record["message"]) for record in log] == [
        ("INFO", f"{first.name}: stopping, within 3600 s"),
        ("WARNING", f"{second.name} again: stopping at once"),
    ]


@pytest.mark.parametrize("third", [SIGTERM, SIGINT])
def test_further_signals_change_nothing(third: signals.Signals) -> None:
    """S22: what is cancelled still cleans up, and the status is that of the second signal."""
    with service("endings.py", "linger") as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGTERM)
        wait_for_log(process, "SIGTERM: stopping")
        send_second(process, SIGTERM)
        wait_for_log(process, "SIGTERM again")
        process.send_signal(third)
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.close()
        assert end_of(process) == (3, [])


@pytest.mark.processes
@pytest.mark.parametrize("second", [True, False])
def test_a_task_that_ignores_its_cancellation_does_not_keep_the_process(*, second: bool) -> None:
    """S22: 5 s after a second signal, or the timeout, it ends without it, and says where it is."""
    with service("endings.py", "stay", 30 if second else 0) as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGTERM)
        wait_for_log(process, "SIGTERM: stopping")
        if second:
            send_second(process, SIGTERM)
        status, log = end_of(process)
    assert status == 3
    first = "SIGTERM again: stopping at once" if second else "root has not ended within the 0 s"
    assert log[0]["message"].startswith(first)
    late, last = log[-2:]
    assert (late["level"], late["dn"]) == ("WARNING", "root")
    assert late["message"].startswith("root has not ended 5 s after it was cancelled; its tasks")
    assert re.search(r"endings\.py.* in stay\n +await serve\(\)\n", late["message"])
    assert (last["level"], last["message"]) == (
        "CRITICAL",
        "the process ends without these nodes",
    )


def test_a_signal_ends_a_wait_for_a_restart() -> None:
    """S22, S9: a service of which a part waits for its backoff stops all the same, with 0."""
    with service("endings.py", "wait_for_restart") as process:
        assert next_line(process) == "serving"
        wait_for_log(process, "root.patient died")
        process.send_signal(SIGTERM)
        status, log = end_of(process)
    assert (status, [record["message"] for record in log]) == (
        0,
        ["SIGTERM: stopping, within 30 s"],
    )


# Ending by itself


def test_a_tree_that_finishes_exits_with_0() -> None:
    """S22: finished is as good as stopped, and says nothing."""
    with service("endings.py", "finish") as process:
        assert end_of(process) == (0, [])


def test_a_tree_that_gives_up_exits_with_1() -> None:
    """S22, S10: what gave up and why is logged, the traceback once and not as the process's own."""
    with service("endings.py", "give_up") as process:
        status, (death, end) = end_of(process)
    assert status == 1
    assert (death["level"], death["dn"]) == ("ERROR", "root")
    assert "in give_up" in death["traceback"]
    assert death["error"] == "OSError: the disk is full"
    assert end["level"] == "CRITICAL"
    assert end["message"].startswith("root gave up: 0 restarts within 1 s are allowed")
    assert end["message"].endswith("(root: OSError: the disk is full)")


def test_a_root_that_uses_the_package_wrongly_ends_the_process() -> None:
    """S27: at once, with status 1, and with the traceback once, whatever the limit is."""
    with service("endings.py", "misname") as process:
        status, (death, end) = end_of(process)
    assert status == 1
    assert (death["level"], death["dn"]) == ("ERROR", "root")
    assert death["message"].endswith("; it gives up (that is fatal)")
    assert death["traceback"].count("Traceback") == 1
    assert "in misname\n" in death["traceback"]
    assert (end["level"], "Traceback" in end["message"]) == ("CRITICAL", False)
    assert end["message"].startswith(
        "root gave up: it died of what is fatal (root: InvalidNameError: "
    )


def test_system_exit_keeps_its_status() -> None:
    """S11, S22: a runnable that raises SystemExit(7) ends the process with 7, with one line."""
    with service("endings.py", "leave") as process:
        status, records = end_of(process)
    assert status == 7
    assert [(record["level"], record["message"]) for record in records] == [
        ("INFO", "root.leaver raised SystemExit: 7, which leaves the tree")
    ]


# Logging


def test_without_a_log_it_stops_all_the_same() -> None:
    """S22, S17: what could not be logged, and why, is on standard error; the status is 0."""
    with service("endings.py", "lose_the_log") as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGTERM)
        _, log = process.communicate()
    assert process.returncode == 0
    assert "OSError: [Errno no space left] SIGTERM: stopping, within 30 s\n" in log
    assert "supervisor could not log this: SIGTERM: stopping, within 30 s\n" in log


def test_without_a_standard_error_it_serves_all_the_same() -> None:
    """S22: a process may be started with standard error closed; there is nothing to log to."""
    command = [sys.executable, str(SERVICES / "endings.py"), "finish"]
    closed = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh", *command], env=ENVIRONMENT, check=False
    )
    assert closed.returncode == 0


def test_a_pipe_gets_a_json_object_a_line() -> None:
    """S22: each line parses by itself, from level INFO on, with the DN it comes from."""
    with service("logs.py") as process:
        status, log = end_of(process)
    assert status == 0
    keys = {"time", "level", "dn", "incarnation", "logger", "message"}
    assert [set(record) for record in log] == [*[keys] * 3, keys | {"error", "traceback"}]
    assert [(record["level"], record["dn"], record["logger"]) for record in log] == [
        ("INFO", "root.child", "supervisor.node.root.child"),
        ("WARNING", "root.child.http", "supervisor.node.root.child.http"),
        ("ERROR", "root.child", "library"),
        ("ERROR", "root.child", "supervisor.node.root.child"),
    ]
    assert log[0]["message"] == "two\nlines of „text“"
    assert (log[3]["message"], log[3]["error"]) == ("no room", "OSError: the disk is full")
    assert re.match(r"(?s)Traceback .*\nOSError: the disk is full$", log[3]["traceback"])


def on_terminal(**environment: str) -> str:
    """Run the service that logs on a terminal, and return what the terminal got."""
    ours, its = pty.openpty()
    try:
        with service("logs.py", stderr=its, **environment) as process:
            os.close(its)
            got = b""
            # Reading the last of a terminal is an error.
            with contextlib.suppress(OSError):
                while chunk := os.read(ours, 4096):
                    got += chunk
            assert process.wait() == 0
    finally:
        os.close(ours)
    return got.decode().replace("\r\n", "\n")


def test_a_terminal_gets_coloured_text() -> None:
    """S22: on a terminal, time, level, DN and message, in a colour that tells the level."""
    text = re.sub(r"\d\d:\d\d:\d\d", "TIME", on_terminal())
    assert text.startswith(
        "TIME I root.child    two\n  | lines of „text“\n"
        "\033[33mTIME W root.child.http  slow\033[0m\n"
        "\033[31mTIME E root.child       from elsewhere\033[0m\n"
        "\033[31mTIME E root.child       no room\n  | Traceback"
    )
    assert "OSError: the disk is full\033[0m\n" in text


def test_no_color_takes_the_colours_away() -> None:
    """S22: with NO_COLOR in the environment, a terminal gets the same text, plain."""
    text = on_terminal(NO_COLOR="1")
    assert "\033" not in text
    assert re.search(r"^\d\d:\d\d:\d\d W root\.child\.http  slow$", text, re.MULTILINE)


def test_logging_that_is_set_up_stays_as_it_is() -> None:
    """S22: handlers, format and level that the service has chosen are left alone."""
    with service("logs.py", "configured") as process:
        _, log = process.communicate()
    lines = log.splitlines()
    assert lines[:3] == [
        "WARNING|root.child|slow",
        "ERROR|root.child|from elsewhere",
        "ERROR|root.child|no room",
    ]
    assert lines[-1] == "OSError: the disk is full"
    assert process.returncode == 0


# In this process


@pytest.mark.parametrize(
    ("options", "level", "text"),
    [
        ({}, "INFO", ""),
        ({"log_level": "debug"}, "WARNING", ", without log_level='DEBUG'"),
        ({"log_format": "json"}, "WARNING", ", without log_format='json'"),
        (
            {"log_level": 30, "log_format": "text"},
            "WARNING",
            ", without log_level='WARNING' and log_format='text'",
        ),
    ],
    ids=str,
)
def test_the_log_says_once_that_it_was_set_up(
    options: dict[str, Any], level: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """S22: and what was asked for in vain; pytest has set it up here."""
    caplog.set_level(logging.INFO, logger="supervisor")

    async def root() -> None:
        await finish()

    assert status_of(partial(supervisor.main, root, dump_signal=None, **options)) == 0
    told = [each for each in caplog.records if each.getMessage().startswith("logging is set up")]
    assert [(each.levelname, each.getMessage()) for each in told] == [
        (level, f"logging is set up already, so main() leaves it as it is{text}")
    ]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"log_level": "LOUD"}, ValueError, "log_level='LOUD' is no level: pass one, such as"),
        ({"log_level": None}, TypeError, "log_level=None is no level: pass one, such as"),
        ({"log_level": -1}, ValueError, "log_level=-1 is not a whole number of at least 0"),
        ({"log_format": "xml"}, ValueError, "log_format='xml' is no format: pass one of auto, "),
        ({"log_format": 1}, TypeError, "log_format=1 is no format: pass one of auto, "),
    ],
    ids=str,
)
def test_a_level_or_format_that_there_is_not_is_refused(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    """S22, S2: before anything is set up."""
    with pytest.raises(error, match=text):
        supervisor.main(finish, **options)


def test_main_hands_on_what_it_is_given() -> None:
    """S22: arguments, backoff, limit, metrics and grace are those of the tree that it runs."""
    metrics = InMemoryMetrics()
    got: list[object] = []

    async def root(*args: object) -> None:
        got.append(args)
        supervisor.signal(Signal.HEALTHY)
        if len(got) == 1:
            raise OSError("once")
        signals.raise_signal(SIGTERM)
        await supervisor.wait_stop_requested()
        await trio.lowlevel.checkpoint()  # still there: it has its grace
        got.append("stopped")

    main = partial(
        supervisor.main,
        root,
        "one",
        2,
        backoff=Backoff(initial=0.0),
        limit=RestartLimit(1, within=LONG),
        metrics=metrics,
        grace=LONG,
    )
    assert status_of(main) == 0
    assert got == [("one", 2), ("one", 2), "stopped"]
    assert metrics.nodes()["root"].state is NodeState.CANCELED


@pytest.mark.parametrize("limit", [True, False])
def test_a_root_that_can_not_work_ends_the_process(*, limit: bool) -> None:
    """S27: it may restart 5 times within 60 s, unless limit=None says that it always may."""
    runs = []

    async def root() -> None:
        runs.append(1)
        if len(runs) == 10:
            supervisor.signal(Signal.HEALTHY)
            supervisor.signal(Signal.DONE)
        else:
            raise OSError("no database")

    main = partial(supervisor.main, root, backoff=Backoff(initial=0.0))
    status = status_of(main if limit else partial(main, limit=None))
    assert (status, len(runs)) == ((1, 6) if limit else (0, 10))


@pytest.mark.usefixtures("_handlers")
def test_what_leaves_the_tree_leaves_main() -> None:
    """S22, S11: an exception that is no Exception is raised by main() as it is."""

    class EndOfWorldError(BaseException):
        pass

    async def root() -> NoReturn:
        raise EndOfWorldError

    with pytest.raises(EndOfWorldError):
        supervisor.main(root)


@pytest.mark.parametrize("timeout", [-1.0, float("nan")])
def test_a_wrong_timeout_is_named(timeout: float) -> None:
    """S22: timeout= is a number of seconds, and nothing has been run when it is not."""
    message = f"timeout={timeout!r} is not a number of seconds of at least 0"
    with pytest.raises(ValueError, match=re.escape(message)):
        supervisor.main(trio.sleep_forever, timeout=timeout)


def test_a_wrong_grace_is_named() -> None:
    """S22: grace= is a number of seconds, and nothing has been run when it is not."""
    with pytest.raises(ValueError, match=r"grace=-1\.0 is not a number of seconds of at least 0"):
        supervisor.main(trio.sleep_forever, grace=-1.0)


def test_a_root_that_is_called_already_is_refused() -> None:
    """S22: a coroutine in place of an async function is a TypeError that says what to pass."""

    async def root() -> None:
        """Be of no interest here."""

    with pytest.raises(TypeError, match=r"main\(\) got <coroutine .*: pass the async function"):
        supervisor.main(root())  # type: ignore[arg-type]

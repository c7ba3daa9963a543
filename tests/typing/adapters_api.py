"""How the types of ``supervisor.adapters`` look from outside: for type checkers, never run.

Lines that must be refused carry a ``type: ignore`` with the reason that the checker gives;
an ignore that is not needed is itself an error.
"""

from __future__ import annotations

import queue
import signal
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import assert_type

import hypercorn
import trio
from starlette.applications import Starlette

import supervisor
from supervisor.adapters import (
    AsgiServer,
    Command,
    CommandError,
    TcpServer,
    asgi,
    command,
    from_start,
    oneshot,
    periodic,
    restart_on_change,
    tcp,
    thread,
)


async def serve(port: int, host: str) -> None: ...


async def start(port: int, *, task_status: trio.TaskStatus[str]) -> None: ...


async def echo(stream: trio.SocketStream) -> None: ...


def compute(number: int) -> str:
    return str(number)


def adapters_return_runnables() -> None:
    runnable = oneshot(serve, 80, "::")
    assert_type(runnable, Callable[[], Awaitable[None]])
    supervisor.run("oneshot", runnable)
    supervisor.run_group(
        {"periodic": periodic(serve, 80, "::", every=1), "thread": thread(len, "")}
    )


def they_check_the_arguments_against_the_function() -> None:
    oneshot(serve, "80", "::")  # type: ignore[arg-type]
    oneshot(serve, 80)  # type: ignore[arg-type]
    oneshot(compute, 80)  # type: ignore[arg-type]
    periodic(serve, 80, "::", every=60.0, jitter=0.1)
    periodic(serve, 80, "::")  # type: ignore[call-arg]
    periodic(serve, "80", "::", every=1)  # type: ignore[arg-type]
    thread(compute, 80)
    thread(compute, "80")  # type: ignore[arg-type]


def a_function_for_start_gets_its_status() -> None:
    from_start(start, 80)
    from_start(trio.serve_tcp, serve, 80)
    from_start(compute, 80)  # type: ignore[arg-type]


def a_thread_is_told_to_stop_by_a_function() -> None:
    jobs: queue.Queue[str | None] = queue.Queue()
    thread(jobs.get, on_stop=partial(jobs.put, None), healthy_at_start=False)
    thread(jobs.get, on_stop=5)  # type: ignore[arg-type]
    thread(jobs.get, on_stop=compute)  # type: ignore[arg-type]


def paths_are_strings_or_paths() -> None:
    restart_on_change(partial(serve, 80, "::"), "settings", Path("pages"), debounce=1)
    restart_on_change(serve, "settings")  # type: ignore[arg-type]
    restart_on_change(partial(serve, 80, "::"), b"settings")  # type: ignore[arg-type]


def a_server_is_a_runnable_that_tells_where_it_listens() -> None:
    server = asgi(Starlette(), port=0, sockets=[socket.socket()], config=hypercorn.Config())
    assert_type(server, AsgiServer)
    assert_type(server.addresses, tuple[str, ...])
    assert_type(server.grace, float)
    supervisor.run("web", server)
    asgi("app")  # type: ignore[arg-type]
    asgi(Starlette(), 80)  # type: ignore[call-arg,arg-type]
    asgi(Starlette(), config={})  # type: ignore[arg-type]


def a_handler_gets_a_stream() -> None:
    server = tcp(echo, port=7007, sockets=[socket.socket()], max_connections=10, grace=1)
    assert_type(server, TcpServer)
    assert_type(server.addresses, tuple[tuple[str, int], ...])
    supervisor.run_group({"echo": server})
    tcp(serve)  # type: ignore[arg-type]
    tcp(echo, max_connections="10")  # type: ignore[arg-type]


def a_command_is_a_runnable_with_a_process() -> None:
    program = command(
        ["server", Path("settings")],
        cwd=Path("data"),
        env={"HOME": "data"},
        ready_port=("::1", 80),
        stop_signal=signal.SIGINT,
        grace=1,
        parse=lambda line: (20, line),
    )
    assert_type(program, Command)
    assert_type(program.pid, int | None)
    supervisor.run_group({"server": program}, ordered=True)
    program.send_signal(signal.SIGHUP)
    command(["server"], ready=partial(serve, 80, "::"))
    command(["server"], ready=compute)  # type: ignore[arg-type]
    command(["server", 80])  # type: ignore[list-item]
    command(["server"], parse=str.upper)  # type: ignore[arg-type]


def a_command_dies_of_an_error_that_tells_how(error: CommandError) -> None:
    assert_type(error.status, int | None)
    assert_type(error.signal, int | None)
    assert_type(error.lines, tuple[str, ...])

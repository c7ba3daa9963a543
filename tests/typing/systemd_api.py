"""How the types of ``supervisor.systemd`` look from outside: for type checkers, never run."""

from __future__ import annotations

import socket
from typing import assert_type

import trio

from supervisor.adapters import tcp
from supervisor.systemd import listen_sockets, notify


def tell() -> None:
    assert_type(notify(READY=1, STATUS="reading leases"), bool)
    notify(READY=1.0)  # type: ignore[arg-type]
    notify("READY=1")  # type: ignore[call-arg]


async def echo(stream: trio.SocketStream) -> None: ...


def serve() -> None:
    assert_type(listen_sockets(), list[socket.socket])
    tcp(echo, port=8007, sockets=listen_sockets("echo") or None)
    listen_sockets(3)  # type: ignore[arg-type]

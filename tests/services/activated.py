"""Servers on sockets that a service manager passes: ``python activated.py``.

It prints what it has got, a line for each socket, and then serves on those called echo and web.
"""

from __future__ import annotations

import sys

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import supervisor
from supervisor import Signal
from supervisor.adapters import asgi, tcp
from supervisor.systemd import listen_sockets


def say(text: object) -> None:
    """Print a line that a test waits for."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def echo(stream: trio.SocketStream) -> None:
    """Send back what comes."""
    async for part in stream:
        await stream.send_all(part)


async def answer(_request: Request) -> PlainTextResponse:
    """Answer."""
    return PlainTextResponse("answered")


async def root() -> None:
    """Serve on both."""
    supervisor.run("echo", tcp(echo, sockets=listen_sockets("echo")))
    supervisor.run(
        "web", asgi(Starlette(routes=[Route("/", answer)]), sockets=listen_sockets("web"))
    )
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)
    await trio.lowlevel.checkpoint()


if __name__ == "__main__":
    first, second = listen_sockets(), listen_sockets()
    for each, again in zip(first, second, strict=True):
        say(f"{each.fileno()} {each.getsockname()[1]} {each.get_inheritable()} {each is again}")
    if listen_sockets("echo") and listen_sockets("web"):
        supervisor.main(root)
    for name in ("echo", "unknown"):
        say([each.fileno() for each in listen_sockets(name)])
    for each in first:
        each.close()
    say(listen_sockets())

"""A web service: ``python web.py``, which prints its URL and when a request has come."""

from __future__ import annotations

import sys
from functools import partial

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import supervisor
from supervisor import Signal
from supervisor.adapters import AsgiServer, asgi, oneshot


def say(text: str) -> None:
    """Print a line that a test waits for."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def answer(_request: Request) -> PlainTextResponse:
    """Answer when a stop has been requested, and not before."""
    say("requested")
    await supervisor.wait_stop_requested()
    return PlainTextResponse("answered")


async def tell(server: AsgiServer) -> None:
    """Print where it listens."""
    say(server.addresses[0])


async def root() -> None:
    """Start the server, and be done."""
    server = asgi(Starlette(routes=[Route("/", answer)]), port=0)
    supervisor.run_group({"web": server, "tell": oneshot(partial(tell, server))}, ordered=True)
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)
    await trio.lowlevel.checkpoint()


if __name__ == "__main__":
    supervisor.main(root)

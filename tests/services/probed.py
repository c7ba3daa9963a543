"""A TCP service that answers probes: ``python probed.py HEALTH DRAIN``.

A connection is answered when it has sent a line, also in the drain and in the stop. The service
prints the port that it listens on.
"""

from __future__ import annotations

import sys
from functools import partial

import trio

import supervisor
from supervisor import Signal


async def answer(stream: trio.SocketStream) -> None:
    """Say that the connection was taken, and answer its line."""
    async with stream:
        await stream.send_all(b"hello ")
        await stream.receive_some()
        await stream.send_all(b"done")


async def serve() -> None:
    """Accept connections until a stop is requested, and end with the last of them."""
    async with trio.open_nursery() as connections:
        with supervisor.stop_scope():
            async with trio.open_nursery() as accepting:
                listen = partial(trio.serve_tcp, host="127.0.0.1", handler_nursery=connections)
                (listener,) = await accepting.start(listen, answer, 0)
                supervisor.signal(Signal.HEALTHY)
                sys.stdout.write(f"{listener.socket.getsockname()[1]}\n")
                sys.stdout.flush()


async def root() -> None:
    """Start the server, and be done."""
    supervisor.run("server", serve, grace=3600.0)
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)
    await trio.lowlevel.checkpoint()


if __name__ == "__main__":
    supervisor.main(root, health=sys.argv[1], drain=float(sys.argv[2]), timeout=3600.0)

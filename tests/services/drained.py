"""A TCP service that says whether it is ready: ``python drained.py DRAIN``.

A connection sends one line, ``ready`` or anything else, and gets one answer. The service prints the
port that it listens on. From the stop request on, connections are refused.
"""

from __future__ import annotations

import sys
from functools import partial

import trio

import supervisor
from supervisor import Signal


async def answer(stream: trio.SocketStream) -> None:
    """Answer one request."""
    async with stream:
        question = await stream.receive_some()
        is_ready = supervisor.current_supervisor().ready()
        await stream.send_all(str(is_ready).encode() if question == b"ready\n" else b"done")


async def serve() -> None:
    """Accept requests until a stop is requested, and end with the last of them."""
    async with trio.open_nursery() as requests:
        with supervisor.stop_scope():
            async with trio.open_nursery() as accepting:
                listen = partial(trio.serve_tcp, host="127.0.0.1", handler_nursery=requests)
                (listener,) = await accepting.start(partial(listen, backlog=1000), answer, 0)
                supervisor.signal(Signal.HEALTHY)
                sys.stdout.write(f"{listener.socket.getsockname()[1]}\n")
                sys.stdout.flush()


async def root() -> None:
    """Start the server, and be done."""
    supervisor.run("server", serve, grace=5.0)
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


if __name__ == "__main__":
    supervisor.main(root, drain=float(sys.argv[1]))

"""A TCP service that ends its requests before itself: ``python server.py GRACE TIMEOUT``.

A request is a line, which is answered, and some time later another one, which is answered too.
It prints the port that it listens on, and a line when it has stopped listening.
"""

from __future__ import annotations

import sys
from functools import partial

import trio

import supervisor
from supervisor import Signal


def say(text: object) -> None:
    """Print a line that a test waits for."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def answer(stream: trio.SocketStream) -> None:
    """Send two lines back, each when it comes."""
    async with stream:
        await stream.send_all(await stream.receive_some())
        await stream.send_all(await stream.receive_some())


async def serve() -> None:
    """Accept requests until a stop is requested, and end with the last of them."""
    async with trio.open_nursery() as requests:
        async with trio.open_nursery() as accepting:
            listen = partial(trio.serve_tcp, host="127.0.0.1", handler_nursery=requests)
            (listener,) = await accepting.start(listen, answer, 0)
            say(listener.socket.getsockname()[1])
            supervisor.signal(Signal.HEALTHY)
            await supervisor.wait_stop_requested()
            accepting.cancel_scope.cancel()
        say("no longer listening")


async def root(grace: float) -> None:
    """Start the server, and be done."""
    supervisor.run("server", serve, grace=grace)
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


if __name__ == "__main__":
    supervisor.main(root, float(sys.argv[1]), timeout=float(sys.argv[2]))

"""Clients of the servers of ``supervisor.adapters``, in numbers, and what becomes of them.

``python -m benchmarks.soak.servers`` runs all of it; tests run the same with small numbers.
"""

from __future__ import annotations

import argparse
import logging
import socket
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import trio

import supervisor
from supervisor import Signal
from supervisor.adapters import asgi

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]

CLIENTS: Final = 10
"""So many clients connect at a time."""


async def answer_path(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Any]
) -> None:
    """Answer a request with its path: an ASGI app that takes no lifespan events."""
    assert scope["type"] == "http"
    await receive()
    body = scope["path"].encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def get(address: tuple[str, int], number: int) -> str:
    """Request a path over a connection of its own, and say what became of it."""
    path = b"/%d" % number
    try:
        async with await trio.open_tcp_stream(*address) as stream:
            await stream.send_all(b"GET %b HTTP/1.1\r\nHost: localhost\r\n" % path)
            await stream.send_all(b"Connection: close\r\n\r\n")
            answer = b"".join([bytes(part) async for part in stream])
    except OSError:
        return "refused"
    except trio.BrokenResourceError:
        return "dropped"
    return "answered" if answer.endswith(b"\r\n%b" % path) else "dropped"


async def connect_in_restarts(connections: int, restarts: int) -> Counter[str]:
    """Restart a server on a socket of the caller's, while clients connect to it.

    Args:
        connections: How many there are.
        restarts: How often the server is restarted meanwhile.

    Returns:
        How many were answered and refused; and how many dropped: Hypercorn had accepted them when
        it was stopped, and had not read their requests.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    results: Counter[str] = Counter()
    handles: list[supervisor.Handle] = []
    numbers = iter(range(connections))

    async def root() -> None:
        handles.append(supervisor.run("web", asgi(answer_path, sockets=[listener])))
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    async def client() -> None:
        for number in numbers:
            results[await get(listener.getsockname(), number)] += 1

    with listener:
        async with supervisor.open_supervisor(root) as tree:
            await tree.wait_ready()
            async with trio.open_nursery() as nursery:
                for _ in range(CLIENTS):
                    nursery.start_soon(client)
                for restart in range(1, restarts + 1):
                    # Spread over the connections.
                    while results.total() < restart * connections // (restarts + 1):
                        await trio.lowlevel.checkpoint()
                    await handles[0].restart()
    return results


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak.servers", description=__doc__)
    parser.add_argument("--connections", type=int, default=500, help="to the ASGI server (500)")
    parser.add_argument("--restarts", type=int, default=20, help="of the ASGI server (20)")
    arguments = parser.parse_args(argv)
    logging.getLogger("supervisor").setLevel(logging.CRITICAL + 1)
    began = time.monotonic()
    results = trio.run(connect_in_restarts, arguments.connections, arguments.restarts)
    seconds = time.monotonic() - began
    print(f"asgi(): {arguments.restarts} restarts in {seconds:.1f} s, connections {dict(results)}")
    return 1 if results["refused"] else 0


if __name__ == "__main__":
    sys.exit(main())

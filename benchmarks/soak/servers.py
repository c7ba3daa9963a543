"""Clients of the servers of ``supervisor.adapters``, in numbers, and what becomes of them.

``python -m benchmarks.soak.servers`` runs all of it; tests run the same with small numbers.
"""

from __future__ import annotations

import argparse
import array
import contextlib
import fcntl
import logging
import re
import socket
import struct
import sys
import termios
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, final

import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Signal
from supervisor.adapters import AsgiServer, asgi, tcp

from .report import Report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]

CLIENTS: Final = 10
"""So many clients connect at a time."""

TOLERANCE: Final = 0.5
"""The seconds that a stop may take longer than it has to."""

UNREAD_TIMEOUT: Final = 10.0
"""The seconds after which a connection is ended whose client takes nothing."""


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


async def answer_late(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Any]
) -> None:
    """Answer as ``answer_path()`` does, after a second."""
    if scope["type"] == "http":
        await trio.sleep(1)
    await answer_path(scope, receive, send)


async def answer_without_end(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Any]
) -> None:
    """Answer a request with a body that has no end."""
    assert scope["type"] == "http"
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})


@contextlib.asynccontextmanager
async def serving(server: AsgiServer) -> AsyncIterator[tuple[supervisor.Handle, tuple[str, int]]]:
    """Run a server, which is ready, as ``root.web``; yield its handle and address, too."""
    handles: list[supervisor.Handle] = []

    async def root() -> None:
        handles.append(supervisor.run("web", server))
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    async with supervisor.open_supervisor(root) as tree:
        await tree.wait_ready()
        host, _, port = server.addresses[0].removeprefix("http://").partition(":")
        yield handles[0], (host, int(port))


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


async def stop_with_requests(requests: int) -> tuple[float, list[str]]:
    """Stop a server while it has so many requests in flight, which take a second.

    Returns:
        How many seconds the stop takes, and what is wrong.
    """
    results: Counter[str] = Counter()
    in_flight = 0
    all_in_flight = trio.Event()

    async def app(scope: Message, receive: Any, send: Any) -> None:
        nonlocal in_flight
        if scope["type"] == "http":
            in_flight += 1
            if in_flight == requests:
                all_in_flight.set()
        await answer_late(scope, receive, send)

    async with serving(asgi(app, port=0)) as (handle, address), trio.open_nursery() as nursery:

        async def client(number: int) -> None:
            results[await get(address, number)] += 1

        for number in range(requests):
            nursery.start_soon(client, number)
        await all_in_flight.wait()
        began = trio.current_time()
        await handle.stop()
        took = trio.current_time() - began
    wrong = [] if results["answered"] == requests else [f"the requests were {dict(results)}"]
    if took > 1 + TOLERANCE:
        wrong.append(f"the stop took {took:.2f} s")
    return took, wrong


async def stop_with_deaf_client(grace: float) -> tuple[float, list[str]]:
    """Stop a server one of whose clients takes nothing any more.

    Returns:
        How many seconds later than it has to the stop ends, and what is wrong.
    """
    server = asgi(answer_without_end, port=0, grace=grace)
    async with contextlib.AsyncExitStack() as stack:
        handle, address = await stack.enter_async_context(serving(server))
        stream = await stack.enter_async_context(await trio.open_tcp_stream(*address))
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        last = await wait_until_full(stream)
        due = max(trio.current_time() + grace, last + UNREAD_TIMEOUT)
        await handle.stop()
        late = trio.current_time() - due
    return late, [f"the stop was {late:.2f} s late"] * (late > TOLERANCE)


async def wait_until_full(stream: trio.SocketStream) -> float:
    """Wait until a stream that nobody reads takes no more, and return when it took the last."""
    last, held = trio.current_time(), 0
    while not held or trio.current_time() < last + 0.2:
        await trio.sleep(0.01)
        now = array.array("i", [0])
        fcntl.ioctl(stream.socket.fileno(), termios.FIONREAD, now)
        if now[0] != held:
            last, held = trio.current_time(), now[0]
    return last


@final
class Deaths(logging.Handler):
    """Counts the deaths of connections that are logged, by their errors, with their peers."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Count a record."""
        assert vars(record)["peer"], record
        found = re.search(r"\b(\w+Error)\b", record.getMessage())
        self.errors[found[1] if found else record.getMessage()] += 1


async def answer_line(stream: trio.SocketStream) -> None:
    """Send a line back that is a number: a line without end if the number is 0."""
    line = b""
    while not line.endswith(b"\n"):
        part = await stream.receive_some()
        if not part:
            msg = f"{line!r} is no line"
            raise ValueError(msg)
        line += part
    number = int(line)
    while not number:
        await stream.send_all(bytes(65536))
    await stream.send_all(line)


async def ask(address: tuple[str, int], number: int) -> str:
    """Be a client: two of three want an answer, the others send garbage, reset, or do not read."""
    kind = ("good", "bad", "good", "reset", "good", "deaf", "good", "good", "good")[number % 9]
    stream = await trio.open_tcp_stream(*address)
    async with stream:
        if kind == "good":
            await stream.send_all(b"%d\n" % number)
            answer = b"".join([bytes(part) async for part in stream])
            return "answered" if answer == b"%d\n" % number else f"got {answer!r}"
        if kind == "bad":
            await stream.send_all(b"\xff\n")
            await stream.receive_some()  # its end
        elif kind == "reset":
            await stream.send_all(b"1")
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            await stream.send_all(b"0\n")
            await stream.receive_some(1)  # there is more, and always will be
    return kind


async def serve_all_kinds(connections: int) -> list[str]:
    """Have a server serve this many clients, a third of which are bad.

    Returns:
        What is wrong.
    """
    server = tcp(answer_line, max_connections=100)
    kinds: Counter[str] = Counter()
    numbers = iter(range(1, connections + 1))
    deaths = Deaths()
    log = logging.getLogger("supervisor.node.root.server.connections")
    log.addHandler(deaths)
    log.propagate = False

    async def root() -> None:
        supervisor.run("server", server)
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    async def client() -> None:
        for number in numbers:
            kinds[await ask(server.addresses[0], number)] += 1

    try:
        async with supervisor.open_supervisor(root) as tree:
            await tree.wait_ready()
            async with trio.open_nursery() as nursery:
                for _ in range(CLIENTS):
                    nursery.start_soon(client)
            await wait_all_tasks_blocked(cushion=0.1)  # the last are still on their way out
            nodes = tree.snapshot().nodes
    finally:
        log.removeHandler(deaths)
        log.propagate = True
    wrong = [f"a client {kind}" for kind in kinds if kind not in {*_KINDS}]
    bad = kinds.total() - kinds["answered"]
    if deaths.errors.total() != bad:
        wrong.append(f"{bad} connections were bad, {kinds}, and these were logged: {deaths.errors}")
    if kinds.total() != connections:
        wrong.append(f"there were {kinds.total()} connections")
    if nodes["root.server"].incarnation != 1:
        wrong.append(f"the server is in incarnation {nodes['root.server'].incarnation}")
    if set(nodes) != {"root", "root.server", "root.server.connections"}:
        wrong.append(f"there are nodes left: {', '.join(nodes)}")
    return wrong


_KINDS: Final = ("answered", "bad", "reset", "deaf")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak.servers", description=__doc__)
    parser.add_argument("--connections", type=int, default=500, help="to the ASGI server (500)")
    parser.add_argument("--restarts", type=int, default=20, help="of the ASGI server (20)")
    parser.add_argument("--requests", type=int, default=50, help="in flight at its stop (50)")
    parser.add_argument("--tcp", type=int, default=10_000, help="TCP connections (10000)")
    arguments = parser.parse_args(argv)
    report = Report()
    logging.getLogger("supervisor").setLevel(logging.CRITICAL + 1)
    began = time.monotonic()
    results = trio.run(connect_in_restarts, arguments.connections, arguments.restarts)
    seconds = time.monotonic() - began
    wrong = ["connections were refused"] if results["refused"] else []
    figures = f"{seconds:.1f} s, connections {dict(results)}"
    report.add(f"asgi(), {arguments.restarts} restarts", figures, wrong)
    took, wrong = trio.run(stop_with_requests, arguments.requests)
    report.add(f"asgi(), a stop with {arguments.requests} requests of 1 s", f"{took:.2f} s", wrong)
    for grace in (UNREAD_TIMEOUT / 5, UNREAD_TIMEOUT + 2):
        late, wrong = trio.run(stop_with_deaf_client, grace)
        what = f"asgi(), a stop with a client that takes nothing, grace {grace:.0f} s"
        report.add(what, f"{late:+.2f} s late", wrong)
    logging.getLogger("supervisor").setLevel(logging.ERROR)
    began = time.monotonic()
    wrong = trio.run(serve_all_kinds, arguments.tcp)
    report.add(f"tcp(), {arguments.tcp} connections", f"{time.monotonic() - began:.1f} s", wrong)
    return report.status


if __name__ == "__main__":
    sys.exit(main())

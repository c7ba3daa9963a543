"""A program, a worker that needs it, and a web page that shows what they have done.

The program finds primes: such work would block the event loop. The worker asks it for one after the
other. They are an ordered group, so the worker starts when the program is ready, and both restart
when one dies. The page, which is served by Hypercorn, is not in the group. So it is there all the
time::

    program ←─ worker ─→ newest prime ─→ page

Try it, and kill the program::

    python examples/procs.py                         # in one terminal
    curl http://127.0.0.1:8000                       # in another
    pkill -f 'primes of procs.py'
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

import supervisor
from supervisor import Signal
from supervisor.adapters import asgi, command
from trio_event import MemoryValue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from typing import Any

    Message = MutableMapping[str, Any]

PROGRAM = """# the primes of procs.py
import pathlib, socketserver, sys

class NextPrime(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            number = int(line) + 1
            while any(number % other == 0 for other in range(2, number)):
                number += 1
            self.wfile.write(b"%d\\n" % number)

pathlib.Path(sys.argv[1]).unlink(missing_ok=True)  # the last one may have been killed
with socketserver.UnixStreamServer(sys.argv[1], NextPrime) as server:
    print("it listens")
    server.serve_forever()
"""


async def work(path: Path, newest: MemoryValue[int]) -> None:
    """Ask the program for the next prime, ten times a second."""
    async with await trio.open_unix_socket(path) as stream:
        supervisor.signal(Signal.HEALTHY)
        while True:
            await stream.send_all(b"%d\n" % newest.peek())
            answer = await stream.receive_some()
            if not answer:
                msg = "the program has gone"
                raise ConnectionError(msg)
            newest.set(int(answer))
            await trio.sleep(0.1)


async def show(
    newest: MemoryValue[int],
    scope: Message,
    _receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Answer each request with the newest prime: this is an ASGI app."""
    if scope["type"] == "http":
        text = f"the newest prime is {newest.peek()}\n"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text.encode()})


async def root(folder: Path, port: int) -> None:
    """Start all three, and be done."""
    path = folder / "primes"
    newest = MemoryValue(1)
    program = command([sys.executable, "-c", PROGRAM, path], ready_line="it listens")
    worker = partial(work, path, newest)
    supervisor.run_group({"program": program, "worker": worker}, ordered=True)
    supervisor.run("page", asgi(partial(show, newest), port=port))
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


def port(text: str) -> int:
    """Parse a TCP port."""
    if not (text.isascii() and text.isdigit() and int(text) < 2**16):
        msg = f"{text!r} is not a port from 0 to 65535"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Show primes in a web page, on loopback.")
    parser.add_argument("--port", type=port, default=8000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        supervisor.main(root, Path(folder), arguments.port)

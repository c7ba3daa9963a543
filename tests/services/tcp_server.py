"""A TCP service: ``python tcp_server.py``, which prints its port and each line that it gets.

It answers a line when a stop has been requested, and not before.
"""

from __future__ import annotations

import sys
from functools import partial

import trio

import supervisor
from supervisor import Signal
from supervisor.adapters import TcpServer, oneshot, tcp


def say(text: object) -> None:
    """Print a line that a test waits for."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def answer(stream: trio.SocketStream) -> None:
    """Answer one line."""
    line = await stream.receive_some()
    say(line.decode().strip())
    await supervisor.wait_stop_requested()
    await trio.sleep(0.5)  # a second one would be too late if they were stopped one by one
    await stream.send_all(line)


async def tell(server: TcpServer) -> None:
    """Print where it listens."""
    say(server.addresses[0][1])
    await trio.lowlevel.checkpoint()


async def root() -> None:
    """Start the server, and be done."""
    server = tcp(answer, grace=5.0)
    supervisor.run_group({"server": server, "tell": oneshot(partial(tell, server))}, ordered=True)
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)
    await trio.lowlevel.checkpoint()


if __name__ == "__main__":
    supervisor.main(root)

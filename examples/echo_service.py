"""An echo service that stops in good order: no connection is cut off that behaves.

Each connection is a child of a pool. At SIGTERM or Ctrl-C the listener closes first, for it was
started last; then each open connection gets its grace to say what it has to say. Try it::

    python examples/echo_service.py --port 7777      # in one terminal
    nc 127.0.0.1 7777                                # in another
"""

from __future__ import annotations

import argparse

import trio

import supervisor
from supervisor import Pool, Signal


async def converse(stream: trio.SocketStream) -> None:
    """Send everything back, and say goodbye when the service stops."""
    supervisor.signal(Signal.HEALTHY)
    try:
        async with stream:
            while True:
                with supervisor.stop_scope() as scope:
                    data = await stream.receive_some()
                if scope.cancelled_caught:
                    await stream.send_all(b"goodbye\n")
                    break
                if not data:
                    break
                await stream.send_all(data)  # it is not in the scope, so it has its grace
    except trio.BrokenResourceError:
        supervisor.logger().info("the client is gone")
    supervisor.signal(Signal.DONE)


async def listen(connections: Pool, port: int) -> None:
    """Start a child for each connection, as long as there is a slot for it."""
    await connections.wait_healthy()
    (listener,) = await trio.open_tcp_listeners(port, host="127.0.0.1")
    print(f"listening on 127.0.0.1:{listener.socket.getsockname()[1]}", flush=True)
    async with listener:
        supervisor.signal(Signal.HEALTHY)
        while True:
            await connections.wait_for_slot()
            stream = await listener.accept()
            connections.run(None, converse, stream, grace=30)


async def root(port: int) -> None:
    """Start the pool and the listener, and be done."""
    connections = supervisor.run_pool("connections", max_children=100)
    supervisor.run("listener", listen, connections, port)
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Echo what comes over TCP, on loopback.")
    parser.add_argument("--port", type=int, default=0, choices=range(2**16), metavar="PORT")
    supervisor.main(root, parser.parse_args().port, timeout=60)

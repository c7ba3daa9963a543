"""Keep a hosts file up to date with this machine's network addresses.

The network service of Monogon's example, made real. Its tree:

    root
      network           reads the addresses of the interfaces, sets them in a value
      pipe ┐ a group:   carries the value into a channel
      hosts ┘           writes the hosts file whenever something comes out of the channel
      status            answers each TCP connection on loopback with the present state

With ``--crash-every N`` the runnable ``hosts`` dies after each N writes. Its group restarts: the
pipe with it, over a new channel, while ``network`` and ``status`` go on.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import logging
import math
import os
import socket
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio

import supervisor
from supervisor import NodeState, Signal
from trio_event import MemoryValue, ValueWatch, pipe

try:
    import psutil
except ImportError:
    sys.exit(f"this example needs psutil: type `{sys.executable} -m pip install psutil`")

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

COLOURS = {
    NodeState.NEW: "36",
    NodeState.HEALTHY: "32",
    NodeState.DONE: "34",
    NodeState.DEAD: "31",
    NodeState.CANCELED: "33",
}


@attrs.frozen
class Network:
    """The state of this machine's network at one time."""

    hostname: str
    addresses: tuple[tuple[str, str], ...]
    """Pairs of an interface and one of its addresses."""
    read_at: datetime.datetime

    def hosts(self) -> str:
        """Format it as a hosts file."""
        lines = [f"# read at {self.read_at:%Y-%m-%d %H:%M:%S}"]
        lines += [f"{address}\t{self.hostname} {name}" for name, address in self.addresses]
        return "\n".join(lines) + "\n"


def read_network() -> Network:
    """Ask the operating system for the addresses of all interfaces."""
    addresses = tuple(
        (name, entry.address.partition("%")[0])
        for name, entries in sorted(psutil.net_if_addrs().items())
        for entry in entries
        if entry.family in {socket.AF_INET, socket.AF_INET6}
    )
    return Network(socket.gethostname(), addresses, datetime.datetime.now().astimezone())


async def follow_network(value: MemoryValue[Network], every: float) -> None:
    """Read the addresses again and again, and set them in ``value``."""
    value.set(read_network())
    supervisor.signal(Signal.HEALTHY)
    while True:
        await trio.sleep(every)
        value.set(read_network())


async def write_hosts(
    receive: trio.MemoryReceiveChannel[Network], path: Path, crash_every: int | None
) -> None:
    """Write each state to a hosts file, which is always whole for its readers."""
    writes = 0
    async for network in receive:
        draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
        draft.write_text(network.hosts(), encoding="utf-8")
        draft.replace(path)
        writes += 1
        if writes == 1:
            supervisor.signal(Signal.HEALTHY)
        if writes == crash_every:
            msg = f"crash after {writes} writes, as --crash-every demands"
            raise RuntimeError(msg)


async def serve_status(value: ValueWatch[Network], port: int) -> None:
    """Answer each connection with the present state."""
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            with (
                value.watch() as watcher,
                trio.move_on_after(30),
                contextlib.suppress(trio.BrokenResourceError),  # the client is gone
            ):
                await stream.send_all((await watcher.get()).hosts().encode())

    print(f"status on 127.0.0.1:{port}", flush=True)
    supervisor.signal(Signal.HEALTHY)
    await trio.serve_listeners(answer, listeners)


async def root(arguments: argparse.Namespace) -> None:
    """Start everything, and be done."""
    network: MemoryValue[Network] = MemoryValue()

    def group() -> Mapping[str, Callable[[], Awaitable[None]]]:
        send, receive = trio.open_memory_channel[Network](0)
        return {
            "pipe": pipe(network, send),
            "hosts": partial(write_hosts, receive, arguments.file, arguments.crash_every),
        }

    supervisor.run("network", follow_network, network, arguments.every)
    supervisor.run_group(group)
    supervisor.run("status", serve_status, network, arguments.port)
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


class Printer:
    """Prints each change of a node's state, in colour on a terminal."""

    def __init__(self) -> None:
        """Begin to count the seconds."""
        self._start = trio.current_time()
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def notify_node_state(self, dn: str, state: NodeState) -> None:
        """Print the state."""
        text = f"{state.name:8}"
        if self._colour:
            text = f"\033[{COLOURS[state]}m{text}\033[0m"
        print(f"{trio.current_time() - self._start:6.2f} s  {text}  {dn}", flush=True)

    def notify_node_gone(self, dn: str) -> None:
        """Print that the node has vanished."""
        print(f"{trio.current_time() - self._start:6.2f} s  gone      {dn}", flush=True)


async def main(arguments: argparse.Namespace) -> None:
    """Run the tree for as long as the arguments say."""
    print(f"hosts file {arguments.file}", flush=True)
    with trio.move_on_after(arguments.seconds):
        await supervisor.supervise(root, arguments, metrics=Printer())


def positive(text: str) -> float:
    """Parse a number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value > 0:
        msg = f"{text!r} is not a number of seconds above 0"
        raise argparse.ArgumentTypeError(msg)
    return value


def whole(text: str) -> int:
    """Parse a number of writes."""
    if not (text.isascii() and text.isdigit() and int(text)):
        msg = f"{text!r} is not a whole number above 0"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def port(text: str) -> int:
    """Parse a TCP port."""
    if not (text.isascii() and text.isdigit() and int(text) < 2**16):
        msg = f"{text!r} is not a port from 0 to 65535"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def file(text: str) -> Path:
    """Parse the path of a file that may be written."""
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        msg = f"{text!r} is not a file in an existing directory"
        raise argparse.ArgumentTypeError(msg)
    return path


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Keep a hosts file up to date with this machine's addresses."
    )
    parser.add_argument(
        "--crash-every", type=whole, metavar="N", help="let the writer die after each N writes"
    )
    parser.add_argument(
        "--seconds", type=positive, default=math.inf, metavar="S", help="end after S seconds"
    )
    parser.add_argument(
        "--every",
        type=positive,
        default=0.5,
        metavar="S",
        help="read the addresses every S seconds",
    )
    parser.add_argument(
        "--file",
        type=file,
        default=Path(tempfile.gettempdir()) / "trio-supervisor-example-hosts",
        metavar="PATH",
        help="the hosts file to write",
    )
    parser.add_argument(
        "--port", type=port, default=0, metavar="P", help="where to answer; 0 takes a free one"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    logging.basicConfig(format="          %(levelname)s %(message)s")
    try:
        trio.run(main, parse())
    except KeyboardInterrupt:
        print("stopped by Ctrl-C")

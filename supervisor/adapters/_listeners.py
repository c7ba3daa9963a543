"""What servers listen on: sockets of their own, or duplicates of the caller's (S24).

A server that makes its sockets anew closes them when it stops, so its port is free when its node
has ended. Between two incarnations nobody listens, and a client that connects then is refused. So a
caller may bring sockets that are listening already, such as those of socket activation. Each
incarnation uses duplicates, and closes these only: connections that come meanwhile wait in the
backlog of the caller's socket.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, final

import attrs
import trio

from ._arguments import check_port, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

BACKLOG: Final = socket.SOMAXCONN
"""How many connections wait in a listener; the operating system may allow fewer."""


@final
@attrs.frozen
class Listening:
    """Where a server listens: at a host and a port, or on sockets of the caller's."""

    host: str
    port: int
    sockets: tuple[socket.socket, ...]

    async def open(self) -> list[socket.socket]:
        """Make the sockets for one incarnation, which are listening.

        Raises:
            OSError: if that can't be; it names the address.
        """
        if self.sockets:
            await trio.lowlevel.checkpoint()
            return [each.dup() for each in self.sockets]
        try:
            listeners = await trio.open_tcp_listeners(self.port, host=self.host, backlog=BACKLOG)
        except OSError as error:
            msg = f"can't listen on {address((self.host, self.port))}: {error.strerror or error}"
            raise OSError(error.errno, msg) from error
        return [socket.socket(fileno=each.socket.detach()) for each in listeners]


def check_listening(adapter: str, host: object, port: object, sockets: object) -> Listening:
    """Check where a server is to listen, at the call (S2)."""
    if not isinstance(host, str):
        msg = f"{adapter}(): host={shown(host)} is not a host: pass a str, such as '127.0.0.1'"
        raise TypeError(msg)
    port = check_port(adapter, "port", port)
    return Listening(host, port, () if sockets is None else _check_sockets(adapter, sockets))


def _check_sockets(adapter: str, sockets: object) -> tuple[socket.socket, ...]:
    wanted = "pass sockets that are listening"
    if not isinstance(sockets, Iterable):
        msg = f"{adapter}(): sockets={shown(sockets)} are no sockets: {wanted}"
        raise TypeError(msg)
    checked: list[socket.socket] = []
    for each in sockets:
        if not isinstance(each, socket.socket):
            msg = f"{adapter}(): sockets= has {shown(each)}, which is no socket: {wanted}"
            raise TypeError(msg)
        # The second is true of a stream's socket only.
        if each.fileno() < 0 or not each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            msg = f"{adapter}(): sockets= has {shown(each)}, which does not listen: {wanted}"
            raise ValueError(msg)
        checked.append(each)
    if not checked:
        msg = f"{adapter}(): sockets= is empty: {wanted}"
        raise ValueError(msg)
    return tuple(checked)


def address(name: object) -> str:
    """Write the address of a socket as one text: a host and a port, or the path of a file."""
    if isinstance(name, tuple):
        host, port = name[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"unix:{name}"


def addresses(sockets: Sequence[socket.socket]) -> str:
    """Write the addresses of several sockets as one text."""
    return ", ".join(address(each.getsockname()) for each in sockets)

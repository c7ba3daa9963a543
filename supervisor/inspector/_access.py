"""Who may ask, and who may act (S37).

A Unix socket is this user's and root's. A TCP port of the loopback interface is open to all users
of the machine, and to each page in their browsers. So there, a request needs the token, which only
the process's own output has. The header ``Host`` has to name the port. A page may have a name
that resolves to 127.0.0.1: its ``Host`` is that name, and is refused. The ``Origin`` of a page has
to be the port itself.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import secrets
import socket
from typing import TYPE_CHECKING, Final, Literal, final

import attrs

from supervisor._core._arguments import check_address, shown
from supervisor._http._messages import Response

from ._unix import peer_uid

if TYPE_CHECKING:
    import trio

    from supervisor._http._messages import Request

Control = bool | Literal["http"]


@final
@attrs.frozen
class Address:
    """Where the HTTP port is to be."""

    host: str
    port: int


def check_loopback(http: object) -> Address | None:
    """Return the host and the port of ``HOST:PORT``.

    Raises:
        TypeError: if it is no text.
        ValueError: if it has another form, or the host is not this machine's loopback interface.
    """
    if http is None:
        return None
    host, port = check_address("http", http, "127.0.0.1:8007")
    if host == "localhost":
        host = "127.0.0.1"
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        msg = (
            f"http={shown(http)}: the inspector listens on the loopback interface only, such as "
            "127.0.0.1: put a proxy before it that knows its users"
        )
        raise ValueError(msg)
    return Address(host, port)


def check_control(control: object) -> Control:
    """Return ``control`` if it is one of its three values.

    Raises:
        ValueError: if it is none of them.
    """
    if control is True or control is False or control == "http":
        return control
    msg = f"control={shown(control)} is not True, False or 'http'"
    raise ValueError(msg)


@final
class Access:
    """What a client has to show, and what it may do."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._hosts: frozenset[str] = frozenset()
        self.token: Final = secrets.token_urlsafe(16)

    def open_port(self, host: str, port: int) -> str:
        """Admit requests to this port from now on; return the address for a browser."""
        literal = f"[{host}]" if ":" in host else host
        self._hosts = frozenset(f"{name}:{port}" for name in (literal, "localhost"))
        return f"http://{literal}:{port}/#token={self.token}"

    def admit(self, connection: trio.socket.SocketType) -> Response | None:
        """Refuse another user's process that has got to the Unix socket."""
        if connection.family != socket.AF_UNIX:
            return None
        uid = peer_uid(connection)  # type: ignore[arg-type]  # Trio's sockets have getsockopt()
        if uid is None or uid in {0, os.getuid()}:
            return None
        return Response(403, f"this socket is for the user {os.getuid()}, not {uid}\n".encode())

    def refusal_of(self, request: Request) -> str | None:
        """Return why a request that came to the port is refused, before anything is answered."""
        if request.is_local:
            return None
        if request.headers.get("host") not in self._hosts:
            return "the header Host does not name this port"
        origin = request.headers.get("origin")
        if origin is not None and origin.removeprefix("http://") not in self._hosts:
            return "the header Origin names another site"
        return None

    def has_token(self, request: Request) -> bool:
        """Return whether a request may see the tree."""
        if request.is_local:
            return True
        given = request.headers.get("authorization", "")
        wanted = f"Bearer {self.token}"
        return hmac.compare_digest(given.encode(), wanted.encode())

    def may_control(self, request: Request) -> bool:
        """Return whether a request may act on the tree."""
        return self._control == "http" or (self._control is True and request.is_local)

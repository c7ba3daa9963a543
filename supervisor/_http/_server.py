"""A small HTTP/1.1 server: h11 for the protocol, and limits that keep its clients harmless (S37).

It runs in the loop of the process that it shows, so no client may cost that much:

- At most ``CLIENTS`` are served at a time. Another one gets the status 503, and so it does from a
  server that *makes room* if all of them have sent a request that has no answer yet. Otherwise
  such a server drops one: the oldest that has not sent its request, or else the oldest that has not
  taken its answer. So clients that only connect keep nobody out.
- A client that is refused has ``SEND_TIME`` to take that, at most ``REFUSED`` at a time. What it
  sends is discarded: if it was left unread, the close would be a reset, which may overtake the
  answer.
- The head and the body of a request have at most ``REQUEST_SIZE`` bytes each, and have to be there
  within ``REQUEST_TIME``. A connection that stays without a request for so long is closed.
- A client that does not take a piece of ``PIECE`` bytes within ``SEND_TIME`` is dropped. No send
  waits longer, and nothing is shielded: a cancellation ends all clients at once.
- An ``Exception`` of the handler ends that client only. It is counted and reported.

To drop a client is to cancel its scope. So what handles its request needs no code for a client that
is gone: it ends at the send, like any other task that is cancelled.

Rejected: Hypercorn with Starlette. Hypercorn sends in a shield without a limit, so that one client
that does not read would make the server unstoppable; a Unix socket has no timeout of its own. It
takes 300 ms to import, h11 takes 40.
"""

from __future__ import annotations

import errno
from operator import attrgetter
from typing import TYPE_CHECKING, final

import trio

from supervisor._extras import needs

from ._limits import CLIENTS, REFUSED, REQUEST_TIME
from ._messages import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ._client import Client
    from ._messages import Handler


@final
class HttpServer:
    """Serves HTTP/1.1 on sockets that listen."""

    def __init__(
        self,
        handle: Handler,
        *,
        function: str,
        report: Callable[[Exception], object],
        admit: Callable[[trio.socket.SocketType], Response | None] = lambda _: None,
        request_time: float = REQUEST_TIME,
        makes_room: bool = False,
    ) -> None:
        """Serve nothing yet.

        Args:
            handle: Is called with each request, in a task of its client's, and returns the answer.
            function: The user's function that makes this server: for the error below.
            report: Is called with what ``handle`` has raised.
            admit: Is called with the socket of each client before anything is read from it, and
                returns the answer if the client is refused.
            request_time: Seconds within which each request has to be there.
            makes_room: Whether one client is dropped for another one when there are too many.

        Raises:
            ImportError: if h11 is not installed.
        """
        with needs(f"{function}()", "h11", extra="inspect"):
            from ._client import Client  # noqa: PLC0415  it is an extra
        self._client_class = Client
        self._handle = handle
        self._report = report
        self._admit = admit
        self._request_time = request_time
        self._makes_room = makes_room
        self._clients: dict[Client, None] = {}  # the oldest first
        self._refused = 0
        self.faults: int = 0
        """How many exceptions have ended a client."""

    @property
    def clients(self) -> int:
        """How many are served now."""
        return len(self._clients)

    async def serve(self, listeners: Iterable[trio.SocketListener]) -> None:
        """Serve clients until this is cancelled; the listeners are closed then."""
        await trio.serve_listeners(self._serve, list(listeners))

    async def _serve(self, stream: trio.SocketStream) -> None:
        client = self._client_class(stream, self._handle, self._failed, self._request_time)
        try:
            refusal = self._admit(stream.socket)
            if refusal is None and not self._has_room():
                refusal = Response(503, f"{CLIENTS} clients are connected already\n".encode())
            if refusal is not None:
                await self._refuse(client, refusal)
                return
            self._clients[client] = None
            try:
                await client.serve()
            finally:
                self._clients.pop(client, None)
        except Exception as error:  # noqa: BLE001  it is reported
            self._failed(error)
        finally:
            await trio.aclose_forcefully(stream)

    def _has_room(self) -> bool:
        """Return whether a client can be served, for which another one may be dropped."""
        if len(self._clients) < CLIENTS:
            return True
        first = min(self._clients, key=attrgetter("stage"))  # of several, the oldest
        if not self._makes_room or first.is_handled:
            return False
        first.drop()
        del self._clients[first]
        return True

    async def _refuse(self, client: Client, response: Response) -> None:
        self._refused += 1
        try:
            await client.refuse(response, lingers=self._refused <= REFUSED)
        finally:
            self._refused -= 1

    def _failed(self, error: Exception) -> None:
        self.faults += 1
        self._report(error)


async def open_port(host: str, port: int) -> list[trio.SocketListener]:
    """Listen on a TCP port; a name may stand for several addresses.

    Raises:
        OSError: if that is not possible.
    """
    message = f"can't listen on {authority(host, port)}: "
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise OSError(error.errno, message + (error.strerror or str(error))) from error
    except ValueError as error:  # of the codec for names, or of a NUL in one
        raise OSError(errno.EINVAL, f"{message}{error}") from error


def authority(host: str, port: int) -> str:
    """Return host and port as one text, as they are written in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

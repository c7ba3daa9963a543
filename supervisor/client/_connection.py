"""Requests to the inspector of a running service."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple, final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

Json = Any
"""What an inspector has answered."""

ANSWER_TIME: Final = 30.0
"""Seconds within which something of an answer has to come; streams say something every 15."""


class ConnectionFailedError(Exception):
    """There is no answer. The text says from where, and why."""


class NotInspectorError(ConnectionFailedError):
    """What has answered is no inspector."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"what listens at {path} is no inspector")


class RefusalError(Exception):
    """The inspector has refused a request, and says why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status: int = status


def page_of(dn: str, part: str = "") -> str:
    """Return the path of what an inspector tells of a node."""
    # What came from the command line may be no text; the inspector refuses it.
    return f"/v1/nodes/{quote(dn, safe='', errors='surrogateescape')}{part}"


class ServerEvent(NamedTuple):
    """An event of a stream."""

    name: str
    data: Json
    number: str | None


@final
class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_TIME)
        self._path: Final = path
        # Of its own: http.client forgets the socket while the answer is still read from it.
        self._socket: socket.socket | None = None
        self._is_hung_up = False

    def connect(self) -> None:
        self.sock = self._socket = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
        # Asked after the attribute was set, and looked at there before it is shut down: whichever
        # thread comes second sees what the other one did.
        if self._is_hung_up:
            msg = "hung up"
            raise ConnectionAbortedError(msg)

    def hang_up(self) -> None:
        """End what waits for this connection, in whatever thread."""
        self._is_hung_up = True
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it is not connected yet, or closed
                self._socket.shutdown(socket.SHUT_RDWR)


@final
class Service:
    """A running service, by the socket of its inspector."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self._lock: Final = threading.Lock()
        self._connections: Final[set[_UnixConnection]] = set()
        self._is_hung_up = False

    def hang_up(self) -> None:
        """End each request, in whatever thread it waits, and let no further one be sent.

        They raise :exc:`ConnectionFailedError`.
        """
        with self._lock:
            self._is_hung_up = True
            for connection in self._connections:
                connection.hang_up()

    def get(self, target: str, *fields: str) -> Json:
        """Return the answer to a ``GET``.

        Args:
            target: What is asked for.
            fields: What the answer of an inspector has at least.

        Raises:
            ConnectionFailedError: if there is none, or not that of an inspector.
            RefusalError: if it is an error.
        """
        return self._ask("GET", target, fields)

    def post(self, target: str, *fields: str) -> Json:
        """Return the answer to a ``POST``; as :meth:`get`."""
        return self._ask("POST", target, fields)

    @contextlib.contextmanager
    def events(self, target: str, after: str | None = None) -> Iterator[Iterator[ServerEvent]]:
        """Open a stream; yield its events, as they come.

        They end when the stream ends, and also where it breaks off, as it does when the service is
        killed: the two look alike.

        Args:
            target: The stream.
            after: The number of the last event that was seen.

        Raises:
            ConnectionFailedError: if there is no answer, or not that of an inspector. The events
                raise it if nothing has come for ``ANSWER_TIME``, or it was hung up.
            RefusalError: if there is no such stream.
        """
        headers = {} if after is None else {"Last-Event-ID": after}
        with self._sent("GET", target, headers) as response:
            if response.headers.get_content_type() != "text/event-stream":
                raise NotInspectorError(self.path)
            yield self._events(response)

    def _events(self, response: http.client.HTTPResponse) -> Iterator[ServerEvent]:
        fields: dict[str, str] = {}
        with self._named():
            while raw := response.readline():
                name, found, text = raw.decode().rstrip("\n").partition(": ")
                if found and name:  # a comment has no name
                    fields[name] = text
                elif fields:
                    try:
                        name, data = fields["event"], json.loads(fields["data"])
                    except (KeyError, ValueError):
                        raise NotInspectorError(self.path) from None
                    yield ServerEvent(name, data, fields.get("id"))
                    fields = {}

    def _ask(self, method: str, target: str, fields: Sequence[str]) -> Json:
        with self._sent(method, target, {}) as response, self._named():
            data = response.read()
        try:
            answer = json.loads(data)
        except ValueError:
            raise NotInspectorError(self.path) from None
        if isinstance(answer, dict) and answer.keys() >= set(fields):
            return answer
        raise NotInspectorError(self.path)

    @contextlib.contextmanager
    def _sent(
        self, method: str, target: str, headers: dict[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request; yield the answer if it is good."""
        with self._connection() as connection:
            with self._named():
                with contextlib.suppress(BrokenPipeError):  # refused; the answer says why
                    connection.request(method, target, headers=headers)
                response = connection.getresponse()
                if response.status >= http.client.BAD_REQUEST:
                    raise RefusalError(response.status, _reason(response))
            yield response

    @contextlib.contextmanager
    def _connection(self) -> Iterator[_UnixConnection]:
        """Make a connection that can be hung up, and close it."""
        connection = _UnixConnection(self.path)
        with self._lock:
            self._connections.add(connection)
            if self._is_hung_up:
                connection.hang_up()
        try:
            yield connection
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Name the socket in errors of the connection."""
        try:
            yield
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            msg = f"no answer from {self.path}: {why}"
            raise ConnectionFailedError(msg) from None


def _reason(response: http.client.HTTPResponse) -> str:
    text = response.read().decode(errors="replace").strip()
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text

"""Requests to the inspector of a running service."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from typing import TYPE_CHECKING, Any, Final, NamedTuple, final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Json = Any
"""What an inspector has answered."""

ANSWER_TIME: Final = 30.0
"""Seconds within which something of an answer has to come; streams say something every 15."""


class ConnectionFailedError(Exception):
    """There is no answer. The text says from where, and why."""


class RefusalError(Exception):
    """The inspector has refused a request, and says why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status: int = status


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

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@final
class Service:
    """A running service, by the socket of its inspector."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path

    def get(self, target: str) -> Json:
        """Return the answer to a ``GET``.

        Raises:
            ConnectionFailedError: if there is none.
            RefusalError: if it is an error.
        """
        return self._ask("GET", target)

    def post(self, target: str) -> Json:
        """Return the answer to a ``POST``; as :meth:`get`."""
        return self._ask("POST", target)

    def events(self, target: str, after: str | None = None) -> Iterator[ServerEvent]:
        """Walk through the events of a stream until it ends.

        Args:
            target: The stream.
            after: The number of the last event that was seen.

        Raises:
            ConnectionFailedError: if it breaks off, as it does when the service ends.
            RefusalError: if there is no such stream.
        """
        headers = {} if after is None else {"Last-Event-ID": after}
        with self._sent("GET", target, headers) as response, self._named():
            fields: dict[str, str] = {}
            while raw := response.readline():
                name, found, text = raw.decode().rstrip("\n").partition(": ")
                if found and name:  # a comment has no name
                    fields[name] = text
                elif fields:
                    data = json.loads(fields["data"])
                    yield ServerEvent(fields["event"], data, fields.get("id"))
                    fields = {}

    def _ask(self, method: str, target: str) -> Json:
        with self._sent(method, target, {}) as response, self._named():
            return json.loads(response.read())

    @contextlib.contextmanager
    def _sent(
        self, method: str, target: str, headers: dict[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request; yield the answer if it is good."""
        connection = _UnixConnection(self.path)
        with contextlib.closing(connection):
            with self._named():
                with contextlib.suppress(BrokenPipeError):  # refused; the answer says why
                    connection.request(method, target, headers=headers)
                response = connection.getresponse()
                if response.status >= http.client.BAD_REQUEST:
                    raise RefusalError(response.status, _reason(response))
            yield response

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

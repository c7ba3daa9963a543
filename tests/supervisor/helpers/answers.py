"""What listens at the socket of an inspector, and gives the answers that a test has written."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    Json = Any


def answer(body: Json, status: int = 200) -> bytes:
    """Return an answer that is JSON."""
    data = json.dumps(body).encode()
    return (
        b"HTTP/1.1 %d \r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        b"Connection: close\r\n\r\n%b" % (status, len(data), data)
    )


def stream(*events: tuple[str, Json]) -> bytes:
    """Return a stream of events that have a name and data, which ends after them."""
    told = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events)
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    return f"{head}: follows\n\n{told}".encode()


@contextlib.contextmanager
def answering(path: Path, answers: Iterable[bytes]) -> Iterator[None]:
    """Give each request the next of some answers; hang up when there are no more."""
    rest = iter(answers)

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # the test is over
            with client, contextlib.suppress(OSError):  # who asked has seen enough
                asked = b""
                while (data := client.recv(65536)) and b"\r\n\r\n" not in (asked := asked + data):
                    pass
                if data:  # otherwise it asks nothing, but whether anybody listens
                    client.sendall(next(rest, b""))

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()

"""What a client has got over HTTP."""

from __future__ import annotations

import h11


def answer_of(client: h11.Connection, data: bytes) -> tuple[h11.Response, bytes]:
    """Return the head and the body of an answer, behind which the connection was closed."""
    client.receive_data(data)
    client.receive_data(b"")
    head = client.next_event()
    assert isinstance(head, h11.Response)
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    return head, body

"""What a server gets and answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import final

import attrs

TEXT = "text/plain; charset=utf-8"

Send = Callable[[bytes], Awaitable[None]]
"""Sends a part of a body. If the client is gone or too slow, the task that calls is cancelled."""


@final
@attrs.frozen(kw_only=True)
class Request:
    """What a client has sent, all of it."""

    method: str
    path: str
    """Without the query; what was escaped by ``%`` is decoded."""
    query: Mapping[str, str]
    """The parameters after ``?``, decoded; of several with one name the last."""
    headers: Mapping[str, str]
    """By lower-case name; several of one name are joined by commas."""
    body: bytes
    is_local: bool
    """It came over a Unix socket, and so from a process on this machine."""


@final
@attrs.frozen
class Response:
    """An answer that is known as a whole."""

    status: int
    body: bytes = b""
    content_type: str = attrs.field(default=TEXT, kw_only=True)
    headers: Sequence[tuple[str, str]] = attrs.field(default=(), kw_only=True)


@final
@attrs.frozen
class StreamedResponse:
    """An answer that is made while it is sent: a long list, or events as they happen.

    The connection is closed after it.
    """

    send_body: Callable[[Send], Awaitable[object]]
    """Sends the body part by part. It is cancelled when the client hangs up."""
    content_type: str = attrs.field(kw_only=True)
    status: int = attrs.field(default=200, kw_only=True)
    headers: Sequence[tuple[str, str]] = attrs.field(default=(), kw_only=True)


Handler = Callable[[Request], Awaitable[Response | StreamedResponse]]

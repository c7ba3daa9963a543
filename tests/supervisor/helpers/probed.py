"""Trees with a server of probes beside them, and a client that asks it."""

from __future__ import annotations

import contextlib
import logging
import re
from typing import TYPE_CHECKING, Any

import attrs
import h11
import trio

import supervisor
from supervisor import Signal
from supervisor.health import health_server
from supervisor.testing import open_harness

from .http import answer_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import pytest

    from supervisor import Supervisor

WHERE = re.compile(r"probes are answered at 127\.0\.0\.1:(\d+)")


@attrs.frozen
class Answer:
    """What a client gets."""

    status: int
    text: str
    headers: dict[str, str]


async def ask(port: int, target: str, *, method: str = "GET", closes: bool = False) -> Answer:
    """Ask a server. It has to close the connection by itself, unless the client asks for that."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        client = h11.Connection(h11.CLIENT)
        headers = [("host", "x"), *([("connection", "close")] if closes else [])]
        head = h11.Request(method=method, target=target, headers=headers)
        await stream.send_all(client.send(head) + client.send(h11.EndOfMessage()))
        answer, body = answer_of(client, b"".join([part async for part in stream]))
    named = {name.decode(): value.decode() for name, value in answer.headers}
    return Answer(answer.status_code, body.decode(), named)


@contextlib.asynccontextmanager
async def open_probed(
    root: Callable[[], Awaitable[object]],
    caplog: pytest.LogCaptureFixture,
    **options: Any,  # noqa: ANN401  as health_server() has them
) -> AsyncIterator[tuple[Supervisor, int]]:
    """Run a tree, and a server of its probes in a tree beside it; yield the server's port."""
    async with (
        open_harness(root, patience=60.0) as tree,
        open_beside(health_server(tree, port=0, **options), caplog) as (_, port),
    ):
        yield tree, port


@contextlib.asynccontextmanager
async def open_beside(
    runnable: Callable[[], Awaitable[object]], caplog: pytest.LogCaptureFixture
) -> AsyncIterator[tuple[Supervisor, int]]:
    """Run a server of probes in a tree of its own; yield that tree, and the server's port."""
    caplog.set_level(logging.INFO, "supervisor")

    async def sidecars() -> None:
        supervisor.run("health", runnable)
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async with supervisor.open_supervisor(sidecars) as beside:
        await beside.wait_ready()
        told = [found for text in caplog.messages if (found := WHERE.match(text))]
        yield beside, int(told[-1][1])

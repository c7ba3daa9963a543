"""Trees with an inspector beside them, and a client that asks it."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

import h11
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Signal
from supervisor.inspector import inspector
from supervisor.testing import open_harness

from .http import answer_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from supervisor import Supervisor

Json = Any
"""What a test reads of an answer."""


class Asker:
    """A client of an inspector, which connects anew for each request."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self.port: int | None = None
        self.headers: dict[str, str] = {"host": "localhost"}

    async def connect(self) -> trio.SocketStream:
        if self.port is not None:
            return await trio.open_tcp_stream("127.0.0.1", self.port)
        return await trio.open_unix_socket(self.path)

    async def ask(
        self, target: str, *, method: str = "GET", headers: dict[str, str] | None = None
    ) -> tuple[int, Json]:
        """Return the status and the body, as JSON."""
        async with await self.connect() as stream:
            client = await self.send(stream, target, method, headers)
            head, body = answer_of(client, b"".join([part async for part in stream]))
        return head.status_code, json.loads(body)

    async def get(self, target: str) -> Json:
        """Return the body of an answer that has to be good."""
        status, body = await self.ask(target)
        assert status == 200, body
        return body

    async def send(
        self,
        stream: trio.SocketStream,
        target: str,
        method: str = "GET",
        headers: dict[str, str] | None = None,
    ) -> h11.Connection:
        client = h11.Connection(h11.CLIENT)
        all_headers = {**self.headers, "connection": "close", **(headers or {})}
        head = h11.Request(method=method, target=target, headers=list(all_headers.items()))
        data = client.send(head) + client.send(h11.EndOfMessage())
        await stream.send_all(data)
        return client

    @contextlib.asynccontextmanager
    async def stream(self, target: str, **headers: str) -> AsyncIterator[Events]:
        """Open a stream of events."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with await self.connect() as stream:
            yield Events(stream, await self.send(stream, target, headers=sent))


class Events:
    """The events of a stream, as they come."""

    def __init__(self, stream: trio.SocketStream, client: h11.Connection) -> None:
        self.stream: Final = stream
        self._client: Final = client
        self._text = ""

    async def next(self) -> tuple[str, Json, str | None]:
        """Return the name, the data and the number of the next event."""
        while True:
            block, found, rest = self._text.partition("\n\n")
            if found:
                self._text = rest
                fields = dict(line.split(": ", 1) for line in block.splitlines())
                if "event" in fields:
                    return fields["event"], json.loads(fields["data"]), fields.get("id")
                continue
            event = self._client.next_event()
            if event is h11.NEED_DATA:
                data = await self.stream.receive_some(65536)
                self._client.receive_data(data)
            elif isinstance(event, h11.Data):
                self._text += event.data.decode()
            else:
                assert isinstance(event, h11.Response), event

    async def until(self, name: str) -> Json:
        """Return the data of the next event of that name."""
        while True:
            found, data, _ = await self.next()
            if found == name:
                return data


@contextlib.asynccontextmanager
async def open_inspected(
    root: Callable[[], Awaitable[object]],
    path: Path,
    **options: Any,  # noqa: ANN401  as inspector() has them
) -> AsyncIterator[tuple[Supervisor, Asker]]:
    """Run a tree, and an inspector in a tree beside it."""
    async with open_harness(root, patience=60.0) as tree, open_beside(tree, path, **options) as ask:
        yield tree, ask


@contextlib.asynccontextmanager
async def open_beside(
    tree: Supervisor,
    path: Path,
    **options: Any,  # noqa: ANN401  as inspector() has them
) -> AsyncIterator[Asker]:
    """Run the inspector of a tree in another one."""
    runnable = inspector(tree, path=path, **options)

    async def sidecars() -> None:
        supervisor.run("inspector", runnable)
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async with supervisor.open_supervisor(sidecars) as beside:
        await beside.wait_ready()
        await wait_all_tasks_blocked()
        yield Asker(path)

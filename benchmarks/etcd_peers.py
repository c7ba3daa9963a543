"""Other ways from Trio to etcd, where they are installed.

``aetcd`` is a client for asyncio, and runs here under trio-asyncio. The JSON gateway is a part of
etcd that any HTTP client can use, here httpx. A watch there is a request of its own, whose answer
does not end.
"""

from __future__ import annotations

import base64
import importlib.util
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager

    T = TypeVar("T")
    Open = Callable[[str], AbstractAsyncContextManager[T]]
    Peers = dict[str, Open["Client"]]


class Putter(Protocol):
    """A client that puts."""

    async def put(self, key: bytes, value: bytes) -> object:
        """Put data under a key."""


class Client(Putter, Protocol):
    """A client that watches, too."""

    def watch(self, key: bytes) -> AbstractAsyncContextManager[Callable[[], Any]]:
        """Watch a key; what is yielded takes the next event."""


class Aetcd:
    """aetcd, under trio-asyncio."""

    def __init__(self, client: Any) -> None:
        self._client = client

    @classmethod
    @asynccontextmanager
    async def open(cls, endpoint: str) -> AsyncGenerator[Client, None]:
        import aetcd
        import trio_asyncio

        host, _, port = endpoint.partition(":")
        async with trio_asyncio.open_loop():
            client = aetcd.Client(host, int(port))
            await trio_asyncio.aio_as_trio(client.connect)()
            try:
                yield cls(client)
            finally:
                await trio_asyncio.aio_as_trio(client.close)()

    async def put(self, key: bytes, value: bytes) -> object:
        import trio_asyncio

        return await trio_asyncio.aio_as_trio(self._client.put)(key, value)

    @asynccontextmanager
    async def watch(self, key: bytes) -> AsyncGenerator[Callable[[], Any], None]:
        import trio_asyncio

        watch = await trio_asyncio.aio_as_trio(self._client.watch)(key)
        events = aiter(watch)
        yield trio_asyncio.aio_as_trio(events.__anext__)
        await trio_asyncio.aio_as_trio(watch.cancel)()
        await trio_asyncio.aio_as_trio(events.aclose)()


class JsonGateway:
    """etcd's JSON gateway, by httpx."""

    def __init__(self, client: Any) -> None:
        self._client = client

    @classmethod
    @asynccontextmanager
    async def open(cls, endpoint: str) -> AsyncGenerator[Client, None]:
        import httpx

        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=f"http://{endpoint}", limits=limits) as client:
            yield cls(client)

    async def put(self, key: bytes, value: bytes) -> object:
        answer = await self._client.post(
            "/v3/kv/put", json={"key": text(key), "value": text(value)}
        )
        return answer.raise_for_status().json()

    @asynccontextmanager
    async def watch(self, key: bytes) -> AsyncGenerator[Callable[[], Any], None]:
        create = {"create_request": {"key": text(key)}}
        async with self._client.stream("POST", "/v3/watch", json=create, timeout=None) as answer:
            lines = answer.aiter_lines()

            async def take() -> object:
                return json.loads(await anext(lines))

            await take()  # the watch is created
            yield take
            await lines.aclose()


def text(data: bytes) -> str:
    """Write bytes as the gateway wants them."""
    return base64.b64encode(data).decode()


PEERS: dict[str, tuple[str, Open[Client]]] = {
    "aetcd": ("aetcd", Aetcd.open),
    "JSON": ("httpx", JsonGateway.open),
}


def installed() -> Peers:
    """Return how to open each peer that is installed."""
    return {
        name: open_
        for name, (module, open_) in PEERS.items()
        if importlib.util.find_spec(module) is not None
    }


def missing() -> list[str]:
    """Return the peers that are not installed."""
    return [name for name in PEERS if name not in installed()]

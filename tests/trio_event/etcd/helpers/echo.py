"""A gRPC server of a test's own, which does what a test says: the other end of the transport."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

import grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Context = grpc.ServicerContext

UNARY = "/test/Unary"
STREAM = "/test/Stream"
HEALTH = "/grpc.health.v1.Health/Check"


@final
class _Handlers(grpc.GenericRpcHandler):
    def __init__(
        self,
        unary: Callable[[bytes, Context], bytes] | None,
        stream: Callable[[Iterator[bytes], Context], Iterator[bytes]] | None,
        *,
        has_health: bool,
    ) -> None:
        self._handlers: dict[str, Any] = {}
        if unary is not None:
            self._handlers[UNARY] = grpc.unary_unary_rpc_method_handler(unary)
        if stream is not None:
            self._handlers[STREAM] = grpc.stream_stream_rpc_method_handler(stream)
        if has_health:
            self._handlers[HEALTH] = grpc.unary_unary_rpc_method_handler(lambda *_: b"\x08\x01")

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:  # noqa: ANN401  as there
        return self._handlers.get(handler_call_details.method)


@contextmanager
def serving(
    *,
    unary: Callable[[bytes, Context], bytes] | None = None,
    stream: Callable[[Iterator[bytes], Context], Iterator[bytes]] | None = None,
    has_health: bool = False,
    streams: int | None = None,
) -> Iterator[str]:
    """Serve, and yield the endpoint. The functions run in threads.

    Args:
        unary: Answers :data:`UNARY`.
        stream: Answers :data:`STREAM`.
        has_health: Whether the server knows :data:`HEALTH`, as etcd does.
        streams: How many calls and streams it admits for each connection.
    """
    with ThreadPoolExecutor(8) as threads:
        handlers = _Handlers(unary, stream, has_health=has_health)
        options = [] if streams is None else [("grpc.max_concurrent_streams", streams)]
        server = grpc.server(threads, handlers=[handlers], options=options)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()

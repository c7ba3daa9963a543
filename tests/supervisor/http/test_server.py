"""The HTTP server that shows a process: what it answers, and what it bears from its clients."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import h11
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisor._http._limits import (
    CLIENTS,
    PIECE,
    REFUSED,
    REQUEST_SIZE,
    REQUEST_TIME,
    SEND_TIME,
)
from supervisor._http._messages import Request, Response, Send, StreamedResponse
from supervisor._http._server import HttpServer

from ..helpers.http import answer_of

if TYPE_CHECKING:
    from pathlib import Path

GET: Final = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE: Final = b"x" * (64 * PIECE)  # more than any socket keeps


class Site:
    """A server whose answers the test gives, on a Unix socket."""

    def __init__(self, folder: Path, **options: Any) -> None:  # noqa: ANN401  as HttpServer has them
        self.path = str(folder / "s")
        self.answer: Response | StreamedResponse | Exception = Response(200, b"hello")
        self.requests: list[Request] = []
        self.reported: list[Exception] = []
        self.refusal: Response | None = None
        self.server = HttpServer(
            self.handle,
            function="site",
            report=self.reported.append,
            admit=lambda _: self.refusal,
            **options,
        )
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen(2 * (CLIENTS + REFUSED))
        self.listener = trio.SocketListener(trio.socket.from_stdlib_socket(listener))

    async def handle(self, request: Request) -> Response | StreamedResponse:
        self.requests.append(request)
        await trio.lowlevel.checkpoint()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def connect(self) -> trio.SocketStream:
        return await trio.open_unix_socket(self.path)


@pytest.fixture
async def site(
    tmp_path: Path,
    nursery: trio.Nursery,
) -> Site:
    site = Site(tmp_path)
    nursery.start_soon(site.server.serve, [site.listener])
    await wait_all_tasks_blocked()
    return site


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([part async for part in stream])


async def ask(site: Site, request: bytes = GET) -> tuple[int, bytes]:
    """Send a request over a connection of its own; return the status and the body."""
    async with await site.connect() as stream:
        await stream.send_all(request)
        await stream.send_eof()
        return parsed(await read_all(stream))


def parsed(data: bytes, *, method: str = "GET") -> tuple[int, bytes]:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
    client.send(h11.EndOfMessage())
    head, body = answer_of(client, data)
    return head.status_code, body


async def test_a_request_is_read_as_a_whole(site: Site) -> None:
    """Path and parameters are decoded, equal headers joined, and the body is there."""
    request = (
        b"POST /a%20b/%C3%A9?x=1&y=%26&x=2&z HTTP/1.1\r\nHost: h\r\nX: 1\r\nx: 2\r\n"
        b"Content-Length: 4\r\n\r\nbody"
    )
    assert await ask(site, request) == (200, b"hello")
    assert site.requests == [
        Request(
            method="POST",
            path="/a b/é",
            query={"x": "2", "y": "&", "z": ""},
            headers={"host": "h", "x": "1, 2", "content-length": "4"},
            body=b"body",
            is_local=True,
        )
    ]


async def test_a_connection_serves_several_requests(site: Site) -> None:
    """Also if they are all sent before the first is answered."""
    async with await site.connect() as stream:
        await stream.send_all(GET + GET)
        await stream.send_eof()
        assert (await read_all(stream)).count(b"hello") == 2
    assert len(site.requests) == 2


async def test_a_connection_is_closed_where_the_client_asks_for_it(site: Site) -> None:
    """By a header, or by its version."""
    for request in (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
    ):
        async with await site.connect() as stream:
            await stream.send_all(request)
            assert parsed(await read_all(stream)) == (200, b"hello")


async def test_an_answer_says_what_it_is(site: Site) -> None:
    """Nothing may keep it, or take it for something else."""
    site.answer = Response(404, b"no\n", headers=[("x-more", "1")])
    async with await site.connect() as stream:
        await stream.send_all(GET)
        await stream.send_eof()
        head, _, body = (await read_all(stream)).partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0] == "http/1.1 404 not found"
    assert lines[1].startswith("date: ")
    assert lines[2:] == [
        "content-type: text/plain; charset=utf-8",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "x-more: 1",
        "content-length: 3",
    ]
    assert body == b"no\n"


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_an_answer_to_head_has_no_body(site: Site, *, is_streamed: bool) -> None:
    """The header is that of a GET."""

    async def fail(_: Send) -> None:
        raise AssertionError

    if is_streamed:
        site.answer = StreamedResponse(fail, content_type="text/plain")
    async with await site.connect() as stream:
        await stream.send_all(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        await stream.send_eof()
        assert parsed(await read_all(stream), method="HEAD") == (200, b"")
    assert site.reported == []


async def test_a_body_can_be_made_while_it_is_sent(
    site: Site,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """The client sees where it ends, and the connection is closed."""

    async def send_body(send: Send) -> None:
        await send(b"one ")
        await trio.sleep(100)
        await send(b"two")

    site.answer = StreamedResponse(send_body, content_type="text/plain")
    for version in (b"1.1", b"1.0"):
        async with await site.connect() as stream:
            await stream.send_all(b"GET / HTTP/%b\r\nHost: x\r\n\r\n" % version)
            assert parsed(await read_all(stream)) == (200, b"one two")


async def test_a_hang_up_ends_what_makes_a_body(site: Site) -> None:
    """It is cancelled where it waits, and that is no fault."""
    ended = trio.Event()

    async def send_body(send: Send) -> None:
        await send(b"one")
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    site.answer = StreamedResponse(send_body, content_type="text/plain")
    async with await site.connect() as stream:
        await stream.send_all(GET)
        await wait_all_tasks_blocked()
        assert site.server.clients == 1
    await ended.wait()
    await wait_all_tasks_blocked()
    assert site.server.clients == 0
    assert site.server.faults == 0


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_client_that_takes_nothing_is_dropped(
    site: Site,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
    *,
    is_streamed: bool,
) -> None:
    """S37: no send waits longer than SEND_TIME."""

    async def send_body(send: Send) -> None:
        await send(LARGE)

    site.answer = Response(200, LARGE)
    if is_streamed:
        site.answer = StreamedResponse(send_body, content_type="text/plain")
    async with await site.connect() as stream:
        await stream.send_all(GET)
        await trio.sleep(SEND_TIME)
        await wait_all_tasks_blocked()
        assert site.server.clients == 0
        assert len(await read_all(stream)) < len(LARGE)
    assert site.server.faults == 0


async def test_a_slow_client_gets_all(
    site: Site,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """As long as it takes a piece within SEND_TIME."""
    site.answer = Response(200, LARGE)
    began = trio.current_time()
    async with await site.connect() as stream:
        await stream.send_all(GET)
        await stream.send_eof()
        data = b""
        while part := await stream.receive_some(PIECE):
            data += part
            await trio.sleep(SEND_TIME / 10)
    assert trio.current_time() - began > SEND_TIME
    assert data.endswith(LARGE)


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1"]
)
async def test_a_request_has_to_come_within_its_time(
    site: Site,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
    sent: bytes,
) -> None:
    """S37: a connection without one, or with a part of one, is closed."""
    began = trio.current_time()
    async with await site.connect() as stream:
        await stream.send_all(sent)
        assert await read_all(stream) == b""
    assert trio.current_time() - began == REQUEST_TIME
    assert site.requests == []


async def test_a_request_that_trickles_has_no_more_time(
    site: Site,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """The time is that of the whole request."""
    began = trio.current_time()
    async with await site.connect() as stream:
        with pytest.raises(trio.BrokenResourceError):
            await trickle(stream)
    assert trio.current_time() - began <= REQUEST_TIME + 2


async def trickle(stream: trio.SocketStream) -> None:
    """Send a byte a second until the server has closed the connection."""
    while True:
        await stream.send_all(b"x")
        await trio.sleep(1)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x00\xff\xfe garbage\r\n\r\n", 400),
        (b"x" * 1_000_000, 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000, 413),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # without a Host
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /?" + b"&".join([b"a=1"] * 21) + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1", 400),  # and no more
    ],
    ids=["garbage", "line", "header", "body", "no host", "no path", "parameters", "broken off"],
)
async def test_what_is_no_request_is_refused(site: Site, request_: bytes, status: int) -> None:
    """S37: the client sees why, also if it is still sending; others are served."""
    async with await site.connect() as stream:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_all, stream, request_)
            data = await read_all(stream)
        assert parsed(data)[0] == status
    assert site.requests == []
    assert await ask(site) == (200, b"hello")
    assert site.server.faults == 0


async def send_all(stream: trio.SocketStream, data: bytes) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        await stream.send_all(data)
        await stream.send_eof()


@pytest.mark.parametrize("is_reset", [False, True])
@pytest.mark.parametrize("sent", [b"\x00\xff garbage\r\n\r\n", b"GET / HT"])
async def test_a_client_that_sends_no_request_and_goes_is_no_fault(
    tmp_path: Path,
    nursery: trio.Nursery,
    sent: bytes,
    *,
    is_reset: bool,
) -> None:
    """S37: its system meets the answer with a reset, as in each scan of the ports."""
    site = Site(tmp_path)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(site.server.serve, [site.listener, listener])
    stream = await trio.open_tcp_stream(*listener.socket.getsockname())
    await stream.send_all(sent)
    if is_reset:
        await wait_all_tasks_blocked()  # all that it has sent is read
        no_linger = struct.pack("ii", 1, 0)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
    await stream.aclose()
    await wait_all_tasks_blocked()
    assert site.server.clients == 0
    assert site.reported == []


async def test_an_endless_body_is_not_read_for_ever(
    site: Site,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """What follows a refusal is discarded for SEND_TIME; then the connection is closed."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
    began = trio.current_time()
    async with await site.connect() as stream:
        await stream.send_all(head + b"x" * (2 * REQUEST_SIZE))
        with pytest.raises(trio.BrokenResourceError):
            await trickle(stream)
    assert trio.current_time() - began <= SEND_TIME + 2


async def test_a_path_may_come_with_its_host(site: Site) -> None:
    """As proxies write it."""
    assert await ask(site, b"GET http://x/a?b=c HTTP/1.1\r\nHost: x\r\n\r\n") == (200, b"hello")
    assert (site.requests[0].path, site.requests[0].query) == ("/a", {"b": "c"})


async def test_no_more_clients_than_allowed_are_served(site: Site) -> None:
    """S37: a further one is told; when one has gone there is room."""
    async with contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(await site.connect()) for _ in range(CLIENTS)]
        await wait_all_tasks_blocked()
        assert site.server.clients == CLIENTS
        assert await ask(site, b"") == (503, b"32 clients are connected already\n")
        await streams[0].aclose()
        await wait_all_tasks_blocked()
        assert await ask(site) == (200, b"hello")


async def test_a_client_that_is_refused_can_read_why(site: Site) -> None:
    """S37: also one that has sent its request, and reads late; those who stay are bounded."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(CLIENTS):
            await stack.enter_async_context(await site.connect())
        await wait_all_tasks_blocked()
        refused = [await stack.enter_async_context(await site.connect()) for _ in range(REFUSED)]
        for stream in refused:
            await stream.send_all(GET)
        await wait_all_tasks_blocked()
        async with await site.connect() as another:
            await wait_all_tasks_blocked()
            with pytest.raises(trio.BrokenResourceError):
                await another.send_all(GET)  # it was closed at once
        for stream in refused:
            assert parsed(await read_all(stream))[0] == 503
            await stream.aclose()
        await wait_all_tasks_blocked()
        assert await ask(site) == (503, b"32 clients are connected already\n")


async def test_a_client_that_is_refused_and_stays_is_dropped(
    site: Site,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S37: after SEND_TIME."""
    site.refusal = Response(403)
    async with await site.connect() as stream:
        with pytest.raises(trio.BrokenResourceError):
            await trickle(stream)
    assert SEND_TIME <= trio.current_time() <= SEND_TIME + 2


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"\x00\xff garbage\r\n\r\n"])
async def test_a_client_without_a_request_makes_room(
    tmp_path: Path, nursery: trio.Nursery, sent: bytes
) -> None:
    """S41: the oldest one, where the server wants that."""
    site = Site(tmp_path, makes_room=True)
    nursery.start_soon(site.server.serve, [site.listener])
    async with contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(await site.connect()) for _ in range(CLIENTS)]
        for stream in streams:
            await stream.send_all(sent)
        await wait_all_tasks_blocked()
        assert site.server.clients == CLIENTS
        assert await ask(site) == (200, b"hello")
        with pytest.raises(trio.BrokenResourceError):
            await streams[0].send_all(b"x")
        await streams[1].send_all(b"x")
        await wait_all_tasks_blocked()
        assert site.server.clients == CLIENTS - 1
        assert site.server.faults == 0


async def test_a_client_that_takes_no_answer_makes_room(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    """S41: if all have sent their requests."""
    site = Site(tmp_path, makes_room=True)
    site.answer = Response(200, LARGE)
    nursery.start_soon(site.server.serve, [site.listener])
    async with contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(await site.connect()) for _ in range(CLIENTS)]
        for stream in streams:
            await stream.send_all(GET)
        await wait_all_tasks_blocked()
        site.answer = Response(200, b"hello")
        assert await ask(site) == (200, b"hello")
        assert not (await read_all(streams[0])).endswith(LARGE)
        await streams[1].send_eof()
        assert (await read_all(streams[1])).endswith(LARGE)


async def test_a_client_whose_request_is_handled_makes_no_room(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    """S41: one more is told, as by any server."""
    go = trio.Event()

    async def handle(_: Request) -> Response:
        await go.wait()
        return Response(200, b"late")

    site = Site(tmp_path)
    server = HttpServer(handle, function="site", report=site.reported.append, makes_room=True)
    nursery.start_soon(server.serve, [site.listener])
    async with contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(await site.connect()) for _ in range(CLIENTS)]
        for stream in streams:
            await stream.send_all(GET)
            await stream.send_eof()
        await wait_all_tasks_blocked()
        assert (await ask(site))[0] == 503
        go.set()
        for stream in streams:
            assert parsed(await read_all(stream)) == (200, b"late")


async def test_a_request_may_have_another_time(
    tmp_path: Path,
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S41: where the server wants that."""
    site = Site(tmp_path, request_time=5.0)
    nursery.start_soon(site.server.serve, [site.listener])
    async with await site.connect() as stream:
        assert await read_all(stream) == b""
    assert trio.current_time() == 5.0


async def test_a_fault_of_the_handler_harms_its_client_only(site: Site) -> None:
    """S37: it is reported and counted, and the client may go on."""
    site.answer = RuntimeError("broken")
    async with await site.connect() as other:
        assert (await ask(site, GET + GET))[0] == 500
        assert site.reported == [site.answer] * 2
        assert site.server.faults == 2
        site.answer = Response(200, b"hello")
        await other.send_all(GET)
        await other.send_eof()
        assert parsed(await read_all(other)) == (200, b"hello")


async def test_a_fault_in_a_streamed_body_leaves_it_incomplete(site: Site) -> None:
    """The client can't take it for the whole."""
    error = RuntimeError("broken")

    async def send_body(send: Send) -> None:
        await send(b"one")
        raise error

    site.answer = StreamedResponse(send_body, content_type="text/plain")
    async with await site.connect() as stream:
        await stream.send_all(GET)
        with pytest.raises(h11.RemoteProtocolError):
            parsed(await read_all(stream))
    assert site.reported == [error]
    assert site.server.clients == 0


async def test_a_client_that_is_not_admitted_is_told(site: Site) -> None:
    """What it sends is no request, and does not have the answer overtaken by a reset."""
    site.refusal = Response(403, b"not for you\n")
    async with await site.connect() as stream:
        await stream.send_all(GET)
        await wait_all_tasks_blocked()
        assert parsed(await read_all(stream)) == (403, b"not for you\n")
    assert site.requests == []


async def test_it_serves_tcp_as_well(
    tmp_path: Path,
    nursery: trio.Nursery,
) -> None:
    """The request says that it is not local."""
    site = Site(tmp_path)
    tcp = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(site.server.serve, [site.listener, *tcp])
    host, port = tcp[0].socket.getsockname()
    async with await trio.open_tcp_stream(host, port) as stream:
        await stream.send_all(GET)
        await stream.send_eof()
        assert parsed(await read_all(stream)) == (200, b"hello")
    assert not site.requests[0].is_local


async def sleep_body(_: Send) -> None:
    await trio.sleep_forever()


async def send_much(send: Send) -> None:
    await send(LARGE)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", Response(200)),
        (b"GET /", Response(200)),
        (b"x" * 100_000, Response(200)),
        (GET, Response(200, LARGE)),
        (GET, StreamedResponse(sleep_body, content_type="text/plain")),
        (GET, StreamedResponse(send_much, content_type="text/plain")),
    ],
    ids=["before", "in a request", "in a refusal", "in a send", "in a body", "in a part"],
)
async def test_a_cancellation_ends_all_clients_at_once(
    tmp_path: Path,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
    sent: bytes,
    answer: Response | StreamedResponse,
) -> None:
    """S37: wherever they are; nothing listens any more."""
    site = Site(tmp_path)
    site.answer = answer
    async with trio.open_nursery() as nursery:
        nursery.start_soon(site.server.serve, [site.listener])
        async with await site.connect() as stream:
            await stream.send_all(sent)
            await wait_all_tasks_blocked()
            assert site.server.clients == 1
            began = trio.current_time()
            nursery.cancel_scope.cancel()
    assert trio.current_time() == began
    assert site.server.clients == 0
    with pytest.raises(OSError, match="refused"):
        await site.connect()


async def test_a_cancelled_handler_is_no_fault(
    tmp_path: Path,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """It is cancelled with the server."""
    site = Site(tmp_path)

    async def handle(_: Request) -> Response:
        nursery.cancel_scope.cancel()
        await trio.lowlevel.checkpoint()
        raise AssertionError

    server = HttpServer(handle, function="site", report=site.reported.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, [site.listener])
        nursery.start_soon(ask, site)
    assert site.reported == []
    assert server.clients == 0


def test_h11_is_imported_when_a_server_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """S24: where it is missing, the error has the command that installs it."""
    program = "import sys, supervisor._http._server\nassert 'h11' not in sys.modules\n"
    subprocess.run([sys.executable, "-c", program], check=True)
    monkeypatch.delitem(sys.modules, "supervisor._http._client", raising=False)
    monkeypatch.setitem(sys.modules, "h11", None)

    async def handle(_: Request) -> Response:
        raise AssertionError

    with pytest.raises(ImportError) as caught:
        HttpServer(handle, function="site", report=print)
    assert str(caught.value) == (
        "site() needs h11: python -m pip install 'trio-supervisor[inspect]'"
    )

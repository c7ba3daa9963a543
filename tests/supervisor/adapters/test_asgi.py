"""ASGI apps as runnables (S24): real apps, served by Hypercorn to real clients."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import hypercorn
import pytest
import trio
import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import NodeState, Signal
from supervisor.adapters import AsgiServer, asgi
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import AT_ONCE, LONG
from ..helpers.services import end_of, next_line, service

# Behind all other places, so that the packages which are tested stay those of the wheel.
sys.path.append(str(Path(__file__).parents[3]))

import trio.lowlevel

from benchmarks.soak.servers import connect_in_restarts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from trio.testing import MockClock

    from supervisor import Handle, Supervisor

    App = Callable[..., Awaitable[object]]


class Web:
    """An app whose requests wait for the test, and what has happened to it."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.requested = trio.Event()
        self.release = trio.Event()
        self.waiting = 0
        routes = [
            Route("/", self._answer),
            Route("/wait", self._wait),
            Route("/second", self._take_a_second),
            Route("/fail", self._fail),
            Route("/stream", self._stream),
        ]
        self.app = Starlette(routes=routes, lifespan=self._lifespan)

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        self.events.append("up")
        yield
        self.events.append("down")

    async def _answer(self, _request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    async def _wait(self, _request: Request) -> PlainTextResponse:
        self.waiting += 1
        self.requested.set()
        await self.release.wait()
        self.events.append("answered")
        return PlainTextResponse("waited")

    async def _take_a_second(self, _request: Request) -> PlainTextResponse:
        self.waiting += 1
        await trio.sleep(1.0)
        return PlainTextResponse("done")

    async def _fail(self, _request: Request) -> PlainTextResponse:
        raise LookupError("no such row")

    async def _stream(self, _request: Request) -> Endless:
        self.requested.set()
        return Endless()


class Endless(Response):
    """A response that has no end."""

    async def __call__(self, _scope: object, _receive: object, send: App) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            part = {"type": "http.response.body", "body": b"." * 65536, "more_body": True}
            await send(part)
            await trio.lowlevel.checkpoint()


@pytest.fixture
def web() -> Web:
    return Web()


@asynccontextmanager
async def serving(
    server: AsgiServer,
) -> AsyncIterator[tuple[Supervisor, Handle]]:
    """Run it in a tree, as ``root.web``; it is HEALTHY."""
    handles: list[Handle] = []

    async def root() -> None:
        handles.append(supervisor.run("web", server, backoff=LONG))
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    async with open_harness(root, patience=60.0) as tree:
        await tree.wait_ready("root.web")
        yield tree, handles[0]


CONTEXT = ssl.create_default_context()  # httpx would read all certificates for each client


async def get(server: AsgiServer, path: str = "/") -> httpx.Response:
    async with httpx.AsyncClient(verify=CONTEXT) as client:
        return await client.get(f"{server.addresses[0]}{path}", timeout=60.0)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def listen() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


async def connect(server: AsgiServer) -> trio.SocketStream:
    url = httpx.URL(server.addresses[0])
    assert url.port is not None
    return await trio.open_tcp_stream(url.host, url.port)


# Start


async def test_a_server_is_healthy_when_it_listens(
    web: Web, caplog: pytest.LogCaptureFixture
) -> None:
    """S24: then its addresses are known, one record has them, and the lifespan is up."""
    caplog.set_level(logging.INFO, logger="supervisor")
    server = asgi(web.app, port=0)
    assert (server.addresses, server.grace) == ((), 15.0)
    assert repr(server).endswith(", not listening>")
    async with serving(server):
        (url,) = server.addresses
        assert url.startswith("http://127.0.0.1:")
        assert repr(server).endswith(f", {url}>")
        assert web.events == ["up"]
        assert (await get(server)).text == "hello"
    assert server.addresses == ()
    records = [record for record in caplog.records if record.name == "supervisor.node.root.web"]
    assert [record.getMessage() for record in records] == [f"serves at {url}"]


@pytest.mark.processes
async def test_a_client_that_connects_at_healthy_is_served_in_each_restart(web: Web) -> None:
    """S24, S7: a hundred times on one port, which is free each time."""
    server = asgi(web.app, port=free_port())
    async with serving(server) as (_, handle):
        for _ in range(100):
            assert (await get(server)).text == "hello"
            await handle.restart()
            await handle.wait_healthy()
    assert web.events == ["up", "down"] * 101


async def test_a_port_in_use_is_named(web: Web) -> None:
    """S24: the death says where, and the app has not been started."""
    with listen() as other:
        port = other.getsockname()[1]
        message = f"can't listen on 127.0.0.1:{port}: Address already in use"
        with pytest.raises(OSError, match=message) as caught:
            await supervisor.supervise(asgi(web.app, port=port), propagate=True)
    assert caught.value.errno is not None
    assert web.events == []


async def test_a_host_without_an_address_is_named(web: Web) -> None:
    """S24: what the resolver says is told."""
    with pytest.raises(OSError, match=r"can't listen on nowhere\.invalid:80: "):
        await supervisor.supervise(asgi(web.app, host="nowhere.invalid", port=80), propagate=True)


# The lifespan


def fail() -> None:
    raise LookupError("no database")


@asynccontextmanager
async def failing_at_start(_app: Starlette) -> AsyncIterator[None]:
    fail()
    yield


async def failing_by_message(_scope: object, receive: App, send: App) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no cache"})


async def failing_by_exception(_scope: object, receive: App, _send: App) -> None:
    await receive()
    async with trio.open_nursery():
        raise LookupError("no disk")


@pytest.mark.parametrize(
    ("app", "message"),
    [
        (Starlette(lifespan=failing_at_start), "^no database"),
        (failing_by_exception, "^no disk"),
        (failing_by_message, "^Lifespan failure in startup. 'no cache'"),
    ],
)
async def test_a_lifespan_that_fails_is_a_death_of_its_own_exception(
    app: App, message: str
) -> None:
    """S24: not of a group around it, nor of Hypercorn's text about it if there is one."""
    with pytest.raises(Exception, match=message) as caught:
        await supervisor.supervise(asgi(app, port=0), propagate=True)
    assert not isinstance(caught.value, ExceptionGroup)


async def test_a_lifespan_that_fails_later_is_a_death_too() -> None:
    """S24: while it serves; the requests in flight end with it."""
    fail = trio.Event()

    async def app(scope: dict[str, Any], receive: App, send: App) -> None:
        if scope["type"] == "http":
            fail.set()
            await trio.sleep_forever()
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await fail.wait()
        raise LookupError("the connection is lost")

    server = asgi(app, port=0)
    async with serving(server) as (tree, _):
        with pytest.raises(httpx.RemoteProtocolError):
            await get(server)
        await wait_all_tasks_blocked()
        (crash,) = tree.snapshot().nodes["root.web"].crashes
        assert crash.error == "LookupError: the connection is lost"


async def test_a_lifespan_that_fails_to_shut_down_is_a_stop_error() -> None:
    """S24, S5: the error of a stop is kept."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        raise LookupError("not saved")

    async with serving(asgi(Starlette(lifespan=lifespan), port=0)) as (tree, handle):
        await handle.stop()
        assert "LookupError: not saved" in str(tree.snapshot().nodes["root.web"].stop_error)


async def test_a_lifespan_has_five_seconds_to_shut_down(autojump_clock: MockClock) -> None:
    """S24: the node's grace is so much longer than that of requests."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await trio.sleep_forever()

    async with serving(asgi(Starlette(lifespan=lifespan), port=0)) as (tree, handle):
        began = autojump_clock.current_time()
        await handle.stop()
        assert autojump_clock.current_time() - began == 5.0
        assert "LifespanTimeoutError" in str(tree.snapshot().nodes["root.web"].stop_error)


@pytest.mark.parametrize("leaves", ["raises", "returns", "returns_late"])
async def test_an_app_that_takes_no_lifespan_events_is_served(
    leaves: str, caplog: pytest.LogCaptureFixture
) -> None:
    """S24: as the ASGI specification has it. If it has raised, a warning says what."""

    async def app(scope: dict[str, Any], receive: App, send: App) -> None:
        if scope["type"] == "lifespan":
            if leaves == "raises":
                raise LookupError("lifespan")
            if leaves == "returns_late":
                await receive()
            return
        await PlainTextResponse("plain")(scope, receive, send)  # type: ignore[arg-type]  # as is

    server = asgi(app, port=0)
    async with serving(server) as (tree, handle):
        assert (await get(server)).text == "plain"
        await handle.stop()
        assert tree.snapshot().nodes["root.web"].stop_error is None
    warnings = [record.getMessage() for record in caplog.records if "lifespan" in record.msg]
    told = "the app takes no lifespan events: LookupError('lifespan')"
    assert warnings == ([told] if leaves == "raises" else [])


# Stop


@pytest.mark.processes
async def test_fifty_requests_in_flight_are_finished_at_a_stop(web: Web) -> None:
    """S24, S21: each takes a second; nobody can connect any more, and then the lifespan ends."""
    server = asgi(web.app, port=0)
    answers: list[str] = []

    async def request() -> None:
        answers.append((await get(server, "/second")).text)

    async with serving(server) as (tree, handle), trio.open_nursery() as nursery:
        url = httpx.URL(server.addresses[0])
        for _ in range(50):
            nursery.start_soon(request)
        while web.waiting < 50:
            await trio.lowlevel.checkpoint()
        await handle.stop()
        assert tree.snapshot().nodes["root.web"].stop_error is None
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream(url.host, url.port or 0)
    assert answers == ["done"] * 50
    assert web.events == ["up", "down"]


async def test_listeners_are_closed_at_once_while_requests_are_finished(web: Web) -> None:
    """S24: so a load balancer takes another server."""
    server = asgi(web.app, port=0)
    async with serving(server) as (_, handle), trio.open_nursery() as nursery:
        url = httpx.URL(server.addresses[0])
        nursery.start_soon(get, server, "/wait")
        await web.requested.wait()
        nursery.start_soon(handle.stop)
        await wait_all_tasks_blocked()
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream(url.host, url.port or 0)
        assert web.events == ["up"]
        web.release.set()
    assert web.events == ["up", "answered", "down"]


async def test_idle_connections_do_not_hold_up_a_stop(web: Web) -> None:
    """S24: neither one that has never sent a request nor one that is kept for the next."""
    server = asgi(web.app, port=0, grace=3600.0)
    async with (
        serving(server) as (_, handle),
        await connect(server),
        httpx.AsyncClient() as client,
    ):
        await client.get(server.addresses[0])
        await wait_all_tasks_blocked()
        await handle.stop()


async def test_an_open_stream_lasts_until_the_grace_is_over(web: Web) -> None:
    """S24: then it is cut off, and the lifespan shuts down."""
    server = asgi(web.app, port=0, grace=0.3)
    ended = trio.Event()

    async def read() -> None:
        async with httpx.AsyncClient() as client:
            with contextlib.suppress(httpx.RemoteProtocolError):
                async with client.stream("GET", f"{server.addresses[0]}/stream") as response:
                    async for _ in response.aiter_raw():
                        pass
        ended.set()

    async with serving(server) as (tree, handle), trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await web.requested.wait()
        began = trio.current_time()
        await handle.stop()
        assert trio.current_time() - began >= 0.3
        assert web.events == ["up", "down"]
        assert tree.snapshot().nodes["root.web"].stop_error is None
        await ended.wait()


async def test_a_client_that_takes_nothing_is_dropped_by_the_kernel(web: Web) -> None:
    """S24: in the time that the caller's socket says; Hypercorn would wait for ever."""
    with listen() as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 300)
        server = asgi(web.app, sockets=[listener], grace=0.2)
        async with serving(server) as (_, handle), await connect(server) as stream:
            await stream.send_all(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await web.requested.wait()
            await wait_all_tasks_blocked(cushion=0.1)  # until it has stopped sending
            with trio.fail_after(60):
                await handle.stop()
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 300


async def test_a_stop_before_the_lifespan_is_up_ends_at_once(autojump_clock: MockClock) -> None:
    """S24, S21: nobody is served, so there is no reason to wait."""
    cancelled: list[str] = []

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        try:
            await trio.Event().wait()
            yield
        finally:
            cancelled.append("startup")

    handles: list[Handle] = []

    async def root() -> None:
        handles.append(supervisor.run("web", asgi(Starlette(lifespan=lifespan), port=0)))

    async with open_harness(root) as tree:
        await wait_all_tasks_blocked()
        await handles[0].stop()
        node = tree.snapshot().nodes["root.web"]
        assert (node.state, node.stop_error) == (NodeState.CANCELED, None)
    assert (cancelled, autojump_clock.current_time()) == (["startup"], 0.0)


async def test_a_cancellation_from_outside_ends_all_at_once(web: Web) -> None:
    """S24, S12: cancelled here, while it starts, and with a request in flight."""
    server = asgi(web.app, port=0)
    with trio.CancelScope() as scope:
        scope.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.supervise, server)
    with trio.CancelScope() as scope:
        async with serving(server):
            stream = await connect(server)
            await stream.send_all(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await web.requested.wait()
            scope.cancel()
            await wait_all_tasks_blocked()
    async with stream:
        assert await stream.receive_some() == b""
    assert "answered" not in web.events


@pytest.mark.parametrize("step", range(12))
async def test_a_cancellation_at_each_step_of_the_start_leaves_no_socket(
    step: int, web: Web
) -> None:
    """S24, S12: cancelled here, at the opening, in the lifespan and at the hand-over."""
    port = free_port()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.supervise, asgi(web.app, port=port))
            for _ in range(step):
                await trio.lowlevel.checkpoint()
            scope.cancel()
    for listener in await trio.open_tcp_listeners(port, host="127.0.0.1"):
        await listener.aclose()


async def test_a_cancellation_ends_the_lifespan_of_an_app_that_has_returned() -> None:
    """S24, S12: cancelled here, while the rest of its lifespan is answered for it."""

    async def app(scope: dict[str, Any], _receive: App, _send: App) -> None:
        assert scope["type"] == "lifespan"

    with trio.CancelScope() as scope:
        async with serving(asgi(app, port=0)):
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught


async def test_a_cancellation_ends_a_lifespan_that_shuts_down(mock_clock: MockClock) -> None:
    """S24, S12: cancelled here, in the stop; its five seconds are not waited for."""
    shutting_down = trio.Event()

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        shutting_down.set()
        await trio.sleep_forever()

    with trio.CancelScope() as scope:
        async with (
            serving(asgi(Starlette(lifespan=lifespan), port=0)) as (_, handle),
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(handle.stop)
            await shutting_down.wait()
            scope.cancel()
    assert (scope.cancelled_caught, mock_clock.current_time()) == (True, 0.0)


# The grace of its own


async def test_a_server_gets_its_grace_in_the_stop_of_the_tree(web: Web) -> None:
    """S24, S21: no grace= was passed; the request in flight is finished."""
    server = asgi(web.app, port=0)
    answers: list[str] = []

    async def request() -> None:
        answers.append((await get(server, "/wait")).text)

    async with serving(server) as (tree, _), trio.open_nursery() as nursery:
        nursery.start_soon(request)
        await web.requested.wait()
        nursery.start_soon(tree.stop)
        await wait_all_tasks_blocked()
        web.release.set()
    assert answers == ["waited"]


async def test_a_server_gets_its_grace_in_the_restart_of_its_group(web: Web) -> None:
    """S24, S21: no grace= was passed; the request in flight is finished."""
    server = asgi(web.app, port=0)
    mate = Remote()
    answers: list[str] = []

    async def root() -> None:
        supervisor.run_group({"web": server, "mate": mate}, backoff=AT_ONCE)

    async def request() -> None:
        answers.append((await get(server, "/wait")).text)

    async with open_harness(root) as tree:
        await mate.become_healthy()
        await tree.wait_ready()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(request)
            await web.requested.wait()
            await mate.die()
            await wait_all_tasks_blocked()
            assert (mate.incarnations, web.events) == (1, ["up"])
            web.release.set()
        await mate.become_healthy()
        await tree.wait_ready()
    assert answers == ["waited"]
    assert web.events == ["up", "answered", "down", "up", "down"]


def test_a_server_gets_its_grace_under_main() -> None:
    """S24, S22: a request that is in flight at SIGTERM is answered."""
    with service("web.py") as process:
        url = httpx.URL(next_line(process))
        assert url.port is not None
        with socket.create_connection((url.host, url.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert next_line(process) == "requested"
            process.terminate()
            answer = client.makefile().read()
        assert answer.endswith("\nanswered")
        status, _ = end_of(process)
    assert status == 0


# Sockets of the caller's


async def test_connections_wait_in_the_sockets_of_the_caller(web: Web) -> None:
    """S24: they are not closed, so who connects while the node is stopped is served later."""
    with listen() as listener:
        host, port = listener.getsockname()
        server = asgi(web.app, sockets=[listener])
        async with serving(server) as (_, handle):
            assert server.addresses == (f"http://{host}:{port}",)
            assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 9_500
            await handle.stop()
            async with await trio.open_tcp_stream(host, port) as stream:
                await stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
                await handle.restart()
                answer = b"".join([bytes(part) async for part in stream])
            assert answer.endswith(b"hello")
        assert listener.fileno() >= 0


async def test_none_of_many_connections_is_refused_in_restarts() -> None:
    """S24: nor are there others than those that were answered or closed."""
    results = await connect_in_restarts(100, restarts=4)
    assert results["refused"] == 0
    assert results["answered"] >= 50
    assert results.total() == 100


async def test_a_unix_socket_is_served(web: Web, tmp_path: Path) -> None:
    """S24: any socket that listens will do."""
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        server = asgi(web.app, sockets=[listener])
        async with serving(server), await trio.open_unix_socket(path) as stream:
            assert server.addresses == (f"http://unix:{path}",)
            await stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
            answer = b"".join([bytes(part) async for part in stream])
            assert answer.endswith(b"hello")


# Configuration and log


async def test_a_configuration_brings_tls(web: Web, tmp_path: Path) -> None:
    """S24: it is copied, so it may be used again; the URL says https."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "certificate")
    config = hypercorn.Config()
    config.certfile, config.keyfile = str(tmp_path / "certificate"), str(tmp_path / "key")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    server = asgi(web.app, port=0, config=config, grace=3.0)
    config.certfile = None
    async with serving(server), httpx.AsyncClient(verify=context) as client:
        (url,) = server.addresses
        assert url.startswith("https://127.0.0.1:")
        assert (await client.get(url)).text == "hello"
    assert (config.graceful_timeout, config.shutdown_timeout) == (3, 60)


async def test_a_certificate_that_is_missing_is_a_death_that_leaves_no_socket(web: Web) -> None:
    """S24: Hypercorn has the sockets then, but they are closed."""
    config = hypercorn.Config()
    config.certfile = config.keyfile = "/no/such/file"
    port = free_port()
    with pytest.raises(FileNotFoundError):
        await supervisor.supervise(asgi(web.app, port=port, config=config), propagate=True)
    for listener in await trio.open_tcp_listeners(port, host="127.0.0.1"):
        await listener.aclose()


async def test_a_server_restarts_after_its_max_requests(web: Web) -> None:
    """S24, S26: at once, and not as a failure."""
    config = hypercorn.Config()
    config.max_requests = 2
    server = asgi(web.app, port=0, config=config)
    async with serving(server) as (tree, handle):
        for _ in range(3):
            assert (await get(server)).text == "hello"
        await wait_all_tasks_blocked()
        await handle.wait_healthy()
        group = tree.snapshot().nodes["root.web"].group
        assert (group.operator_restarts, group.failures) == (1, 0)


async def test_what_hypercorn_logs_is_logged_by_the_node(
    web: Web, caplog: pytest.LogCaptureFixture
) -> None:
    """S24, S17: errors of the app, and requests if the configuration asks for that."""
    caplog.set_level(logging.INFO, logger="supervisor")
    config = hypercorn.Config()
    config.accesslog = "-"
    server = asgi(web.app, port=0, config=config)
    async with serving(server):
        assert (await get(server, "/fail")).status_code == 500
    records = [record for record in caplog.records if record.name == "supervisor.node.root.web"]
    texts = [record.getMessage() for record in records]
    assert texts[0].startswith("serves at")
    assert any('"GET /fail 1.1" 500' in text for text in texts)
    (error,) = [record for record in records if record.levelno == logging.ERROR]
    assert error.exc_info is not None
    assert isinstance(error.exc_info[1], LookupError)
    assert {vars(record)["dn"] for record in records} == {"root.web"}


async def test_a_log_that_the_configuration_names_stays(web: Web, tmp_path: Path) -> None:
    """S24: a file, a logger, or a class of one's own."""

    class Log(hypercorn.logging.Logger):
        pass

    config = hypercorn.Config()
    config.accesslog = str(tmp_path / "access")
    config.errorlog = logging.getLogger("test_asgi")
    config.logger_class = Log
    server = asgi(web.app, port=0, config=config)
    async with serving(server):
        await get(server)
    assert "GET /" in (tmp_path / "access").read_text()
    for handler in logging.getLogger("hypercorn.access").handlers:
        handler.close()
    logging.getLogger("hypercorn.access").handlers.clear()


# Arguments


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("bind", "127.0.0.1:80", "pass host= and port=, or sockets="),
        ("insecure_bind", ["0.0.0.0:80"], "start another asgi"),
        ("quic_bind", ["0.0.0.0:80"], "only TCP and Unix sockets are served"),
        ("workers", 2, "start processes by command"),
        ("use_reloader", True, "use restart_on_change"),
    ],
)
def test_a_configuration_says_nothing_that_is_ours(
    name: str, value: object, remedy: str, web: Web
) -> None:
    """S24, S2: the message names it and says what to do instead."""
    config = hypercorn.Config()
    setattr(config, name, value)
    with pytest.raises(ValueError, match=rf"asgi\(\): config\.{name}=.* can't be used: {remedy}"):
        asgi(web.app, config=config)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"app": 5}, TypeError, r"asgi\(\) got 5, which is not an ASGI app"),
        ({"host": None}, TypeError, "host=None is not a host: pass a str"),
        ({"port": "80"}, TypeError, "port='80' is not a port from 0 to 65535"),
        ({"port": True}, TypeError, "port=True is not a port"),
        ({"port": 65536}, ValueError, "port=65536 is not a port"),
        ({"grace": -1}, ValueError, "grace=-1 is not a number of seconds of at least 0"),
        ({"grace": None}, TypeError, "grace=None is not a number of seconds"),
        ({"config": {}}, TypeError, r"config=\{\} is not a hypercorn\.Config"),
        ({"sockets": 5}, TypeError, "sockets=5 are no sockets: pass sockets that are listening"),
        ({"sockets": [5]}, TypeError, "sockets= has 5, which is no socket: pass"),
        ({"sockets": []}, ValueError, "sockets= is empty: pass"),
    ],
)
def test_a_wrong_argument_is_refused_at_the_call(
    options: dict[str, Any], error: type[Exception], message: str, web: Web
) -> None:
    """S24, S2: the message names it, and says what to pass."""
    with pytest.raises(error, match=message):
        asgi(**{"app": web.app, **options})


def test_a_socket_that_does_not_listen_is_refused_at_the_call(web: Web) -> None:
    """S24, S2: neither one that is bound only nor one that is closed."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(ValueError, match="which does not listen: pass sockets that are"):
            asgi(web.app, sockets=[bound])
    with pytest.raises(ValueError, match="which does not listen"):
        asgi(web.app, sockets=[bound])


def test_asgi_says_what_to_install(monkeypatch: pytest.MonkeyPatch, web: Web) -> None:
    """S24: the error names the adapter, what it needs and the command."""
    monkeypatch.setitem(sys.modules, "hypercorn", None)
    message = r"^asgi\(\) needs Hypercorn: python -m pip install 'trio-supervisor\[asgi\]'$"
    with pytest.raises(ImportError, match=message):
        asgi(web.app)

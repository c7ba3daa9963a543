"""TCP servers whose connections are children of a pool (S24)."""

from __future__ import annotations

import errno
import logging
import resource
import socket
import ssl
import sys
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trustme
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import NodeState, Signal
from supervisor.adapters import TcpServer, tcp
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import AT_ONCE, LONG
from ..helpers.services import end_of, next_line, service

# Behind all other places, so that the packages which are tested stay those of the wheel.
sys.path.append(str(Path(__file__).parents[3]))

from benchmarks.soak.servers import serve_all_kinds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from supervisor import Handle, Supervisor


async def echo(stream: trio.SocketStream) -> None:
    async for part in stream:
        await stream.send_all(part)


async def echo_until_stop(stream: trio.SocketStream) -> None:
    """Echo, and say goodbye when a stop is requested."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(echo, stream)
        await supervisor.wait_stop_requested()
        nursery.cancel_scope.cancel()
    await stream.send_all(b"goodbye")


async def hold(_stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


@asynccontextmanager
async def serving(
    server: TcpServer, *, grace: float | None = None
) -> AsyncIterator[tuple[Supervisor, Handle]]:
    """Run it in a tree, as ``root.server``; it is HEALTHY."""
    handles: list[Handle] = []

    async def root() -> None:
        handles.append(supervisor.run("server", server, backoff=LONG, grace=grace))
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    async with open_harness(root, patience=60.0) as tree:
        await tree.wait_ready("root.server")
        yield tree, handles[0]


async def connect(server: TcpServer) -> trio.SocketStream:
    return await trio.open_tcp_stream(*server.addresses[0])


def listen() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def connections(tree: Supervisor) -> list[str]:
    """Return the names of the connections that there are."""
    prefix = "root.server.connections."
    return [dn.removeprefix(prefix) for dn in tree.snapshot().nodes if dn.startswith(prefix)]


async def read_all(stream: trio.SocketStream) -> bytes:
    return b"".join([bytes(part) async for part in stream])


# Serving


async def test_a_server_is_healthy_when_it_listens(caplog: pytest.LogCaptureFixture) -> None:
    """S24: then its addresses are known, and one record has them; each connection is a child."""
    caplog.set_level(logging.INFO, logger="supervisor")
    server = tcp(echo)
    assert (server.addresses, server.grace) == ((), 10.0)
    assert repr(server).endswith(", not listening>")
    async with serving(server) as (tree, _):
        ((host, port),) = server.addresses
        assert repr(server).endswith(f", 127.0.0.1:{port}>")
        async with await connect(server) as one, await connect(server) as two:
            for stream in (one, two):
                await stream.send_all(b"hello")
                assert await stream.receive_some() == b"hello"
            assert connections(tree) == ["connection1", "connection2"]
        await wait_all_tasks_blocked(cushion=0.05)
        # At their end a connection is done, and vanishes.
        assert connections(tree) == []
    assert server.addresses == ()
    records = [record for record in caplog.records if record.name.startswith("supervisor.node")]
    assert [record.getMessage() for record in records] == [f"listens at {host}:{port}"]


async def test_a_handler_that_dies_ends_its_connection_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S24, S26: the death is logged, with the peer, and nothing restarts."""

    async def greet(stream: trio.SocketStream) -> None:
        logging.getLogger("test_tcp").warning("greets", extra={"peer": "of its own"})
        logging.getLogger("test_tcp").warning("is greeted")
        if await stream.receive_some() == b"bad":
            raise LookupError("no such word")
        await stream.send_all(b"good")

    server = tcp(greet)
    async with serving(server) as (tree, _):
        async with await connect(server) as good, await connect(server) as bad:
            peer = bad.socket.getsockname()
            await bad.send_all(b"bad")
            assert await bad.receive_some() == b""
            await good.send_all(b"good")
            assert await good.receive_some() == b"good"
        assert tree.snapshot().nodes["root.server"].incarnation == 1
        assert connections(tree) == []
    (death,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert death.name == "supervisor.node.root.server.connections.connection2"
    assert "LookupError: no such word" in death.getMessage()
    assert vars(death)["peer"] == f"{peer[0]}:{peer[1]}"
    peers = [vars(record)["peer"] for record in caplog.records if record.name == "test_tcp"]
    assert len(set(peers)) == 3
    assert peers.count("of its own") == 2
    assert not [r for r in caplog.records if r.name == "supervisor" and "peer" in vars(r)]


async def test_a_stream_that_a_handler_leaves_is_closed() -> None:
    """S24: the client sees the end when the handler has returned."""

    async def leave(_stream: trio.SocketStream) -> None: ...

    server = tcp(leave)
    async with serving(server), await connect(server) as stream:
        assert await stream.receive_some() == b""


async def test_many_clients_of_all_kinds_are_served() -> None:
    """S24: what dies is logged, none is left, and the server goes on."""
    assert await serve_all_kinds(90) == []


async def test_connections_over_the_most_wait_in_the_backlog() -> None:
    """S24: they are not accepted, not refused, and served when another has ended."""
    server = tcp(echo, max_connections=2)
    async with serving(server) as (tree, _), trio.open_nursery() as nursery:
        streams = [await connect(server) for _ in range(4)]
        for stream in streams:
            await stream.send_all(b"x")
        await wait_all_tasks_blocked(cushion=0.05)
        assert len(connections(tree)) == 2
        for stream in streams:
            assert await stream.receive_some() == b"x"
            await stream.aclose()
        await wait_all_tasks_blocked(cushion=0.05)
        assert connections(tree) == []
        nursery.cancel_scope.cancel()


async def test_a_handler_that_dies_frees_its_place() -> None:
    """S24: so a server that accepts one at a time goes on, whatever clients do."""

    async def fail(_stream: trio.SocketStream) -> None:
        raise OSError

    server = tcp(fail, max_connections=1)
    async with serving(server):
        for _ in range(3):
            async with await connect(server) as stream:
                assert await stream.receive_some() == b""


@contextmanager
def no_descriptors_for(client: socket.socket, server: TcpServer) -> Iterator[None]:
    """Connect, when this process can't open the file that accepts the connection."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    client.settimeout(0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, hard))
    try:
        with pytest.raises(BlockingIOError):
            client.connect(server.addresses[0])
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_stop_in_a_pause_ends_at_once(mock_clock: MockClock) -> None:
    """S24, S21: cancelled here, where it waits for a file descriptor."""
    server = tcp(echo)
    async with serving(server) as (_, handle):
        with socket.socket() as client:
            with no_descriptors_for(client, server):
                await wait_all_tasks_blocked()
            await handle.stop()
    assert mock_clock.current_time() == 0.0


async def test_no_more_file_descriptors_are_a_pause_with_one_warning(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """S24: the connection is served as soon as there is one again."""
    server = tcp(echo)
    async with serving(server) as (tree, _):
        with socket.socket() as client:
            with no_descriptors_for(client, server):
                began = autojump_clock.current_time()
                await trio.sleep(1.0)
                assert connections(tree) == []
            await trio.sleep(0.2)
            assert connections(tree) == ["connection1"]
            assert autojump_clock.current_time() - began == pytest.approx(1.2)
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert (record.name, record.levelno) == ("supervisor.node.root.server", logging.WARNING)
    assert record.getMessage() == (
        "it can't accept now, and tries again: [Errno 24] Too many open files"
    )


async def test_another_error_of_accept_is_a_death() -> None:
    """S24: without a group around it; the connections end with their server."""
    with listen() as listener:
        server = tcp(hold, sockets=[listener])
        async with serving(server) as (tree, _), await connect(server) as stream:
            await wait_all_tasks_blocked()
            listener.shutdown(socket.SHUT_RDWR)  # which the duplicate feels
            assert await stream.receive_some() == b""
            (crash,) = tree.snapshot().nodes["root.server"].crashes
            assert crash.error.startswith(f"OSError: [Errno {errno.EINVAL}]")


async def test_a_port_in_use_is_named() -> None:
    """S24: the death says where."""
    with listen() as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"can't listen on 127.0.0.1:{port}: Address already"):
            await supervisor.supervise(tcp(echo, port=port), propagate=True)


async def test_tls_is_a_handler_that_wraps_the_stream() -> None:
    """S24: as the page on adapters shows."""
    authority = trustme.CA()
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs = ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(ours)
    authority.configure_trust(theirs)

    async def secure_echo(stream: trio.SocketStream) -> None:
        secure = trio.SSLStream(stream, ours, server_side=True)
        async for part in secure:
            await secure.send_all(part)
        await secure.aclose()

    server = tcp(secure_echo)
    async with serving(server), await connect(server) as stream:
        secure = trio.SSLStream(stream, theirs, server_hostname="localhost")
        await secure.send_all(b"secret")
        assert await secure.receive_some() == b"secret"
        await secure.aclose()


# Stopping


async def test_handlers_see_the_stop_request_side_by_side(autojump_clock: MockClock) -> None:
    """S24, S21: nobody is accepted any more, and each has the grace."""

    async def finish_slowly(stream: trio.SocketStream) -> None:
        await supervisor.wait_stop_requested()
        await trio.sleep(3.0)
        await stream.send_all(b"goodbye")

    server = tcp(finish_slowly, grace=5.0)
    async with serving(server) as (tree, handle), trio.open_nursery() as nursery:
        address = server.addresses[0]
        streams = [await connect(server) for _ in range(50)]
        await wait_all_tasks_blocked()
        began = autojump_clock.current_time()
        nursery.start_soon(handle.stop)
        await wait_all_tasks_blocked()
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream(*address)
        for stream in streams:
            assert await read_all(stream) == b"goodbye"
            await stream.aclose()
        await tree.wait_settled()
        assert autojump_clock.current_time() - began == pytest.approx(3.0)
        assert tree.snapshot().nodes["root.server"].stop_error is None


async def test_a_peer_that_does_not_read_holds_up_a_stop_for_the_grace_only(
    autojump_clock: MockClock,
) -> None:
    """S24, S21: what the handler sends is cancelled."""

    async def send_without_end(stream: trio.SocketStream) -> None:
        while True:
            await stream.send_all(bytes(65536))

    server = tcp(send_without_end, grace=2.0)
    async with serving(server) as (tree, handle), await connect(server):
        await wait_all_tasks_blocked()
        began = autojump_clock.current_time()
        await handle.stop()
        assert autojump_clock.current_time() - began == pytest.approx(2.0)
        assert connections(tree) == []


@pytest.mark.parametrize("given", [0.0, 2.0])
async def test_a_grace_that_is_given_holds_for_the_handlers(
    given: float, autojump_clock: MockClock
) -> None:
    """S24, S21: a number at run() wins over that of tcp()."""
    server = tcp(hold, grace=500.0)
    async with serving(server, grace=given) as (_, handle), await connect(server) as stream:
        await wait_all_tasks_blocked()
        began = autojump_clock.current_time()
        await handle.stop()
        assert autojump_clock.current_time() - began == pytest.approx(given)
        assert await stream.receive_some() == b""


async def test_a_restart_of_its_group_lets_handlers_finish_and_frees_the_port() -> None:
    """S24, S7: the next incarnation listens on the same port."""
    with listen() as free:
        port = free.getsockname()[1]
    server = tcp(echo_until_stop, port=port)
    mate = Remote()

    async def root() -> None:
        supervisor.run_group({"server": server, "mate": mate}, backoff=AT_ONCE)

    async with open_harness(root) as tree:
        for _ in range(3):
            await mate.become_healthy()
            await tree.wait_ready()
            async with await connect(server) as stream:
                await stream.send_all(b"hello ")
                assert await stream.receive_some() == b"hello "
                await mate.die()
                assert await read_all(stream) == b"goodbye"
        await mate.become_healthy()


def test_fifty_connections_in_flight_at_sigterm_are_finished() -> None:
    """S24, S22: under main, with the grace that the server brings."""
    with service("tcp_server.py") as process, ExitStack() as opened:
        port = int(next_line(process))
        clients = [
            opened.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(50)
        ]
        for number, client in enumerate(clients):
            client.sendall(b"%d\n" % number)
        assert {next_line(process) for _ in clients} == {str(number) for number in range(50)}
        process.terminate()
        for number, client in enumerate(clients):
            assert client.makefile().read() == f"{number}\n"
        status, log = end_of(process)
    assert status == 0
    assert [record["level"] for record in log if record["level"] != "INFO"] == []


async def test_a_cancellation_from_outside_ends_all_at_once() -> None:
    """S24, S12: cancelled here, in accept, in a handler and in the wait for a place."""
    server = tcp(hold, max_connections=1)
    with trio.CancelScope() as scope:
        async with serving(server):
            served, waiting = await connect(server), await connect(server)
            await wait_all_tasks_blocked()
            scope.cancel()
            await wait_all_tasks_blocked()
    for stream in (served, waiting):
        async with stream:
            try:
                assert await stream.receive_some() == b""
            except trio.BrokenResourceError:
                assert stream is waiting


@pytest.mark.parametrize("step", range(10))
async def test_a_cancellation_at_each_step_leaves_no_socket(step: int) -> None:
    """S24, S12: cancelled here, at the opening, in the start and with a connection that is new."""
    with listen() as listener:
        address = listener.getsockname()
        with socket.create_connection(address) as client:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(supervisor.supervise, tcp(hold, sockets=[listener]))
                    for _ in range(step):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()
            listener.close()
            client.settimeout(5.0)
            with suppress(ConnectionResetError):  # it was in the backlog
                assert client.recv(1) == b""


async def test_a_connection_whose_handler_has_not_begun_is_closed() -> None:
    """S24, S12: its child is not called when it is cancelled before its first step."""
    scope = trio.CancelScope()
    called: list[object] = []

    class CancelsAtFirstConnection:
        def notify_node_state(self, dn: str, _state: NodeState) -> None:
            if dn.endswith("connection1"):
                scope.cancel()

        def notify_node_gone(self, _dn: str) -> None: ...

    async def handle(stream: trio.SocketStream) -> None:
        called.append(stream)

    with listen() as listener, socket.create_connection(listener.getsockname()) as client:
        with scope:
            server = tcp(handle, sockets=[listener])
            await supervisor.supervise(server, metrics=CancelsAtFirstConnection())
        client.settimeout(5.0)
        assert client.recv(1) == b""
    assert not called


# Sockets of the caller's, and arguments


async def test_connections_wait_in_the_sockets_of_the_caller() -> None:
    """S24: who connects while the node is stopped is served when it runs again."""
    with listen() as listener:
        server = tcp(echo, sockets=[listener])
        async with serving(server) as (_, handle):
            await handle.stop()
            async with await trio.open_tcp_stream(*listener.getsockname()) as stream:
                await stream.send_all(b"hello")
                await handle.restart()
                assert await stream.receive_some() == b"hello"
        assert listener.fileno() >= 0


async def test_several_sockets_are_served(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """S24: one of them of another family, and each by the same handler."""
    caplog.set_level(logging.INFO, logger="supervisor")
    path = str(tmp_path / "socket")
    with listen() as one, socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        server = tcp(echo, sockets=[one, other])
        async with serving(server):
            assert server.addresses == (one.getsockname(),)
            async with (
                await connect(server) as tcp_stream,
                await trio.open_unix_socket(path) as unix,
            ):
                for stream in (tcp_stream, unix):
                    await stream.send_all(b"hello")
                    assert await stream.receive_some() == b"hello"
        port = one.getsockname()[1]
    assert f"listens at 127.0.0.1:{port}, unix:{path}" in caplog.messages


async def test_an_ipv6_address_is_written_in_brackets(caplog: pytest.LogCaptureFixture) -> None:
    """S24: as everywhere."""
    caplog.set_level(logging.INFO, logger="supervisor")
    server = tcp(echo, host="::1")
    async with serving(server):
        (address,) = server.addresses
        assert address[0] == "::1"
        assert f"listens at [::1]:{address[1]}" in caplog.messages


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"handler": 5}, TypeError, r"tcp\(\) got 5, which is not an async function"),
        ({"max_connections": 0}, ValueError, "max_connections=0 is not a whole number of at"),
        ({"max_connections": 1.0}, TypeError, r"max_connections=1\.0 is not a whole number"),
        ({"grace": -1}, ValueError, r"tcp\(\): grace=-1 is not a number of seconds of at least"),
        ({"port": -1}, ValueError, "port=-1 is not a port from 0 to 65535"),
    ],
)
def test_a_wrong_argument_is_refused_at_the_call(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """S24, S2: the message names it, and says what to pass."""
    with pytest.raises(error, match=message):
        tcp(**{"handler": echo, **options})

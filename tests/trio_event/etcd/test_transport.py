"""grpcio's calls and streams on Trio, with a server of the test's own."""

from __future__ import annotations

import math
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

import grpc
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_event.etcd._wire import _grpc
from trio_event.etcd._wire._grpc import (
    _CREDIT,
    _PAUSE,
    _ROW,
    _SOON,
    _SPARE_TIME,
    GrpcConnection,
    GrpcStream,
    connect,
)
from trio_event.etcd._wire._seam import CallError, Code

from .helpers.echo import STREAM, UNARY, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_event.etcd._wire._seam import Connection

    from .helpers.echo import Context


@contextmanager
def connected(endpoint: str) -> Iterator[GrpcConnection]:
    """Connect, and check that no thread is left."""
    before = set(threading.enumerate())
    connection = connect(endpoint, None)
    assert isinstance(connection, GrpcConnection)
    try:
        yield connection
    finally:
        connection.close()
        for thread in set(threading.enumerate()) - before:
            if not thread.name.startswith(("ThreadPool", "Trio")):
                thread.join(10)
                assert not thread.is_alive(), thread


@contextmanager
def silent() -> Iterator[str]:
    """Listen at an endpoint, and say nothing there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@final
class Sink:
    """Keeps what it gets, and tells when there is as much as a test waits for."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.thread: int | None = None
        self._wanted = (0, trio.Event())

    def __call__(self, message: bytes) -> None:
        self.got.append(message)
        self.thread = threading.get_ident()
        count, event = self._wanted
        if len(self.got) >= count:
            event.set()

    async def wait_count(self, count: int) -> None:
        self._wanted = (count, trio.Event())
        if len(self.got) < count:
            await self._wanted[1].wait()


def echo(requests: Iterator[bytes], _: Context) -> Iterator[bytes]:
    yield from requests


# Unary calls


async def test_a_call_returns_bytes() -> None:
    """E9: a task waits for grpcio's thread, and goes on in its own."""
    with (
        serving(unary=lambda request, _: request + b"!") as endpoint,
        connected(endpoint) as connection,
    ):
        assert await connection.unary(UNARY, b"a", seconds=10) == b"a!"


async def test_metadata_is_sent() -> None:
    """E8: it goes before the request."""

    def answer(_: bytes, context: Context) -> bytes:
        return str(dict(context.invocation_metadata())["token"]).encode()

    with serving(unary=answer) as endpoint, connected(endpoint) as connection:
        got = await connection.unary(UNARY, b"", seconds=10, metadata=(("token", "t"),))
    assert got == b"t"


async def test_an_error_has_a_code_and_a_text() -> None:
    """E6: both are needed to judge it."""
    with (
        serving() as endpoint,
        connected(endpoint) as connection,
        pytest.raises(CallError, match="UNIMPLEMENTED") as caught,
    ):
        await connection.unary(UNARY, b"", seconds=10)
    assert caught.value.code is Code.UNIMPLEMENTED
    assert caught.value.was_sent


async def test_where_nobody_listens_nothing_was_sent() -> None:
    """E7: the error says that it is certain."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with (
            connected(f"127.0.0.1:{taken.getsockname()[1]}") as connection,
            pytest.raises(CallError, match="refused") as caught,
        ):
            await connection.unary(UNARY, b"", seconds=10)
    assert not caught.value.was_sent


async def test_where_nobody_answers_nothing_was_sent() -> None:
    """E7: a connection is given up before an attempt is, so that this is certain as well."""
    with (
        silent() as endpoint,
        connected(endpoint) as connection,
        pytest.raises(CallError, match="timed out") as caught,
    ):
        await connection.unary(UNARY, b"", seconds=2)
    assert not caught.value.was_sent


async def test_a_call_may_take_no_longer_than_it_was_given() -> None:
    """E6: what was sent and not answered may have been done."""
    over = threading.Event()

    def answer(request: bytes, _: Context) -> bytes:
        over.wait(30)
        return request

    with serving(unary=answer) as endpoint, connected(endpoint) as connection:
        with pytest.raises(CallError, match="DEADLINE_EXCEEDED") as caught:
            await connection.unary(UNARY, b"", seconds=0.2)
        over.set()
    assert caught.value.was_sent


async def test_a_cancelled_call_waits_for_nothing() -> None:
    """E9: the task goes on at once, and the server is told."""
    begun, cancelled = threading.Event(), threading.Event()

    def answer(request: bytes, context: Context) -> bytes:
        context.add_callback(cancelled.set)
        begun.set()
        cancelled.wait(30)
        return request

    scope = trio.CancelScope()

    async def call() -> None:
        with scope:
            await connection.unary(UNARY, b"", seconds=30)

    with serving(unary=answer) as endpoint, connected(endpoint) as connection:
        async with trio.open_nursery() as inner:
            inner.start_soon(call)
            assert await trio.to_thread.run_sync(begun.wait, 30)
            scope.cancel()
        assert scope.cancelled_caught
        assert await trio.to_thread.run_sync(cancelled.wait, 30)


async def test_a_call_that_is_answered_while_it_is_cancelled_wakes_nobody() -> None:
    """E9: whichever comes first, the task is woken once; a thousand times, at random moments."""
    with serving(unary=lambda request, _: request) as endpoint, connected(endpoint) as connection:
        for i in range(1000):
            with trio.move_on_after(i % 20 / 10_000):
                await connection.unary(UNARY, b"", seconds=30)
        assert await connection.unary(UNARY, b"a", seconds=30) == b"a"


async def test_a_closed_connection_ends_its_calls() -> None:
    """E9: those under way fail."""
    begun, over = threading.Event(), threading.Event()

    def answer(request: bytes, _: Context) -> bytes:
        begun.set()
        over.wait(30)
        return request

    async def call() -> None:
        with pytest.raises(CallError, match="Channel closed"):
            await connection.unary(UNARY, b"", seconds=30)

    with serving(unary=answer) as endpoint:
        connection = connect(endpoint, None)
        async with trio.open_nursery() as inner:
            inner.start_soon(call)
            assert await trio.to_thread.run_sync(begun.wait, 30)
            connection.close()
        over.set()


# The thread of calls that follow each other. On this clock no time passes between them


def echo_once(request: bytes, _: Context) -> bytes:
    return request


@contextmanager
def served(**options: Any) -> Iterator[GrpcConnection]:  # noqa: ANN401  as serving() has them
    """Connect to a server that knows the health check."""
    with serving(has_health=True, **options) as endpoint, connected(endpoint) as connection:
        yield connection


async def call_in_a_row(connection: Connection, count: int = _ROW + 1) -> None:
    for _ in range(count):
        await connection.unary(UNARY, b"", seconds=30)


def is_active(connection: GrpcConnection) -> bool:
    return connection._spare is not None and bool(connection._spare.is_active())


@contextmanager
def recorded(monkeypatch: pytest.MonkeyPatch, limit: float = math.inf) -> Iterator[list[str]]:
    """Record which of grpcio's threads start, and let no more of them start than a limit."""
    started: list[str] = []
    start = threading.Thread.start

    def record(thread: threading.Thread) -> None:
        if thread.name.endswith("(_run)"):  # as grpcio names them
            if len(started) >= limit:
                msg = "can't start new thread"
                raise RuntimeError(msg)
            started.append(thread.name)
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", record)
        yield started


async def test_calls_that_follow_each_other_share_a_thread(
    mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E9: to start one for each would take as long as the call."""
    assert mock_clock.rate == 0
    monkeypatch.setattr(_grpc, "_SPARE_TIME", 30)
    with (
        serving(unary=echo_once, has_health=True) as endpoint,
        connected(endpoint) as connection,
        recorded(monkeypatch) as started,
    ):
        await call_in_a_row(connection)
        assert started
        started.clear()
        await call_in_a_row(connection, 10)
        assert started == []


async def test_a_call_now_and_then_leaves_no_thread(mock_clock: MockClock) -> None:
    """E9: the server is asked for nothing else, and grpcio's thread ends with the call."""
    with served(unary=echo_once) as connection:
        for _ in range(_ROW + 1):
            await connection.unary(UNARY, b"", seconds=30)
            mock_clock.jump(1)
        await call_in_a_row(connection, _ROW)
        mock_clock.jump(1)
        await connection.unary(UNARY, b"", seconds=30)
        assert connection._spare is None


async def test_a_write_on_a_new_connection_leaves_no_thread(mock_clock: MockClock) -> None:
    """E9: a log-in and a read go before it, and they are not many calls."""
    assert mock_clock.rate == 0
    with served(unary=echo_once) as connection:
        await call_in_a_row(connection, 3)
        assert connection._spare is None


async def test_calls_that_fail_are_in_no_row(mock_clock: MockClock) -> None:
    """E9: a token that is refused makes two more calls."""
    assert mock_clock.rate == 0
    with served(unary=echo_once) as connection:
        await call_in_a_row(connection, 2)
        with pytest.raises(CallError, match="UNIMPLEMENTED"):
            await connection.unary("/test/Other", b"", seconds=30)
        await call_in_a_row(connection, 2)
        assert connection._spare is None


async def test_keeping_the_thread_starts_none(
    mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E9: the call needs the same one. No answer is lost because another one can't be started."""
    assert mock_clock.rate == 0
    may_answer = threading.Event()

    def answer(request: bytes, _: Context) -> bytes:
        may_answer.wait(30)
        return request

    with served(unary=answer) as connection:
        may_answer.set()
        await call_in_a_row(connection, _ROW)
        may_answer.clear()
        with recorded(monkeypatch, limit=1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call_in_a_row, connection, 1)
                await wait_all_tasks_blocked()
                assert connection._spare is not None
                may_answer.set()


async def test_a_server_that_admits_one_stream_answers_all_calls(mock_clock: MockClock) -> None:
    """E9: what keeps the thread holds a stream for far less time than a call may take."""
    assert mock_clock.rate == 0
    with served(unary=echo_once, streams=1) as connection:
        await call_in_a_row(connection, _ROW)
        await connection.unary(UNARY, b"", seconds=5)
        assert connection._spare is not None
        await connection.unary(UNARY, b"", seconds=5)


async def test_beside_a_call_that_took_long_no_thread_is_kept_for_a_while(
    mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E9: it may have waited for the only stream."""
    monkeypatch.setattr(_grpc, "_SPARE_TIME", 0.001)
    begun, may_answer = threading.Event(), threading.Event()

    def answer(request: bytes, _: Context) -> bytes:
        begun.set()
        may_answer.wait(30)
        return request

    with served(unary=answer) as connection:
        may_answer.set()
        await call_in_a_row(connection)
        spare = connection._spare
        assert await trio.to_thread.run_sync(spare.code) is grpc.StatusCode.DEADLINE_EXCEEDED
        begun.clear()
        may_answer.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call_in_a_row, connection, 1)
            assert await trio.to_thread.run_sync(begun.wait, 30)
            mock_clock.jump(2 * _SOON)
            may_answer.set()
        await call_in_a_row(connection, 10)
        assert connection._spare is spare
        mock_clock.jump(2 * _PAUSE)
        await call_in_a_row(connection)
        assert connection._spare is not spare


async def test_beside_a_stream_no_thread_is_kept(
    mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E9: the stream keeps it, and a server may admit few streams."""
    monkeypatch.setattr(_grpc, "_SPARE_TIME", 30)
    with served(unary=echo_once, stream=echo) as connection:
        await call_in_a_row(connection)
        spare = connection._spare
        assert is_active(connection)
        stream = connection.open_stream(STREAM, Sink())
        assert await trio.to_thread.run_sync(spare.code) is grpc.StatusCode.CANCELLED
        mock_clock.jump(60)
        await call_in_a_row(connection)
        assert not is_active(connection)
        await stream.aclose()
        await call_in_a_row(connection)
        assert is_active(connection)


async def test_a_server_that_knows_no_health_check_is_asked_now_and_then(
    mock_clock: MockClock,
) -> None:
    """E9: calls are only slower."""
    with serving(unary=echo_once) as endpoint, connected(endpoint) as connection:
        for _ in range(2):
            await call_in_a_row(connection)
            spare = connection._spare
            assert await trio.to_thread.run_sync(spare.code) is grpc.StatusCode.UNIMPLEMENTED
            mock_clock.jump(2 * _SPARE_TIME)
            await call_in_a_row(connection, 10)
            assert connection._spare is None
            mock_clock.jump(2 * _PAUSE)


async def test_while_calls_go_on_the_thread_is_kept_again_and_again(
    mock_clock: MockClock,
) -> None:
    """E9: what keeps it ends by itself, and is made anew by a later call."""
    with served(unary=echo_once) as connection:
        await call_in_a_row(connection)
        spare = connection._spare
        assert await trio.to_thread.run_sync(spare.code) is grpc.StatusCode.DEADLINE_EXCEEDED
        mock_clock.jump(2 * _SPARE_TIME)
        await call_in_a_row(connection)
        assert connection._spare is not spare


# Streams


async def test_messages_come_in_order_and_in_the_thread_of_trio() -> None:
    """E9: the sink may change values, which belong to that thread."""
    sink = Sink()
    with serving(stream=echo) as endpoint, connected(endpoint) as connection:
        stream = connection.open_stream(STREAM, sink)
        for i in range(100):
            stream.send(b"%d" % i)
        await sink.wait_count(100)
        await stream.aclose()
    assert sink.got == [b"%d" % i for i in range(100)]
    assert sink.thread == threading.get_ident()


async def test_messages_are_applied_though_no_task_waits() -> None:
    """E12: what has come while all tasks were busy is applied by one entry in Trio's queue."""
    sink = Sink()
    sent = threading.Event()

    def answer(_: Iterator[bytes], __: Context) -> Iterator[bytes]:
        for i in range(50):
            yield b"%d" % i
        sent.set()

    with serving(stream=answer) as endpoint, connected(endpoint) as connection:
        stream = connection.open_stream(STREAM, sink)
        assert isinstance(stream, GrpcStream)
        assert sent.wait(30)
        stream._thread.join(30)
        assert sink.got == []
        await wait_all_tasks_blocked()
        assert len(sink.got) == 50
        await stream.wait_ended()
        await stream.aclose()


async def test_a_stream_that_the_server_ends_has_ended() -> None:
    """E9: it is no error of the transport."""

    def answer(_: Iterator[bytes], __: Context) -> Iterator[bytes]:
        yield b"last"

    sink = Sink()
    with serving(stream=answer) as endpoint, connected(endpoint) as connection:
        stream = connection.open_stream(STREAM, sink)
        await stream.wait_ended()
        await stream.aclose()
    assert sink.got == [b"last"]


async def test_a_stream_that_fails_says_why() -> None:
    """E6: as a call does."""
    with serving() as endpoint, connected(endpoint) as connection:
        stream = connection.open_stream(STREAM, Sink())
        with pytest.raises(CallError) as caught:
            await stream.wait_ended()
        await stream.aclose()
    assert caught.value.code is Code.UNIMPLEMENTED


async def test_what_the_sink_raises_is_raised_to_the_owner() -> None:
    """E9: an error in Trio's queue would end the run; the sink is called no more."""
    got: list[bytes] = []

    def sink(message: bytes) -> None:
        got.append(message)
        raise ValueError(message)

    with serving(stream=echo) as endpoint, connected(endpoint) as connection:
        stream = connection.open_stream(STREAM, sink)
        stream.send(b"first")
        stream.send(b"second")
        with pytest.raises(ValueError, match="first"):
            await stream.wait_ended()
        await stream.aclose()
    assert got == [b"first"]


async def test_nothing_is_handed_over_after_the_close() -> None:
    """E9: what is in the inbox then is dropped."""
    sink = Sink()
    sent = threading.Event()

    def answer(requests: Iterator[bytes], _: Context) -> Iterator[bytes]:
        yield b"1"
        sent.set()
        yield from requests

    with serving(stream=answer) as endpoint, connected(endpoint) as connection:
        stream = connection.open_stream(STREAM, sink)
        assert sent.wait(30)
        await stream.aclose()
    assert sink.got == []


async def test_a_close_waits_for_no_server_and_no_cancellation() -> None:
    """E9: a server that does not answer, and a scope that is cancelled, do not hold it up."""
    with silent() as endpoint, connected(endpoint) as connection:
        stream = connection.open_stream(STREAM, Sink())
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.aclose()


async def test_what_is_read_and_not_applied_is_bounded() -> None:
    """E12: 64 MB are sent to a thread that is blocked, and no more than the credit is read."""
    size, count = 1024 * 1024, 64
    begun, all_sent = threading.Event(), threading.Event()

    def answer(_: Iterator[bytes], __: Context) -> Iterator[bytes]:
        for i in range(count):
            if i > _CREDIT // size:
                begun.set()
            yield bytes(size)
        all_sent.set()

    sink = Sink()
    with serving(stream=answer) as endpoint, connected(endpoint) as connection:
        stream = connection.open_stream(STREAM, sink)
        assert isinstance(stream, GrpcStream)
        assert begun.wait(30)
        assert not all_sent.wait(0.2)
        waiting = sum(len(item) for item in stream._inbox if isinstance(item, bytes))
        assert waiting <= _CREDIT
        await sink.wait_count(count)
        await stream.aclose()
    assert len(sink.got) == count


async def test_a_message_that_is_larger_than_the_credit_is_read() -> None:
    """E12: one message is always read."""
    size = 2 * _CREDIT

    def answer(_: Iterator[bytes], __: Context) -> Iterator[bytes]:
        yield bytes(size)
        yield bytes(size)

    sink = Sink()
    with serving(stream=answer) as endpoint, connected(endpoint) as connection:
        stream = connection.open_stream(STREAM, sink)
        await stream.wait_ended()
        await stream.aclose()
    assert [len(message) for message in sink.got] == [size, size]


async def test_a_close_reaches_a_thread_that_waits_for_credit() -> None:
    """E9: nothing is left though nothing is applied any more."""
    begun = threading.Event()

    def answer(_: Iterator[bytes], __: Context) -> Iterator[bytes]:
        for i in range(64):
            if i == 5:
                begun.set()
            yield bytes(1024 * 1024)

    with serving(stream=answer) as endpoint, connected(endpoint) as connection:
        stream = connection.open_stream(STREAM, Sink())
        assert begun.wait(30)
        await stream.aclose()


def test_a_run_that_ends_before_its_stream_is_not_held_up() -> None:
    """E9: the thread notices that nobody is left, and ends."""
    streams: list[GrpcStream] = []

    async def main(endpoint: str) -> None:
        stream = connect(endpoint, None).open_stream(STREAM, Sink())
        assert isinstance(stream, GrpcStream)
        streams.append(stream)

    over = threading.Event()

    def answer(_: Iterator[bytes], context: Context) -> Iterator[bytes]:
        over.wait(30)
        yield b"late"
        context.add_callback(over.set)

    with serving(stream=answer) as endpoint:
        trio.run(main, endpoint)
        over.set()
        streams[0]._thread.join(30)
        assert not streams[0]._thread.is_alive()

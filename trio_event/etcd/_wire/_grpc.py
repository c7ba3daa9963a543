"""grpcio's synchronous API on Trio: unary calls as futures, and streams that a sink consumes.

The problem: grpcio has threads of its own and an API for threads and one for asyncio. A task of
Trio has to wait for it, be cancelled in that wait, and get its messages in Trio's thread, without
a thread for each call and without asyncio.

The invariants:

- A unary call is a future. Its callback, in one of grpcio's threads, puts one entry into Trio's
  queue, which wakes the task. A cancelled task cancels the future and waits for nothing; an entry
  that comes late wakes nobody.
- A stream has one thread of ours, which reads it, and one of grpcio's, which sends. What was read
  waits in the *inbox*, and one entry in Trio's queue applies all of it, however much that is. No
  task is in between, so that messages are applied in order also while all tasks are busy.
- One entry applies no more than what was in the inbox when it began. So a fast server can't keep
  tasks from running.
- What is read and not applied yet is bounded by *credit*, in bytes. The thread reads no more while
  it has none. Then HTTP/2's window closes, and the server waits (E12). One message is always read,
  whatever its size.
- When ``aclose`` has returned, the thread that reads has put its last entry, and ends. Its end
  needs no server: a cancelled call ends at once.
- No KeyboardInterrupt is raised in grpcio's code. A call that was interrupted while it was made has
  no thread that ends it, and ``close()`` would wait for it for ever.
- Nothing touches a channel in a finaliser, where grpcio can block for ever (grpc/grpc#36927).

grpcio starts a thread for a channel with its first call under way, and ends it with the last one.
Where one call follows the other that is a thread for each, which takes as long as the call. So
there a *spare call* is under way as well: a health check that the server has answered, and of which
nobody reads the answer, since gRPC tells the end of a call after its answers.

- It costs the server a call, and holds one of the connection's HTTP/2 streams until its own
  deadline. A server that admits one stream answers a call that much later, once in a *pause*.
- It is made after some answers in a row, so that a lone write makes none, although a log-in and a
  read go before it on a new connection.
- It is made just before a call, which shares its thread, and never after an answer: so it starts no
  thread that the call would not start, and one that can't be started hides nothing that was done.
- A stream keeps the thread itself, so that there is no spare call beside one.
- For the length of a pause none follows one that the server has refused or lost, nor a call that
  took long beside one: it may have waited for the stream. Calls are only slower meanwhile.

Only failed attempts to connect say for certain that nothing was sent (E7), and they say so by their
text alone: the code is UNAVAILABLE, as it is for a connection that was lost after a request. A
connection that is not made within a second is given up, which is less than any attempt waits. Hence
a member that never answers is one that nothing was sent to.

Rejected: HTTP/2 of our own on ``h2`` (twice the code, a third slower with many calls under way);
``grpc.aio`` (needs asyncio's loop in the thread); a task for each stream, fed by a memory channel
(one more wake-up for each message, and nothing bounds it in bytes).
"""

from __future__ import annotations

import math
import queue
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, final

import grpc
import trio
from outcome import Error, Value, capture
from trio.lowlevel import Abort, current_task, current_trio_token, enable_ki_protection, reschedule

from ._seam import CallError, Code, Connection, Stream
from ._tls import read_pem

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._seam import Metadata
    from ._tls import TLS

# In bytes: what is read from a stream and not applied yet.
_CREDIT: Final = 4 * 1024 * 1024

_OPTIONS: Final = {
    # A channel of ours is a connection of its own: a new one does not get the old, stuck one.
    "grpc.use_local_subchannel_pool": 1,
    # What grpcio sends again by itself may be applied twice, in spite of its name "transparent":
    # etcd-io/etcd#18424.
    "grpc.enable_retries": 0,
    "grpc.enable_http_proxy": 0,
    # etcd bounds what it takes, not what it gives.
    "grpc.max_receive_message_length": -1,
    # The second is also how long an attempt to connect may take.
    "grpc.min_reconnect_backoff_ms": 1000,
    "grpc.initial_reconnect_backoff_ms": 50,
    "grpc.max_reconnect_backoff_ms": 100,
    # The backup of the liveness reads. etcd ends connections that ping every 5 s or faster. It is
    # ping_timeout_ms that counts: the other one is only its upper bound.
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 2000,
    "grpc.http2.ping_timeout_ms": 2000,
}

# A call that every gRPC server may know, without an argument and without a permission.
_SPARE_CALL: Final = "/grpc.health.v1.Health/Check"
# So many answers in a row come before it. A write on a new connection is the third call: the log-in
# and a read go before it.
_ROW: Final = 3
# In seconds: what follows so soon is in a row, and what takes longer takes long.
_SOON: Final = 0.1
# In seconds: how long it holds the thread, and a stream. A call may wait for that stream, which has
# to be far shorter than any attempt.
_SPARE_TIME: Final = 0.3
_PAUSE: Final = 10.0

# What grpcio says where it has not connected, so that nothing was sent.
_NOT_CONNECTED: Final = ("failed to connect to all addresses", "errors resolving ")

_END: Final = object()


def connect(target: str, tls: TLS | None) -> Connection:
    """Return a connection to a member, which is made at the first call.

    Raises:
        RefusedError: if a file of ``tls`` can't be used.
    """
    options = dict(_OPTIONS)
    if tls is None:
        return GrpcConnection(grpc.insecure_channel(target, list(options.items())))
    credentials = grpc.ssl_channel_credentials(
        read_pem("ca", tls.ca), read_pem("key", tls.key), read_pem("certificate", tls.certificate)
    )
    named: list[tuple[str, Any]] = list(options.items())
    if tls.server_name is not None:
        named.append(("grpc.ssl_target_name_override", tls.server_name))
    return GrpcConnection(grpc.secure_channel(target, credentials, named))


@final
class GrpcConnection(Connection):
    """A channel of grpcio, with one connection of its own."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._calls: dict[str, Any] = {}
        self._streams: list[Any] = []
        # How many answers have come in a row, and when the last one; see the design note.
        self._row = 0
        self._answered_at = -math.inf
        # The last spare call, and from when on there may be another one.
        self._spare: Any = None
        self._next_spare_at = -math.inf

    @enable_ki_protection
    async def unary(
        self, path: str, request: bytes, *, seconds: float, metadata: Metadata = ()
    ) -> bytes:
        await trio.lowlevel.checkpoint_if_cancelled()
        call = self._calls.get(path)
        if call is None:
            # Without functions that serialise, grpcio takes and gives bytes.
            call = self._calls[path] = self._channel.unary_unary(path)
        began = trio.current_time()
        is_in_row = began - self._answered_at <= _SOON
        if is_in_row and self._row >= _ROW and began >= self._next_spare_at:
            self._keep_thread(began)
        future = call.future(request, timeout=seconds, metadata=metadata)
        task, token = current_task(), current_trio_token()
        is_waiting = True

        def wake() -> None:
            nonlocal is_waiting
            if is_waiting:
                is_waiting = False
                reschedule(task)

        def done(_: object) -> None:
            # Called in a thread of grpcio's; here, if the future is done already.
            with suppress(trio.RunFinishedError):  # the task is gone, with all that waited for it
                token.run_sync_soon(wake)

        def abort(_: object) -> Abort:
            nonlocal is_waiting
            is_waiting = False
            future.cancel()
            return Abort.SUCCEEDED

        future.add_done_callback(done)
        await trio.lowlevel.wait_task_rescheduled(abort)
        if future.code() is not grpc.StatusCode.OK:
            self._row = 0
            raise _error_of(future)
        now = self._answered_at = trio.current_time()
        self._row = self._row + 1 if is_in_row else 1
        if now - began > _SOON and began < self._next_spare_at:
            self._next_spare_at = now + _PAUSE
        answer: bytes = future.result()
        return answer

    @enable_ki_protection
    def open_stream(
        self, path: str, sink: Callable[[bytes], object], *, metadata: Metadata = ()
    ) -> Stream:
        requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        call: Any = self._channel.stream_stream(path)(iter(requests.get, _END), metadata=metadata)
        self._streams = [stream for stream in self._streams if stream.is_active()]
        self._streams.append(call)
        if self._spare is not None:
            self._spare.cancel()
            self._spare = None
        return GrpcStream(call, requests, sink)

    @enable_ki_protection
    def close(self) -> None:
        if self._spare is not None:
            self._spare.cancel()  # otherwise its finaliser might
        self._channel.close()

    def _keep_thread(self, now: float) -> None:
        """Let the thread of the next call stay after it, if nothing else keeps it."""
        if self._spare is not None:
            if self._spare.is_active():
                return  # its finaliser might block
            has_failed = self._spare.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
            self._spare = None
            if has_failed:
                self._next_spare_at = now + _PAUSE
                return
        if any(stream.is_active() for stream in self._streams):
            return
        self._next_spare_at = now + _SPARE_TIME
        call: Any = self._channel.unary_stream(_SPARE_CALL)
        self._spare = call(b"", timeout=_SPARE_TIME)


@final
class GrpcStream(Stream):
    """A stream of grpcio; see the design note."""

    def __init__(
        self,
        call: Any,  # noqa: ANN401  grpcio's class for it is private
        requests: queue.SimpleQueue[Any],
        sink: Callable[[bytes], object],
    ) -> None:
        self._call = call
        self._requests = requests
        self._sink = sink
        self._token = current_trio_token()
        # What was read and is not applied yet; as its last item, how the stream has ended.
        self._inbox: deque[bytes | Value[None] | Error] = deque()
        self._credit = _Credit(_CREDIT)
        # How it has ended: first known to the inbox, or to the sink.
        self._end: Value[None] | Error | None = None
        self._ended = trio.Event()
        self._thread_ended = trio.Event()
        self._thread = threading.Thread(
            target=self._read_to_the_end, name="trio_event.etcd stream", daemon=True
        )
        self._thread.start()

    @enable_ki_protection
    def send(self, request: bytes) -> None:
        self._requests.put(request)

    async def wait_ended(self) -> None:
        await self._ended.wait()
        assert self._end is not None
        self._end.unwrap()

    @enable_ki_protection
    async def aclose(self) -> None:
        self._end = self._end or Value(None)  # the sink is called no more
        self._call.cancel()
        self._requests.put(_END)
        self._credit.grant_all()
        with trio.CancelScope(shield=True):  # bounded: a cancelled call ends without the server
            await self._thread_ended.wait()
        self._thread.join()  # it has put its last entry, and has nothing left to do

    def _read_to_the_end(self) -> None:
        """Read messages into the inbox. It runs in the thread."""
        self._put(capture(self._read))

    def _read(self) -> None:
        try:
            while True:
                self._credit.wait()
                message = next(self._call, None)
                if message is None:
                    return
                self._credit.take(len(message))
                self._put(message)
        except grpc.RpcError as error:
            raise _error_of(error) from None

    def _put(self, item: bytes | Value[None] | Error) -> None:
        self._inbox.append(item)
        try:
            self._token.run_sync_soon(self._apply, idempotent=True)
        except trio.RunFinishedError:
            self._call.cancel()  # nobody is left to apply anything

    def _apply(self) -> None:
        """Apply what was in the inbox at the beginning. It runs in Trio's queue."""
        for _ in range(len(self._inbox)):
            item = self._inbox.popleft()
            if not isinstance(item, bytes):
                self._end = self._end or item
                self._ended.set()
                self._thread_ended.set()
                return
            if self._end is None:
                result = capture(self._sink, item)
                if isinstance(result, Error):
                    # It would end the Trio run here: the stream's owner raises it.
                    self._end = result
                    self._ended.set()
            self._credit.give_back(len(item))


@final
class _Credit:
    """How many bytes may be read yet. One thread takes, another one gives back."""

    def __init__(self, size: int) -> None:
        self._left: float = size
        self._changed = threading.Condition()

    def wait(self) -> None:
        """Block until there is some: at least a byte, and then a message of any size is read."""
        with self._changed:
            while self._left <= 0:
                self._changed.wait()

    def take(self, size: int) -> None:
        with self._changed:
            self._left -= size

    def give_back(self, size: int) -> None:
        with self._changed:
            self._left += size
            self._changed.notify_all()

    def grant_all(self) -> None:
        """Never block again."""
        with self._changed:
            self._left = float("inf")
            self._changed.notify_all()


def _error_of(call: Any) -> CallError:  # noqa: ANN401  grpcio's classes for it are private
    """Make the error of a call that has failed."""
    number, _ = call.code().value
    details = call.details() or ""
    return CallError(
        Code(number), details, was_sent=not any(text in details for text in _NOT_CONNECTED)
    )

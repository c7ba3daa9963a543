"""The same work by hand, on grpcio's synchronous API: the floors of ``etcd_cases``.

A floor sends bytes that are put together here, and does not read what the answers say. It knows one
member, has no deadline, and repeats nothing. Threads wait for the answers; where a task of Trio
does, its waits can't be cancelled.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import grpc
import trio
from trio.lowlevel import (
    Abort,
    current_task,
    current_trio_token,
    reschedule,
    wait_task_rescheduled,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

PUT: Final = "/etcdserverpb.KV/Put"
WATCH: Final = "/etcdserverpb.Watch/Watch"


@contextmanager
def opened(endpoint: str) -> Iterator[grpc.Channel]:
    """Open a channel that takes messages of any size."""
    channel = grpc.insecure_channel(endpoint, [("grpc.max_receive_message_length", -1)])
    try:
        yield channel
    finally:
        channel.close()


@contextmanager
def watching(channel: grpc.Channel, key: bytes) -> Iterator[Iterator[bytes]]:
    """Watch a key; yield the messages that follow."""
    requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    requests.put(field(1, field(1, key)))
    watch: Any = channel.stream_stream(WATCH)
    messages = watch(iter(requests.get, None))
    next(messages)  # the watch is created
    try:
        yield messages
    finally:
        messages.cancel()
        requests.put(None)


def put_request(key: bytes, value: bytes) -> bytes:
    """Put a request together."""
    return field(1, key) + field(2, value)


def field(number: int, data: bytes) -> bytes:
    """Encode one field as protobuf does."""
    size, length = bytearray(), len(data)
    while length > 0x7F:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    size.append(length)
    return bytes([number << 3 | 2]) + bytes(size) + data


def put_one_by_one(endpoint: str, key: bytes, times: int) -> list[float]:
    """Put, in a loop; return how long each has taken."""
    spent = []
    with opened(endpoint) as channel:
        put: Any = channel.unary_unary(PUT)
        put(put_request(key, b"first"))
        for turn in range(times):
            begin = perf_counter()
            put(put_request(key, b"%d" % turn))
            spent.append(perf_counter() - begin)
    return spent


def put_futures_on_trio(endpoint: str, key: bytes, times: int) -> list[float]:
    """Put, in a loop of a task that awaits grpcio's futures, and does nothing else for that.

    A watch keeps grpcio's thread, which would end with each call.
    """

    async def main() -> list[float]:
        task, token = current_task(), current_trio_token()
        spent = []
        with opened(endpoint) as channel, watching(channel, b"nothing"):
            put: Any = channel.unary_unary(PUT)
            put(put_request(key, b"first"))
            for turn in range(times):
                begin = perf_counter()
                future = put.future(put_request(key, b"%d" % turn))
                future.add_done_callback(lambda _: token.run_sync_soon(reschedule, task))
                await wait_task_rescheduled(lambda _: Abort.FAILED)
                future.result()
                spent.append(perf_counter() - begin)
        return spent

    return trio.run(main)


def put_and_see(endpoint: str, key: bytes, times: int) -> list[float]:
    """Put, and take the event, in a loop."""
    spent = []
    with opened(endpoint) as channel, watching(channel, key) as events:
        put: Any = channel.unary_unary(PUT)
        for turn in range(times):
            begin = perf_counter()
            put(put_request(key, b"%d" % turn))
            next(events)
            spent.append(perf_counter() - begin)
    return spent


def put_and_see_on_trio(endpoint: str, key: bytes, times: int) -> list[float]:
    """Put, and take the event, in a loop of a task, which a thread that reads the events wakes.

    As ours, it has a connection for each.
    """

    async def main() -> list[float]:
        task, token = current_task(), current_trio_token()
        read: deque[bytes] = deque()
        is_waiting = False
        spent = []

        def wake() -> None:
            nonlocal is_waiting
            if is_waiting:
                is_waiting = False
                reschedule(task)

        def read_all(events: Iterator[bytes]) -> None:
            with suppress(grpc.RpcError):  # the watch is cancelled at the end
                for event in events:
                    read.append(event)
                    token.run_sync_soon(wake, idempotent=True)

        with (
            opened(endpoint) as channel,
            opened(endpoint) as second,
            watching(channel, b"nothing"),
        ):
            with watching(second, key) as events:
                reader = threading.Thread(target=read_all, args=[events])
                reader.start()
                put: Any = channel.unary_unary(PUT)
                for turn in range(times):
                    begin = perf_counter()
                    future = put.future(put_request(key, b"%d" % turn))
                    future.add_done_callback(lambda _: token.run_sync_soon(reschedule, task))
                    await wait_task_rescheduled(lambda _: Abort.FAILED)
                    future.result()
                    while not read:  # what wakes may be late, and of the event before
                        is_waiting = True
                        await wait_task_rescheduled(lambda _: Abort.FAILED)
                    read.popleft()
                    spent.append(perf_counter() - begin)
            reader.join()
        return spent

    return trio.run(main)


def put_by_futures(endpoint: str, key: bytes, putters: int, times: int) -> float:
    """Keep as many puts under way as there are putters, in one thread; return seconds for each."""
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with opened(endpoint) as channel:
        put: Any = channel.unary_unary(PUT)
        put(put_request(key, b"first"))
        begin = perf_counter()
        for turn in range(putters * times):
            if turn >= putters:
                done.get().result()
            put.future(put_request(key, b"%d" % turn)).add_done_callback(done.put)
        for _ in range(putters):
            done.get().result()
        return (perf_counter() - begin) / (putters * times)


def put_by_threads(endpoint: str, key: bytes, putters: int, times: int) -> float:
    """Put in as many threads as there are putters; return seconds for each put."""
    with opened(endpoint) as channel:
        put: Any = channel.unary_unary(PUT)
        put(put_request(key, b"first"))

        def run() -> None:
            for turn in range(times):
                put(put_request(key, b"%d" % turn))

        threads = [threading.Thread(target=run) for _ in range(putters)]
        begin = perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return (perf_counter() - begin) / (putters * times)

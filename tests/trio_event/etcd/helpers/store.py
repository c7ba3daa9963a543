"""A cluster in memory, at the seam: it does what etcd does, and counts what its clients have open.

Each call takes a moment on its way there, and one on its way back.
"""

from __future__ import annotations

import functools
import itertools
import operator
from typing import TYPE_CHECKING, Any, final

import attrs
import trio

from trio_event.etcd import EtcdClient
from trio_event.etcd._wire._messages import MESSAGES
from trio_event.etcd._wire._seam import CallError, Code, Connection, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trio_event.etcd._wire._seam import Metadata

MOMENT = 0.001

_NO_LEASE = CallError(Code.NOT_FOUND, "etcdserver: requested lease not found")
# In trouble, many calls are refused, or their answers lost.
_TROUBLE = (
    *[None] * 3,
    CallError(Code.UNAVAILABLE, "last error: Connection refused", was_sent=False),
    *[None] * 2,
    CallError(Code.UNAVAILABLE, "Socket closed"),
    None,
    CallError(Code.UNAVAILABLE, "etcdserver: no leader"),
)
_RESULTS = (operator.eq, operator.gt, operator.lt, operator.ne)
_TARGETS = {1: "create_revision", 2: "mod_revision", 3: "value"}
_DELETE = 1


@final
@attrs.frozen
class _Change:
    """What a revision has done to a key, for those who watch it."""

    revision: int
    key: bytes
    event: Any


@final
class Store:
    """The keys, leases and watches of a cluster."""

    def __init__(self, *, is_troubled: bool = False) -> None:
        self.revision = 1
        self.items: dict[bytes, Any] = {}
        self.leases: set[int] = set()
        # What clients have open, and how much there was of it.
        self.connections: set[StoreConnection] = set()
        self.streams: set[StoreStream] = set()
        self.watches: set[tuple[StoreStream, int]] = set()
        self.opened = 0
        self.changes: list[_Change] = []
        # What becomes of calls: done and answered, if it yields None.
        self.trouble = itertools.cycle(_TROUBLE if is_troubled else (None,))

    def client(self, *, timeout: float = 5.0) -> EtcdClient:
        """Make a client of it."""
        client = EtcdClient(["store:1"], timeout=timeout, user="me", password="secret")  # noqa: S106
        client._connect = lambda _: StoreConnection(self)
        client._connect_to_watch = client._connect_for_leases = client._connect
        return client

    def left(self) -> list[str]:
        """Say what clients have left open."""
        kinds: dict[str, set[Any]] = {
            "connections": self.connections,
            "streams": self.streams,
            "watches": self.watches,
            "leases": self.leases,
        }
        found = [f"{len(several)} {kind}" for kind, several in kinds.items() if several]
        return [*found, *(repr(item.key) for item in self.items.values() if item.lease)]

    def lose_leases(self) -> None:
        """End all leases, with their keys, as an operator may."""
        for number in self.leases:
            self._write([item for item in self.items.values() if item.lease == number], is_end=True)
        self.leases.clear()

    def lose_streams(self) -> None:
        """End all streams, as a member does that is stopped."""
        for stream in list(self.streams):
            stream.ended.set()

    # Calls

    def answer(self, name: str, request: bytes) -> bytes:
        """Do what was asked for."""
        asked = MESSAGES[f"{name}Request"].FromString(request)
        answer = getattr(self, f"_{name}")(asked)
        answer.header.revision = self.revision
        answer.header.cluster_id = 1
        data: bytes = answer.SerializeToString()
        return data

    def _Authenticate(self, _: object) -> Any:  # noqa: N802, ANN401  as etcd names it
        return MESSAGES["AuthenticateResponse"](token="t")  # noqa: S106

    def _Range(self, asked: Any) -> Any:  # noqa: N802, ANN401
        found = [
            item
            for item in self._in_range(asked)
            if not asked.max_create_revision or item.create_revision <= asked.max_create_revision
        ]
        if asked.sort_target:
            found.sort(key=operator.attrgetter("create_revision"), reverse=True)
        limit: int = asked.limit or len(found)
        return MESSAGES["RangeResponse"](kvs=found[:limit], more=len(found) > limit)

    def _Put(self, asked: Any) -> Any:  # noqa: N802, ANN401
        self._write([asked])
        return MESSAGES["PutResponse"]()

    def _DeleteRange(self, asked: Any) -> Any:  # noqa: N802, ANN401
        self._write([asked])
        return MESSAGES["DeleteRangeResponse"]()

    def _Txn(self, asked: Any) -> Any:  # noqa: N802, ANN401
        writes: list[Any] = []
        answer = self._branch(asked, writes)
        self._write(writes)
        return answer

    def _LeaseGrant(self, asked: Any) -> Any:  # noqa: N802, ANN401
        self.leases.add(asked.ID)
        return MESSAGES["LeaseGrantResponse"](ID=asked.ID, TTL=asked.TTL)

    def _LeaseRevoke(self, asked: Any) -> Any:  # noqa: N802, ANN401
        if asked.ID not in self.leases:
            raise _NO_LEASE
        self.leases.remove(asked.ID)
        self._write([item for item in self.items.values() if item.lease == asked.ID], is_end=True)
        return MESSAGES["LeaseRevokeResponse"]()

    def _branch(self, asked: Any, writes: list[Any]) -> Any:  # noqa: ANN401
        is_true = all(map(self._is_true, asked.compare))
        answer = MESSAGES["TxnResponse"](succeeded=is_true)
        for operation in asked.success if is_true else asked.failure:
            response = answer.responses.add()
            kind = operation.WhichOneof("one_of")
            part = getattr(operation, kind)
            if kind == "request_txn":
                response.response_txn.CopyFrom(self._branch(part, writes))
            elif kind == "request_range":
                response.response_range.CopyFrom(self._Range(part))
            else:
                writes.append(part)
                getattr(response, kind.replace("request", "response")).SetInParent()
        return answer

    def _is_true(self, compare: Any) -> bool:  # noqa: ANN401
        target = _TARGETS[compare.target]
        missing = MESSAGES["KeyValue"]()
        return all(
            _RESULTS[compare.result](getattr(item, target), getattr(compare, target))
            for item in self._in_range(compare) or ([] if compare.range_end else [missing])
        )

    def _in_range(self, asked: Any) -> list[Any]:  # noqa: ANN401
        end = asked.range_end or asked.key + b"\0"
        return [self.items[key] for key in sorted(self.items) if asked.key <= key < end]

    def _write(self, writes: Iterable[Any], *, is_end: bool = False) -> None:
        """Put and delete, as one revision."""
        revision = self.revision + 1
        begin = len(self.changes)
        for write in list(writes):
            if hasattr(write, "value") and not is_end:
                self._put(write, revision)
            elif self.items.pop(write.key, None) is not None:
                gone = MESSAGES["KeyValue"](key=write.key, mod_revision=revision)
                self._change(revision, MESSAGES["Event"](type=_DELETE, kv=gone))
        changes = self.changes[begin:]
        if changes:
            self.revision = revision
            for stream in list(self.streams):
                stream.tell(changes)

    def _put(self, write: Any, revision: int) -> None:  # noqa: ANN401
        if write.lease and write.lease not in self.leases:
            raise _NO_LEASE
        before = self.items.get(write.key)
        item = self.items[write.key] = MESSAGES["KeyValue"](
            key=write.key,
            value=write.value,
            lease=write.lease,
            mod_revision=revision,
            create_revision=revision if before is None else before.create_revision,
        )
        self._change(revision, MESSAGES["Event"](kv=item))

    def _change(self, revision: int, event: Any) -> None:  # noqa: ANN401
        self.changes.append(_Change(revision, event.kv.key, event))


@final
class StoreConnection(Connection):
    """A connection to a store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._closed = trio.Event()
        store.connections.add(self)
        store.opened += 1

    @trio.lowlevel.enable_ki_protection  # as that of the real transport
    async def unary(
        self,
        path: str,
        request: bytes,
        *,
        seconds: float,  # noqa: ARG002  all calls take moments
        metadata: Metadata = (),  # noqa: ARG002  there is one user
    ) -> bytes:
        error = next(self.store.trouble)
        await self._travel()
        if error is not None and not error.was_sent:
            raise CallError(error.code, error.details, was_sent=False)
        answer = self.store.answer(path.rpartition("/")[2].replace("Lease/", ""), request)
        await self._travel()
        if error is not None:
            raise CallError(error.code, error.details)
        return answer

    async def _travel(self) -> None:
        with trio.move_on_after(MOMENT):
            await self._closed.wait()
            raise CallError(Code.CANCELLED, "Channel closed!")

    def open_stream(
        self,
        path: str,
        sink: Callable[[bytes], object],
        *,
        metadata: Metadata = (),  # noqa: ARG002  there is one user
    ) -> Stream:
        return StoreStream(self.store, sink, is_watch=path.endswith("/Watch"))

    def close(self) -> None:
        self._closed.set()
        self.store.connections.discard(self)


@final
class StoreStream(Stream):
    """A stream of watches, or of keepalives."""

    def __init__(self, store: Store, sink: Callable[[bytes], object], *, is_watch: bool) -> None:
        self._store = store
        self._sink = sink
        self._token = trio.lowlevel.current_trio_token()
        self._take = self._take_watch if is_watch else self._take_keepalive
        self._ranges: dict[int, tuple[bytes, bytes]] = {}
        self.ended = trio.Event()
        store.streams.add(self)

    def send(self, request: bytes) -> None:
        self._token.run_sync_soon(self._take, request)

    async def wait_ended(self) -> None:
        await self.ended.wait()

    async def aclose(self) -> None:
        self._store.streams.discard(self)
        self._store.watches -= {(self, number) for number in self._ranges}
        await trio.lowlevel.cancel_shielded_checkpoint()

    def tell(self, changes: Iterable[_Change], number: int | None = None) -> None:
        """Send what has changed to all watches that it concerns, or to one."""
        for each, (key, end) in self._ranges.items():
            events = [change.event for change in changes if key <= change.key < end]
            if events and number in {None, each}:
                self._token.run_sync_soon(
                    functools.partial(self._say, "WatchResponse", watch_id=each, events=events)
                )

    def _take_watch(self, request: bytes) -> None:
        if self not in self._store.streams:
            return
        asked = MESSAGES["WatchRequest"].FromString(request)
        if asked.HasField("create_request"):
            create = asked.create_request
            number = create.watch_id
            self._ranges[number] = create.key, create.range_end or create.key + b"\0"
            self._store.watches.add((self, number))
            self._say("WatchResponse", watch_id=number, created=True)
            first = create.start_revision
            self.tell([each for each in self._store.changes if each.revision >= first], number)
        else:
            number = asked.cancel_request.watch_id
            del self._ranges[number]
            self._store.watches.remove((self, number))

    def _take_keepalive(self, request: bytes) -> None:
        if self in self._store.streams:
            number = MESSAGES["LeaseKeepAliveRequest"].FromString(request).ID
            ttl = 10 if number in self._store.leases else 0
            self._say("LeaseKeepAliveResponse", ID=number, TTL=ttl)

    def _say(self, name: str, **fields: object) -> None:
        if self in self._store.streams:
            header = {"revision": self._store.revision, "cluster_id": 1}
            self._sink(MESSAGES[name](header=header, **fields).SerializeToString())

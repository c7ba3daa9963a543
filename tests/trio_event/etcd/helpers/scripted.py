"""Members that do what a test says: the seam's other side, without a network."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, final

import trio

from trio_event.etcd import EtcdClient
from trio_event.etcd._calling._endpoints import Rotation
from trio_event.etcd._calling._requests import reach_request
from trio_event.etcd._wire._messages import MESSAGES
from trio_event.etcd._wire._seam import CallError, Code, Connection, Stream

if TYPE_CHECKING:
    from trio_event.etcd._wire._seam import Metadata

Answer = Callable[[], Awaitable[bytes | None]]

NOT_CONNECTED = "failed to connect to all addresses; last error: Connection refused"

UNREACHABLE = CallError(Code.UNAVAILABLE, NOT_CONNECTED, was_sent=False)
LOST = CallError(Code.UNAVAILABLE, "Socket closed")
NO_LEADER = CallError(Code.UNAVAILABLE, "etcdserver: no leader")
DENIED = CallError(Code.PERMISSION_DENIED, "etcdserver: permission denied")
BAD_TOKEN = CallError(Code.UNAUTHENTICATED, "etcdserver: invalid auth token")
COMPACTED = CallError(Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted")


FIRST_READ = reach_request().message.SerializeToString()


def message(name: str, revision: int = 1, **fields: object) -> bytes:
    """Make an answer with a header."""
    made: bytes = MESSAGES[name](
        header={"revision": revision, "cluster_id": 1}, **fields
    ).SerializeToString()
    return made


def put_done(revision: int) -> bytes:
    """Make the answer to a put."""
    return message("PutResponse", revision)


def found(revision: int, *keys: str, more: bool = False) -> bytes:
    """Make the answer to a read, with keys whose data are their names."""
    items = [
        {"key": key.encode(), "value": key.encode(), "mod_revision": 1, "create_revision": 1}
        for key in keys
    ]
    return message("RangeResponse", revision, kvs=items, more=more)


@final
class Member:
    """A member that answers by a list, the first answer first.

    An answer is bytes, an error to raise, or a function to await. Without an answer it is silent.
    """

    def __init__(self, name: str = "m:1") -> None:
        self.name = name
        self.answers: deque[bytes | CallError | Answer] = deque()
        # To the reads that go before the first write of a connection: by default they are answered.
        self.first_answers: deque[CallError | Answer] = deque()
        # What it has got: the last part of the path, the message, the metadata.
        self.calls: list[tuple[str, bytes, Metadata]] = []
        self.connections: list[ScriptedConnection] = []
        self.streams: list[ScriptedStream] = []
        self.stream_opened = trio.Event()
        # Those by which leases are kept alive. By default leases are granted, renewed and ended.
        self.keepalives: list[ScriptedKeepalives] = []
        self.is_renewing = True
        self.more_ttl = 0
        self.leases: set[int] = set()
        # Without a list of answers, reads are answered by these, and log-ins by numbered tokens.
        self.revision: int | None = None
        self.cluster_id = 1
        self.items: dict[str, int] = {}
        self._tokens = 0

    def __repr__(self) -> str:
        return f"<Member {self.name}>"

    @property
    def names(self) -> list[str]:
        """What was called."""
        return [name for name, _, _ in self.calls]

    def answer(self, name: str, request: bytes) -> bytes | None:
        """Answer a call of the kinds that need no list."""
        if name == "LeaseGrant":
            grant = MESSAGES["LeaseGrantRequest"].FromString(request)
            self.leases.add(grant.ID)
            return message("LeaseGrantResponse", ID=grant.ID, TTL=grant.TTL + self.more_ttl)
        if name == "LeaseRevoke":
            self.leases.discard(MESSAGES["LeaseRevokeRequest"].FromString(request).ID)
            return message("LeaseRevokeResponse")
        if self.revision is None:
            return None
        if name == "Authenticate":
            self._tokens += 1
            return message("AuthenticateResponse", token=f"t{self._tokens}")
        assert name == "Range"
        asked = MESSAGES["RangeRequest"].FromString(request)
        items = [
            {"key": key.encode(), "value": str(revision).encode(), "mod_revision": revision}
            for key, revision in sorted(self.items.items())
            if key.encode() == asked.key
        ]
        made: bytes = MESSAGES["RangeResponse"](
            header={"revision": self.revision, "cluster_id": self.cluster_id}, kvs=items
        ).SerializeToString()
        return made

    async def wait_stream(self, count: int) -> ScriptedStream:
        """Wait for the stream with a number, from 1."""
        while len(self.streams) < count:
            await self.stream_opened.wait()
        return self.streams[count - 1]

    async def silence(self) -> None:
        """Answer nothing."""
        await trio.sleep_forever()

    def will(self, *answers: bytes | CallError | Answer) -> None:
        """Give these answers, after those that are yet to be given."""
        self.answers.extend(answers)


@final
class ScriptedStream(Stream):
    """A watch stream of a scripted member, which says what a test lets it say."""

    def __init__(self, member: Member, sink: Callable[[bytes], object], metadata: Metadata) -> None:
        self._sink = sink
        self.metadata = dict(metadata)
        self.is_closed = False
        # What was asked for: the watches to create, and the ids of those to cancel.
        self.creates: list[Any] = []
        self.cancels: list[int] = []
        self._end: CallError | None = None
        self._ended = trio.Event()
        self._asked = trio.Event()
        member.streams.append(self)
        member.stream_opened.set()
        member.stream_opened = trio.Event()

    def send(self, request: bytes) -> None:
        made = MESSAGES["WatchRequest"].FromString(request)
        if made.HasField("create_request"):
            self.creates.append(made.create_request)
        else:
            self.cancels.append(made.cancel_request.watch_id)
        self._asked.set()
        self._asked = trio.Event()

    async def wait_ended(self) -> None:
        await self._ended.wait()
        if self._end is not None:
            raise self._end

    async def aclose(self) -> None:
        self.is_closed = True
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def wait_created(self, count: int) -> None:
        """Wait until so many watches were asked for."""
        while len(self.creates) < count:
            await self._asked.wait()

    def say(self, revision: int = 1, **fields: object) -> None:
        """Send a message."""
        self._sink(message("WatchResponse", revision, **fields))

    def create_all(self) -> None:
        """Say that all watches are created that were asked for."""
        for create in self.creates:
            self.say(watch_id=create.watch_id, created=True)

    def end(self, error: CallError | None = None) -> None:
        """End the stream."""
        self._end = error
        self._ended.set()


@final
class ScriptedKeepalives(Stream):
    """A stream by which leases are kept alive."""

    def __init__(self, member: Member, sink: Callable[[bytes], object], metadata: Metadata) -> None:
        self._member = member
        self._sink = sink
        self._token = trio.lowlevel.current_trio_token()
        self.metadata = dict(metadata)
        self.is_closed = False
        # The leases that were asked for, and when.
        self.asked: list[tuple[float, int]] = []
        self._end: CallError | None = None
        self._ended = trio.Event()
        self._changed = trio.Event()
        member.keepalives.append(self)

    def send(self, request: bytes) -> None:
        number = MESSAGES["LeaseKeepAliveRequest"].FromString(request).ID
        self.asked.append((trio.current_time(), number))
        self._changed.set()
        self._changed = trio.Event()
        if self._member.is_renewing:
            self._token.run_sync_soon(self.renew, number, 10)

    def renew(self, number: int, ttl: int) -> None:
        """Say that a lease lasts so long; with 0, that it is not there."""
        self._sink(message("LeaseKeepAliveResponse", ID=number, TTL=ttl))

    async def wait_asked(self, count: int) -> None:
        """Wait until so many keepalives have come."""
        while len(self.asked) < count:
            await self._changed.wait()

    async def wait_ended(self) -> None:
        await self._ended.wait()
        if self._end is not None:
            raise self._end

    async def aclose(self) -> None:
        self.is_closed = True
        await trio.lowlevel.cancel_shielded_checkpoint()

    def end(self, error: CallError | None = None) -> None:
        """End the stream."""
        self._end = error
        self._ended.set()


@final
class ScriptedConnection(Connection):
    """A connection to a scripted member."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._closed = trio.Event()
        member.connections.append(self)

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    async def unary(
        self, path: str, request: bytes, *, seconds: float, metadata: Metadata = ()
    ) -> bytes:
        await trio.lowlevel.checkpoint_if_cancelled()
        assert not self.is_closed
        answer: bytes | CallError | Answer
        if request == FIRST_READ:
            first = self._member.first_answers
            answer = first.popleft() if first else found(1)
        else:
            self._member.calls.append((path.rpartition("/")[2], request, metadata))
            name = path.rpartition("/")[2]
            answers = self._member.answers
            given = None if answers else self._member.answer(name, request)
            if given is not None:
                answer = given
            else:
                answer = answers.popleft() if answers else self._closed.wait
        if isinstance(answer, CallError):
            await trio.lowlevel.cancel_shielded_checkpoint()
            raise CallError(answer.code, answer.details, was_sent=answer.was_sent)
        if isinstance(answer, bytes):
            await trio.lowlevel.cancel_shielded_checkpoint()
            return answer
        with trio.move_on_after(seconds):
            awaited = await answer()
            if awaited is None:
                raise CallError(Code.CANCELLED, "Channel closed!")
            return awaited
        raise CallError(Code.DEADLINE_EXCEEDED, "Deadline Exceeded")

    def open_stream(
        self, path: str, sink: Callable[[bytes], object], *, metadata: Metadata = ()
    ) -> Stream:
        if path.endswith("/LeaseKeepAlive"):
            return ScriptedKeepalives(self._member, sink, metadata)
        assert path.endswith("/Watch")
        return ScriptedStream(self._member, sink, metadata)

    def close(self) -> None:
        self._closed.set()


def client_of(*members: Member, timeout: float = 5.0, user: str | None = None) -> EtcdClient:
    """Make a client of scripted members, which asks them in this order."""
    client = EtcdClient(
        [member.name for member in members],
        timeout=timeout,
        user=user,
        password=None if user is None else "secret",
    )
    by_name = {member.name: member for member in members}
    begin_with(members[0], client._rotation)
    client._connect = lambda endpoint: ScriptedConnection(by_name[endpoint])
    begin_with(members[0], client._rotation_of_leases)
    client._connect_for_leases = client._connect
    # No stream disturbs the calls.
    silent = Member("silent:0")
    client._rotation_to_watch = Rotation((silent.name,))
    client._connect_to_watch = lambda _: ScriptedConnection(silent)
    return client


def begin_with(member: Member, rotation: Rotation) -> None:
    """Go on to a member."""
    while rotation.current != member.name:
        rotation.go_on()


def watching_client_of(*members: Member, user: str | None = None) -> EtcdClient:
    """Make a client whose watch stream is that of the members, beginning with the first."""
    client = client_of(*members, user=user)
    client._rotation_to_watch = client._rotation
    client._connect_to_watch = client._connect
    return client

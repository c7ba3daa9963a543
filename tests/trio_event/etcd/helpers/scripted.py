"""Members that do what a test says: the seam's other side, without a network."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, final

import trio

from trio_event.etcd import EtcdClient
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

    def __repr__(self) -> str:
        return f"<Member {self.name}>"

    @property
    def names(self) -> list[str]:
        """What was called."""
        return [name for name, _, _ in self.calls]

    async def silence(self) -> None:
        """Answer nothing."""
        await trio.sleep_forever()

    def will(self, *answers: bytes | CallError | Answer) -> None:
        """Give these answers, after those that are yet to be given."""
        self.answers.extend(answers)


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
            answers = self._member.answers
            answer = answers.popleft() if answers else self._closed.wait
        if isinstance(answer, CallError):
            await trio.lowlevel.cancel_shielded_checkpoint()
            raise CallError(answer.code, answer.details, was_sent=answer.was_sent)
        if isinstance(answer, bytes):
            await trio.lowlevel.cancel_shielded_checkpoint()
            return answer
        with trio.move_on_after(seconds):
            given = await answer()
            if given is None:
                raise CallError(Code.CANCELLED, "Channel closed!")
            return given
        raise CallError(Code.DEADLINE_EXCEEDED, "Deadline Exceeded")

    def open_stream(
        self, path: str, sink: Callable[[bytes], object], *, metadata: Metadata = ()
    ) -> Stream:
        raise NotImplementedError

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
    while client._rotation.current != members[0].name:
        client._rotation.skip(client._rotation.current)
    client._connect = lambda endpoint: ScriptedConnection(by_name[endpoint])
    return client

"""The watch stream: how all values of a client are kept current by one connection.

The problem: many values have to follow the cluster, through the loss of members, leaders,
networks, tokens and history, without a thread, a connection or a task for each, and without
saying that something is current that may not be.

The invariants:

- All watches are on one stream, told apart by ids that are chosen here. A watch that begins anew
  has a new id, so that what is late of the old one is ignored.
- A watch begins where its reflection resumes from. Where that is not known, the range is read
  before, at a pinned revision, by the connection of the stream.
- A new connection begins with a linearizable read (E5). The member has then what all others have
  acknowledged. If its revision is below what was applied, or the cluster has another id, then
  history is another one, and all is read anew (E3): a watch would wait for its revision in silence.
- Answers to creates come in the order of the creates. By it a refusal is ascribed, since some
  servers give it the id -1.
- Whatever fails but permission loses the connection, with all that it has begun, and the next
  member is asked. Reading and resuming are safe to repeat.
- A stream keeps the token that it was opened with. So a watch that is denied is denied for good
  only by a stream whose token is newer than its first denial. Before, the stream is opened anew
  (E8).
- The member is asked something local whenever nothing came for a second. It is not asked by
  ``progress_request``, which current servers do not answer while a watch waits for the next
  revision (etcd-io/etcd#20229).
- Messages are applied in Trio's queue, and a value's data change there and nowhere else.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeGuard, final

import attrs
import trio
from trio.lowlevel import enable_ki_protection

from ..._memory._value import MemoryValue
from .._calling._calls import LONGEST_ATTEMPT, REQUIRE_LEADER
from .._calling._endpoints import pauses
from .._calling._ranges import read_range
from .._calling._requests import history_request, reach_request
from .._calling._verdicts import Verdict, advise, explain, is_about_token, is_no_etcd, judge
from .._errors import EtcdError, RefusedError
from .._wire._messages import MESSAGES
from .._wire._seam import CallError, Code
from ._health import Health
from ._reflection import Reflection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .._calling._endpoints import Rotation
    from .._calling._requests import KeyRange, Request
    from .._calling._tokens import Token, Tokens
    from .._wire._seam import Connection, Stream
    from ._reflection import Target

_PATH: Final = "/etcdserverpb.Watch/Watch"

# In seconds: without a message, until the member is asked; and until it has to have answered.
_QUIET: Final = 1.0
_ANSWER: Final = 1.0
# For how long a connection has to have been good for the next one to be made without a pause.
_STEADY: Final = 1.0

_logger: Final = logging.getLogger("trio_event.etcd")


@final
class Watch:
    """One range that is followed, for one target."""

    def __init__(self, key: bytes, end: bytes, name: str, target: Target) -> None:
        """Describe one; ``end`` is empty for a single key, and ``name`` is for messages."""
        self.key = key
        self.end = end
        self.name = name
        self.reflection: Reflection = Reflection(target)
        # Its id on the present stream; 0 before it is created there.
        self.id: int = 0
        self.denied_at: float | None = None
        # How the first read has ended.
        self._known = trio.Event()
        self.failure: MemoryValue[EtcdError | None] = MemoryValue(None)
        self._target = target

    @property
    def is_known(self) -> bool:
        """Whether it was read, or has failed."""
        return self._known.is_set()

    async def wait_known(self) -> None:
        """Wait for the first read (E11).

        Raises:
            EtcdError: if it was refused.
        """
        await self._known.wait()
        failure = self.failure.peek()
        if failure is not None:
            raise failure

    def take_read(self, found: KeyRange) -> None:
        """Take what was read of it."""
        self.reflection.take_read(found.revision, found.items)
        self._known.set()

    def fail(self, error: EtcdError) -> None:
        """Record that nothing more comes."""
        self.failure.set(error)
        self.failure.close()
        self._known.set()
        self._target.finish(error)


@final
class _ConnectionLostError(Exception):
    """The connection is of no use any more."""


@final
class Watching:
    """Keeps the watches of one client current (E1, E2, E3, E5)."""

    def __init__(
        self, rotation: Rotation, connect: Callable[[str], Connection], tokens: Tokens
    ) -> None:
        """Make one, which does nothing until it is run."""
        self._rotation = rotation
        self._connect = connect
        self._tokens = tokens
        self.health: MemoryValue[Health] = MemoryValue(Health("connecting", trio.current_time()))
        self._watches: dict[Watch, None] = {}
        self._cluster_id = 0
        self._session: _Session | None = None
        self._good_since = math.inf
        # How many connections were lost since one was good, and whether it was told that values
        # wait for one.
        self._failures = 0
        self._has_told = False

    def add(self, watch: Watch) -> None:
        """Begin to follow a range."""
        self._watches[watch] = None
        if self._session is not None:
            self._session.begin(watch)

    def remove(self, watch: Watch) -> None:
        """Follow a range no longer; the server is told."""
        watch.failure.close()
        if self._watches.pop(watch, watch) is None and self._session is not None:
            self._session.cancel(watch)

    def fail(self, watch: Watch, error: EtcdError) -> None:
        """End a watch because of an error that is permanent; no other one is disturbed."""
        watch.fail(error)
        self.remove(watch)

    def follows(self, watch: Watch) -> bool:
        """Return whether a watch is still wanted."""
        return watch in self._watches

    @property
    def watches(self) -> tuple[Watch, ...]:
        """What is followed."""
        return tuple(self._watches)

    @enable_ki_protection  # who waits for a token is in the queue of a lock
    async def read(self, watch: Watch) -> KeyRange:
        """Read the range of a watch now.

        Raises:
            CallError: if there is no connection, or it fails.
        """
        if self._session is None:
            raise CallError(Code.UNAVAILABLE, "there is no connection", was_sent=False)
        return await self._session.read(watch)

    @enable_ki_protection
    async def run(self) -> None:
        """Follow the watches, by one connection after the other, until it is cancelled.

        After it the health is ``stale``, and has ended.
        """
        try:
            await self._run()
        finally:
            last, now = self.health.peek(), trio.current_time()
            reason = "the client was left"
            self.health.set(attrs.evolve(last, state="stale", since=now, reason=reason))
            self.health.close()
            for watch in self._watches:
                watch.failure.close()

    async def _run(self) -> NoReturn:
        pause = pauses()
        while True:
            endpoint = self._rotation.current
            self._good_since = math.inf
            reason = ""
            try:
                connection = self._connect(endpoint)
                try:
                    await self._follow(endpoint, connection)
                finally:
                    self._session = None
                    connection.close()
            except (CallError, _ConnectionLostError) as error:
                reason = str(error)
                if is_refused_connection(error):
                    reason = explain("the watch stream", endpoint, self._tokens.user, error)
                    self._refuse_unknown(RefusedError(reason))
                elif isinstance(error, CallError) and self._good_since == math.inf:
                    reason = f"{reason}: {advise(error)}"
            except RefusedError as error:
                reason = str(error)
                self._refuse_unknown(error)
            self._set_stale(endpoint, reason)
            self._tell_waiting(endpoint, reason)
            self._rotation.go_on()
            if trio.current_time() - self._good_since >= _STEADY:
                pause = pauses()
                await trio.lowlevel.checkpoint()
            else:
                await trio.sleep(next(pause))

    def _refuse_unknown(self, error: RefusedError) -> None:
        """Tell those who open a value. Values that are open keep their data, and are stale."""
        for watch in self.watches:
            if not watch.is_known:
                self.fail(watch, error)

    async def _follow(self, endpoint: str, connection: Connection) -> None:
        """Follow the watches by one connection, until it is lost."""
        session = _Session(self, endpoint, connection, self._tokens)
        header = await session.read_history()
        reason = self._judge_history(header)
        self._session = session
        self._good_since = trio.current_time()
        revision = 0 if header is None else header.revision
        health = Health("current", self._good_since, endpoint, reason, revision)
        while True:
            await session.run_stream(lambda: self._set_current(health))

    def _judge_history(self, header: Any) -> str:  # noqa: ANN401  see MESSAGES
        """Find out whether what is known still holds; return what is worth knowing of it."""
        if header is None:
            return ""
        before, self._cluster_id = self._cluster_id, header.cluster_id
        applied = max((watch.reflection.next_revision - 1 for watch in self._watches), default=0)
        if before in {0, header.cluster_id} and header.revision >= applied:
            return ""
        if before in {0, header.cluster_id}:
            reason = f"the cluster has gone back from revision {applied} to {header.revision}"
        else:
            reason = "another cluster answers"
        _logger.warning("%s: all values are read anew, and each key counts as changed", reason)
        for watch in self._watches:
            watch.reflection.forget_all()
        return reason

    def _set_current(self, health: Health) -> None:
        self._failures, self._has_told = 0, False
        if self.health.peek() is not health:  # a stream that was opened anew changes nothing
            self.health.set(health)

    def _set_stale(self, endpoint: str, reason: str) -> None:
        health = self.health.peek()
        if health.state == "current":
            _logger.info("values are stale: %s: %s", endpoint, reason)
            now = trio.current_time()
            self.health.set(Health("stale", now, endpoint, reason, health.revision))
        elif health.reason != reason:
            self.health.set(Health(health.state, health.since, endpoint, reason, health.revision))

    def _tell_waiting(self, endpoint: str, reason: str) -> None:
        """Log once, when no member answers, that those who open values wait for one."""
        self._failures += 1
        is_waiting = any(not watch.is_known for watch in self._watches)
        if is_waiting and self._failures >= len(self._rotation) and not self._has_told:
            self._has_told = True
            _logger.warning("values wait for a member: %s: %s", endpoint, reason)


def is_refused_connection(error: Exception) -> TypeGuard[CallError]:
    """Return whether there is no member with which the client could agree to connect."""
    if not isinstance(error, CallError):
        return False
    return is_no_etcd(error) or (not error.was_sent and judge(error) is Verdict.REFUSED)


@final
class _Session:
    """One connection to one member, and the stream on it."""

    def __init__(
        self, owner: Watching, endpoint: str, connection: Connection, tokens: Tokens
    ) -> None:
        self._owner = owner
        self._endpoint = endpoint
        self._connection = connection
        self._tokens = tokens
        self._token: Token | None = None
        self._ids: Iterator[int] = itertools.count(1)
        self._by_id: dict[int, Watch] = {}
        # Creates that are not answered yet, oldest first.
        self._asked: deque[tuple[int, Watch]] = deque()
        self._stream: Stream | None = None
        self._nursery: trio.Nursery | None = None
        # Why the stream, or the connection, is to be left.
        self._end: Exception | None = None
        self._ended = trio.Event()
        # When the member has said something last.
        self._heard_at = trio.current_time()

    # Reading

    async def read_history(self) -> Any:  # noqa: ANN401  see MESSAGES
        """Return the header of a linearizable read; None if the user may read none of the keys."""
        keys = [watch.key for watch in self._owner.watches] or [b"\0"]
        for key in keys:
            try:
                return (await self._call(history_request(key))).header
            except CallError as error:
                if is_no_etcd(error) or not self._is_refusal(error):
                    raise
        return None

    async def read(self, watch: Watch) -> KeyRange:
        """Read a range, pinned to one revision."""
        return await read_range(self._call, watch.name, watch.key, watch.end)

    async def _call(self, request: Request) -> Any:  # noqa: ANN401  see MESSAGES
        """Ask the member; once more with a new token, if it wants one."""
        metadata = REQUIRE_LEADER
        data = request.message.SerializeToString()
        is_second = False
        while True:
            token = await self._tokens.get(self._endpoint, self._connection, LONGEST_ATTEMPT)
            try:
                answer = await self._connection.unary(
                    request.path,
                    data,
                    seconds=LONGEST_ATTEMPT,
                    metadata=metadata + token.metadata,
                )
            except CallError as error:
                if is_second or self._tokens.user is None or judge(error) is not Verdict.TOKEN:
                    raise
                self._tokens.forget(self._endpoint, token)
                is_second = True
            else:
                return request.read(answer)

    # The stream

    async def run_stream(self, opened: Callable[[], None]) -> None:
        """Follow all watches by one stream, until it is to be opened anew with a newer token.

        Raises:
            CallError: if it has failed.
            _ConnectionLostError: if the member does not answer, or has ended the stream.
        """
        self._token = await self._tokens.get(self._endpoint, self._connection, LONGEST_ATTEMPT)
        self._by_id.clear()
        self._asked.clear()
        self._end, self._ended = None, trio.Event()
        self._heard_at = trio.current_time()
        self._stream = self._connection.open_stream(
            _PATH, self._receive, metadata=REQUIRE_LEADER + self._token.metadata
        )
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._wait_ended, self._stream)
                self._nursery.start_soon(self._check_liveness)
                for watch in self._owner.watches:
                    watch.reflection.restart()
                    self.begin(watch)
                opened()
                await self._ended.wait()
                self._nursery.cancel_scope.cancel()
        finally:
            self._nursery = None
            stream, self._stream = self._stream, None
            await stream.aclose()
        end: Exception | None = self._end
        if end is not None and not isinstance(end, _TokenTooOldError):
            raise end

    def begin(self, watch: Watch) -> None:
        """Follow a watch by this stream: read it first, if its place is not known."""
        if self._nursery is None or self._end is not None:
            return  # the next stream will
        if watch.reflection.next_revision:
            self._create(watch)
        else:
            self._nursery.start_soon(self._read_and_create, watch)

    def cancel(self, watch: Watch) -> None:
        """Tell the server that a watch is over."""
        if self._by_id.pop(watch.id, None) is not None:
            self._send(cancel_request={"watch_id": watch.id})

    def _create(self, watch: Watch) -> None:
        watch.id = next(self._ids)
        self._by_id[watch.id] = watch
        self._asked.append((watch.id, watch))
        self._send(
            create_request={
                "key": watch.key,
                "range_end": watch.end,
                "start_revision": watch.reflection.next_revision,
                "watch_id": watch.id,
                "fragment": True,
            }
        )

    def _send(self, **fields: Any) -> None:  # noqa: ANN401  see MESSAGES
        assert self._stream is not None
        self._stream.send(MESSAGES["WatchRequest"](**fields).SerializeToString())

    @enable_ki_protection
    async def _read_and_create(self, watch: Watch) -> None:
        try:
            found = await self.read(watch)
        except CallError as error:
            if self._is_refusal(error):
                self._owner.fail(watch, self._refused(watch, error))
            else:
                self._leave(error)
        except RefusedError as error:
            self._owner.fail(watch, error)
        else:
            if self._owner.follows(watch):
                watch.take_read(found)
                self._create(watch)

    def _is_refusal(self, error: CallError) -> bool:
        """Return whether the member has answered that it will not."""
        if judge(error) is Verdict.TOKEN:
            return self._tokens.user is None
        return error.was_sent and judge(error) is Verdict.REFUSED

    def _refused(self, watch: Watch, error: CallError) -> RefusedError:
        what = f"the watch of {watch.name!r}"
        return RefusedError(explain(what, self._endpoint, self._tokens.user, error))

    @enable_ki_protection
    async def _wait_ended(self, stream: Stream) -> None:
        try:
            await stream.wait_ended()
        except CallError as error:
            self._leave(error)
        else:
            self._leave(_ConnectionLostError("the member has ended the stream"))

    @enable_ki_protection
    async def _check_liveness(self) -> None:
        """Leave a member that says nothing, and does not answer when it is asked."""
        request = reach_request()
        data = request.message.SerializeToString()
        while True:
            await trio.sleep_until(self._heard_at + _QUIET)
            if trio.current_time() < self._heard_at + _QUIET:
                continue
            try:
                # Without a token: a refusal is an answer.
                await self._connection.unary(request.path, data, seconds=_ANSWER)
            except CallError as error:
                is_answer = error.was_sent and judge(error) in {Verdict.REFUSED, Verdict.TOKEN}
                if not is_answer:
                    self._leave(_ConnectionLostError("the member does not answer"))
                    return
            self._heard_at = trio.current_time()

    def _leave(self, end: Exception) -> None:
        """Leave the stream, and the connection if that is no good; the first reason counts."""
        if self._end is None:
            self._end = end
            self._ended.set()

    # What the server says

    def _receive(self, data: bytes) -> None:
        """Take a message. It is called in Trio's queue."""
        if self._end is not None:
            return
        self._heard_at = trio.current_time()
        response = MESSAGES["WatchResponse"].FromString(data)
        number = response.watch_id
        if response.created:
            number, _ = self._asked.popleft()
        watch = self._by_id.get(number)
        if watch is None:
            return  # it was left, or has begun anew
        if response.canceled:
            del self._by_id[number]
            self._take_refusal(watch, response)
        elif response.created:
            watch.denied_at = None
        else:
            watch.reflection.take_events(response.events, is_fragment=response.fragment)

    def _take_refusal(self, watch: Watch, response: Any) -> None:  # noqa: ANN401  see MESSAGES
        reason = response.cancel_reason
        is_denied = "ermission" in reason
        if response.compact_revision or "compacted" in reason:
            _logger.info("what %r has missed is compacted: it is read anew", watch.name)
            watch.reflection.forget_place()
            self.begin(watch)
        elif self._tokens.user is not None and (is_denied or is_about_token(reason)):
            self._take_denial(watch, reason, is_denied=is_denied)
        else:
            code = Code.PERMISSION_DENIED if is_denied else Code.UNKNOWN
            error = CallError(code, reason or "the server has ended the watch")
            self._owner.fail(watch, self._refused(watch, error))

    def _take_denial(self, watch: Watch, reason: str, *, is_denied: bool) -> None:
        """Get a newer token, unless it is sure that the token is not what is wrong."""
        assert self._token is not None
        if watch.denied_at is not None and self._token.since > watch.denied_at:
            if is_denied:
                error = CallError(Code.PERMISSION_DENIED, reason)
                self._owner.fail(watch, self._refused(watch, error))
            else:
                self._leave(_ConnectionLostError(reason))  # a pause comes before the next attempt
            return
        if watch.denied_at is None:
            watch.denied_at = trio.current_time()
        self._tokens.forget(self._endpoint, self._token)
        self._leave(_TokenTooOldError(reason))


@final
class _TokenTooOldError(Exception):
    """The stream's token is too old to say whether a watch is allowed."""

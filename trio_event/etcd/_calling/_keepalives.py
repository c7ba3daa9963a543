"""The stream that keeps the leases of a client alive (E13).

The problem: each lease has to be renewed before it ends, through the loss of members and leaders,
without a connection or a thread for each.

The invariants:

- All leases are kept alive by one stream, on a connection of its own. It is there while there are
  leases.
- A lease is renewed when a third of what was granted has passed since the sending of the last
  keepalive that was acknowledged. If a quarter of it passes without an answer, the member is left.
  So two members may fail one after the other, and the third one is asked in time.
- A member that can't renew a lease, because it knows of no leader or the leader does not answer it,
  ends the stream. Then the next member is asked, for the same leases.
- An answer without a time to live says that the lease is not there. It is lost at once.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, final

import trio
from trio.lowlevel import enable_ki_protection

from .._errors import RefusedError
from .._wire._messages import MESSAGES
from .._wire._seam import CallError
from ._calls import LONGEST_ATTEMPT, REQUIRE_LEADER
from ._endpoints import pauses
from ._verdicts import Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._wire._seam import Connection, Stream
    from ._endpoints import Rotation
    from ._lease import Lease
    from ._tokens import Tokens

_PATH: Final = "/etcdserverpb.Lease/LeaseKeepAlive"

_logger: Final = logging.getLogger("trio_event.etcd")


@final
class _MemberLostError(Exception):
    """The member is of no use now."""


@final
class Keepalives:
    """Keeps the leases of one client alive (E13)."""

    def __init__(
        self, rotation: Rotation, connect: Callable[[str], Connection], tokens: Tokens
    ) -> None:
        """Make one, which does nothing until it is run."""
        self._rotation = rotation
        self._connect = connect
        self._tokens = tokens
        self._leases: dict[int, Lease] = {}
        self._is_needed = trio.Event()
        self._session: _Session | None = None

    @property
    def leases(self) -> tuple[Lease, ...]:
        """What is kept alive."""
        return tuple(self._leases.values())

    def find(self, number: int) -> Lease | None:
        """Return the lease of a number, if it is kept alive."""
        return self._leases.get(number)

    def add(self, lease: Lease) -> None:
        """Keep a lease alive from now on."""
        self._leases[lease.id] = lease
        self._is_needed.set()
        if self._session is not None:
            self._session.begin(lease)

    def remove(self, lease: Lease) -> None:
        """Keep a lease alive no longer; the stream ends with the last one."""
        self._leases.pop(lease.id, None)
        if self._session is not None:
            self._session.forget(lease)
            if not self._leases:
                self._session.leave(None)

    async def run(self) -> None:
        """Keep leases alive, by one member after the other, until it is cancelled."""
        pause = pauses()
        while True:
            if not self._leases:
                self._is_needed = trio.Event()
                await self._is_needed.wait()
            endpoint = self._rotation.current
            session: _Session | None = None
            try:
                connection = self._connect(endpoint)
                try:
                    session = self._session = _Session(self, endpoint, connection, self._tokens)
                    await session.run()
                    continue
                finally:
                    self._session = None
                    connection.close()
            except (CallError, RefusedError, _MemberLostError) as error:
                _logger.info("leases are kept alive by another member: %s: %s", endpoint, error)
            self._rotation.go_on()
            if session is not None and session.was_good:
                pause = pauses()
                await trio.lowlevel.checkpoint()
            else:
                await trio.sleep(next(pause))


@final
class _Session:
    """One stream to one member."""

    def __init__(
        self, owner: Keepalives, endpoint: str, connection: Connection, tokens: Tokens
    ) -> None:
        self._owner = owner
        self._endpoint = endpoint
        self._connection = connection
        self._tokens = tokens
        # The member has renewed a lease.
        self.was_good = False
        self._stream: Stream | None = None
        self._nursery: trio.Nursery | None = None
        # The task of each lease, and since when it waits for an answer.
        self._scopes: dict[int, trio.CancelScope] = {}
        self._asked: dict[int, tuple[float, trio.Event]] = {}
        self._end: Exception | None = None
        self._ended = trio.Event()

    async def run(self) -> None:
        """Keep all leases alive, until the last one was removed.

        Raises:
            CallError: if the stream has failed.
            _MemberLostError: if the member does not answer, or has ended the stream.
        """
        patience = min((lease.ttl / 4 for lease in self._owner.leases), default=LONGEST_ATTEMPT)
        seconds = min(patience, LONGEST_ATTEMPT)
        token = await self._tokens.get(self._endpoint, self._connection, seconds)
        self._stream = self._connection.open_stream(
            _PATH, self._receive, metadata=REQUIRE_LEADER + token.metadata
        )
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._wait_ended, self._stream)
                for lease in self._owner.leases:
                    self.begin(lease)
                await self._ended.wait()
                self._nursery.cancel_scope.cancel()
        finally:
            self._nursery = None
            await self._stream.aclose()
        if isinstance(self._end, CallError) and judge(self._end) is Verdict.TOKEN:
            self._tokens.forget(self._endpoint, token)
        if self._end is not None:
            raise self._end

    def begin(self, lease: Lease) -> None:
        """Keep a lease alive by this stream."""
        if self._nursery is not None and not self._ended.is_set():
            self._nursery.start_soon(self._keep, lease)

    def forget(self, lease: Lease) -> None:
        """Keep a lease alive no longer."""
        scope = self._scopes.pop(lease.id, None)
        if scope is not None:
            scope.cancel(reason="the lease was left, or is lost")

    def leave(self, end: Exception | None) -> None:
        """Leave the stream; the first reason counts."""
        if not self._ended.is_set():
            self._end = end
            self._ended.set()

    @enable_ki_protection
    async def _wait_ended(self, stream: Stream) -> None:
        try:
            await stream.wait_ended()
        except CallError as error:
            self.leave(error)
        else:
            self.leave(_MemberLostError("the member has ended the stream"))

    @enable_ki_protection
    async def _keep(self, lease: Lease) -> None:
        """Renew a lease again and again."""
        assert self._stream is not None
        if self._owner.find(lease.id) is None:
            return
        with trio.CancelScope() as scope:
            self._scopes[lease.id] = scope
            while True:
                await trio.sleep_until(lease._sent_at + lease.ttl / 3)
                if lease.is_lost:
                    self._owner.remove(lease)
                    return
                answered = trio.Event()
                self._asked[lease.id] = trio.current_time(), answered
                request = MESSAGES["LeaseKeepAliveRequest"](ID=lease.id)
                self._stream.send(request.SerializeToString())
                with trio.move_on_after(lease.ttl / 4):
                    await answered.wait()
                    continue
                self.leave(_MemberLostError("the member does not renew a lease"))
                return

    def _receive(self, data: bytes) -> None:
        """Take an answer. It is called in Trio's queue."""
        answer = MESSAGES["LeaseKeepAliveResponse"].FromString(data)
        lease = self._owner.find(answer.ID)
        asked = self._asked.pop(answer.ID, None)
        if lease is None or asked is None:
            return  # it was left meanwhile
        sent_at, answered = asked
        answered.set()
        self.was_good = True
        if answer.TTL > 0:
            lease._renew(sent_at, answer.TTL)
        else:
            _logger.warning("%r is lost: the cluster has ended it", lease)
            lease._end()
            self._owner.remove(lease)

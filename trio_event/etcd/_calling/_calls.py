"""Calls to whichever member answers.

The problem: a call has to be answered although members die, freeze and lose their leader, within
the caller's time; but no write may be made twice, and no error may hide what has happened.

The invariants:

- A write is sent again only if it is certain that the cluster has not got it (E7). Where that is
  not certain, the caller gets an ``UnknownOutcomeError`` at once.
- A new connection carries a read before the first write. A write that waits for a connection until
  its time is over would look like one that was sent; a read that does so leaves no doubt.
- An attempt takes at most two seconds. A member without a quorum would answer after seven.
- A member that has not answered is not asked again over the same connection: a stuck one would be
  shared by all later calls. Calls that are under way there go on, and the last one closes it. The
  same holds where callers are less patient than an attempt, and cancel each call before.
- A pause is made between attempts, but for the one after the loss of a connection that was good:
  the other members are likely to be.
- All but local reads require a leader (E5). Then a member that knows of none refuses at once,
  before the cluster gets anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

import trio
from trio.lowlevel import enable_ki_protection

from .._errors import RefusedError, UnavailableError, UnknownOutcomeError
from .._wire._seam import CallError, Code
from ._endpoints import pauses
from ._requests import reach_request
from ._verdicts import Verdict, advise, explain, is_compacted, is_granted_before, judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._wire._seam import Connection
    from ._endpoints import Rotation
    from ._requests import Request
    from ._tokens import Token, Tokens

# In seconds.
LONGEST_ATTEMPT: Final = 2.0
# A connection without an answer for so long is left when a call is cancelled.
_SILENCE: Final = 0.5

REQUIRE_LEADER: Final = (("hasleader", "true"),)


@final
class Link:
    """A connection to a member, and how many calls use it."""

    __slots__ = ("calls", "connection", "endpoint", "is_good", "is_left", "silent_since")

    def __init__(self, endpoint: str, connection: Connection) -> None:
        self.endpoint = endpoint
        self.connection = connection
        self.calls = 0
        # The member has answered by this connection.
        self.is_good = False
        # No new call uses it.
        self.is_left = False
        # When the first call was made after the last answer.
        self.silent_since: float | None = None

    def is_asked(self) -> None:
        """Record that an answer is expected."""
        if self.silent_since is None:
            self.silent_since = trio.current_time()

    def is_silent(self) -> bool:
        """Return whether a call has waited for too long, or those that were cancelled before it."""
        now = trio.current_time()
        return self.silent_since is not None and now - self.silent_since > _SILENCE

    def has_answered(self) -> None:
        """Record an answer, of whatever kind."""
        self.is_good = True
        self.silent_since = None


@final
class Calls:
    """Makes the calls of one client (E6 to E8)."""

    def __init__(
        self,
        rotation: Rotation,
        connect: Callable[[str], Connection],
        tokens: Tokens,
        timeout: float,
    ) -> None:
        """Make one; ``timeout`` is for each call, with all its attempts."""
        self._rotation = rotation
        self._connect = connect
        self._tokens = tokens
        self._timeout = timeout
        self._link: Link | None = None
        self._links: set[Link] = set()
        self._is_open = True

    @enable_ki_protection  # counts are kept here, and connections closed
    async def call(self, request: Request) -> Any:  # noqa: ANN401  see MESSAGES
        """Return the answer to a request (E6, E7).

        Raises:
            UnavailableError: if it was not done in time.
            UnknownOutcomeError: if it is a write, and may have been done.
            RefusedError: if it is not allowed, or can't be served.
            ClosedResourceError: if the client is left meanwhile.
            CallError: if a revision is asked for that is compacted, or a lease that is there.
        """
        deadline = trio.current_time() + self._timeout
        pause = pauses()
        failure = ""
        while True:
            link = self._take_link()
            was_good = link.is_good
            try:
                answer = await self._attempt(link, request, deadline)
            except CallError as error:
                self._check_open()
                verdict = judge(error)
                if error.was_sent and verdict in {Verdict.REFUSED, Verdict.TOKEN}:
                    link.has_answered()
                else:
                    self._leave(link)
                if verdict in {Verdict.REFUSED, Verdict.TOKEN}:
                    raise self._refused(request, link, error) from None
                if verdict is Verdict.UNKNOWN and request.is_write:
                    raise _unknown(request, link, error) from None
                if not failure or error.code is not Code.DEADLINE_EXCEEDED:  # it says least
                    remedy = "" if was_good else f": {advise(error)}"
                    failure = f"{link.endpoint} said {error}{remedy}"
            except trio.Cancelled:
                if link.is_silent():
                    self._leave(link)
                raise
            else:
                link.has_answered()
                return answer
            finally:
                self._give_back(link)
            seconds = 0 if was_good else next(pause)
            if trio.current_time() + seconds >= deadline:
                msg = (
                    f"no member answered the {request.operation} within {self._timeout} s; "
                    f"for example, {failure}"
                )
                raise UnavailableError(msg)
            await trio.sleep(seconds)
            self._check_open()

    @enable_ki_protection
    def close(self) -> None:
        """Close all connections; calls under way end with :exc:`trio.ClosedResourceError`."""
        self._is_open = False
        self._link = None
        for link in self._links:
            link.connection.close()
        self._links.clear()

    async def _attempt(self, link: Link, request: Request, deadline: float) -> Any:  # noqa: ANN401
        """Ask one member, once more if it wants a new token."""
        end = min(deadline, trio.current_time() + LONGEST_ATTEMPT)
        metadata = () if request.is_local else REQUIRE_LEADER
        data = request.message.SerializeToString()
        denied: Token | None = None
        while True:
            link.is_asked()
            token = await self._tokens.get(link.endpoint, link.connection, _until(end))
            if request.is_write and not link.is_good:
                await _make_good(link, end)
                link.is_asked()
            try:
                answer = await link.connection.unary(
                    request.path, data, seconds=_until(end), metadata=metadata + token.metadata
                )
            except CallError as error:
                if judge(error) is not Verdict.TOKEN or self._tokens.user is None:
                    raise
                self._tokens.forget(link.endpoint, token)
                if denied is not None:
                    raise
                denied = token
            else:
                return request.read(answer)

    def _take_link(self) -> Link:
        """Return the connection to the current member; make it, if there is none."""
        link = self._link
        if link is None:
            endpoint = self._rotation.current
            link = self._link = Link(endpoint, self._connect(endpoint))
            self._links.add(link)
        link.calls += 1
        return link

    def _leave(self, link: Link) -> None:
        """Let no new call use a connection."""
        if self._link is link:
            self._link = None
            self._rotation.go_on()  # once, however many calls have failed there
        link.is_left = True
        self._close_unused(link)

    def _give_back(self, link: Link) -> None:
        link.calls -= 1
        self._close_unused(link)

    def _close_unused(self, link: Link) -> None:
        if link.is_left and not link.calls and link in self._links:
            self._links.discard(link)
            link.connection.close()

    def _check_open(self) -> None:
        if not self._is_open:
            msg = "the client was left during the call: make the call inside its 'async with'"
            raise trio.ClosedResourceError(msg)

    def _refused(self, request: Request, link: Link, error: CallError) -> Exception:
        if is_compacted(error) or is_granted_before(error):
            return error
        what = f"the {request.operation}"
        return RefusedError(explain(what, link.endpoint, self._tokens.user, error))


async def _make_good(link: Link, end: float) -> None:
    """Have the member answer something, so that what comes next is known to be sent.

    Raises:
        CallError: if it does not; it says that nothing was sent.
    """
    request = reach_request()
    try:
        await link.connection.unary(
            request.path, request.message.SerializeToString(), seconds=_until(end)
        )
    except CallError as error:
        is_answer = error.was_sent and judge(error) in {Verdict.REFUSED, Verdict.TOKEN}
        if not is_answer:
            raise CallError(error.code, error.details, was_sent=False) from None
    link.has_answered()


def _until(end: float) -> float:
    return max(end - trio.current_time(), 0.001)


def _unknown(request: Request, link: Link, error: CallError) -> UnknownOutcomeError:
    msg = (
        f"the {request.operation} was sent to {link.endpoint}, and may have happened or not "
        f"({error}): read the key to find out"
    )
    return UnknownOutcomeError(msg, request.operation)

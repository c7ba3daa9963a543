"""Tokens, by which the members know the user: one per member, got once for all who wait (E8).

A token of etcd's kind "simple" is known to the member that gave it, and forgotten when that is
restarted. So each member has its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import attrs
import trio

from .._errors import RefusedError
from .._wire._messages import MESSAGES
from .._wire._seam import CallError, Code, Connection
from ._verdicts import Verdict, explain, judge

if TYPE_CHECKING:
    from .._wire._seam import Metadata

_PATH: Final = "/etcdserverpb.Auth/Authenticate"


@final
@attrs.frozen
class Token:
    """What a member has given for a password, and when it was asked for it."""

    metadata: Metadata
    since: float


@final
class Tokens:
    """The tokens of one user."""

    def __init__(self, user: str | None, password: str | None) -> None:
        """Make some for a user; for None, who needs no token."""
        self.user = user
        self._password = password
        self._tokens: dict[str, Token] = {}
        self._locks: dict[str, trio.Lock] = {}

    async def get(self, endpoint: str, connection: Connection, seconds: float) -> Token:
        """Return the token for a member; get one if there is none.

        Of several tasks, one gets it, and the others wait for that.

        Raises:
            CallError: if the member has not answered within ``seconds``; nothing was sent
                of what the token is for.
            RefusedError: if the user or the password is wrong.
        """
        if self.user is None:
            return _NO_TOKEN
        with trio.move_on_after(seconds):
            async with self._locks.setdefault(endpoint, trio.Lock()):
                token = self._tokens.get(endpoint)
                if token is None:
                    token = await self._authenticate(endpoint, connection, seconds)
                    self._tokens[endpoint] = token
                return token
        details = f"no token for {self.user!r} within {seconds:.1f} s"
        raise CallError(Code.DEADLINE_EXCEEDED, details, was_sent=False)

    def forget(self, endpoint: str, token: Token) -> None:
        """Let the next one get a new token, unless there is a newer one already."""
        if self._tokens.get(endpoint) is token:
            del self._tokens[endpoint]

    async def _authenticate(self, endpoint: str, connection: Connection, seconds: float) -> Token:
        since = trio.current_time()
        request = MESSAGES["AuthenticateRequest"](name=self.user, password=self._password)
        try:
            # Without a token, even an expired one: etcd 3.4 would refuse it here.
            answer = await connection.unary(_PATH, request.SerializeToString(), seconds=seconds)
        except CallError as error:
            if "authentication is not enabled" in error.details:
                return Token((), since)  # when it is, the member will ask for a token
            if judge(error) is not Verdict.REFUSED:
                raise CallError(error.code, error.details, was_sent=False) from None
            raise RefusedError(self._explain(endpoint, error)) from None
        return Token((("token", MESSAGES["AuthenticateResponse"].FromString(answer).token),), since)

    def _explain(self, endpoint: str, error: CallError) -> str:
        if "invalid user ID or password" in error.details:
            return f"{endpoint} refused user {self.user!r}: check user= and password="
        return explain(f"the log-in of user {self.user!r}", endpoint, self.user, error)


_NO_TOKEN: Final = Token((), float("-inf"))

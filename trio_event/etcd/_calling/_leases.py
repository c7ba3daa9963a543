"""The leases of one client, under numbers that are chosen here so that each can be ended (E13).

A member that has granted a lease may die before it says so. A number of the member's choice would
not be known then. With one that was chosen here the request can be made again, and what was granted
can be ended although nobody waits for the answer any more.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, final

import trio
from trio.lowlevel import enable_ki_protection

from .._errors import EtcdError
from .._wire._seam import CallError
from ._keepalives import Keepalives
from ._lease import Lease
from ._requests import grant_request, revoke_request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .._wire._seam import Connection
    from ._endpoints import Rotation
    from ._opening import Close
    from ._requests import Request
    from ._tokens import Tokens

_HIGHEST_ID: Final = 2**63 - 1

# In seconds: for how long the cluster is told that a lease is over.
END_TIME: Final = 1.0


@final
class Leases:
    """The leases of one client (E13)."""

    def __init__(
        self,
        rotation: Rotation,
        connect: Callable[[str], Connection],
        tokens: Tokens,
        call: Callable[[str, Request], Awaitable[Any]],
    ) -> None:
        """Make one without leases."""
        self._keepalives = Keepalives(rotation, connect, tokens)
        self._call = call

    @enable_ki_protection
    async def run(self) -> None:
        """Keep them alive, until it is cancelled."""
        await self._keepalives.run()

    def close(self) -> None:
        """End all of them, because the client is left."""
        for lease in self._keepalives.leases:
            lease._end(is_left=True)

    async def open(self, ttl: int) -> tuple[Lease, Close]:
        """Open a lease; return what ends it, too."""
        number = secrets.randbelow(_HIGHEST_ID) + 1
        try:
            lease = await self._grant(number, ttl)
        except EtcdError:
            raise  # what may have been granted all the same ends by itself
        except BaseException:  # it may have been granted
            await self._revoke(number)  # noqa: ASYNC102, ASYNC120  it shields, for a second
            raise
        self._keepalives.add(lease)

        async def close() -> None:
            self._keepalives.remove(lease)
            lease._end(is_left=True)
            await self._revoke(number)

        return lease, close

    async def _grant(self, number: int, ttl: int) -> Lease:
        sent_at = trio.current_time()
        try:
            answer = await self._call("lease", grant_request(number, ttl))
        except CallError:  # it was granted before, at least so much
            return Lease(number, ttl, sent_at)
        return Lease(number, answer.TTL, sent_at)

    async def _revoke(self, number: int) -> None:
        interruption: KeyboardInterrupt | None = None
        with (
            trio.move_on_after(END_TIME, shield=True),
            suppress(EtcdError, trio.ClosedResourceError),
        ):
            while True:
                try:
                    await self._call("lease", revoke_request(number))
                except KeyboardInterrupt as error:  # that may have come before it was sent
                    interruption = error
                else:
                    break
        if interruption is not None:
            raise interruption

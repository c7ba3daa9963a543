"""What waits in a runnable for its stop request (S21, S32).

Most runnables never wait for it, so an incarnation gets its ``StopWaiters`` when something does.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, final

import trio
from trio.lowlevel import enable_ki_protection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType


@final
class StopWaiters:
    """The tasks and scopes of one incarnation that wait for its stop request."""

    __slots__ = ("event", "own_stops", "scopes")

    def __init__(self) -> None:
        self.event: trio.Event = trio.Event()
        # They are cancelled by the request.
        self.scopes: set[trio.CancelScope] = set()
        # How many of its tasks wait for the end of the runnable itself.
        self.own_stops: int = 0

    def wake(self, reason: str) -> None:
        """Wake all of them: the stop is requested, or nothing will ever request it."""
        self.event.set()
        for scope in self.scopes:
            scope.cancel(reason)


@final
class StopScope(AbstractContextManager[trio.CancelScope, bool]):
    """A cancel scope that is cancelled when the stop of a runnable is requested (S32)."""

    __slots__ = ("_scope", "_waiters")

    def __init__(self, waiters: StopWaiters) -> None:
        self._waiters: StopWaiters = waiters
        self._scope: trio.CancelScope = trio.CancelScope()

    @enable_ki_protection
    def __enter__(self) -> trio.CancelScope:
        self._scope.__enter__()
        self._waiters.scopes.add(self._scope)
        if self._waiters.event.is_set():
            self._scope.cancel("a stop was requested before")
        return self._scope

    @enable_ki_protection
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._waiters.scopes.discard(self._scope)
        return self._scope.__exit__(exc_type, exc, traceback)


@enable_ki_protection
async def run_until_stop(
    waiters: StopWaiters, async_fn: Callable[[trio.CancelScope], Awaitable[object]]
) -> None:
    """Run ``async_fn`` in a cancel scope, which it gets, until the stop is requested (S33)."""
    with StopScope(waiters) as scope:
        await async_fn(scope)

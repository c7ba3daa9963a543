"""A task behind an object that is entered and left, which nobody sees in their exceptions.

The problem: a client has a task of its own, and so a nursery. What is raised in the body of its
``async with`` should leave it as it is, and not in a group, which is what a nursery makes of it.
And an error that is raised while the task ends should not replace it.

So the nursery is closed as if its body had just returned, when the task has ended. That is waited
for in a shield: the task is cancelled, and waits for nobody outside. Only if the task has failed,
by a fault of this package, the body was cancelled for that, and its exception belongs to the
nursery. Ctrl-C that comes meanwhile is raised when all is closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import trio
from trio.lowlevel import enable_ki_protection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType


@final
class Background:
    """One task that runs until it is stopped."""

    def __init__(self, function: Callable[[], Awaitable[None]]) -> None:
        """Describe it; ``function`` is called by :meth:`start`."""
        self._function = function
        self._manager = trio.open_nursery()
        self._nursery: trio.Nursery | None = None
        self._ended = trio.Event()
        self._has_failed = False

    async def start(self) -> None:
        """Start the task. :meth:`stop` has to be called in the same task as this."""
        self._nursery = await self._manager.__aenter__()
        self._nursery.start_soon(self._run)

    async def stop(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Cancel the task and wait until it has ended; return as ``__aexit__`` does.

        Raises:
            BaseExceptionGroup: with the error of the task, if it has failed.
        """
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel()
        interruption: BaseException | None = None
        with trio.CancelScope(shield=True):
            while not self._ended.is_set():
                try:
                    await self._ended.wait()
                except KeyboardInterrupt as caught:
                    interruption = caught
        if self._has_failed:
            if interruption is not None:  # it leaves beside the error of the task
                kind, error, traceback = KeyboardInterrupt, interruption, interruption.__traceback__
            return await self._manager.__aexit__(kind, error, traceback)
        try:
            await self._manager.__aexit__(None, None, None)
        except BaseExceptionGroup as group:  # of Ctrl-C alone, for the task has raised nothing
            interruption = group.exceptions[0]
        if interruption is not None:
            raise interruption
        return None

    @enable_ki_protection  # Ctrl-C is for the main task, not for this one
    async def _run(self) -> None:
        try:
            await self._function()
        except BaseException as error:
            self._has_failed = not is_cancellation(error)
            raise
        finally:
            self._ended.set()


def is_cancellation(error: BaseException) -> bool:
    """Return whether there is nothing in an exception but that tasks were cancelled."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_cancellation, error.exceptions))
    return isinstance(error, trio.Cancelled)

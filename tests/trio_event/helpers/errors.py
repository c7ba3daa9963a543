"""Exceptions with which this package says something, raised by functions of the user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from trio_event import BacklogDone, UnsetError

if TYPE_CHECKING:
    from collections.abc import Callable


def cancelled() -> BaseException:
    """Make the exception of a cancellation, by way of one."""

    async def main() -> BaseException:
        caught: BaseException | None = None
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                caught = error
                raise
        assert caught is not None
        return caught.with_traceback(None)

    return trio.run(main)


# Made once, because no run can be started in the run of a test.
_CANCELLED: Final = cancelled()

# What a get, or a get of something else in a function, raises to say something; and how to make it.
TELLING: Final[dict[str, Callable[[], BaseException]]] = {
    "EndOfChannel": lambda: trio.EndOfChannel("of the user"),
    "BrokenResourceError": lambda: trio.BrokenResourceError("of the user"),
    "ClosedResourceError": lambda: trio.ClosedResourceError("of the user"),
    "BusyResourceError": lambda: trio.BusyResourceError("of the user"),
    "WouldBlock": lambda: trio.WouldBlock("of the user"),
    "BacklogDone": lambda: BacklogDone("of the user"),
    "UnsetError": lambda: UnsetError("of the user"),
    "StopAsyncIteration": lambda: StopAsyncIteration("of the user"),
    "Cancelled": lambda: _CANCELLED.with_traceback(None),
}


def is_of_user(caught: BaseException, error: BaseException) -> bool:
    """Return whether ``caught`` is the user's error, or says that it comes from it."""
    return caught is error or caught.__cause__ is error

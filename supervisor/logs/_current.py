"""The buffer of the process, which runnables find by their context."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._buffer import LogBuffer

_current: ContextVar[LogBuffer] = ContextVar("supervisor.logs.current")


def set_current(buffer: LogBuffer) -> None:
    """Make ``buffer`` the one of all that runs in copies of the present context."""
    _current.set(buffer)


def current_buffer() -> LogBuffer:
    """Return the buffer that :func:`supervisor.main` has set up (S36).

    Returns:
        The buffer of the process.

    Raises:
        LookupError: if :func:`supervisor.main` does not run the caller.

    Checkpoints:
        Never. It may be called in a worker thread of a runnable.

    Example::

        async def page() -> None:
            for entry in current_buffer().read("root.net", n=20):
                print(entry.text)
    """
    buffer = _current.get(None)
    if buffer is None:
        msg = (
            "current_buffer() was called outside of the runnables of supervisor.main(): where "
            "another function runs the tree, make a LogBuffer() and add it to a logger"
        )
        raise LookupError(msg)
    return buffer

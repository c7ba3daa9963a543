"""What a value in memory holds, and where it may be changed.

It is apart from ``_value``, which says how it is set, so that ``_watcher`` can look at it.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Final, TypeVar, final

import trio

from .._arguments import shown
from .._graph import Source
from .._runs import NO_RUN
from .._unset import UNSET, Unset
from .._waiting import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Collection

T = TypeVar("T")


@final
class _Life:
    """Is kept by a thread, and so ends with it."""


@final
class _Here(threading.local):
    """The calling thread."""

    def __init__(self) -> None:
        self._life = _Life()
        # Is like no other thread's, and dead when this one has ended; an id could come again.
        self.thread = weakref.ref(self._life)


_here: Final = _Here()


class MemoryState(Source[T]):
    """The data of a value in memory, with its version, its end, and the tasks that wait for it.

    It does not know its watchers: each of them compares versions when it runs (V8).
    """

    __slots__ = ("_data", "_error", "_is_open", "_maker", "_previous", "_queue", "_version")

    _version: int

    def __init__(self, initial: T | Unset) -> None:
        self._data = initial
        self._version = int(initial is not UNSET)
        # The version before the newest. New watchers share this number, and need none of their own.
        self._previous = 0
        # It knows which run the value belongs to.
        self._queue = WaitQueue()
        self._is_open = True
        self._error: BaseException | None = None
        # The thread that has the value until a run uses it.
        self._maker = _here.thread

    def _read(self) -> T | Unset:
        return self._data

    def _whole(self) -> T | Unset:
        return self._data

    def _end(self) -> Exception | None:
        """Return the exception that tells a watcher of the end, if the value has ended (V9)."""
        if self._is_open:
            return None
        if self._error is None:
            return trio.EndOfChannel()
        broken = trio.BrokenResourceError(f"the value has failed: {shown(self._error)}")
        broken.__cause__ = self._error
        return broken

    def _queues(self) -> Collection[WaitQueue]:
        return (self._queue,)

    def _is_here(self) -> bool:
        """Return whether the caller may change the value; if so, its run has it from now on (V11).

        What was never used in a run may be changed by the thread that made it, and by others if
        that has ended. What was used in runs that are over may be changed by every thread.
        """
        run = self._queue.use()
        if run is not NO_RUN:
            return True
        if self._queue.run is NO_RUN:
            return self._maker is _here.thread or self._maker() is None
        return not self._queue.is_elsewhere()

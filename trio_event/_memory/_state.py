"""What a value in memory holds, and which Trio run it belongs to.

It is apart from ``_value``, which says how it is set, so that ``_watcher`` can look at it.
"""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, TypeVar

import trio
from trio.lowlevel import current_trio_token

from .._graph import Source
from .._unset import UNSET, Unset
from .._waiting import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Collection

T = TypeVar("T")


class MemoryState(Source[T]):
    """The data of a value in memory, with its version, its end, and the tasks that wait for it.

    It does not know its watchers: each of them compares versions when it runs (V8).
    """

    __slots__ = (
        "_data",
        "_error",
        "_is_open",
        "_previous",
        "_queue",
        "_thread",
        "_token",
        "_version",
    )

    _version: int

    def __init__(self, initial: T | Unset) -> None:
        self._data = initial
        self._version = int(initial is not UNSET)
        # The version before the newest. New watchers share this number, and need none of their own.
        self._previous = 0
        self._queue = WaitQueue()
        self._is_open = True
        self._error: BaseException | None = None
        self._thread = get_ident()
        # The Trio run that uses the value, once one does.
        self._token: trio.lowlevel.TrioToken | None = None

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
        broken = trio.BrokenResourceError(f"the value has failed: {self._error!r}")
        broken.__cause__ = self._error
        return broken

    def _queues(self) -> Collection[WaitQueue]:
        if self._token is not current_trio_token():
            self._bind_to_run()
        return (self._queue,)

    def _bind_to_run(self) -> None:
        """Record the Trio run in which the value is used (V11)."""
        token = current_trio_token()
        if self._token is not token:
            if len(self._queue):
                msg = f"{self!r} is watched in another Trio run: give each run a value of its own"
                raise RuntimeError(msg)
            self._token = token
            self._thread = get_ident()

    def _move_to_this_thread(self, method: str) -> None:
        """Let a Trio run in another thread have the value, if none has it yet (V11)."""
        if self._token is not None or not trio.lowlevel.in_trio_run():
            msg = (
                f"{method}() was called in another thread than the one that {self!r} belongs to: "
                "call set_from_thread() there"
            )
            raise RuntimeError(msg)
        self._bind_to_run()


def token_of_this_thread() -> trio.lowlevel.TrioToken:
    """Return the Trio run that this thread works for."""
    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:
        try:
            return trio.from_thread.run_sync(trio.lowlevel.current_trio_token)
        except RuntimeError:
            msg = (
                "set_from_thread() does not know which Trio run the value belongs to: "
                "pass trio_token=, from trio.lowlevel.current_trio_token()"
            )
            raise RuntimeError(msg) from None

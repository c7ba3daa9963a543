"""Waiting until a value satisfies a predicate, at whatever set.

A subscription asks the predicate in the middle of each set, so no set is missed. The task that
sets must not suffer from a predicate of another task, so :meth:`_Condition.check` never raises:
it records the match or the exception, and wakes the waiting task when that has something to do.

With ``held_for`` the condition keeps the time since which the predicate has been true. A set for
which it is false breaks the hold, even if the next set restores it in the same step. A hold that
was long enough when it was broken counts.

A value that lets time pass (``debounce``, ``throttle``) can't be asked in the middle of a set. The
waiting task then takes one value after the other from the watcher, and asks about each.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Generic, TypeVar, final

import trio
from trio.lowlevel import checkpoint

from .._unset import UNSET, Unset
from .._waiting import Subscription, Waiter, wait
from .._watcher import accepts

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._watcher import Watcher

T = TypeVar("T")


async def wait_for(watcher: Watcher[T], predicate: Callable[[T], bool], held_for: float) -> T:
    """Wait until ``predicate`` has been true for so many seconds of what is watched (V16).

    Args:
        watcher: Has seen nothing; it is the caller's to close.
        predicate: As for ``ValueWatch.wait_for()``.
        held_for: Likewise.
    """
    if watcher._is_timed:
        return await _ask_the_watcher(watcher, predicate, held_for)
    condition = _Condition(watcher, predicate, held_for)
    with Subscription(watcher._queues(), condition.check):
        condition.check()
        await checkpoint()
        return await condition.wait()


@final
class _Condition(Generic[T]):
    """What is known, at each instant, of a predicate's being true."""

    def __init__(
        self, watcher: Watcher[T], predicate: Callable[[T], bool], held_for: float
    ) -> None:
        self._watcher = watcher
        self._predicate = predicate
        self._held_for = held_for
        self._waiter = Waiter()
        # The version that the predicate was asked about last; it is being asked about that one.
        self._asked = 0
        self._asking = False
        # The newest value that satisfies, and until when all have to; UNSET while one does not.
        self._match: T | Unset = UNSET
        self._due = math.inf
        # The match is the answer, or the predicate has failed: there is nothing more to ask.
        self._settled = False
        self._error: BaseException | None = None

    def check(self) -> None:
        """Ask the predicate about what it was not asked about, and wake the task if need be."""
        if self._asking:
            return  # the predicate has set a value; the loop below comes to that
        self._asking = True
        try:
            while not self._settled and self._watcher._version() != self._asked:
                self._asked = self._watcher._version()
                self._ask()
            if self._settled or self._watcher._end() is not None:
                self._waiter.wake()
        except BaseException as error:  # noqa: BLE001  wait() raises it
            self._error = error
            self._settled = True
            self._waiter.wake()
        finally:
            self._asking = False

    def _ask(self) -> None:
        if not isinstance(self._match, Unset) and self._is_due():
            self._settled = True
            return
        # What is replaced is let go of first: a map copies what it replaces for those that keep it.
        was_match, self._match = self._match is not UNSET, UNSET
        newest = self._watcher._peek()
        if isinstance(newest, Unset) or not accepts(self._predicate, newest):
            self._due = math.inf
            return
        if not was_match:
            self._due = trio.current_time() + self._held_for
            self._waiter.wake()
        self._match = newest
        self._settled = not self._held_for

    def _is_due(self) -> bool:
        return self._due <= trio.current_time()

    async def wait(self) -> T:
        while True:
            if self._error is not None:
                raise self._error
            if isinstance(self._match, Unset):
                end = self._watcher._end()
                if end is not None:
                    raise end
            elif self._settled or self._is_due():
                return self._match  # noqa: ASYNC910  wait_for() has made a checkpoint
            await wait((), self._waiter, self._due)


async def _ask_the_watcher(
    watcher: Watcher[T], predicate: Callable[[T], bool], held_for: float
) -> T:
    """Take one value after the other until the predicate holds for long enough."""
    match: T | Unset = UNSET
    due = math.inf
    while True:
        newest: T | Unset = UNSET
        with trio.CancelScope(deadline=due):
            try:
                newest = await watcher.get()
            except (trio.EndOfChannel, trio.BrokenResourceError):
                if isinstance(match, Unset):
                    raise
                await trio.sleep_until(due)
        if not isinstance(match, Unset) and due <= trio.current_time():
            return match
        if watcher._is_incremental:
            newest = watcher._peek()
        if isinstance(newest, Unset) or not accepts(predicate, newest):
            match, due = UNSET, math.inf
            continue
        if isinstance(match, Unset):
            due = trio.current_time() + held_for
        match = newest
        if not held_for:
            return match

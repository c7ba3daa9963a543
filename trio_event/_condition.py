"""Waiting until a value satisfies a predicate, at whatever set.

The predicate is asked by a listener, in the middle of each set, where nothing can be missed. That
is a foreign place to run somebody's code: whatever goes wrong there belongs to the task that waits.
So the listener never raises; it notes what it found, or what was raised, and wakes the task.

With ``held_for`` the listener keeps the time since which the predicate has been true; a set for
which it is not breaks the hold, even if the next one restores it in the same step.

A value that lets time pass before it may be taken (``debounce``, ``throttle``) can't be asked in
the middle of a set. There it is the watcher that asks, of each value that it takes.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Generic, TypeVar, final

import trio
from trio.lowlevel import checkpoint

from ._unset import UNSET, Unset
from ._waiting import Waiter

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._value import ValueWatch
    from ._watcher import Watcher

T = TypeVar("T")


async def wait_for(value: ValueWatch[T], predicate: Callable[[T], bool], held_for: float) -> T:
    """Wait until ``predicate`` has been true of ``value`` for so many seconds."""
    if not held_for >= 0:
        msg = f"held_for={held_for!r} is not a number of seconds of at least 0"
        raise ValueError(msg)
    with value.watch() as watcher:
        if value._timed():
            return await _ask_the_watcher(watcher, predicate, held_for)
        condition = _Condition(value, predicate, held_for)
        with contextlib.ExitStack() as stack:
            for line in watcher._lines():
                stack.enter_context(line.listening(condition.check))
            condition.check()
            await checkpoint()
            return await condition.wait(watcher)


@final
class _Condition(Generic[T]):
    """What is known, at each instant, of a predicate's being true."""

    def __init__(
        self, value: ValueWatch[T], predicate: Callable[[T], bool], held_for: float
    ) -> None:
        self._value = value
        self._predicate = predicate
        self._held_for = held_for
        self._waiter = Waiter()
        # The newest value that satisfies, and since when all have; UNSET while the last does not.
        self._match: T | Unset = UNSET
        self._since = math.inf
        self._settled = False
        # The predicate is being asked, and has set what it is asked about.
        self._asking = False
        self._ask_again = False
        self._mistake: Exception | None = None

    def check(self) -> None:
        """Ask the predicate about the newest value."""
        if self._asking:
            self._ask_again = True
            return
        self._asking = self._ask_again = True
        while self._ask_again and not self._settled:
            self._ask_again = False
            self._ask()
        self._asking = False

    def _ask(self) -> None:
        try:
            newest = self._value._newest()
            holds = not isinstance(newest, Unset) and bool(self._predicate(newest))
        except Exception as error:  # noqa: BLE001  raised where somebody waits
            self._mistake = error
            self._settle()
            return
        if not holds:
            self._match, self._since = UNSET, math.inf
        else:
            if isinstance(self._match, Unset):
                self._since = trio.current_time()
            self._match = newest
            if not self._held_for:
                self._settle()
        self._waiter.wake()

    def _settle(self) -> None:
        self._settled = True
        self._waiter.wake()

    async def wait(self, watcher: Watcher[T]) -> T:
        while True:
            if self._mistake is not None:
                raise self._mistake
            due = self._since + self._held_for
            if not isinstance(self._match, Unset) and due <= trio.current_time():
                return self._match
            end = watcher._end()
            if end is not None and isinstance(self._match, Unset):
                raise end
            with trio.CancelScope(deadline=due):
                await self._waiter.park()


async def _ask_the_watcher(
    watcher: Watcher[T], predicate: Callable[[T], bool], held_for: float
) -> T:
    """Take one value after the other until the predicate holds for long enough."""
    match: T | Unset = UNSET
    due = math.inf
    while True:
        with trio.CancelScope(deadline=due) as scope:
            try:
                newest = await watcher.get()
            except trio.EndOfChannel:
                if isinstance(match, Unset):
                    raise
                await trio.sleep_until(due)
                return match
            if not predicate(newest):
                match, due = UNSET, math.inf
                continue
            if isinstance(match, Unset):
                due = trio.current_time() + held_for
            match = newest
            if not held_for:
                return match
        if scope.cancelled_caught and not isinstance(match, Unset):
            return match

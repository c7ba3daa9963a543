"""Heartbeats: a healthy runnable that does not beat in time dies (S31).

A runnable that hangs raises nothing and ends nothing. So one that is started with ``heartbeat=``
has to call ``beat()`` at least that often, once it is ``HEALTHY``.

To beat is to store the time. One timer looks at that when the next beat is due, counted from the
last one it knows of, and is set anew if there was a beat since. So a beat costs the same however
often it comes, and no task waits.

While something blocks the loop, no task can beat, and the timer can't look either. So a look that
is late finds beats missing for which the runnable is not to blame. It gives the runnable as much
time again, but no more than one heartbeat: one that hangs dies all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._timers import Timer, Timers


_SAME_TIME: Final = 0.001
"""The timer's time is a sum of its own, which may be a little before that of the beat."""


@final
class Heartbeat:
    """When an incarnation has beaten last, and what is done when a beat is missing."""

    __slots__ = ("_due", "_missed", "_timer", "_timers", "has_beaten", "last", "seconds")

    def __init__(self, seconds: float, timers: Timers, missed: Callable[[], object]) -> None:
        """Expect a beat within so many seconds, and call ``missed`` if it does not come."""
        self.seconds: float = seconds
        # On Trio's clock. Worker threads set it, too.
        self.last: float = trio.current_time()
        self.has_beaten: bool = False
        self._missed: Callable[[], object] = missed
        self._timers: Timers = timers
        self._due: float = self.last + seconds
        self._timer: Timer = timers.set(seconds, self._look)

    def beat(self, now: float) -> None:
        """Record a beat."""
        self.last = now
        self.has_beaten = True

    def stop(self) -> None:
        """Expect no more beats."""
        self._timer.cancel()

    def _look(self) -> None:
        now = trio.current_time()
        left = self.last + self.seconds - now
        if left <= _SAME_TIME:
            left = min(now - self._due, self.seconds)  # so late
        if left <= _SAME_TIME:
            self._missed()
            return
        self._due = now + left
        self._timer = self._timers.set(left, self._look)

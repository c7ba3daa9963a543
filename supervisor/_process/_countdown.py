"""Decides what a signal requests, and how many seconds the process has left, without a clock."""

from __future__ import annotations

import enum
import math
from typing import Final, final

LAST_RESORT: Final = 5.0
"""Seconds from the cancellation of the tasks until the process ends without them."""

DOUBLED: Final = 0.2
"""Seconds after the first signal in which further signals count as the same one.

A terminal sends Ctrl-C to all processes that run in it. A wrapper forwards its own to the process.
"""


@final
class Request(enum.Enum):
    """What a signal requests."""

    STOP = enum.auto()
    """Stop the tree in order (S21)."""
    CANCEL = enum.auto()
    """Cancel everything at once."""


@final
class Countdown:
    """Decides what a signal requests, and counts the seconds until the process has to end (S22).

    After the first signal the process has the timeout of the stop and 5 seconds more. After the
    second one it has at most 5 seconds. When everything is cancelled, early or late, the tasks have
    5 seconds from then on to clean up. When the tree has ended, the process has at least 5 seconds
    to exit; a signal that comes then leaves it at most 5.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout: float = timeout
        self._first: float | None = None
        self._is_second: bool = False
        self.is_cancelled: bool = False
        """The tree has been cancelled."""
        self.is_ended: bool = False
        """The tree has ended, and the exit status is decided."""
        self.left: float = math.inf
        """Seconds until the process has to end; infinite until a signal has come."""

    def signalled(self, now: float) -> Request | None:
        """Count a signal that came now; return what it requests, or None if it changes nothing."""
        if self.is_ended:
            self.left = min(self.left, LAST_RESORT)
            return None
        if self._first is None:
            self._first = now
            self.left = self._timeout + LAST_RESORT
            return Request.STOP
        if self._is_second or now - self._first < DOUBLED:
            return None
        self._is_second = True
        self.left = min(self.left, LAST_RESORT)
        return Request.CANCEL

    def cancelled(self) -> None:
        """Count from now on: all tasks were cancelled, because a stop took too long."""
        if not (self.is_cancelled or self.is_ended):
            self.is_cancelled = True
            self.left = LAST_RESORT

    def ended(self) -> None:
        """Record that the tree has ended now."""
        self.is_ended = True
        self.left = max(self.left, LAST_RESORT)

    def ran(self, seconds: float) -> None:
        """Count the seconds that the process has run since the last call."""
        self.left -= seconds

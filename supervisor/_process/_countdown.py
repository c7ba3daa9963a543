"""What the signals ask of the process, and how many seconds it has left: pure, without a clock."""

from __future__ import annotations

import enum
import math
from typing import Final, final

LAST_RESORT: Final = 5.0
"""Seconds that cancelled tasks get to end before the process ends without them."""

DOUBLED: Final = 0.2
"""A signal that comes so many seconds after the first counts as the same one.

A terminal sends Ctrl-C to all processes that run in it, and a wrapper forwards the one it gets.
"""


@final
class Request(enum.Enum):
    """What a signal asks for."""

    STOP = enum.auto()
    """Stop the tree in good order."""
    CANCEL = enum.auto()
    """Cancel everything at once."""


@final
class Countdown:
    """Decides what a signal asks for, and counts the seconds until the process has to end (S22).

    The first signal gives the process the timeout of the stop and 5 seconds more, the second one
    5 seconds. Whenever everything is cancelled, the tasks get 5 seconds from then on to clean up,
    however late that is. When the tree has ended, the process has 5 seconds to follow.
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
        """Seconds until the process has to end; infinite as long as nothing was asked of it."""

    def signalled(self, now: float) -> Request | None:
        """Take a signal that came now; return what it asks for, if it asks for anything."""
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
        """Take it that all tasks were cancelled just now, since a stop took too long."""
        if not (self.is_cancelled or self.is_ended):
            self.is_cancelled = True
            self.left = LAST_RESORT

    def ended(self) -> None:
        """Take it that the tree has ended just now."""
        self.is_ended = True
        self.left = max(self.left, LAST_RESORT)

    def ran(self, seconds: float) -> None:
        """Take it that the process has run for so many seconds."""
        self.left -= seconds

"""Decides what a signal requests, and how many seconds the process has left, without a clock."""

from __future__ import annotations

import enum
import math
from typing import Final, final

LAST_RESORT: Final = 5.0
"""Seconds from the cancellation of the tasks until the process ends without them."""

FOLLOWING: Final = 5.0
"""Seconds in which the sidecars stop when the tree has ended, before they are cancelled."""

DOUBLED: Final = 0.2
"""Seconds after the first signal in which further signals count as the same one.

A terminal sends Ctrl-C to all processes that run in it. A wrapper forwards its own to the process.
"""


@final
class Request(enum.Enum):
    """What a signal requests."""

    STOP = enum.auto()
    """Drain the tree, and stop it in order (S21)."""
    CANCEL = enum.auto()
    """Cancel everything at once."""
    RELOAD = enum.auto()
    """Call the function that the service reloads itself with."""
    DUMP = enum.auto()
    """Log what the tree does."""


@final
class Countdown:
    """Decides what a signal that stops asks for, and counts the seconds that are left (S22, S33).

    The first signal gives the process the times of the drain and of the stop and 5 seconds more,
    the second one 5 seconds. So does a stop that was begun from within the tree, after which a
    signal is still the first. Whenever everything is cancelled, the tasks get 5 seconds from then
    on to clean up, however late that is. When the tree has ended, its sidecars have 5 seconds to
    stop, unless a second signal has come, and 5 seconds to clean up. Then the process has 5 seconds
    to follow.
    """

    def __init__(self, timeout: float, drain: float = 0.0) -> None:
        self._stop_takes: float = drain + timeout
        self._first: float | None = None
        self._is_second: bool = False
        self.is_cancelled: bool = False
        """The tree has been cancelled."""
        self.is_following: bool = False
        """The tree has ended, and the exit status is decided; its sidecars may still run."""
        self.is_ended: bool = False
        """All has ended, and the exit status is decided."""
        # There is a number of seconds left apart from those of the sidecars.
        self._is_bounded: bool = False
        self.left: float = math.inf
        """Seconds until the process has to end; infinite until a signal has come."""

    def signalled(self, now: float) -> Request | None:
        """Count a signal that came now; return what it requests, or None if it changes nothing."""
        if self.is_ended:
            self.left = min(self.left, LAST_RESORT)
            return None
        if self._first is None:
            self._first = now
            self.stop_begun()
            return Request.STOP
        if self._is_second or now - self._first < DOUBLED:
            return None
        self._is_second = True
        self.left = min(self.left, LAST_RESORT)
        return Request.CANCEL

    def stop_begun(self) -> None:
        """Count from now on: the drain and the stop have begun, if they had not before."""
        self._is_bounded = True
        self.left = min(self.left, self._stop_takes + LAST_RESORT)

    def cancelled(self) -> None:
        """Count from now on: all tasks were cancelled, because a stop took too long."""
        if not (self.is_cancelled or self.is_ended):
            self.is_cancelled = self._is_bounded = True
            self.left = LAST_RESORT

    def sidecars_follow(self) -> None:
        """Count from now on: the tree has ended, and its sidecars stop, or are cancelled (S35)."""
        self.is_following = True
        self.left = LAST_RESORT if self._is_second else FOLLOWING + LAST_RESORT

    def ended(self) -> None:
        """Record that the tree, with its sidecars, has ended now."""
        self.is_ended = True
        self.left = max(self.left, LAST_RESORT) if self._is_bounded else math.inf

    def ran(self, seconds: float) -> None:
        """Count the seconds that the process has run since the last call."""
        self.left -= seconds

"""What follows a death: when a group restarts, and when it gives up.

The unit is the group. A member's death always concerns all members of its
group and nobody else, so what to restart needs no search through the tree;
what remains to be decided is *whether* and *after how long*. That is a matter
of the group's own past, which :class:`Restarts` keeps.

Invariants:

- One round (one joint life of the members) has at most one verdict, that of its
  first death. Members that die of the same cause, or while the group is being
  stopped, do not count again.
- The delay depends on the failures in a row alone, so nothing that happens
  during a delay can shorten it.
- The past is bounded: one counter, and as many times as the limit allows.

Upstream keeps a backoff per node and lets a sibling restart at once; two failing
members then reset each other's wait and restart hundreds of times a second.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, final

import attrs

if TYPE_CHECKING:
    from ._backoff import Backoff


def _positive(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        msg = f"{attribute.name}={value!r} is not a finite number above 0"
        raise ValueError(msg)


def _count(_: object, attribute: attrs.Attribute[int], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        msg = f"{attribute.name}={value!r} is not a whole number of at least 0"
        raise ValueError(msg)


@final
@attrs.frozen
class RestartLimit:
    """How often a group may restart before it gives up.

    A restart of several members counts once. The restart that would exceed the
    limit does not take place: the group is ``FAILED``, and its parent dies with
    :exc:`RestartLimitExceeded`. Erlang/OTP calls the two numbers intensity and
    period; there they are shared by all children of a supervisor, here each
    group has its own.

    Args:
        restarts: How many restarts are allowed within the window. With 0 the
            first death is the last.
        within: The length of the window in seconds. Choose it longer than the
            backoff takes for that many restarts, or the limit never bites.

    Raises:
        ValueError: if ``restarts`` is negative or not whole, or ``within`` is
            not above 0.

    Example::

        >>> RestartLimit(3, within=60.0)
        RestartLimit(restarts=3, within=60.0)
    """

    restarts: int = attrs.field(validator=_count)
    within: float = attrs.field(validator=_positive)


@final
@attrs.frozen
class Restart:
    """The verdict that the group starts again, ``delay`` seconds after it has stopped."""

    delay: float


@final
@attrs.frozen
class GiveUp:
    """The verdict that it does not, with the times of the restarts that led to it."""

    times: tuple[float, ...]


@final
class Restarts:
    """The past of one group, as far as the next verdict needs it."""

    __slots__ = ("_times", "backoff", "failures", "limit")

    def __init__(self, backoff: Backoff, limit: RestartLimit | None) -> None:
        self.backoff: Backoff = backoff
        self.limit: RestartLimit | None = limit
        self.failures: int = 0
        self._times: deque[float] | None = None

    def was_ready(self, seconds: float) -> None:
        """Take note of how long all members had been ``HEALTHY`` or ``DONE``, until just now."""
        if seconds >= self.backoff.reset_after:
            self.failures = 0

    def failed(self, now: float) -> Restart | GiveUp:
        """Give the verdict on the round that a death has just ended."""
        self.failures += 1
        if self.limit is not None:
            times = self._times
            if times is None:
                times = self._times = deque()
            while times and now - times[0] > self.limit.within:
                times.popleft()
            times.append(now)
            if len(times) > self.limit.restarts:
                return GiveUp(tuple(times))
        return Restart(self.backoff.delay(self.failures))

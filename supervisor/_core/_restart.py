"""What follows from a death: how long a group waits, and when it gives up.

The unit is the group. A member's death always concerns all members of its group and nobody else, so
what to restart needs no search through the tree. What remains to be decided is *whether* and *after
how long*. That depends on the group's own past, which :class:`RestartHistory` keeps.

Invariants:

- One round (one joint life of the members) has at most one failure, its first death.
  Members that die of the same cause, or while the group is being stopped, do not count again.
- The delay depends on the number of failures in a row and on a share drawn at random, so nothing
  that happens during a delay can shorten it. The share is drawn by the caller: users supply the
  random source, and no code of theirs runs in the middle of a step.
- The past is bounded: one counter, and as many times as the limit allows.

Upstream keeps a backoff per node and lets a sibling restart at once; two failing members then reset
each other's wait and restart hundreds of times a second.
"""

from __future__ import annotations

import enum
import math
import random
from collections import deque
from typing import TYPE_CHECKING, Final, final

import attrs

from ._arguments import check_count, check_function, check_number, real
from ._plan import GiveUp, Retry

if TYPE_CHECKING:
    from collections.abc import Callable


def _number(
    *, least: float = 0.0, most: float = math.inf, above: bool = False
) -> Callable[[object, attrs.Attribute[float], object], None]:
    def check(_: object, attribute: attrs.Attribute[float], value: object) -> None:
        check_number(attribute.name, value, least=least, most=most, above=above)

    return check


def _function(_: object, attribute: attrs.Attribute[Callable[[], float]], value: object) -> None:
    check_function(attribute.name, value, "a number from 0 to 1")


def _count(_: object, attribute: attrs.Attribute[int], value: object) -> None:
    check_count(attribute.name, value, least=0)


def _draw() -> float:
    # It is pickled by its name, so that copies elsewhere draw numbers of their own.
    return random.random()  # noqa: S311  no secret depends on it


@final
@attrs.frozen(kw_only=True)
class Backoff:
    """The delay before a restart, which grows with each failure in a row (S9).

    The first delay is about ``initial``; each further one is ``factor`` times
    as long, up to ``maximum``. A delay is drawn at random from the range
    ``jitter`` around it, so that groups that failed together do not start
    together; no delay is longer than ``maximum``. The defaults are those of
    upstream (Monogon's ``osbase/supervisor``), which has them from the Go
    package ``cenkalti/backoff``; ``reset_after`` is ours.

    Args:
        initial: The mean of the first delay, in seconds.
        factor: What each failure in a row multiplies the mean by; at least 1.
        jitter: How far a delay may be from its mean, as a share of it, from 0
            to 1.
        maximum: No delay is longer than this, in seconds.
        reset_after: After the group's members have all been ``HEALTHY`` or
            ``DONE`` for this many seconds, the next failure counts as the
            first. With 0 it does as soon as they have all been so at once.
        random: Returns a number from 0 to 1, including 0; replace it to make
            delays predictable.

    Raises:
        TypeError: if an argument is not a number, or ``random`` is not callable.
        ValueError: if a number is out of its range.

    Example::

        >>> steady = Backoff(initial=1.0, factor=2.0, jitter=0.0, maximum=5.0)
        >>> [steady.delay(failures) for failures in (1, 2, 3, 4)]
        [1.0, 2.0, 4.0, 5.0]
    """

    initial: float = attrs.field(default=0.5, validator=_number())
    factor: float = attrs.field(default=1.5, validator=_number(least=1.0))
    jitter: float = attrs.field(default=0.5, validator=_number(most=1.0))
    maximum: float = attrs.field(default=60.0, validator=_number())
    reset_after: float = attrs.field(default=10.0, validator=_number())
    random: Callable[[], float] = attrs.field(default=_draw, validator=_function, repr=False)

    def delay(self, failures: int) -> float:
        """Draw the delay after this many failures in a row.

        Args:
            failures: How many there were, the one just now included; 1 is
                the first.

        Returns:
            The delay in seconds.

        Raises:
            ValueError: if ``random`` returns what is not from 0 to 1.
        """
        return self._delay(failures, self._draw())

    def _draw(self) -> float:
        share: object = self.random()
        if not 0.0 <= real(share) <= 1.0:
            msg = f"random={self.random!r} returned {share!r}, which is not a number from 0 to 1"
            raise ValueError(msg)
        return real(share)

    def _delay(self, failures: int, share: float) -> float:
        try:
            mean = min(self.initial * float(self.factor) ** (failures - 1), self.maximum)
        except OverflowError:
            mean = self.maximum if self.initial else 0.0
        # Near the maximum the range is cut rather than the delay: cutting the
        # delay would make half of a thousand failed groups start at one instant.
        low = mean * (1.0 - self.jitter)
        high = min(mean * (1.0 + self.jitter), self.maximum)
        return min(low + (high - low) * share, high)  # the sum may be rounded up


@final
@attrs.frozen
class RestartLimit:
    """How often a group may restart before it gives up (S10).

    A restart of several members counts once. The restart that would exceed the
    limit does not take place: the group is ``FAILED``, and its parent dies with
    :exc:`RestartLimitExceeded`. Erlang/OTP calls the two numbers intensity and
    period; there they are shared by all children of a supervisor, here each
    group has its own.

    Args:
        restarts: How many restarts are allowed within the window. With 0 the
            first death is the last.
        within: The length of the window in seconds. Choose it longer than the
            backoff takes for that many restarts; otherwise the limit is never reached.

    Raises:
        TypeError: if ``restarts`` is not a whole number, or ``within`` not a number.
        ValueError: if ``restarts`` is negative, or ``within`` is not above 0.

    Example::

        >>> RestartLimit(3, within=60.0)
        RestartLimit(restarts=3, within=60.0)
    """

    restarts: int = attrs.field(validator=_count)
    within: float = attrs.field(validator=_number(above=True))


@final
class RestartPolicy(enum.Enum):
    """Whether a group starts again when a member dies (S26).

    Erlang/OTP calls these the restart types *transient* and *temporary*.
    """

    ON_FAILURE = "ON_FAILURE"
    """It starts again after its backoff. What is ``DONE`` stays done."""

    NEVER = "NEVER"
    """It is ``FAILED``, and its parent goes on. :meth:`Handle.restart` brings it back."""


# Before Python 3.12, the members of an enum are slow to get from it.
ON_FAILURE: Final = RestartPolicy.ON_FAILURE
NEVER: Final = RestartPolicy.NEVER


@final
class RestartHistory:
    """The past of one group, as far as the next plan depends on it (S9, S10)."""

    __slots__ = ("_times", "backoff", "failures", "limit")

    def __init__(self, backoff: Backoff, limit: RestartLimit | None) -> None:
        self.backoff: Backoff = backoff
        self.limit: RestartLimit | None = limit
        self.failures: int = 0
        self._times: deque[float] | None = None

    def add_readiness(self, seconds: float) -> None:
        """Record how long all members had been ``HEALTHY`` or ``DONE``, until just now (S9)."""
        if seconds >= self.backoff.reset_after:
            self.failures = 0

    def add_failure(self, now: float, share: float) -> Retry | GiveUp:
        """Return what follows from a failure that has just happened (S9, S10).

        Args:
            now: When it died.
            share: Where in the range of its jitter the delay is, from 0 to 1.
        """
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
        return Retry(self.backoff._delay(self.failures, share))

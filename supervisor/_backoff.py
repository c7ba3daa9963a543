"""How long a group waits before it starts again."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable


def _seconds(*, least: float = 0.0) -> Callable[[object, attrs.Attribute[float], float], None]:
    def check(_: object, attribute: attrs.Attribute[float], value: float) -> None:
        if not (math.isfinite(value) and value >= least):
            msg = f"{attribute.name}={value!r} is not a finite number of at least {least:g}"
            raise ValueError(msg)

    return check


@final
@attrs.frozen(kw_only=True)
class Backoff:
    """The delay before a restart, which grows with each failure in a row.

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
        ValueError: if an argument is out of its range.

    Example::

        >>> steady = Backoff(initial=1.0, factor=2.0, jitter=0.0, maximum=5.0)
        >>> [steady.delay(failures) for failures in (1, 2, 3, 4)]
        [1.0, 2.0, 4.0, 5.0]
    """

    initial: float = attrs.field(default=0.5, validator=_seconds())
    factor: float = attrs.field(default=1.5, validator=_seconds(least=1.0))
    jitter: float = attrs.field(
        default=0.5, validator=[attrs.validators.ge(0.0), attrs.validators.le(1.0)]
    )
    maximum: float = attrs.field(default=60.0, validator=_seconds())
    reset_after: float = attrs.field(default=10.0, validator=_seconds())
    random: Callable[[], float] = attrs.field(default=random.random, repr=False)

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
        try:
            mean = min(self.initial * self.factor ** (failures - 1), self.maximum)
        except OverflowError:
            mean = self.maximum if self.initial else 0.0
        # Near the maximum the range is cut rather than the delay: cutting the
        # delay would make half of a thousand failed groups start at one instant.
        low = mean * (1.0 - self.jitter)
        high = min(mean * (1.0 + self.jitter), self.maximum)
        share = self.random()
        if not 0.0 <= share <= 1.0:
            msg = f"random={self.random!r} returned {share!r}, which is not a number from 0 to 1"
            raise ValueError(msg)
        return low + (high - low) * share

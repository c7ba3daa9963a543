"""Measuring cases side by side: in one process, in random order, round by round.

A machine is never quiet. Its clock speed and what others leave in its caches change from second to
second, and a figure taken now says little about one taken a minute ago. So nothing here is a time
on its own if it can be a ratio: the cases of a *comparison* are run once in each *round*, in
an order that is drawn anew, and what is reported is the median of the ratios within the rounds.
The spread is the middle half of them.

Time is processor time, of which others take none. The process stays on one core. The cycle
collector runs before each case and not during it, or the garbage of one case would be charged to
the next.
"""

from __future__ import annotations

import contextlib
import enum
import gc
import os
import random
import statistics
import time
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from .goals import Goal

clock: Final = time.process_time
"""What spans are measured with: nothing that is measured here sleeps."""

Figures = dict[str, float]
"""What one run of a case has measured: seconds for one operation, or bytes for one object."""

Samples = dict[str, list[float]]
"""Of each case and figure (``case: figure``), what was measured in each round."""


def number(size: int) -> str:
    """Write how many watchers or nodes there are."""
    return f"{size:,}".replace(",", " ")


@attrs.frozen
class Scale:
    """How much is measured."""

    rounds: int
    limit: int
    """The most watchers, tasks or nodes."""
    effort: int
    """About how many operations a case times in one run."""

    def sizes(self, smallest: int = 1, largest: int = 100_000) -> list[int]:
        """Return the powers of ten between, up to the limit, and at least two of them."""
        powers = [10**exponent for exponent in range(6)]
        largest = min(largest, self.limit)
        found = [size for size in powers if smallest <= size <= largest]
        return found if len(found) > 1 else [self.limit // 10, self.limit]

    def times(self, size: int = 1) -> int:
        """Return how often to time an operation on ``size`` things."""
        return max(3, self.effort // size)


FULL: Final = Scale(rounds=9, limit=100_000, effort=20_000)
QUICK: Final = Scale(rounds=3, limit=10_000, effort=5_000)
TINY: Final = Scale(rounds=1, limit=10, effort=3)


class Kind(enum.Enum):
    """How a row is read from the samples of two cases."""

    PLAIN = enum.auto()
    RATIO = enum.auto()
    DIFFERENCE = enum.auto()


@attrs.frozen
class Row:
    """A line of the table."""

    measure: str
    ours: str
    """What is looked at, as ``case: figure``."""
    against: str | None = None
    """What it is compared with."""
    kind: Kind = attrs.field(kw_only=True)
    unit: str = attrs.field(kw_only=True)
    goal: Goal | None = attrs.field(default=None, kw_only=True)

    def read(self, samples: Samples) -> list[float]:
        """Return what this row is about in each round."""
        if self.against is None:
            return samples[self.ours]
        pairs = zip(samples[self.ours], samples[self.against], strict=True)
        if self.kind is Kind.RATIO:
            return [ours / theirs for ours, theirs in pairs]
        return [ours - theirs for ours, theirs in pairs]


def ratio(measure: str, ours: str, against: str, goal: Goal | None = None) -> Row:
    """Make a row that tells how many times as much one costs as the other."""
    return Row(measure, ours, against, kind=Kind.RATIO, unit="x", goal=goal)


def above(measure: str, ours: str, against: str, unit: str, goal: Goal | None = None) -> Row:
    """Make a row that tells how much more one costs than the other."""
    return Row(measure, ours, against, kind=Kind.DIFFERENCE, unit=unit, goal=goal)


def plain(measure: str, ours: str, unit: str, goal: Goal | None = None) -> Row:
    """Make a row that tells what one costs."""
    return Row(measure, ours, kind=Kind.PLAIN, unit=unit, goal=goal)


@attrs.frozen
class Comparison:
    """Cases that are measured side by side, and what is read from them."""

    name: str
    cases: Mapping[str, Callable[[], Figures]]
    rows: Sequence[Row]
    rounds: int | None = None
    """Fewer than usual, where what is measured hardly changes."""

    def measure(self, rounds: int) -> Samples:
        """Run each case once in each round."""
        samples: Samples = {}
        for _ in range(min(rounds, self.rounds or rounds)):
            order = list(self.cases)
            random.shuffle(order)
            for case in order:
                with collector_off():
                    figures = self.cases[case]()
                for figure, amount in figures.items():
                    samples.setdefault(f"{case}: {figure}", []).append(amount)
        return samples


@attrs.frozen
class Spread:
    """The middle of what was measured in all rounds."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, amounts: Sequence[float]) -> Spread:
        """Summarise what was measured: the median, and the quartiles around it."""
        if len(amounts) == 1:
            return cls(amounts[0], amounts[0], amounts[0])
        return cls(*statistics.quantiles(amounts, n=4, method="inclusive"))


@contextlib.contextmanager
def collector_off() -> Iterator[None]:
    """Collect garbage now, and not again before the end."""
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def pin(core: int | None = None) -> int:
    """Keep this process, and those it starts, on one core; return which.

    The default is the last one there is: interrupts tend to be served by the first.
    """
    if core is None:
        core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core

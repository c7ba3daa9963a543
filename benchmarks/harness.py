"""Measuring cases side by side: in one process, in random order, round by round.

The clock speed of a machine and the contents of its caches change from second to second, so figures
that are taken a minute apart are hardly comparable. Therefore a figure is a ratio where it can be
one. The cases of a *comparison* run once in each *round*, in a new random order. The table shows
the median of the ratios within the rounds; the spread is the middle half of them.

Time is processor time, which other processes do not take. The process stays on one core. The cycle
collector runs before each case and not during it, so that no case pays for the garbage of another.
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
"""The clock of all measurements. It counts processor time: no case sleeps."""

Figures = dict[str, float]
"""The figures of one run of a case: seconds for one operation, or bytes for one object."""

Samples = dict[str, list[float]]
"""The figure of each round, by case and figure: ``case: figure``."""


def number(size: int) -> str:
    """Write a number of watchers or nodes."""
    return f"{size:,}".replace(",", " ")


@attrs.frozen
class Scale:
    """The sizes, rounds and repetitions of a measurement."""

    rounds: int
    limit: int
    """The largest number of watchers, tasks or nodes."""
    effort: int
    """About how many operations a case times in one run."""

    def sizes(self, smallest: int = 1, largest: int = 100_000) -> list[int]:
        """Return the powers of ten in this range, up to the limit, and at least two sizes."""
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
    """The figure that the row is about, as ``case: figure``."""
    against: str | None = None
    """The figure that it is compared with."""
    kind: Kind = attrs.field(kw_only=True)
    unit: str = attrs.field(kw_only=True)
    goal: Goal | None = attrs.field(default=None, kw_only=True)

    def read(self, samples: Samples) -> list[float]:
        """Return the row's figure in each round."""
        if self.against is None:
            return samples[self.ours]
        pairs = zip(samples[self.ours], samples[self.against], strict=True)
        if self.kind is Kind.RATIO:
            return [ours / theirs for ours, theirs in pairs]
        return [ours - theirs for ours, theirs in pairs]


def ratio(measure: str, ours: str, against: str, goal: Goal | None = None) -> Row:
    """Make a row with the ratio of two figures."""
    return Row(measure, ours, against, kind=Kind.RATIO, unit="x", goal=goal)


def above(measure: str, ours: str, against: str, unit: str, goal: Goal | None = None) -> Row:
    """Make a row with the difference of two figures."""
    return Row(measure, ours, against, kind=Kind.DIFFERENCE, unit=unit, goal=goal)


def plain(measure: str, ours: str, unit: str, goal: Goal | None = None) -> Row:
    """Make a row with one figure."""
    return Row(measure, ours, kind=Kind.PLAIN, unit=unit, goal=goal)


@attrs.frozen
class Comparison:
    """Cases that are measured side by side, and the rows that are read from them."""

    name: str
    cases: Mapping[str, Callable[[], Figures]]
    rows: Sequence[Row]
    rounds: int | None = None
    """Fewer rounds than usual, where the figures hardly change."""

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
    """The median and the quartiles of a figure over all rounds."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, amounts: Sequence[float]) -> Spread:
        """Summarise the figures of all rounds."""
        if len(amounts) == 1:
            return cls(amounts[0], amounts[0], amounts[0])
        return cls(*statistics.quantiles(amounts, n=4, method="inclusive"))


@contextlib.contextmanager
def collector_off() -> Iterator[None]:
    """Collect garbage now, and not again inside the block."""
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def pin(core: int | None = None) -> int:
    """Keep this process and its children on one core; return its number.

    The default is the last core: the first tends to serve interrupts.
    """
    if core is None:
        core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core

"""Expressions of three values: the model of derived and composed values.

An expression builds a value of the library's values, and computes the same from what these hold.
How and when values are set is not its concern.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, final

import attrs

from trio_event import UNSET, Unset, compose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_event import ValueWatch


class Expression(ABC):
    """Something that is made of values."""

    # Whether a snapshot in it has a part that lets time pass, which may be an earlier state.
    late: bool
    # Whether any of it lets time pass.
    timed: bool
    # Of which sources it is made.
    indexes: frozenset[int]

    @abstractmethod
    def build(self, sources: Sequence[ValueWatch[int]]) -> ValueWatch[int]:
        """Build the value."""

    @abstractmethod
    def compute(self, newest: Sequence[int | Unset]) -> int | Unset:
        """Compute the value from these states of the sources."""


@final
@attrs.frozen
class Source(Expression):
    index: int
    late = timed = False

    @property
    def indexes(self) -> frozenset[int]:  # type: ignore[override]
        return frozenset((self.index,))

    def build(self, sources: Sequence[ValueWatch[int]]) -> ValueWatch[int]:
        return sources[self.index]

    def compute(self, newest: Sequence[int | Unset]) -> int | Unset:
        return newest[self.index]


@attrs.frozen
class Stage(Expression):
    """An expression with one source."""

    inner: Expression
    number: int

    @property
    def late(self) -> bool:  # type: ignore[override]  # it is read only
        return self.inner.late

    @property
    def timed(self) -> bool:  # type: ignore[override]
        return self.inner.timed

    @property
    def indexes(self) -> frozenset[int]:  # type: ignore[override]
        return self.inner.indexes

    def compute(self, newest: Sequence[int | Unset]) -> int | Unset:
        return self.inner.compute(newest)


@final
class Map(Stage):
    def build(self, sources: Sequence[ValueWatch[int]]) -> ValueWatch[int]:
        return self.inner.build(sources).map(self._function)

    def compute(self, newest: Sequence[int | Unset]) -> int | Unset:
        value = self.inner.compute(newest)
        return value if isinstance(value, Unset) else self._function(value)

    def _function(self, value: int) -> int:
        return value * 3 % 17 + self.number


@final
class Filter(Stage):
    def build(self, sources: Sequence[ValueWatch[int]]) -> ValueWatch[int]:
        return self.inner.build(sources).filter(self._accept)

    def compute(self, newest: Sequence[int | Unset]) -> int | Unset:
        value = self.inner.compute(newest)
        return UNSET if isinstance(value, Unset) or not self._accept(value) else value

    def _accept(self, value: int) -> bool:
        return value % 4 != self.number


@final
class Distinct(Stage):
    def build(self, sources: Sequence[ValueWatch[int]]) -> ValueWatch[int]:
        return self.inner.build(sources).distinct()


class Timed(Stage):
    timed = True


@final
class Debounce(Timed):
    def build(self, sources: Sequence[ValueWatch[int]]) -> ValueWatch[int]:
        return self.inner.build(sources).debounce(self.number)


@final
class Throttle(Timed):
    def build(self, sources: Sequence[ValueWatch[int]]) -> ValueWatch[int]:
        return self.inner.build(sources).throttle(self.number)


@final
@attrs.frozen
class Compose(Expression):
    parts: tuple[Expression, Expression]

    @property
    def late(self) -> bool:  # type: ignore[override]
        return self.timed

    @property
    def timed(self) -> bool:  # type: ignore[override]
        return any(part.timed for part in self.parts)

    @property
    def indexes(self) -> frozenset[int]:  # type: ignore[override]
        return self.parts[0].indexes | self.parts[1].indexes

    def build(self, sources: Sequence[ValueWatch[int]]) -> ValueWatch[int]:
        first, second = (part.build(sources) for part in self.parts)
        return compose(first, second).map(mix)

    def compute(self, newest: Sequence[int | Unset]) -> int | Unset:
        first, second = (part.compute(newest) for part in self.parts)
        if isinstance(first, Unset) or isinstance(second, Unset):
            return UNSET
        return mix((first, second))


def mix(parts: tuple[int, int]) -> int:
    """Make a number that shows both."""
    return parts[0] * 100 + parts[1]

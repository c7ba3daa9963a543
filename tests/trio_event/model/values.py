"""The model of a value, and of a watcher: what the contract says is true of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import attrs
import trio

from trio_event import MemoryValue, ValueWatch, Watcher, compose

from ..helpers.functions import anything, first, same, unlike

if TYPE_CHECKING:
    from collections.abc import Callable


@final
@attrs.frozen
class Datum:
    """What is set: the version, and whether a predicate accepts it."""

    version: int
    good: bool


def is_good(datum: Datum) -> bool:
    return datum.good


def fail_on_bad(datum: Datum) -> bool:
    if not datum.good:
        raise ValueError(datum)
    return True


PREDICATES: Final = (None, is_good, fail_on_bad)

# Ways to derive from a value one that behaves like it.
DERIVATIONS: Final[tuple[Callable[[ValueWatch[Datum]], ValueWatch[Datum]], ...]] = (
    same,
    same,
    lambda source: source.map(same).filter(anything),
    lambda source: source.throttle(0).distinct(unlike).debounce(0),
    lambda source: compose(source, source.map(same)).map(first),
    lambda source: compose(source.throttle(0)).map(first),
)


@final
@attrs.define(eq=False)
class ModelValue:
    """A value of the library, and what is true of it."""

    value: MemoryValue[Datum] = attrs.field(factory=MemoryValue)
    newest: Datum | None = None
    # What its watchers raise after the last state.
    end: type[Exception] | None = None

    @property
    def version(self) -> int:
        return 0 if self.newest is None else self.newest.version


@final
@attrs.define(eq=False)
class ModelWatcher:
    """A watcher of the library, and what is true of it."""

    source: ModelValue
    watcher: Watcher[Datum]
    seen: int = 0
    # The version at which the backlog ends that is being read.
    barrier: int | None = None
    closed: bool = False
    busy: bool = False

    @property
    def unseen(self) -> bool:
        return self.source.version > self.seen

    @property
    def obstacle(self) -> type[Exception] | None:
        """What a call that begins now raises at once."""
        if self.closed:
            return trio.ClosedResourceError
        return trio.BusyResourceError if self.busy else None

"""The values that the contract is tested with.

Each rule of the contract holds for every :class:`ValueWatch`, wherever its data come from. To
test another storage by the whole suite, derive from :class:`Subject` and add the class to
``SUBJECTS``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, final

from trio_event import Change, MemoryValue, ValueMap, ValueWatch, Watcher, compose

from ..helpers.functions import anything, first, named, same, unlike
from ..helpers.internals import tasks_waiting
from ..helpers.own_storage import OwnStorage, OwnValue

if TYPE_CHECKING:
    from collections.abc import Callable

Numbers = ValueWatch[int | None]


class Subject(ABC):
    """A new, unset value of some storage, and what sets and ends it.

    No method lets another task run, because tests decide what happens between two steps of a task.
    A storage that learns of changes from outside is told of them here.
    """

    # Whether a watcher returns what has changed, instead of what is.
    incremental = False

    @property
    @abstractmethod
    def value(self) -> Numbers:
        """The value to watch."""

    @property
    @abstractmethod
    def tasks_waiting(self) -> int:
        """How many waits there are for the value."""

    @abstractmethod
    def set(self, *values: int | None) -> None:
        """Set the value to each of these."""

    @abstractmethod
    def close(self) -> None:
        """End the value in good order."""

    @abstractmethod
    def fail(self, error: Exception) -> None:
        """End the value because of an error."""

    def watch(self) -> Watcher[int | None]:
        """Return a new watcher of the value."""
        return self.value.watch()


class InMemory(Subject):
    """A value in memory."""

    def __init__(self) -> None:
        self._source: MemoryValue[int | None] = MemoryValue()

    @property
    def value(self) -> Numbers:
        return self._source

    @property
    def tasks_waiting(self) -> int:
        return self._source.statistics().tasks_waiting

    def set(self, *values: int | None) -> None:
        for value in values:
            self._source.set(value)

    def close(self) -> None:
        self._source.close()

    def fail(self, error: Exception) -> None:
        self._source.fail(error)


@final
class Keyed(Subject):
    """The newest value of one key: what the watchers of a map find in the batches."""

    incremental = True

    def __init__(self) -> None:
        self._map: ValueMap[str, int | None] = ValueMap()
        self._value = self._map.map(new_value)

    @property
    def value(self) -> Numbers:
        return self._value

    @property
    def tasks_waiting(self) -> int:
        return tasks_waiting(self._map)

    def set(self, *values: int | None) -> None:
        for value in values:
            self._map.set("key", value)

    def close(self) -> None:
        self._map.close()

    def fail(self, error: Exception) -> None:
        self._map.fail(error)


@final
class Stored(Subject):
    """A value of a storage outside of the package."""

    def __init__(self) -> None:
        self._storage: OwnStorage[int | None] = OwnStorage()

    @property
    def value(self) -> Numbers:
        return self._storage

    @property
    def tasks_waiting(self) -> int:
        return len(self._storage.wait_queue)

    def set(self, *values: int | None) -> None:
        for value in values:
            self._storage.receive(value)

    def close(self) -> None:
        self._storage.finish()

    def fail(self, error: Exception) -> None:
        self._storage.finish(error)


class Derived(InMemory):
    """A value that is made of one in memory."""

    def __init__(self) -> None:
        super().__init__()
        self._value = self.make(self._source)

    @staticmethod
    @abstractmethod
    def make(source: Numbers) -> Numbers:
        """Make it."""

    @property
    def value(self) -> Numbers:
        return self._value


def derived(name: str, make: Callable[[Numbers], Numbers]) -> type[Subject]:
    """Name a way to make a value that behaves like its source."""
    return type(name, (Derived,), {"make": staticmethod(make)})


def new_value(batch: tuple[Change[str, int | None], ...]) -> int | None:
    (change,) = batch
    assert change.key == "key"
    return change.new  # type: ignore[return-value]  # nothing is deleted


def other() -> ValueWatch[int]:
    """Make a value that has data from the beginning and never changes."""
    value = MemoryValue(0)
    value.close()
    return value


# With 0 seconds nothing is waited for; derived/test_debounce_throttle.py tests what time does.
SUBJECTS: Final[tuple[type[Subject], ...]] = (
    InMemory,
    Keyed,
    Stored,
    derived("OwnValue", OwnValue),
    derived("MappedOwnValue", lambda source: OwnValue(source.map(same)).distinct(unlike)),
    derived("ComposedOfOwnValue", lambda source: compose(OwnValue(source), other()).map(first)),
    derived("Mapped", lambda source: source.map(same)),
    derived("Filtered", lambda source: source.filter(anything)),
    derived("Distinct", lambda source: source.distinct(unlike)),
    derived("Debounced", lambda source: source.debounce(0)),
    derived("Throttled", lambda source: source.throttle(0)),
    derived(
        "Chain",
        lambda source: source.map(same).distinct(unlike).throttle(0).filter(anything).debounce(0),
    ),
    derived(
        "ReverseChain",
        lambda source: source.debounce(0).filter(anything).throttle(0).distinct(unlike).map(same),
    ),
    derived("Composed", lambda source: compose(source, other()).map(first)),
    derived("ComposedByName", lambda source: compose(a=source, b=source).map(named)),
    derived(
        "Diamond",
        lambda source: compose(
            source.map(same), compose(source, source.filter(anything)).map(first)
        ).map(first),
    ),
    derived("ComposedOfThrottled", lambda source: compose(source.throttle(0)).map(first)),
    derived(
        "ComposedOfTimed",
        lambda source: (
            compose(source.debounce(0), source.throttle(0), other()).map(first).debounce(0)
        ),
    ),
    derived("ComposedOfBoth", lambda source: compose(source, source.throttle(0)).map(first)),
)

"""What the contract's tests need of a storage.

Each rule of the contract holds for every :class:`ValueWatch`, wherever its data come from. To
put another storage through the whole suite, derive from :class:`Subject` and add the class to
``SUBJECTS``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

from trio_event import Change, MemoryValue, ValueMap, ValueWatch, Watcher, compose

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trio_event._waiting import Line

T = TypeVar("T")

Numbers = ValueWatch[int | None]


class Subject(ABC):
    """A new, unset value of some storage, and the hands that move it.

    None of the methods lets another task run: a test of what happens between two steps of a
    task has to be the one who decides when a step ends. A storage that learns of a change from
    outside feeds it in here, as what it listens to would.
    """

    @property
    @abstractmethod
    def value(self) -> ValueWatch[int | None]:
        """The value to watch."""

    @abstractmethod
    def set(self, *values: int | None) -> None:
        """Let these be the value, one after the other."""

    @abstractmethod
    def close(self) -> None:
        """End the value in good order."""

    @abstractmethod
    def fail(self, error: Exception) -> None:
        """End the value because of an error."""

    def watch(self) -> Watcher[int | None]:
        """Return a new watcher of the value."""
        return self.value.watch()


@final
class InMemory(Subject):
    """A value in memory."""

    def __init__(self) -> None:
        self._value: MemoryValue[int | None] = MemoryValue()

    @property
    def value(self) -> ValueWatch[int | None]:
        return self._value

    def set(self, *values: int | None) -> None:
        for value in values:
            self._value.set(value)

    def close(self) -> None:
        self._value.close()

    def fail(self, error: Exception) -> None:
        self._value.fail(error)


@final
class OwnValue(ValueWatch[int | None]):
    """A read side that a user made, which says no more than it has to."""

    def __init__(self, source: Numbers) -> None:
        self._source = source

    def watch(self) -> Watcher[int | None]:
        return OwnWatcher(self._source.watch())


@final
class OwnWatcher(Watcher[int | None]):
    """What has to be said of a storage: its version, its value, its end, its lines."""

    def __init__(self, source: Watcher[int | None]) -> None:
        super().__init__()
        self._source = source

    def _version(self) -> int:
        return self._source._version()

    def _read(self) -> int | None:
        return self._source._read()

    def _end(self) -> Exception | None:
        return self._source._end()

    def _lines(self) -> Sequence[Line]:
        return self._source._lines()


@final
class Keyed(Subject):
    """The newest value of one key: what its watchers find in the batches."""

    def __init__(self) -> None:
        self._map: ValueMap[str, int | None] = ValueMap()
        self._value = self._map.map(new_value)

    @property
    def value(self) -> Numbers:
        return self._value

    def set(self, *values: int | None) -> None:
        for value in values:
            self._map.set("key", value)

    def close(self) -> None:
        self._map.close()

    def fail(self, error: Exception) -> None:
        self._map.fail(error)


class Derived(Subject):
    """A value that is made of one in memory."""

    def __init__(self) -> None:
        self._source: MemoryValue[int | None] = MemoryValue()
        self._value = self.make(self._source)

    @staticmethod
    @abstractmethod
    def make(source: Numbers) -> Numbers:
        """Make it."""

    @property
    def value(self) -> Numbers:
        return self._value

    def set(self, *values: int | None) -> None:
        for value in values:
            self._source.set(value)

    def close(self) -> None:
        self._source.close()

    def fail(self, error: Exception) -> None:
        self._source.fail(error)


def derived(name: str, make: Callable[[Numbers], Numbers]) -> type[Subject]:
    """Name a way to make a value that is to look like its source."""
    return type(name, (Derived,), {"make": staticmethod(make)})


def new_value(batch: tuple[Change[str, int | None], ...]) -> int | None:
    (change,) = batch
    assert change.key == "key"
    return change.new  # type: ignore[return-value]  # nothing is deleted


def same(value: T) -> T:
    return value


def anything(_: object) -> bool:
    return True


def unlike(_: object) -> object:
    """Make a key that is equal to no other."""
    return object()


def first(parts: tuple[T, ...]) -> T:
    return parts[0]


def named(parts: Any) -> Any:  # noqa: ANN401  the names are known here
    return parts.a


def other() -> ValueWatch[int]:
    """Make a value that is there from the beginning and for ever."""
    value = MemoryValue(0)
    value.close()
    return value


# With 0 seconds nothing is waited for; derived/test_debounce_throttle.py tests what time does.
SUBJECTS: Final[tuple[type[Subject], ...]] = (
    InMemory,
    Keyed,
    derived("OwnStorage", OwnValue),
    derived("ComposedOfOwnStorage", lambda source: compose(OwnValue(source), other()).map(first)),
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


def is_big(value: int | None) -> bool:
    """Satisfied by some values."""
    return value is not None and value > 10


def refuse(value: int | None) -> bool:
    """Fail on any value."""
    msg = f"I don't like {value}"
    raise ValueError(msg)

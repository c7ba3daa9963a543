"""The values that the contract is tested with.

Each rule of the contract holds for every :class:`ValueWatch`, wherever its data come from. To
test another storage by the whole suite, derive from :class:`Subject` and add the class to
``SUBJECTS``.
"""

from __future__ import annotations

import json
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from trio_event import (
    Absent,
    Change,
    MemoryValue,
    ValueMap,
    ValueWatch,
    View,
    Watcher,
    compose,
)

from ..helpers.functions import anything, first, named, same, unlike
from ..helpers.internals import DELETES_KEPT, waits_for
from ..helpers.own_storage import OwnStorage, OwnValue
from ..helpers.pages import program_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Numbers = ValueWatch[int | None]
PAGE: Final = program_of("storage.md")


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

    def clear(self) -> None:  # noqa: B027  most use nothing
        """Give back what the storage uses outside of the process, at the end of the test."""


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


class OfMap(Subject):
    """A value that is made of a map with one key."""

    def __init__(self) -> None:
        self._map: ValueMap[str, int | None] = ValueMap()
        self._value = self.make(self._map)

    @staticmethod
    @abstractmethod
    def make(source: ValueMap[str, int | None]) -> Numbers:
        """Make it."""

    @property
    def value(self) -> Numbers:
        return self._value

    @property
    def tasks_waiting(self) -> int:
        return waits_for(self._value)

    def set(self, *values: int | None) -> None:
        for value in values:
            self._map.set("key", value)

    def close(self) -> None:
        self._map.close()

    def fail(self, error: Exception) -> None:
        self._map.fail(error)


class Keyed(OfMap):
    """The newest value of one key: what the watchers of a map find in the batches."""

    incremental = True

    @staticmethod
    def make(source: ValueMap[str, int | None]) -> Numbers:
        return source.map(new_value)


class Item(OfMap):
    """One key of a map, which is there from its first change on."""

    @staticmethod
    def make(source: ValueMap[str, int | None]) -> Numbers:
        return source.item("key").map(there)


class ItemAmongOthers(OfMap):
    """One key of a map that changes with others, of which it forgets many."""

    @staticmethod
    def make(source: ValueMap[str, int | None]) -> Numbers:
        return source.item("key").present()

    def set(self, *values: int | None) -> None:
        for value in values:
            self._map.apply({"key": value, "other": value})
            for number in range(DELETES_KEPT):
                self._map.set(f"passing {number}", number)
                self._map.delete(f"passing {number}")


class DirectoryItem(Subject):
    """One file of a directory: the storage in ``docs/storage.md``, which really reads it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name)
        self._files: Any = ValueMap()
        self._directory = PAGE["Directory"](self._path, self._files)
        self._value = self.make(self._directory)

    @staticmethod
    def make(directory: Any) -> Numbers:  # noqa: ANN401  as its type is on a page
        return directory.item("key").present().map(decoded)  # type: ignore[no-any-return]

    @property
    def value(self) -> Numbers:
        return self._value

    @property
    def tasks_waiting(self) -> int:
        return waits_for(self._value)

    def set(self, *values: int | None) -> None:
        for value in values:
            new = self._path / "new"
            new.write_text(json.dumps(value))
            new.replace(self._path / "key")
            self._files.replace_all(self._directory.look())

    def close(self) -> None:
        self._files.close()

    def fail(self, error: Exception) -> None:
        self._files.fail(error)

    def clear(self) -> None:
        self._folder.cleanup()


class DirectoryOfOne(DirectoryItem):
    """The same directory as a whole, with one file."""

    incremental = True

    @staticmethod
    def make(directory: Any) -> Numbers:  # noqa: ANN401  as above
        return directory.map(new_value).map(decoded)  # type: ignore[no-any-return]


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


def of_map(
    name: str, make: Callable[[ValueMap[str, int | None]], Numbers], *, incremental: bool = False
) -> type[Subject]:
    """Name a way to make a value of a map with one key."""
    return type(name, (OfMap,), {"make": staticmethod(make), "incremental": incremental})


def derived(name: str, make: Callable[[Numbers], Numbers]) -> type[Subject]:
    """Name a way to make a value that behaves like its source."""
    return type(name, (Derived,), {"make": staticmethod(make)})


def new_value(batch: Sequence[Change[str, Any]]) -> Any:  # noqa: ANN401  a number, or a file
    (change,) = batch
    assert change.key == "key"
    return change.new


def there(state: int | Absent | None) -> int | None:
    assert not isinstance(state, Absent)
    return state


def decoded(file: tuple[object, bytes]) -> int | None:
    return json.loads(file[1])  # type: ignore[no-any-return]


def other() -> ValueWatch[int]:
    """Make a value that has data from the beginning and never changes."""
    value = MemoryValue(0)
    value.close()
    return value


# With 0 seconds nothing is waited for; derived/test_debounce_throttle.py tests what time does.
SUBJECTS: Final[tuple[type[Subject], ...]] = (
    InMemory,
    Keyed,
    Item,
    ItemAmongOthers,
    of_map("ItemBehindView", lambda source: View(source.item("key")).present().distinct(unlike)),
    of_map(
        "ComposedItems",
        lambda source: (
            compose(source.item("key"), source.item("never"))
            .map(lambda states: states[0])
            .map(there)
        ),
    ),
    of_map("MapBehindView", lambda source: View(source).map(new_value), incremental=True),
    of_map("MapBehindOwnValue", lambda source: OwnValue(source).map(new_value), incremental=True),
    of_map(
        "MapBehindViewOfOwnValue",
        lambda source: View(OwnValue(View(source)).map(new_value)).throttle(0),
        incremental=True,
    ),
    of_map("ComposedViewOfMap", lambda source: compose(View(source)).map(first).map(new_value)),
    DirectoryItem,
    DirectoryOfOne,
    Stored,
    derived("View", View),
    derived(
        "ViewOfChain", lambda source: View(View(source).map(same).throttle(0)).filter(anything)
    ),
    derived(
        "ComposedOfViews",
        lambda source: compose(View(source), View(source.throttle(0)), View(other())).map(first),
    ),
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

"""What the contract's tests need of a storage.

Each rule of the contract holds for every :class:`ValueWatch`, wherever its data come from. To
put another storage through the whole suite, derive from :class:`Subject` and add the class to
``SUBJECTS``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, final

from trio_event import MemoryValue, ValueWatch, Watcher


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


SUBJECTS: Final[tuple[type[Subject], ...]] = (InMemory,)


def is_big(value: int | None) -> bool:
    """Satisfied by some values."""
    return value is not None and value > 10


def refuse(value: int | None) -> bool:
    """Fail on any value."""
    msg = f"I don't like {value}"
    raise ValueError(msg)

"""What values are made of, and how they are looked at.

A *source* has a version, data and an end, and queues to wait in. A value that is set is its own
source. A derived value has *stages* on top of a source. Composed values have several parts, and
so values form a graph, whose *roots* are the values that are set.

There are two ways to look at it. A watcher looks at one source through the stages of one chain,
and keeps what the stages have to remember (see ``SourceWatcher``). A :class:`Look` computes what
a value is at one instant, and remembers nothing.
"""

from __future__ import annotations

import enum
import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Literal, TypeVar, final

import attrs

from ._unset import UNSET, Unset

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from ._waiting import WaitQueue

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Seen(enum.Enum):
    """The type of :data:`SEEN`."""

    SEEN = "SEEN"


SEEN: Final[Literal[Seen.SEEN]] = Seen.SEEN
"""Stands for data in which there is nothing new: a watcher counts the version as seen."""


@final
@attrs.frozen
class Later:
    """A look's answer if there is nothing to take: when to look again.

    That is when a queue is notified, and at the time ``until`` if that comes first.
    """

    until: float = math.inf
    pending: bool = False
    """Whether there is unseen data, which may be taken at that time."""


NOTHING: Final = Later()


class Source(ABC, Generic[T_co]):
    """What a watcher looks at. None of the methods waits."""

    __slots__ = ()

    # Whether what is read depends on what this watcher has taken: then the watcher has a source
    # of its own, and takes from it.
    _is_incremental: ClassVar[bool] = False

    @property
    @abstractmethod
    def _version(self) -> int:
        """The newest version; 0 if there is no data."""

    @abstractmethod
    def _read(self) -> T_co | Unset | Seen:
        """Return the newest data. It is called only where there is a version."""

    @abstractmethod
    def _end(self) -> Exception | None:
        """Return a new exception to raise when all is seen, if the source has ended."""

    @abstractmethod
    def _queues(self) -> Collection[WaitQueue]:
        """Return the queues that each change of the version, and the end, notifies."""

    def _whole(self) -> Any:  # noqa: ANN401  as T_co | Unset, which could not be overridden
        """Return the newest data, independently of what was taken."""
        return self._read()

    def _copy(self) -> Source[T_co]:
        """Return a source that can be taken from without a change in this one."""
        return self

    def _take(self) -> tuple[T_co | Unset | Seen, Callable[[int], None]]:
        """Return what ``_read`` does, and what records that it is seen, up to a version.

        It is called only where what is read depends on what was taken.
        """
        raise NotImplementedError


class Stage(ABC):
    """One step of a chain: what it makes of data, for a look and for a watcher (V17).

    A stage is immutable and shared by all watchers. What it has to remember of one of them is an
    element of that watcher's ``states``, which the watcher replaces only when it takes the data.
    """

    __slots__ = ()

    # What a stage remembers of a watcher that has taken nothing.
    initial: ClassVar[object] = None

    @abstractmethod
    def apply(self, data: Any) -> Any:  # noqa: ANN401  a chain is typed by the methods that make it
        """Return what the stage makes of data at an instant; UNSET if it rejects them."""

    def take(
        self,
        data: Any,  # noqa: ANN401  as above
        states: list[Any],  # noqa: ARG002  for stages that remember something, here and below
        index: int,  # noqa: ARG002
    ) -> Any:  # noqa: ANN401
        """Return the same for a watcher, and put in ``states[index]`` what to remember.

        SEEN says that there is nothing new in the data for this watcher.
        """
        return self.apply(data)

    def news(
        self,
        news: int,
        states: list[Any],  # noqa: ARG002
        index: int,  # noqa: ARG002
        given: Callable[[int], Any],  # noqa: ARG002
    ) -> int:
        """Return which version was the last to bring something new to the stage behind this one.

        Args:
            news: Which it was for this stage.
            states: What the watcher's stages remember.
            index: The place of this stage.
            given: ``given(index)`` is what this stage is given.
        """
        return news


class TimedStage(Stage):
    """A stage that lets time pass: it says when unseen data may be taken."""

    __slots__ = ()

    @abstractmethod
    def due(self, states: list[Any], index: int, news: Callable[[int], int]) -> float:
        """Return when unseen data may be taken.

        ``news(index)`` is the version that was the last to bring something new to this stage.
        """


def apply_all(stages: Iterable[Stage], data: Any) -> Any:  # noqa: ANN401  as Stage.apply()
    """Return what several stages make of data at an instant."""
    for stage in stages:
        if data is UNSET or data is SEEN:
            return UNSET
        data = stage.apply(data)
    return data


class Node(ABC, Generic[T_co]):
    """A value as a part of the graph that values form.

    What is said here holds for a root, which is not made of others.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def version(self) -> int:
        """The newest version; 0 if there is no data yet."""

    def _roots(self) -> frozenset[Node[object]]:
        """Return the values that are set, of which this one is made."""
        return frozenset((self,))

    def _inputs(self) -> tuple[Node[object], ...]:
        """Return what a composition reads to compute this value: roots, and what it samples."""
        return (self,)

    @abstractmethod
    def _open_source(self) -> Source[T_co]:
        """Return the source of a root."""

    def _evaluate_now(self) -> T_co | Unset:
        """Return what the value is now."""
        return Look({root: root._open_source() for root in self._roots()}).read_all().of(self)

    def _evaluate(self, look: Look) -> T_co | Unset:
        """Return what the value is in ``look``."""
        return look.read(self)

    def _find_end(self, look: Look) -> Exception | None:
        """Return the end of the value in ``look``, if it has ended."""
        return look.sources[self]._end()


@final
class Look:
    """What values are at one instant (V18).

    Each value is computed once, however often it occurs. :meth:`read_all` reads the roots before
    anything is computed of them, so a function that sets one of them changes nothing of the
    look.
    """

    __slots__ = ("_ends", "_values", "sources")

    def __init__(self, sources: Mapping[Node[object], Source[object]]) -> None:
        self.sources = sources
        self._values: dict[Node[object], object] = {}
        self._ends: dict[Node[object], Exception | None] = {}

    def read_all(self) -> Look:
        """Read all roots."""
        for root, source in self.sources.items():
            self._values[root] = source._whole() if source._version else UNSET
        return self

    def read(self, root: Node[T]) -> T | Unset:
        """Read one root."""
        source = self.sources[root]
        return source._whole() if source._version else UNSET

    def assume(self, node: Node[object], value: object) -> None:
        """Take ``value`` for that of ``node``."""
        self._values[node] = value

    def assume_end(self, node: Node[object], end: Exception | None) -> None:
        """Take ``end`` for that of ``node``."""
        self._ends[node] = end

    def of(self, node: Node[T]) -> T | Unset:
        """Return what a value is."""
        values = self._values
        if node not in values:
            values[node] = node._evaluate(self)
        return values[node]  # type: ignore[return-value]  # it is what the node itself has made

    def end_of(self, node: Node[object]) -> Exception | None:
        """Return the end of a value, if it has ended."""
        if node not in self._ends:
            self._ends[node] = node._find_end(self)
        return self._ends[node]

    def is_empty(self, node: Node[object]) -> bool:
        """Return whether a value has no data."""
        try:
            return self.of(node) is UNSET
        except Exception:  # noqa: BLE001  there is data, and the get that takes them raises this
            return False


@final
class _Gone(Source[Any], Node[Any]):
    """What a closed watcher looks at, to keep nothing alive: a value that nobody will set."""

    __slots__ = ()

    _version = version = 0

    def _read(self) -> Unset:
        return UNSET

    def _end(self) -> None:
        return None

    def _queues(self) -> Collection[WaitQueue]:
        return ()

    def _open_source(self) -> Source[Any]:
        return self


GONE: Final = _Gone()

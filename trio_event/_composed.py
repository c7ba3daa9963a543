"""Several values as one: ``compose``.

What a watcher of composed values returns is read from all sources in one step of its task, each at
its newest. Sets that follow each other without a checkpoint between them are seen together, and
what is derived twice from one source is seen at one version of it: there is no queue in which the
parts of a state could overtake each other. Only a predicate that is asked in the
middle of a set (``wait_for``) could come between two sets; ``atomic`` keeps it out.

The version of composed values counts the versions of all values that are set, each once, however
often it occurs among the sources.

A source that lets time pass (``debounce``, ``throttle``) takes part with what its own watcher has
returned last.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, final, overload

import trio

from ._unset import UNSET, Unset
from ._value import ValueWatch
from ._watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ._waiting import Line

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")


@final
class Composition(Mapping[str, T_co]):
    """An immutable snapshot of several values, by name.

    The names are attributes as well, but for those that every mapping has (``get``, ``items``,
    ``keys``, ``values``).
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, T_co]) -> None:
        """Make a snapshot of ``values``."""
        self._values: dict[str, T_co]
        object.__setattr__(self, "_values", dict(values))

    def __getitem__(self, name: str) -> T_co:
        """Return the value of one name."""
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return how many values there are."""
        return len(self._values)

    def __getattr__(self, name: str) -> T_co:
        """Return the value of one name."""
        try:
            return self[name]
        except KeyError:
            msg = f"{name!r} is none of the composed values {', '.join(self)}"
            raise AttributeError(msg, name=name, obj=self) from None

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: it is immutable."""
        msg = f"{name!r} can't be changed: it is a snapshot"
        raise AttributeError(msg, name=name, obj=self)

    def __hash__(self) -> int:
        """Hash names and values, as equality compares them."""
        return hash(frozenset(self.items()))

    def __repr__(self) -> str:
        """Show names and values."""
        return f"Composition({', '.join(f'{name}={value!r}' for name, value in self.items())})"


@overload
def compose(first: ValueWatch[A], second: ValueWatch[B], /) -> ValueWatch[tuple[A, B]]: ...


@overload
def compose(
    first: ValueWatch[A], second: ValueWatch[B], third: ValueWatch[C], /
) -> ValueWatch[tuple[A, B, C]]: ...


@overload
def compose(
    first: ValueWatch[A], second: ValueWatch[B], third: ValueWatch[C], fourth: ValueWatch[D], /
) -> ValueWatch[tuple[A, B, C, D]]: ...


@overload
def compose(*values: ValueWatch[T]) -> ValueWatch[tuple[T, ...]]: ...


@overload
def compose(**named_values: ValueWatch[T]) -> ValueWatch[Composition[T]]: ...


def compose(*values: ValueWatch[Any], **named_values: ValueWatch[Any]) -> ValueWatch[Any]:
    """Make one value of several: an immutable snapshot of the newest of each.

    It has data when all of them have. It changes when one of them does. No watcher ever sees a
    mixture of states that were never there together.

    Args:
        *values: The values, for a snapshot that is a tuple, with the type of each; or
        **named_values: the values by name, for a snapshot with these names as attributes and keys.

    Returns:
        The composed value. It ends when all of the others have, or one of them has failed.

    Raises:
        TypeError: if there is no value, or some have names and others not.

    Checkpoints:
        Never.

    Example::

        endpoint = compose(host=host, port=port)
        with endpoint.watch() as watcher:
            async for current in watcher:
                print(f"{current.host}:{current.port}")
    """
    if bool(values) == bool(named_values):
        msg = "compose() needs one or more values, either all by position or all by name"
        raise TypeError(msg)
    if values:
        return _Composed(values, tuple)
    names = tuple(named_values)
    return _Composed(
        tuple(named_values.values()),
        lambda parts: Composition(dict(zip(names, parts, strict=True))),
    )


@final
class _Composed(ValueWatch[T]):
    __slots__ = ("_make", "_sources")

    def __init__(
        self, sources: tuple[ValueWatch[object], ...], make: Callable[[Sequence[object]], T]
    ) -> None:
        self._sources = sources
        self._make = make

    def __repr__(self) -> str:
        return f"<composed of {', '.join(map(repr, self._sources))}>"

    def watch(self) -> Watcher[T]:
        return _ComposedWatcher(self._sources, self._make)

    def _bases(self) -> frozenset[ValueWatch[object]]:
        return frozenset[ValueWatch[object]]().union(*(each._bases() for each in self._sources))

    def _timed(self) -> bool:
        return any(each._timed() for each in self._sources)


@final
class _ComposedWatcher(Watcher[T]):
    __slots__ = ("_bases", "_inner", "_make", "_taken", "_times")

    def __init__(
        self, sources: tuple[ValueWatch[object], ...], make: Callable[[Sequence[object]], T]
    ) -> None:
        super().__init__()
        self._make = make
        # Of each source, the value itself if it can be read at any time, or a watcher of it.
        self._inner: list[ValueWatch[object] | Watcher[object]] = [
            each.watch() if each._timed() else each for each in sources
        ]
        instant = (each for each in sources if not each._timed())
        self._bases = tuple(
            frozenset[ValueWatch[object]]().union(*(each._bases() for each in instant))
        )
        # What the watchers have returned last, and how often they did.
        self._taken: dict[int, object] = {}
        self._times = 0
        self._seen = max(self._version() - 1, 0)

    def _watchers(self) -> Iterator[tuple[int, Watcher[object]]]:
        for index, inner in enumerate(self._inner):
            if isinstance(inner, Watcher):
                yield index, inner

    def _collect(self) -> None:
        """Take what is due from the watchers."""
        for index, inner in self._watchers():
            if inner._unseen() and not inner._pending():
                value = inner._take(None)
                if not isinstance(value, Unset):
                    self._taken[index] = value
                    self._times += 1

    def _version(self) -> int:
        return sum(base.version for base in self._bases) + self._times

    def _ready(self) -> bool:
        self._collect()
        return super()._ready()

    def _take(self, predicate: Callable[[T], bool] | None) -> T | Unset:
        self._collect()
        version = self._version()
        if version <= self._seen:
            return UNSET
        parts = [
            self._taken.get(index, UNSET) if isinstance(inner, Watcher) else inner._newest()
            for index, inner in enumerate(self._inner)
        ]
        if any(part is UNSET for part in parts):
            return UNSET
        value = self._make(parts)
        if predicate is not None and not predicate(value):
            return UNSET
        self._seen = version
        return value

    def _deadline(self) -> float:
        return min((inner._deadline() for _, inner in self._watchers()), default=math.inf)

    def _read(self) -> T:
        raise AssertionError("unreachable: what is composed is taken, never read")

    def _end(self) -> Exception | None:
        """Return the end, if there can be no more states: all have ended, or one can have none."""
        ended = 0
        for index, inner in enumerate(self._inner):
            if isinstance(inner, Watcher):
                end, empty = inner._end(), index not in self._taken
            else:
                end, empty = inner.watch()._end(), inner._newest() is UNSET
            if end is None:
                continue
            if empty or not isinstance(end, trio.EndOfChannel):
                return end
            ended += 1
        return trio.EndOfChannel() if ended == len(self._inner) else None

    def _lines(self) -> Sequence[Line]:
        lines = {}
        for inner in self._inner:
            watcher = inner if isinstance(inner, Watcher) else inner.watch()
            lines.update({id(line): line for line in watcher._lines()})
        return tuple(lines.values())

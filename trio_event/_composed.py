"""Several values as one: ``compose``.

What a watcher of composed values returns is read from all sources in one step of its task, each at
its newest. Sets that follow each other without a checkpoint between them are seen together, and
what is derived twice from one source is seen at one version of it: there is no queue in which the
parts of a state could overtake each other. The values that are set are read before anything is
computed of them, so a function that sets one of them comes too late to make a mixture. Only a
predicate that is asked in the middle of a set (``wait_for``) could come between two sets;
``atomic`` keeps it out.

The version of composed values is the sum of the versions of all values that are set, each counted
once, however often it occurs among the sources that can be read at any time.

A source that lets time pass (``debounce``, ``throttle``) takes part with what its own watcher has
returned last, and with the version of that, which is counted on top.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, final, overload

import trio

from ._derived import compute
from ._unset import UNSET, Unset
from ._value import ValueWatch
from ._watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

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

    def __delattr__(self, name: str) -> None:
        """Refuse: it is immutable."""
        self.__setattr__(name, None)

    def __reduce__(self) -> tuple[type[Composition[T_co]], tuple[dict[str, T_co]]]:
        """Copy and pickle it as what it was made of."""
        return Composition, (self._values,)

    def __hash__(self) -> int:
        """Hash names and values, as equality compares them."""
        return hash(frozenset(self.items()))

    def __repr__(self) -> str:
        """Show names and values."""
        return f"Composition({', '.join(f'{name}={value!r}' for name, value in self.items())})"


@overload
def compose(first: ValueWatch[A], /) -> ValueWatch[tuple[A]]: ...


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

    A snapshot has what is newest, so ``distinct`` changes nothing for a source: put it behind,
    ``compose(...).distinct()``. A source that lets time pass (``debounce``, ``throttle``) takes
    part with what it gave last, for that is what it is for.

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
        return _ComposedWatcher(self)

    @property
    def version(self) -> int:
        """The newest version; 0 if there is no data yet."""
        return total(
            *(base.version for base in self._instant_bases()),
            *(source.version for source in self._sources if source._timed()),
        )

    def _instant_bases(self) -> frozenset[ValueWatch[object]]:
        """Return the bases of the sources that can be read at any time."""
        return bases_of(source for source in self._sources if not source._timed())

    def _newest(self) -> T | Unset:
        return compute(self)

    def _given(self, newest: Callable[[ValueWatch[Any]], Any]) -> T | Unset:
        return self._of([source._given(newest) for source in self._sources])

    def _of(self, parts: Sequence[object]) -> T | Unset:
        """Make the snapshot, if all of its parts have data."""
        return UNSET if any(part is UNSET for part in parts) else self._make(parts)

    def _bases(self) -> frozenset[ValueWatch[object]]:
        return bases_of(self._sources)

    def _timed(self) -> bool:
        return any(source._timed() for source in self._sources)


@final
class _ComposedWatcher(Watcher[T]):
    __slots__ = ("_bases", "_late", "_taken", "_value", "_watchers")

    def __init__(self, value: _Composed[T]) -> None:
        self._bases = value._instant_bases()
        # A watcher that is new has not missed what came before it, but for the newest.
        version = value.version
        super().__init__(version - 1 if version else sum(base.version for base in self._bases))
        self._value = value
        self._watchers = [source.watch() for source in value._sources]
        # The places of the sources that let time pass, and what their watchers have returned last.
        self._late = [index for index, source in enumerate(value._sources) if source._timed()]
        self._taken: dict[int, object] = {}

    def _count(self) -> int:
        """Return the version of what can be read and was taken so far."""
        return total(
            *(base.version for base in self._bases),
            *(self._watchers[i]._position() if i in self._taken else 0 for i in self._late),
        )

    def _version(self) -> int:
        if self._late:
            with contextlib.suppress(Exception):  # who takes the value will meet it again
                self._collect()
        return self._count()

    def _stamp(self) -> int:
        return sum(watcher._stamp() for watcher in self._watchers)

    def _ready(self) -> bool:
        try:
            self._collect()
        except Exception:  # noqa: BLE001  likewise
            return True
        return super()._ready()

    def _position(self) -> int:
        return min(self._seen, self._version())

    def _collect(self) -> None:
        """Take what is due from those that let time pass."""
        for index in self._late:
            watcher = self._watchers[index]
            if not watcher._pending() and watcher._unseen():
                source = self._value._sources[index]
                # A part is the whole of what is newest, though its watcher returns the difference.
                newest = source._newest() if source._incremental() else None
                value = watcher._take(None)
                if not isinstance(value, Unset):
                    self._taken[index] = value if newest is None else newest

    def _take(self, predicate: Callable[[T], bool] | None) -> T | Unset:
        self._collect()
        version = self._count()
        if version <= self._seen:
            return UNSET
        newest = {base: base._newest() for base in self._bases}
        value = self._value._of(
            [
                self._taken.get(index, UNSET)
                if index in self._late
                else source._given(newest.__getitem__)
                for index, source in enumerate(self._value._sources)
            ]
        )
        if isinstance(value, Unset) or (predicate is not None and not predicate(value)):
            return UNSET
        self._seen = version
        return value

    def _deadline(self) -> float:
        return min((self._watchers[index]._deadline() for index in self._late), default=math.inf)

    _read = None  # type: ignore[assignment]  # what is composed is taken, never read

    def _end(self) -> Exception | None:
        """Return the end, if there can be no more states: all have ended, or one can have none."""
        ends = [watcher._end() for watcher in self._watchers]
        for index, end in enumerate(ends):
            if end is not None and (
                not isinstance(end, trio.EndOfChannel) or self._is_empty(index)
            ):
                return end
        return None if None in ends else trio.EndOfChannel()

    def _is_empty(self, index: int) -> bool:
        """Return whether a source has no data."""
        if index in self._late:
            return index not in self._taken
        try:
            return self._value._sources[index]._newest() is UNSET
        except Exception:  # noqa: BLE001  there is something, and who takes it will meet this
            return False

    def _lines(self) -> Sequence[Line]:
        return tuple({line: None for watcher in self._watchers for line in watcher._lines()})


def total(*versions: int) -> int:
    """Return the version of a whole, which has no data as long as one of its parts has none."""
    return 0 if 0 in versions else sum(versions)


def bases_of(sources: Iterable[ValueWatch[object]]) -> frozenset[ValueWatch[object]]:
    """Return the values that are set, of which all these are made."""
    return frozenset[ValueWatch[object]]().union(*(source._bases() for source in sources))

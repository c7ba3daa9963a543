"""How composed values are watched.

What a watcher of composed values returns is read from all parts in one step of its task, each at
its newest. Sets that follow each other without a checkpoint between them are seen together, and
what is derived twice from one value is seen at one version of it: there is no queue in which the
parts of a state could overtake each other. The roots are read before anything is computed of them
(see ``Look``). Only a predicate that is asked in the middle of a set (``wait_for``) could come
between two sets; ``atomic`` keeps it out.

The version of composed values is the sum of the versions of all roots, each counted once, however
often it occurs among the parts that can be read at any time.

A part that lets time pass (``debounce``, ``throttle``) is *sampled*: it has a watcher of its own,
and takes part with what that has returned last, and with the version of that, which is counted on
top.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, final

from .._graph import Later, Look, Source
from .._unset import UNSET, Unset
from .._watcher import SourceWatcher

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from .._graph import Node, Stage
    from .._waiting import WaitQueue
    from .._watcher import Watchable, Watcher

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


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


@final
class Parts(Source[T]):
    """The parts of composed values, as one watcher sees them."""

    __slots__ = ("_instant", "_node", "_samples", "_watchers")

    def __init__(
        self,
        node: Node[T],
        instant: Iterable[Node[object]],
        timed: Iterable[Watchable[object]],
    ) -> None:
        """Open the parts of ``node``: the roots of the instant ones, and the timed ones."""
        self._node = node
        self._instant: dict[Node[object], Source[object]] = {
            root: root._open_source() for root in instant
        }
        self._watchers: dict[Watchable[object], Watcher[object]] = {
            part: part.watch() for part in timed
        }
        # What the watchers of the timed parts have returned last.
        self._samples: dict[Watchable[object], object] = {}

    @property
    def _version(self) -> int:
        if len(self._samples) < len(self._watchers):
            return 0
        return total(
            *[source._version for source in self._instant.values()],
            *[watcher._position() for watcher in self._watchers.values()],
        )

    def epoch(self) -> int:
        """Return a number that grows with each set of a root."""
        return sum([source._version for source in self._instant.values()]) + sum(
            [watcher._epoch() for watcher in self._watchers.values()]
        )

    def _read(self) -> T | Unset:
        return self._look().read_all().of(self._node)

    def _whole(self) -> T | Unset:
        return self._node._evaluate_now() if self._watchers else self._read()

    def _end(self) -> Exception | None:
        look = self._look()
        for part, watcher in self._watchers.items():
            look.assume_end(part, watcher._end())
        return look.end_of(self._node)

    def _look(self) -> Look:
        look = Look(self._instant)
        for part in self._watchers:
            look.assume(part, self._samples.get(part, UNSET))
        return look

    def _queues(self) -> Collection[WaitQueue]:
        queues = {queue: None for at in self._instant.values() for queue in at._queues()}
        queues |= {queue: None for at in self._watchers.values() for queue in at._queues()}
        return queues

    def glance(self) -> Later | None:
        """Return when to sample the timed parts; None if one of them may have something now."""
        until = math.inf
        for watcher in self._watchers.values():
            later = watcher._glance()
            if later is None:
                return None
            until = min(until, later.until)
        return Later(until)

    def sample(self) -> float:
        """Take what is due from the timed parts; return when there may be more."""
        until = math.inf
        for part, watcher in self._watchers.items():
            # A part is the whole of what is newest, though its watcher returns the difference.
            whole = part._evaluate_now() if watcher._is_incremental else None
            found = watcher._look(None)
            if isinstance(found, Later):
                until = min(until, found.until)
            else:
                self._samples = {**self._samples, part: found if whole is None else whole}
        return until

    def _copy(self) -> Parts[T]:
        copy = Parts(self._node, (), ())
        copy._instant, copy._samples = self._instant, self._samples
        copy._watchers = {part: watcher._copy() for part, watcher in self._watchers.items()}
        return copy


@final
class ComposedWatcher(SourceWatcher[T]):
    """Watches composed values, through the stages of a chain."""

    __slots__ = ("_parts",)

    def __init__(self, parts: Parts[Any], stages: tuple[Stage, ...], seen: int) -> None:
        """Make a watcher that has seen the versions of ``parts`` up to ``seen``."""
        super().__init__(parts, stages, seen)
        self._parts = parts

    @property
    def _is_timed(self) -> bool:
        """Whether time has to pass before some data are taken."""
        return bool(self._timed or self._parts._watchers)

    def _version(self) -> int:
        parts = self._parts
        if parts._watchers:
            parts = parts._copy()
            with contextlib.suppress(Exception):  # the get that takes the value raises it again
                parts.sample()
        return parts._version

    def _epoch(self) -> int:
        return self._parts.epoch()

    def _glance(self) -> Later | None:
        if not self._parts._watchers:
            return super()._glance()
        sampling = self._parts.glance()
        if sampling is None:
            return None
        later = super()._glance()
        return later if later is None else earlier(later, sampling.until)

    def _look(self, predicate: Callable[[T], bool] | None) -> T | Later:
        if not self._parts._watchers:
            return super()._look(predicate)
        until = self._parts.sample()
        found = super()._look(predicate)
        return earlier(found, until) if isinstance(found, Later) else found

    def _through(self, stages: tuple[Stage, ...]) -> Watcher[Any]:
        return ComposedWatcher(self._parts, self._stages + stages, self._seen)

    def _copy(self) -> Self:
        copy = super()._copy()
        assert isinstance(copy._source, Parts)
        copy._parts = copy._source
        return copy


def earlier(later: Later, until: float) -> Later:
    """Return when to look, if that is also at ``until``."""
    return later if later.until <= until else Later(until, later.pending)


def total(*versions: int) -> int:
    """Return the version of a whole, which has no data as long as one of its parts has none."""
    return 0 if 0 in versions else sum(versions)

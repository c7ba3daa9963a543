"""How composed values are watched.

What a watcher of composed values returns is read from all parts in one step of its task, each at
its newest. Sets that follow each other without a checkpoint between them are seen together, and
what is derived twice from one value is seen at one version of it: there is no queue in which the
parts of a state could overtake each other. The roots are read before anything is computed of them
(see ``Look``). Only a predicate that is asked in the middle of a set (``wait_for``) could come
between two sets; ``atomic`` keeps it out.

The version of composed values is the sum of the versions of all roots, each counted once, however
often it occurs among the parts that can be read at any time.

What lets time pass (``debounce``, ``throttle``) is *sampled*: it has a watcher of its own, and
takes part with what that has returned last, and with the version of that, which is counted on top.
A sample is taken together with the whole: as long as that has no data, or is rejected, no sample
uses time. All that is derived from one value that lets time pass is computed of one sample. So it
is at one state in all parts. With a watcher for each part, one could be due at a reading of the
clock at which another is not. A sample that a filter behind it rejects is taken by no part, as in a
chain what one stage rejects is seen by none; the whole goes on with the sample before.

A backlog of composed values is that of each sampled value, and what was known of the others. So it
waits for what was known and is not due, and for nothing that came later.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, final

from .._graph import GONE, Later, Look, Source
from .._unset import UNSET, Unset
from .._watcher import CLOSED, Backlog, SourceWatcher

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

    # No type can say of which type the value of each name is: any may be what the user expects.
    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
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


# There is no state that could be waited for.
NO_BACKLOG: Final = Backlog(0)


@final
class Parts(Source[T]):
    """The parts of composed values, as one watcher sees them (V18)."""

    __slots__ = ("_instant", "_laters", "_node", "_samples", "_watchers", "is_empty")

    def __init__(
        self,
        node: Node[T],
        instant: Iterable[Node[object]],
        timed: Iterable[Watchable[object]],
    ) -> None:
        """Open what is read of ``node``: roots, and values that let time pass."""
        self._node = node
        self._instant: dict[Node[object], Source[object]] = {
            root: root._open_source() for root in instant
        }
        self._watchers: dict[Watchable[object], Watcher[object]] = {
            part: part.watch() for part in timed
        }
        # What these watchers have returned last.
        self._samples: dict[Watchable[object], object] = {}
        # When there may be more, of those of them that had nothing in the last look.
        self._laters: dict[Watchable[object], Later] = {}
        # Whether the last read has found no data.
        self.is_empty = False

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
        """Return what the roots and the samples make; all roots are read first (V18)."""
        data = self._look().read_all().of(self._node)
        self.is_empty = data is UNSET
        return data

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
        laters = []
        for watcher in self._watchers.values():
            later = watcher._glance()
            if later is None:
                return None
            laters.append(later)
        return soonest(*laters)

    def sample(self) -> Parts[T]:
        """Return these parts with what is due taken from the timed ones.

        It changes nothing here, but that a ``debounce`` notices what is new.
        """
        sampled = self._with({})
        sampled._samples = self._samples.copy()
        for part, watcher in self._watchers.items():
            later = watcher._glance()
            if later is None:
                sampled._watchers[part] = taking = watcher._copy()
                # A part is the whole of what is newest, though its watcher returns the difference.
                whole = part._evaluate_now() if taking._is_incremental else None
                found = taking._look(None)
                if not isinstance(found, Later):
                    sampled._samples[part] = found if whole is None else whole
                    continue
                later = found
            sampled._laters[part] = later
        return sampled

    def keep(self, sampled: Parts[T]) -> Parts[T]:
        """Return these parts with those samples alone with which the whole has data."""
        kept = self._with({})
        for part, sample in sampled._samples.items():
            if part in sampled._laters:
                continue
            more = kept._with({part: sampled._watchers[part]})
            more._samples = {**kept._samples, part: sample}
            if more._read() is not UNSET:
                kept = more
        kept._laters = sampled._laters
        return kept

    def backlog(self) -> Backlog:
        """Return what is known of the whole: nothing, if a part has no data."""
        instant = [source._version for source in self._instant.values()]
        timed = [watcher._backlog() for watcher in self._watchers.values()]
        if 0 in instant or NO_BACKLOG in timed:
            return NO_BACKLOG
        return Backlog(sum(instant), tuple(timed))

    def position(self) -> int:
        """Return the sum of the versions up to which the timed parts are seen."""
        return sum([watcher._position() for watcher in self._watchers.values()])

    def have_read(self, backlogs: Collection[Backlog]) -> bool:
        """Return whether all is seen of what was known of the timed parts."""
        parts = zip(self._watchers.values(), backlogs, strict=True)
        return all(watcher._has_read(backlog) for watcher, backlog in parts)

    def awaits(self, backlogs: Collection[Backlog]) -> bool:
        """Return whether something that was known of a timed part may be taken later."""
        parts = zip(self._watchers.items(), backlogs, strict=True)
        return any(
            part in self._laters
            and watcher._awaits(self._laters[part], backlog)
            and not watcher._has_read(backlog)
            for (part, watcher), backlog in parts
        )

    def _with(self, watchers: Mapping[Watchable[object], Watcher[object]]) -> Parts[T]:
        """Return the same parts, with other watchers of some of them."""
        other = Parts(self._node, (), ())
        other._instant, other._samples = self._instant, self._samples
        other._watchers = {**self._watchers, **watchers}
        return other

    def _copy(self) -> Parts[T]:
        return self._with({part: watcher._copy() for part, watcher in self._watchers.items()})


# The parts of what a closed watcher looks at.
_NO_PARTS: Final[Parts[Any]] = Parts(GONE, (), ())


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
            with contextlib.suppress(Exception):  # the get that takes the value raises it again
                parts = parts._copy().sample()
        return parts._version

    def _epoch(self) -> int:
        return self._parts.epoch()

    def _backlog(self) -> Backlog:
        return self._parts.backlog()

    def _has_read(self, backlog: Backlog) -> bool:
        if not backlog.parts:
            return super()._has_read(backlog)
        parts = self._parts
        return parts.have_read(backlog.parts) and (
            self._looked >= backlog.version + parts.position()
        )

    def _awaits(self, later: Later, backlog: Backlog) -> bool:
        if not backlog.parts:
            return super()._awaits(later, backlog)
        is_unseen = self._parts._version > self._looked
        return bool(self._timed and is_unseen and later.pending) or (
            self._parts.awaits(backlog.parts)
        )

    def _glance(self) -> Later | None:
        if not self._parts._watchers:
            return super()._glance()
        sampling = self._parts.glance()
        if sampling is None:
            return None
        later = super()._glance()
        return later if later is None else soonest(later, sampling)

    def _look(self, predicate: Callable[[T], bool] | None) -> T | Later:
        if not self._parts._watchers:
            return super()._look(predicate)
        looked = self._looked
        self._source = sampled = self._parts.sample()
        try:
            found = super()._look(predicate)
            if sampled.is_empty:
                self._source = sampled = self._parts.keep(sampled)
                found = super()._look(predicate)
            if self._looked != looked:
                self._parts = sampled
        finally:
            # What is not taken as a whole is not taken of a part either.
            self._source = self._parts
        if self._state is CLOSED:
            self._forget()
        else:
            self._parts._laters = sampled._laters
        return soonest(found, *sampled._laters.values()) if isinstance(found, Later) else found

    def _through(self, stages: tuple[Stage, ...]) -> Watcher[Any]:
        return ComposedWatcher(self._parts, self._stages + stages, self._seen)

    def _forget(self) -> None:
        super()._forget()
        self._parts = _NO_PARTS

    def _copy(self) -> Self:
        copy = super()._copy()
        assert isinstance(copy._source, Parts)
        copy._parts = copy._source
        return copy


def soonest(*laters: Later) -> Later:
    """Return when to look for the first of several reasons."""
    return Later(
        min([later.until for later in laters], default=math.inf),
        any(later.pending for later in laters),
    )


def total(*versions: int) -> int:
    """Return the version of a whole, which has no data as long as one of its parts has none."""
    return 0 if 0 in versions else sum(versions)

"""The contract of Event Values: what holds for every value, wherever it is stored.

Why not just memory channels? A channel hands over every item, in order, to one
receiver. For state this is wrong three times. A consumer has to work through history
before it knows the present; a producer has to wait for the slowest consumer, or to guess
a buffer size; and a late consumer never learns what it missed. A value
holds the newest state, each consumer sees the newest one that it has not seen, and the
producer never waits.

Why not just ``trio.Event`` or ``trio.Condition``? They tell that something changed, not what,
and only the tasks that wait at that moment. A busy task misses it.

Seen
    A watcher remembers which version of the value it returned last: that one,
    and all before it, are *seen*. A ``get`` returns the newest version if it is unseen, and else
    waits for the next. It follows that a watcher never returns a version
    twice, never goes back, and may skip versions that were replaced before it looked.

How a value is watched is in ``_watcher``; what a storage has to write, in ``abc``.
"""

from __future__ import annotations

from abc import abstractmethod
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, TypeGuard, TypeVar, final, overload

import trio

from ._absent import Absent, is_present
from ._arguments import ASYNC, check_function, check_seconds, check_version, say_unpack, shown
from ._consuming._condition import wait_for
from ._derived._composed import ComposedWatcher, Composition, Parts, total
from ._derived._stages import Distinct, Filtered, Mapped
from ._derived._timed import Debounced, Throttled
from ._graph import TimedStage, apply_all
from ._unset import UNSET, Unset, UnsetError
from ._watcher import Watchable, check_value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import TypeIs

    from ._graph import Look, Node, Stage
    from ._watcher import Watcher

T = TypeVar("T")
U = TypeVar("U")
T_co = TypeVar("T_co", covariant=True)
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")

# UNSET is a default like any other.
NO_DEFAULT: Final = object()


class ValueWatch(Watchable[T_co]):
    """The read side of a value: what can be watched.

    A subclass has to define :meth:`watch`; everything else follows from its watchers.
    """

    __slots__ = ()

    @property
    def version(self) -> int:
        """The newest version; 0 if there is no data yet.

        Of a derived value it is that of its source, of composed values the sum of all that are set.
        """
        return self.watch()._version()

    @overload
    def peek(self) -> T_co: ...

    @overload
    def peek(self, default: U) -> T_co | U: ...

    def peek(self, default: Any = NO_DEFAULT) -> Any:
        """Return the newest value, without waiting; no watcher counts it as seen (V15).

        Of a derived value it is what the newest source gives, whatever the time.

        Args:
            default: What to return if there is no data.

        Raises:
            UnsetError: if there is no data, and no ``default``.

        Checkpoints:
            Never.
        """
        data = self._evaluate_now()
        if not isinstance(data, Unset):
            return data
        if default is NO_DEFAULT:
            msg = f"{shown(self)} has no data yet: wait for it with a watcher, or pass a default"
            raise UnsetError(msg)
        return default

    async def wait_version(self, version: int) -> T_co:
        """Wait until the value is at least at ``version``: read what you have written (V15).

        A derived value has the versions of its source. Where it has no data at that version, or
        has to let time pass, it is waited for.

        Args:
            version: As :meth:`Value.set` returned it, or as :attr:`version` was; for composed
                values, use :attr:`version`.

        Returns:
            The newest value.

        Raises:
            EndOfChannel: if the value was closed before.
            BrokenResourceError: if the value has failed before; from its error.

        Checkpoints:
            Always.

        Cancellation:
            Leaves nothing behind.
        """
        check_version("wait_version", version)
        with self.watch() as watcher:

            def reached(_: object) -> bool:
                return watcher._version() >= version

            return await watcher.get(predicate=reached)

    @overload
    async def wait_for(
        self, predicate: Callable[[T_co], TypeIs[U]], *, held_for: float = 0.0
    ) -> U: ...

    @overload
    async def wait_for(
        self, predicate: Callable[[T_co], TypeGuard[U]], *, held_for: float = 0.0
    ) -> U: ...

    @overload
    async def wait_for(
        self, predicate: Callable[[T_co], bool], *, held_for: float = 0.0
    ) -> T_co: ...

    async def wait_for(self, predicate: Callable[[T_co], bool], *, held_for: float = 0.0) -> Any:
        """Wait until the value satisfies a predicate, now or at any set from now on (V16).

        The predicate is asked at each set, in the middle of it, so that a match which lasts for a
        single set is not missed. It must be quick. What it raises is raised here, and
        nowhere else. What it sets is set when all predicates have been asked about the
        set under way. In an :func:`atomic` block it is asked at the end.

        For a value that lets time pass (``debounce``, ``throttle``) it is asked about what a
        watcher gets, when it gets it.

        Args:
            predicate: What to wait for. May be a type guard: then what is returned has the type
                that it guards.
            held_for: For how many seconds the predicate must have been true without a break.

        Returns:
            The value that satisfied it; with ``held_for``, the newest value at the end of that
            time, which satisfies it as well. It may have been replaced when the task runs.

        Raises:
            EndOfChannel: if the value was closed and does not satisfy it.
            BrokenResourceError: likewise, if the value has failed; from its error.
            ValueError: if ``held_for`` is no finite number of at least 0.
            Exception: whatever the predicate raises, as in :meth:`Watcher.get`.

        Checkpoints:
            Always.

        Cancellation:
            Leaves nothing behind.

        Example::

            await temperature.wait_for(lambda degrees: degrees > 30, held_for=60)
        """
        check_function("wait_for", "predicate", predicate)
        check_seconds("wait_for", "held_for", held_for)
        with self.watch() as watcher:
            return await wait_for(watcher, predicate, held_for)

    def map(self, function: Callable[[T_co], U]) -> ValueWatch[U]:
        """Derive the value that ``function`` makes of this one (V17).

        It is computed when a watcher takes it, in the watcher's task. Its exception is raised
        there, and nothing is seen then. Only ``wait_for`` and ``follow(latest=True)`` compute in
        the middle of a set. A derived value has no task, and no other value refers to it: it
        costs nothing while it is not watched.

        Args:
            function: It may be called several times for one value, or never, and should have no
                effects. If it sets this value, that is the next version.

        Checkpoints:
            Never.

        Example::

            names: ValueWatch[str] = lease.map(lambda lease: lease.name)
        """
        passed: object = function
        is_plain = type(passed) is FunctionType and not passed.__code__.co_flags & ASYNC
        if not (is_plain or isinstance(passed, type)):
            check_function("map", "function", passed)  # most functions need no closer look
        return Derived(self, Mapped(function))

    @overload
    def filter(self, predicate: Callable[[T_co], TypeIs[U]]) -> ValueWatch[U]: ...

    @overload
    def filter(self, predicate: Callable[[T_co], TypeGuard[U]]) -> ValueWatch[U]: ...

    @overload
    def filter(self, predicate: Callable[[T_co], bool]) -> ValueWatch[T_co]: ...

    def filter(self, predicate: Callable[[T_co], bool]) -> ValueWatch[Any]:
        """Derive a value that has data only while this one satisfies ``predicate``.

        While the newest state is rejected there is nothing to get, to peek at or to compose,
        and a ``get`` waits; an older state that was accepted is not kept. What is rejected is
        not seen, and counts for ``lag`` and ``missed``.

        Args:
            predicate: May be a type guard: then the value has the type that it guards.

        Checkpoints:
            Never.
        """
        check_function("filter", "predicate", predicate)
        return Derived(self, Filtered(predicate))

    def present(self: ValueWatch[U | Absent]) -> ValueWatch[U]:
        """Derive the value of a key while the key is there, as :meth:`filter` makes it (V23).

        It is for what has :data:`ABSENT` as data while there is none, such as
        :meth:`ValueMap.item`.

        Checkpoints:
            Never.
        """
        return Derived(self, Filtered(is_present))

    def distinct(self, key: Callable[[T_co], object] | None = None) -> ValueWatch[T_co]:
        """Derive a value whose watchers skip what equals the value they returned last.

        Each watcher compares with what it has returned itself, so of A, B, A it returns nothing
        new if it did not get to B. What is skipped is seen. Before ``debounce`` it keeps
        repetitions from disturbing the quiet; as a source of ``compose``, whose snapshots have
        what is newest, it changes nothing: put it behind.

        Args:
            key: Compare what this makes of the values instead of the values. The comparison is
                ``==``; what it raises is raised in the ``get``. For arrays, compare ``bytes``,
                or ``id`` if it is to be the very same object.

        Checkpoints:
            Never.
        """
        if key is not None:
            check_function("distinct", "key", key)
        return Derived(self, Distinct(key))

    def debounce(self, seconds: float) -> ValueWatch[T_co]:
        """Derive a value whose watchers wait until this one has been quiet for so long.

        The time counts from when the watcher, in a ``get``, notices a new version: only watchers
        keep the time. So a new watcher waits even if the value has been quiet for an hour.
        What is returned is newest then. A value that is never quiet for so long is never
        returned; use :meth:`throttle` for that. When this value has ended, its last state
        comes at once.

        With several stages in a row that let time pass, each is a condition of its own, whatever
        their order: all have to be met before something is taken.

        Args:
            seconds: How long nothing new may have come.

        Raises:
            ValueError: if ``seconds`` is out of its range.

        Checkpoints:
            Never.
        """
        check_seconds("debounce", "seconds", seconds)
        return Derived(self, Debounced(seconds))

    def throttle(self, seconds: float) -> ValueWatch[T_co]:
        """Derive a value whose watchers return at most one update in so many seconds.

        The first comes at once, and each is the newest when its time has come. What a predicate
        rejects, and what is skipped, is no update and uses no time. When this value has ended,
        its last state comes at once.

        Args:
            seconds: The least time between two updates of one watcher.

        Raises:
            ValueError: if ``seconds`` is out of its range.

        Checkpoints:
            Never.
        """
        check_seconds("throttle", "seconds", seconds)
        return Derived(self, Throttled(seconds))


class Value(ValueWatch[T]):
    """A value that is set by this process."""

    __slots__ = ()

    @abstractmethod
    def set(self, value: T) -> int:
        """Replace the value, and let all watchers know.

        It never blocks, and costs the same however many watchers there are.
        Each set is an update, also of an equal value. The object is handed to
        the watchers as it is: don't change it afterwards.

        Returns:
            The new version. The first is 1, and each set adds 1.

        Raises:
            ClosedResourceError: if the value has ended.

        Checkpoints:
            Never.
        """

    @abstractmethod
    def close(self) -> None:
        """End the value in good order (V9).

        Each watcher gets the last value, if it has not seen it, and then
        :exc:`trio.EndOfChannel`. To close again does nothing.

        Checkpoints:
            Never.
        """

    @abstractmethod
    def fail(self, error: BaseException) -> None:
        """End the value because of an error (V9).

        Each watcher gets the last value, if it has not seen it, and then
        :exc:`trio.BrokenResourceError`, whose ``__cause__`` is ``error``.

        Raises:
            ClosedResourceError: if the value has ended already.
            TypeError: if ``error`` is not an exception.

        Checkpoints:
            Never.
        """


@final
class Derived(ValueWatch[T]):
    """A value that a stage makes of another one (V17).

    It is a description: it has no data and no task, and no other value refers to it. Its
    watchers look at what the chain begins with, through all stages of the chain.
    """

    __slots__ = ("__weakref__", "_base", "_input", "_source", "_stage", "_stages")

    def __init__(self, source: ValueWatch[Any], stage: Stage) -> None:
        self._source = source
        self._stage = stage
        # What the chain begins with, and all of its stages.
        self._base = source
        self._stages: tuple[Stage, ...] = (stage,)
        # What a composition does not look behind: the last that lets time pass, or the base. All
        # that is derived of that is computed of one sample. None stands for this value itself: it
        # is in no cycle.
        self._input: ValueWatch[Any] | None = source
        if isinstance(source, Derived):
            self._base = source._base
            self._stages = (*source._stages, stage)
            self._input = source._input or source
        if isinstance(stage, TimedStage):
            self._input = None

    def __repr__(self) -> str:
        return f"<{type(self._stage).__name__} of {self._source!r}>"

    def watch(self) -> Watcher[T]:
        return self._base._watch_through(self._stages)

    @property
    def version(self) -> int:
        """The newest version of the source."""
        return self._base.version

    def _roots(self) -> frozenset[Node[object]]:
        return self._base._roots()

    def _inputs(self) -> tuple[Node[object], ...]:
        return (self,) if self._input is None else self._input._inputs()

    def _evaluate_now(self) -> T | Unset:
        return apply_all(self._stages, self._base._evaluate_now())  # type: ignore[no-any-return]

    def _evaluate(self, look: Look) -> T | Unset:
        data = look.of(self._source)
        return data if isinstance(data, Unset) else self._stage.apply(data)

    def _find_end(self, look: Look) -> Exception | None:
        return look.end_of(self if self._input is None else self._input)


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
def compose(
    first: ValueWatch[A],
    second: ValueWatch[B],
    third: ValueWatch[C],
    fourth: ValueWatch[D],
    fifth: ValueWatch[E],
    /,
) -> ValueWatch[tuple[A, B, C, D, E]]: ...


@overload
def compose(
    first: ValueWatch[A],
    second: ValueWatch[B],
    third: ValueWatch[C],
    fourth: ValueWatch[D],
    fifth: ValueWatch[E],
    sixth: ValueWatch[F],
    /,
) -> ValueWatch[tuple[A, B, C, D, E, F]]: ...


@overload
def compose(*values: ValueWatch[T]) -> ValueWatch[tuple[T, ...]]: ...


@overload
def compose(**named_values: ValueWatch[T]) -> ValueWatch[Composition[T]]: ...


def compose(*values: ValueWatch[Any], **named_values: ValueWatch[Any]) -> ValueWatch[Any]:
    """Make one value of several: an immutable snapshot of the newest of each (V18).

    It has data when all of them have. It changes when one of them does. No watcher ever sees a
    mixture of states that were never there together.

    A snapshot has what is newest, so ``distinct`` changes nothing for a source: put it behind,
    ``compose(...).distinct()``. A source that lets time pass (``debounce``, ``throttle``) takes
    part with what it gave last, for that is what it is for.

    Args:
        *values: The values, for a snapshot that is a tuple, with the type of each; or
        **named_values: the values by name, for a snapshot with these names as attributes and keys.
            To a type checker an attribute is of any type, and ``snapshot[name]`` of one that all
            of the values have.

    Returns:
        The composed value. It ends when all of the others have, or one of them has failed.

    Raises:
        TypeError: if there is no value, or some have names and others not, or one is no value.

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
    for index, value in enumerate(values):
        check_value(f"compose(): argument {index}", value, remedy=say_unpack("compose", value))
    for name, value in named_values.items():
        check_value(f"compose(): argument {name!r}", value)
    if values:
        return Composed(values, tuple)
    names = tuple(named_values)
    return Composed(
        tuple(named_values.values()),
        lambda parts: Composition(dict(zip(names, parts, strict=True))),
    )


@final
class Composed(ValueWatch[T]):
    """What :func:`compose` returns."""

    __slots__ = ("__weakref__", "_all_roots", "_instant_roots", "_make", "_parts", "_samples")

    def __init__(
        self, parts: tuple[ValueWatch[object], ...], make: Callable[[Sequence[object]], T]
    ) -> None:
        self._parts = parts
        self._make = make
        self._all_roots = frozenset(root for part in parts for root in part._roots())
        # The roots that can be read at any time, and the values that let time pass.
        inputs = dict.fromkeys(each for part in parts for each in part._inputs())
        self._instant_roots = tuple(each for each in inputs if not isinstance(each, Derived))
        self._samples = tuple(each for each in inputs if isinstance(each, Derived))

    def __repr__(self) -> str:
        return f"<composed of {', '.join(map(repr, self._parts))}>"

    def watch(self) -> Watcher[T]:
        return self._watch_through(())

    def _watch_through(self, stages: tuple[Stage, ...]) -> Watcher[Any]:
        # A watcher that is new has not missed what came before it, but for the newest.
        version = self.version
        seen = version - 1 if version else sum(root.version for root in self._instant_roots)
        return ComposedWatcher(Parts(self, self._instant_roots, self._samples), stages, seen)

    @property
    def version(self) -> int:
        """The newest version; 0 if there is no data yet."""
        return total(*[node.version for node in (*self._instant_roots, *self._samples)])

    def _roots(self) -> frozenset[Node[object]]:
        return self._all_roots

    def _inputs(self) -> tuple[Node[object], ...]:
        return (*self._instant_roots, *self._samples)

    def _evaluate(self, look: Look) -> T | Unset:
        """Make the snapshot, if all of its parts have data."""
        parts = [look.of(part) for part in self._parts]
        return UNSET if any(part is UNSET for part in parts) else self._make(parts)

    def _find_end(self, look: Look) -> Exception | None:
        """Return the end, if there can be no more states: all have ended, or one can have none."""
        ends = [look.end_of(part) for part in self._parts]
        for part, end in zip(self._parts, ends, strict=True):
            if end is not None and (not isinstance(end, trio.EndOfChannel) or look.is_empty(part)):
                return end
        return None if None in ends else trio.EndOfChannel()

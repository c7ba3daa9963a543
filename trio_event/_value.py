"""The contract of Event Values: what holds for every value, wherever it is stored.

Why not just memory channels? A channel hands over every item, in order, to one
receiver. For state this is wrong three times. A consumer has to work through history
before it knows the present; a producer has to wait for the slowest consumer, or to guess
a buffer size; and a late consumer never learns what it missed. A value
has none of this: it holds the newest state, each consumer sees the newest one that it has not
seen, and the producer never waits.

Why not just ``trio.Event`` or ``trio.Condition``? They tell that something changed, not what,
and only those who wait at that moment. Who was busy has missed it.

Seen
    A watcher remembers which version of the value it returned last: that one,
    and all before it, are *seen*. A ``get`` returns the newest version if it is unseen, and else
    waits for the next. It follows that a watcher never returns a version
    twice, never goes back, and may skip versions that were replaced before it looked.

How one watches is in ``_watcher``, once for all storages.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, Generic, TypeGuard, TypeVar, overload

from ._errors import UnsetError
from ._unset import Unset

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._watcher import Watcher

T = TypeVar("T")
U = TypeVar("U")
T_co = TypeVar("T_co", covariant=True)

# UNSET is a default like any other.
NO_DEFAULT: Final = object()


class ValueWatch(ABC, Generic[T_co]):
    """The read side of a value: what can be watched.

    A storage has to define :meth:`watch`; everything else follows from what its watchers say.
    """

    __slots__ = ()

    @abstractmethod
    def watch(self) -> Watcher[T_co]:
        """Return a new watcher, which has seen nothing.

        It costs nothing to anyone until it waits, and may be dropped without being
        closed.

        Checkpoints:
            Never.
        """

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
        """Return the newest value, without waiting, and without anybody having seen it.

        Of a derived value it is what the newest source gives, whatever the time.

        Args:
            default: What to return if there is no data.

        Raises:
            UnsetError: if there is no data, and no ``default``.

        Checkpoints:
            Never.
        """
        newest = self._newest()
        if not isinstance(newest, Unset):
            return newest
        if default is NO_DEFAULT:
            msg = f"{self!r} has no data yet: wait for it with a watcher, or pass a default"
            raise UnsetError(msg)
        return default

    async def wait_version(self, version: int) -> T_co:
        """Wait until the value is at least at ``version``: read what you have written.

        A derived value has the versions of its source. Where it has no data at that version, or
        has to let time pass, it is waited for.

        Args:
            version: As :meth:`Value.set` returned it, or as :attr:`version` was; of composed values
                only the latter.

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
        with self.watch() as watcher:

            def reached(_: object) -> bool:
                return watcher._version() >= version

            return await watcher.get(predicate=reached)

    async def wait_for(self, predicate: Callable[[T_co], bool], *, held_for: float = 0.0) -> T_co:
        """Wait until the value satisfies a predicate, now or at any set from now on.

        The predicate is asked at each set, in the middle of it, so that a match which lasts for a
        single set is not missed. It must be quick. What it raises is raised here, and
        concerns nobody else. What it sets is set when all who wait have been asked about the
        set under way. In an :func:`atomic` block it is asked at the end.

        Of a value that lets time pass (``debounce``, ``throttle``) it is asked about what a watcher
        gets, when it gets it.

        Args:
            predicate: What to wait for.
            held_for: For how many seconds the predicate must have been true without a break.

        Returns:
            The value that satisfied it; with ``held_for``, the newest value at the end of that
            time, which satisfies it as well. It may have been replaced when the task runs.

        Raises:
            EndOfChannel: if the value was closed and does not satisfy it.
            BrokenResourceError: likewise, if the value has failed; from its error.
            ValueError: if ``held_for`` is no finite number of at least 0.
            Exception: whatever the predicate raises.

        Checkpoints:
            Always.

        Cancellation:
            Leaves nothing behind.

        Example::

            await temperature.wait_for(lambda degrees: degrees > 30, held_for=60)
        """
        from ._condition import wait_for  # noqa: PLC0415  it is built on this module

        return await wait_for(self, predicate, held_for)

    def map(self, function: Callable[[T_co], U]) -> ValueWatch[U]:
        """Derive the value that ``function`` makes of this one.

        It is computed when a watcher takes it, in the watcher's task; an exception is raised
        there, and nothing is seen then. Only ``wait_for`` and ``follow(latest=True)`` compute in
        the middle of a set. A derived value has no task, and nobody knows it: it costs nothing
        while it is not watched.

        Args:
            function: It may be called several times for one value, or never, and should have no
                effects. If it sets this value, that is the next version.

        Checkpoints:
            Never.

        Example::

            names: ValueWatch[str] = lease.map(lambda lease: lease.name)
        """
        from ._derived import Mapped  # noqa: PLC0415  it is built on this module

        return Mapped(self, function)

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
        from ._derived import Filtered  # noqa: PLC0415

        return Filtered(self, predicate)

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
        from ._derived import Distinct  # noqa: PLC0415

        return Distinct(self, key)

    def debounce(self, seconds: float) -> ValueWatch[T_co]:
        """Derive a value whose watchers wait until this one has been quiet for so long.

        The time counts from when the watcher, in a ``get``, notices a new version, for nobody else
        keeps the time: also one that comes late to a value that has been quiet for an hour waits.
        What is returned is newest then. A value that is never quiet for so long is never
        returned; for that take :meth:`throttle`. When this value has ended, its last state
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
        from ._timed import Debounced  # noqa: PLC0415

        return Debounced(self, seconds)

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
        from ._timed import Throttled  # noqa: PLC0415

        return Throttled(self, seconds)

    def _newest(self) -> T_co | Unset:
        """Return the newest value, if there is one."""
        return self.watch()._take(None)

    def _given(self, newest: Callable[[ValueWatch[Any]], Any]) -> T_co | Unset:
        """Return what the value is when those that are set are as ``newest`` tells."""
        return newest(self)  # type: ignore[no-any-return]

    def _bases(self) -> frozenset[ValueWatch[object]]:
        """Return the values that are set, of which this one is made."""
        return frozenset((self,))

    def _incremental(self) -> bool:
        """Return whether its watchers return but what has changed since they returned something."""
        return False

    def _timed(self) -> bool:
        """Return whether its watchers let time pass before they take a value."""
        return False


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
        """End the value in good order.

        Each watcher gets the last value, if it has not seen it, and then
        :exc:`trio.EndOfChannel`. To close again does nothing.

        Checkpoints:
            Never.
        """

    @abstractmethod
    def fail(self, error: BaseException) -> None:
        """End the value because of an error.

        Each watcher gets the last value, if it has not seen it, and then
        :exc:`trio.BrokenResourceError`, whose ``__cause__`` is ``error``.

        Raises:
            ClosedResourceError: if the value has ended already.

        Checkpoints:
            Never.
        """

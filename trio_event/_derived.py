"""Values that are made of another: ``map``, ``filter``, ``distinct``.

A derived value is no more than a description. It has no data, no version, no task, and nobody
knows it. Its watchers wrap watchers of the source and wait where those wait. What a
watcher returns is computed when it is taken, in the task that takes it.

Each stage takes from the one before by handing it a predicate, which is asked about the newest
value before that is marked seen. So the stages of a chain agree: what one of them, or the
predicate of the ``get`` itself, rejects, is seen by none.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar, final

from ._unset import UNSET, Unset
from ._value import ValueWatch
from ._watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._waiting import Line

S = TypeVar("S")
T = TypeVar("T")


class Derived(ValueWatch[T]):
    """A value that is made of ``source``."""

    __slots__ = ("_source",)

    def __init__(self, source: ValueWatch[S]) -> None:
        self._source: ValueWatch[object] = source

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._source!r}>"

    def _newest(self) -> T | Unset:
        return compute(self)

    def _bases(self) -> frozenset[ValueWatch[object]]:
        return self._source._bases()

    def _incremental(self) -> bool:
        return self._source._incremental()

    def _timed(self) -> bool:
        return self._source._timed()


class DerivedWatcher(Watcher[T]):
    """Follows a derived value by way of ``inner``, a watcher of its source."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Watcher[S]) -> None:
        super().__init__(seen=inner._position())
        self._inner: Watcher[object] = inner

    def _version(self) -> int:
        return self._inner._version()

    def _position(self) -> int:
        return self._inner._position()

    def _stamp(self) -> int:
        return self._inner._stamp()

    _read = None  # type: ignore[assignment]  # what is derived is taken, never read

    def _end(self) -> Exception | None:
        return self._inner._end()

    def _lines(self) -> Sequence[Line]:
        return self._inner._lines()

    def _pending(self) -> bool:
        return self._inner._pending()

    def _deadline(self) -> float:
        return self._inner._deadline()

    def _ready(self) -> bool:
        return not self._pending() and self._inner._ready()

    def _news(self) -> int:
        """Return the version since which there is nothing new, for a stage behind this one."""
        inner = self._inner
        return inner._news() if isinstance(inner, DerivedWatcher) else inner._version()

    def _take(self, predicate: Callable[[T], bool] | None) -> T | Unset:
        value = self._derive(predicate)
        if not isinstance(value, Unset):
            self._seen = self._inner._position()
        return value

    @abstractmethod
    def _derive(self, predicate: Callable[[T], bool] | None) -> T | Unset:
        """Take what the source has for this stage, if it satisfies."""


@final
class Mapped(Derived[T]):
    """See :meth:`ValueWatch.map`."""

    __slots__ = ("_function",)

    def __init__(self, source: ValueWatch[S], function: Callable[[S], T]) -> None:
        super().__init__(source)
        self._function: Callable[..., T] = function

    def watch(self) -> Watcher[T]:
        return _MappedWatcher(self._source.watch(), self._function)

    def _given(self, newest: Callable[[ValueWatch[Any]], Any]) -> T | Unset:
        value = self._source._given(newest)
        return value if isinstance(value, Unset) else self._function(value)


@final
class _MappedWatcher(DerivedWatcher[T]):
    __slots__ = ("_function",)

    def __init__(self, inner: Watcher[object], function: Callable[..., T]) -> None:
        super().__init__(inner)
        self._function = function

    def _derive(self, predicate: Callable[[T], bool] | None) -> T | Unset:
        result: T | Unset = UNSET

        def check(value: object) -> bool:
            nonlocal result
            result = made = self._function(value)
            return predicate is None or predicate(made)

        return UNSET if self._inner._take(check) is UNSET else result


@final
class Filtered(Derived[T]):
    """See :meth:`ValueWatch.filter`."""

    __slots__ = ("_predicate",)

    def __init__(self, source: ValueWatch[T], predicate: Callable[[T], bool]) -> None:
        super().__init__(source)
        self._predicate: Callable[..., bool] = predicate

    def watch(self) -> Watcher[T]:
        return _FilteredWatcher(self._source.watch(), self._predicate)

    def _given(self, newest: Callable[[ValueWatch[Any]], Any]) -> T | Unset:
        value: T | Unset = given_as(self._source, newest)
        return UNSET if isinstance(value, Unset) or not self._predicate(value) else value


@final
class _FilteredWatcher(DerivedWatcher[T]):
    __slots__ = ("_predicate",)

    def __init__(self, inner: Watcher[object], predicate: Callable[..., bool]) -> None:
        super().__init__(inner)
        self._predicate = predicate

    def _derive(self, predicate: Callable[[T], bool] | None) -> T | Unset:
        def check(value: T) -> bool:
            return self._predicate(value) and (predicate is None or predicate(value))

        return take_as(self._inner, check)


@final
class Distinct(Derived[T]):
    """See :meth:`ValueWatch.distinct`."""

    __slots__ = ("_key",)

    def __init__(self, source: ValueWatch[T], key: Callable[[T], object] | None) -> None:
        super().__init__(source)
        self._key: Callable[..., object] | None = key

    def watch(self) -> Watcher[T]:
        return _DistinctWatcher(self._source.watch(), self._key)

    def _given(self, newest: Callable[[ValueWatch[Any]], Any]) -> T | Unset:
        return given_as(self._source, newest)


@final
class _DistinctWatcher(DerivedWatcher[T]):
    __slots__ = ("_key", "_looked", "_newest_key", "_news_version", "_returned")

    def __init__(self, inner: Watcher[object], key: Callable[..., object] | None) -> None:
        super().__init__(inner)
        self._key = key
        # The key of what was returned last.
        self._returned: object = UNSET
        # What _news() has looked at, the key that it found, and since when that is the key.
        self._looked = 0
        self._newest_key: object = UNSET
        self._news_version = 0

    def _news(self) -> int:
        version = super()._news()
        if version == self._looked:
            return self._news_version
        self._looked = version
        keys: list[object] = []

        def look(value: T) -> bool:
            keys.append(self._key_of(value))
            return False

        try:
            take_as(self._inner, look)
            repeated = any(key == self._newest_key for key in keys)
        except Exception:  # noqa: BLE001  who takes the value will meet it again
            repeated = False
        if not repeated:
            # Where there are no data now, nothing is a repetition of what was before.
            self._newest_key = keys[0] if keys else UNSET
            self._news_version = version
        return self._news_version

    def _key_of(self, value: T) -> object:
        return value if self._key is None else self._key(value)

    def _derive(self, predicate: Callable[[T], bool] | None) -> T | Unset:
        repeated = False
        key: object = UNSET

        def check(value: T) -> bool:
            nonlocal key, repeated
            key = self._key_of(value)
            repeated = self._returned is not UNSET and bool(key == self._returned)
            # A repetition counts as seen, for there is nothing new to be seen in it.
            return repeated or predicate is None or predicate(value)

        value = take_as(self._inner, check)
        if repeated or isinstance(value, Unset):
            return UNSET
        self._returned = key
        return value


def take_as(inner: Watcher[object], check: Callable[[T], bool]) -> T | Unset:
    """Take from a watcher of the same type of values, which the classes above do not express."""
    return inner._take(check)  # type: ignore[arg-type, return-value]


def given_as(source: ValueWatch[object], newest: Callable[[ValueWatch[Any]], Any]) -> T | Unset:
    """Ask a source of the same type of values, likewise."""
    return source._given(newest)  # type: ignore[return-value]


def compute(value: ValueWatch[T]) -> T | Unset:
    """Return the newest value of one that is made of others, all of which are read before.

    So a function that sets one of them while the value is computed changes nothing of it.
    """
    newest = {base: base._newest() for base in value._bases()}
    return value._given(newest.__getitem__)

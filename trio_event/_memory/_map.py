"""Many values under keys, watched as one: ``ValueMap``.

The problem: a watcher of a mapping needs what has changed since it looked last, key by key,
deletes included; not the whole mapping each time, and not an event for each set. The mapping
must not know its watchers, and must not keep every key that it ever had.

The mapping keeps a journal: for each key that was changed, the version of its last change, in
order of version. What has changed since a version is the journal's end. A watcher keeps the
mapping that it has returned (one reference to a key). So it knows the old value of each key, and
returns nothing for a key that was set and deleted between two looks.

The journal is pruned: of deleted keys it keeps about as many as there are keys. A watcher whose
last look is older than a pruned delete compares all the keys that it knows: the batch has the
same changes, and costs more.

As with any value, each set is an update: values are not compared, but by ``replace_all``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, final

import attrs
import trio
from trio.lowlevel import checkpoint, enable_ki_protection

from .._arguments import check_error, check_mapping, check_version
from .._graph import SEEN, Seen, Source
from .._unset import UNSET, Unset
from .._value import ValueWatch
from .._watcher import SourceWatcher
from ._value import MemoryValue

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .._graph import Stage
    from .._waiting import WaitQueue
    from .._watcher import Watcher

K = TypeVar("K")
T = TypeVar("T")

DELETES_KEPT: Final = 64
"""The journal keeps at least so many deletes."""


@final
@attrs.frozen
class Change(Generic[K, T]):
    """What has become of one key."""

    key: K
    old: T | Unset
    """What the watcher knew of it; :data:`UNSET` if it was not there."""
    new: T | Unset
    """What it is now; :data:`UNSET` if it was deleted. It may be equal to ``old``."""


@final
class ValueMap(ValueWatch[tuple[Change[K, T], ...]], Generic[K, T]):
    """Values under keys, in memory, whose watchers get batches of changes (V20).

    The first batch has all keys that there are. Each further one has what has changed since,
    compacted to one change for each key; a delete is a change whose ``new`` is :data:`UNSET`. A key
    that was set and deleted between two looks is in no batch, and a batch is never empty. All
    batches, applied to a dictionary, make it equal to the mapping.

    What asks for the newest value (``peek``, ``wait_for``, ``wait_version``, ``compose``) gets
    all that there is, as a batch. So ``compose(peers)`` is a value of the whole map, and the one
    to take for :func:`follow` with ``latest=True``. A map belongs to one thread, as
    :class:`MemoryValue` does. Unlike there, what a predicate of ``wait_for`` changes in the middle
    of a change is there at once: others that are asked after it may see only the later state.

    Args:
        initial: What it begins with, also if that is empty; without it the mapping has no data
            until the first change, and ``compose(peers)`` waits for that.

    Example::

        >>> async def main() -> None:
        ...     peers = ValueMap({"a": 1, "b": 2})
        ...     with peers.watch() as watcher:
        ...         print([change.key for change in await watcher.get()])
        ...         peers.set("a", 3)
        ...         peers.delete("b")
        ...         print([(change.key, change.old, change.new) for change in await watcher.get()])
        >>> trio.run(main)
        ['a', 'b']
        [('a', 1, 3), ('b', 2, UNSET)]
    """

    __slots__ = ("_clock", "_current", "_deletes", "_journal", "_pruned_version", "_version")

    def __init__(self, initial: Mapping[K, T] | None = None) -> None:
        """Make a mapping; see the class."""
        if initial is not None:
            check_mapping("ValueMap", "initial", initial)
        self._current: dict[K, T] = {} if initial is None else dict(initial)
        _refuse_unset("ValueMap", self._current)
        # The version of each key's last change, the oldest first, deletes included.
        self._journal: dict[K, int] = dict.fromkeys(self._current, 1)
        self._deletes = 0
        # Deletes up to this version may have been pruned.
        self._pruned_version = 0
        self._version = int(initial is not None)
        # Is set at each change; it has the wait queue, the thread and the end.
        self._clock: MemoryValue[None] = MemoryValue()

    def __repr__(self) -> str:
        """Count the keys."""
        return f"<ValueMap of {len(self._current)} keys, version {self.version}>"

    def __len__(self) -> int:
        """Return how many keys there are."""
        return len(self._current)

    @property
    def version(self) -> int:
        """How many changes there were; a batch counts once."""
        return self._version

    def mapping(self) -> Mapping[K, T]:
        """Return an immutable copy of all keys and values.

        Checkpoints:
            Never.
        """
        return MappingProxyType(self._current.copy())

    def set(self, key: K, value: T) -> int:
        """Set the value of one key.

        Returns:
            The new version.

        Raises:
            ClosedResourceError: if the mapping has ended.
            RuntimeError: if it is called in another thread than the mapping's.
            TypeError: if the key is not hashable, or the value is :data:`UNSET`.

        Checkpoints:
            Never.
        """
        self._check("set")
        _refuse_unset("set", {key: value})
        return self._change({key: value})

    def delete(self, key: K) -> int:
        """Delete one key.

        Returns:
            The new version.

        Raises:
            KeyError: if it is not there.
            ClosedResourceError: if the mapping has ended.
            RuntimeError: if it is called in another thread than the mapping's.

        Checkpoints:
            Never.
        """
        self._check("delete")
        if key not in self._current:
            raise KeyError(key)
        return self._change({key: UNSET})

    def replace_all(self, mapping: Mapping[K, T]) -> int:
        """Make the mapping equal to another; only the difference is a change.

        Values are compared with ``==``. If there is no difference, nothing changes; but the first
        one of a mapping without data is a change even if it is empty, for then that is known.

        Returns:
            The version, one higher if there was a difference.

        Raises:
            ClosedResourceError: if the mapping has ended.
            RuntimeError: if it is called in another thread than the mapping's.
            TypeError: if it is no mapping, or a value is :data:`UNSET`; nothing is changed then.
            Exception: whatever a comparison raises; likewise.

        Checkpoints:
            Never.
        """
        check_mapping("replace_all", "mapping", mapping)
        self._check("replace_all")
        _refuse_unset("replace_all", mapping)
        changes: dict[K, T | Unset] = {key: UNSET for key in self._current if key not in mapping}
        changes.update(
            (key, value)
            for key, value in mapping.items()
            if key not in self._current or self._current[key] != value
        )
        return self._version if self._version and not changes else self._change(changes)

    def close(self) -> None:
        """End the mapping in good order; see :meth:`Value.close`.

        Raises:
            RuntimeError: if it is called in another thread than the mapping's.

        Checkpoints:
            Never.
        """
        if self._clock._is_open:
            self._check("close")
            self._clock.close()

    def fail(self, error: BaseException) -> None:
        """End the mapping because of an error; see :meth:`Value.fail`.

        Raises:
            ClosedResourceError: if the mapping has ended already.
            RuntimeError: if it is called in another thread than the mapping's.
            TypeError: if ``error`` is not an exception.

        Checkpoints:
            Never.
        """
        check_error(error)
        self._check("fail")
        self._clock.fail(error)

    def watch(self) -> Watcher[tuple[Change[K, T], ...]]:
        """Return a new watcher, which has seen nothing. It will remember what it has seen.

        Checkpoints:
            Never.
        """
        return self._watch_through(())

    def _watch_through(self, stages: tuple[Stage, ...]) -> Watcher[Any]:
        # A watcher that is new has not missed what came before it, but for the newest.
        return SourceWatcher(_Changes(self), stages, max(self._version - 1, 0))

    async def wait_version(self, version: int) -> tuple[Change[K, T], ...]:
        """Wait until the mapping is at least at ``version``; see :meth:`ValueWatch.wait_version`.

        Returns:
            All that there is then, as a batch, which is empty if that is nothing.

        Raises:
            EndOfChannel: if the mapping was closed before.
            BrokenResourceError: if the mapping has failed before; from its error.

        Checkpoints:
            Always.

        Cancellation:
            Leaves nothing behind.
        """
        check_version("wait_version", version)
        with self._clock.watch() as watcher:
            if self._version >= version:
                await checkpoint()
            while self._version < version:
                await watcher.get()
        return self._all()  # noqa: ASYNC910  it has come by one of the two

    def _all(self) -> tuple[Change[K, T], ...]:
        """Return all that there is, as a batch."""
        return tuple(Change(key, UNSET, value) for key, value in self._current.items())

    def _evaluate_now(self) -> tuple[Change[K, T], ...] | Unset:
        return self._all() if self._version else UNSET

    def _check(self, method: str) -> None:
        """Raise unless ``method`` may change the mapping here and now."""
        if not self._clock._is_open:
            msg = f"{method}() was called on {self!r}, which has ended: make a new mapping"
            raise trio.ClosedResourceError(msg)
        try:
            self._clock._check_open(method)
        except RuntimeError:
            msg = (
                f"{method}() was called in another thread than the one that {self!r} belongs to: "
                "call it there, by trio.from_thread.run_sync()"
            )
            raise RuntimeError(msg) from None

    @enable_ki_protection
    def _change(self, changes: Mapping[K, T | Unset]) -> int:
        self._version = version = self._version + 1
        for key, value in changes.items():
            was_deleted = key in self._journal and key not in self._current
            self._journal.pop(key, None)
            self._journal[key] = version
            if isinstance(value, Unset):
                del self._current[key]
                self._deletes += 1
            else:
                self._current[key] = value
            self._deletes -= was_deleted
        if self._deletes > max(DELETES_KEPT, 2 * len(self._current)):
            self._prune_deletes()
        self._clock.set(None)
        return version

    def _prune_deletes(self) -> None:
        """Remove the older half of the deletes from the journal."""
        deleted = [key for key in self._journal if key not in self._current]
        for key in deleted[: len(deleted) // 2]:
            self._pruned_version = self._journal.pop(key)
            self._deletes -= 1


def _refuse_unset(method: str, mapping: Mapping[K, T]) -> None:
    """Raise if a value is what stands for a key that is not there."""
    for key, value in mapping.items():
        if value is UNSET:
            msg = f"{method}() was given UNSET for {key!r}, which is no data: delete() the key"
            raise TypeError(msg)


@final
class _Changes(Source[tuple[Change[K, T], ...]], Generic[K, T]):
    """What has changed in a map since one watcher looked last (V20)."""

    __slots__ = ("_is_copy", "_known", "_looked", "_map")

    _is_incremental = True

    def __init__(self, value: ValueMap[K, T]) -> None:
        self._map = value
        # The mapping as the batches so far have made it.
        self._known: dict[K, T] = {}
        # The version that it is equal to.
        self._looked = 0
        self._is_copy = False

    @property
    def _version(self) -> int:
        return self._map._version

    def _read(self) -> tuple[Change[K, T], ...] | Seen:
        current, known = self._map._current, self._known
        changes = [
            Change(key, known.get(key, UNSET), current.get(key, UNSET))
            for key in self._changed_keys()
            if key in known or key in current
        ]
        return tuple(changes) or SEEN

    def _changed_keys(self) -> Sequence[K]:
        journal, looked = self._map._journal, self._looked
        keys: list[K] = []
        for key in reversed(journal):
            if journal[key] <= looked:
                break
            keys.append(key)
        if looked < self._map._pruned_version:
            keys.extend(key for key in reversed(self._known) if key not in journal)
        keys.reverse()
        return keys

    def _whole(self) -> tuple[Change[K, T], ...]:
        return self._map._all()

    def _commit(self, version: int, data: tuple[Change[K, T], ...] | Seen) -> None:
        self._looked = version
        if data is SEEN:
            return
        if self._is_copy:
            self._known = self._known.copy()
        known = self._known
        for change in data:
            if isinstance(change.new, Unset):
                del known[change.key]
            else:
                known[change.key] = change.new

    def _copy(self) -> _Changes[K, T]:
        copy = _Changes(self._map)
        copy._known, copy._looked, copy._is_copy = self._known, self._looked, True
        return copy

    def _end(self) -> Exception | None:
        return self._map._clock._end()

    def _queues(self) -> Collection[WaitQueue]:
        return self._map._clock._queues()

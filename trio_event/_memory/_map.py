"""Many values under keys, watched as one: ``ValueMap``.

The problem: a watcher of a mapping needs what has changed since it looked last, key by key,
deletes included; not the whole mapping each time, and not an event for each set. The mapping
must not know its watchers, and must not keep every key that it ever had.

The mapping keeps an :class:`Entry` for each key, and a journal: the entries that were changed, in
order of the version of their last change. What has changed since a version is the journal's end. A
watcher keeps the mapping that it has returned (one reference to a value). So it knows the old value
of each key, and returns nothing for a key that was set and deleted between two looks.

The journal is pruned: of deleted keys it keeps about as many as there are keys. A watcher whose
last look is older than a pruned delete compares all the keys that it knows: the batch has the
same changes, and costs more.

A change is made whole or not at all, though hashing and comparing keys, comparing values and
reading a mapping are code of the user, and may raise, or change this very map:

- All such code runs first. It finds the entry of each key, or makes one without a value, which is
  nothing but another deleted key.
- What follows concerns entries only. They are hashed and compared by identity, so nothing can raise
  or come between; the same goes for a watcher that has taken a batch.
- The dictionary of entries is the only one that has the users' keys. It is replaced only when the
  journal is pruned, as a whole, and never while another call is looking for entries.

As with any value, each set is an update: values are not compared, but by ``replace_all``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from threading import get_ident
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar, final

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
    from collections.abc import Callable, Collection, Iterable, Sequence

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
    to take for :func:`follow` with ``latest=True``. A map belongs to a Trio run, as a
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

    __slots__ = (
        "__weakref__",
        "_clock",
        "_current",
        "_deletes",
        "_entries",
        "_finding",
        "_journal",
        "_pruned_version",
        "_version",
        "_whole",
    )

    def __init__(self, initial: Mapping[K, T] | None = None) -> None:
        """Make a mapping; see the class."""
        if initial is not None:
            check_mapping("ValueMap", "initial", initial)
        given = {} if initial is None else dict(initial)
        _refuse_unset("ValueMap", given)
        self._version = int(initial is not None)
        self._entries: dict[K, Entry[K]] = {key: Entry(key, 1) for key in given}
        self._current: dict[Entry[K], T] = dict(
            zip(self._entries.values(), given.values(), strict=True)
        )
        # All that there is, as changes, once that was asked for.
        self._whole: dict[Entry[K], Change[K, T]] | None = None
        # In the order of the version of their last change, the oldest first, deleted ones included.
        self._journal: dict[Entry[K], None] = dict.fromkeys(self._current)
        self._deletes = 0
        # Deletes up to this version may have been pruned.
        self._pruned_version = 0
        # How many calls are looking for entries.
        self._finding = 0
        # Is set at each change; it has the wait queue, the run and the end.
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
        keys = [entry.key for entry in self._current]
        return MappingProxyType(dict(zip(keys, self._current.values(), strict=True)))

    def set(self, key: K, value: T) -> int:
        """Set the value of one key.

        Returns:
            The new version.

        Raises:
            ClosedResourceError: if the mapping has ended.
            RuntimeError: if it is called in another thread than the mapping's.
            TypeError: if the key is not hashable, or the value is :data:`UNSET`.
            Exception: whatever else the key raises; nothing is changed then.

        Checkpoints:
            Never.
        """
        self._check("set")
        if value is UNSET:
            _refuse("set", key)
        entry = self._entries.get(key)
        if entry is None or entry not in self._current:
            (entry,) = self._find_entries((key,))
        self._check("set")
        return self._change({entry: value})

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
        entry = self._entries.get(key)
        self._check("delete")
        if entry is None or entry not in self._current:
            raise KeyError(key)
        return self._change({entry: UNSET})

    def replace_all(self, mapping: Mapping[K, T]) -> int:
        """Make the mapping equal to another; only the difference is a change.

        Values are compared with ``==``. If there is no difference, nothing changes; but the first
        one of a mapping without data is a change even if it is empty, for then that is known. What
        a comparison itself changes in this mapping is replaced as well.

        Returns:
            The version, one higher if there was a difference.

        Raises:
            ClosedResourceError: if the mapping has ended.
            RuntimeError: if it is called in another thread than the mapping's.
            TypeError: if it is no mapping, or a value is :data:`UNSET`; nothing is changed then.
            Exception: whatever a comparison raises, or the other mapping; likewise.

        Checkpoints:
            Never.
        """
        check_mapping("replace_all", "mapping", mapping)
        self._check("replace_all")
        given = dict(mapping)
        _refuse_unset("replace_all", given)
        self._finding += 1
        try:
            new = dict(zip(self._find_entries(given), given.values(), strict=True))
            # Those that are equal to what they are compared with.
            equal: dict[Entry[K], T] = {}
            for entry, value in new.items():
                old = self._current.get(entry, UNSET)
                if isinstance(old, Unset) or old != value:
                    continue
                equal[entry] = old
        finally:
            self._finding -= 1
        self._check("replace_all")
        changes: dict[Entry[K], T | Unset] = {
            entry: UNSET for entry in self._current if entry not in new
        }
        for entry, value in new.items():
            now = self._current.get(entry, UNSET)
            if now is UNSET or equal.get(entry, UNSET) is not now:
                changes[entry] = value
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
        # It is asked for in each change, if a task waits for a predicate. So only what has
        # changed is made anew.
        if self._whole is None:
            self._whole = {
                entry: Change(entry.key, UNSET, value) for entry, value in self._current.items()
            }
        return tuple(self._whole.values())

    def _open_source(self) -> Source[tuple[Change[K, T], ...]]:
        return _Changes(self)

    def _evaluate_now(self) -> tuple[Change[K, T], ...] | Unset:
        return self._all() if self._version else UNSET

    def _check(self, method: str) -> None:
        """Raise unless ``method`` may change the mapping here and now."""
        if not self._clock._is_open:
            msg = f"{method}() was called on {self!r}, which has ended: make a new mapping"
            raise trio.ClosedResourceError(msg)
        clock = self._clock
        if get_ident() != clock._queue.run.thread and not clock._is_here():
            msg = (
                f"{method}() was called in another thread than the one that {self!r} belongs to: "
                "call it there, by trio.from_thread.run_sync()"
            )
            raise RuntimeError(msg)

    @enable_ki_protection
    def _find_entries(self, keys: Iterable[K]) -> list[Entry[K]]:
        """Return the entry of each key; all code of the keys runs here.

        Of a key that is new this is one without a value, as that of a key that was deleted in the
        last change.
        """
        self._finding += 1
        try:
            entries = []
            for key in keys:
                new = Entry(key, self._version)
                entry = self._entries.setdefault(key, new)
                if entry is new:
                    new.version = self._version  # the key may have changed the mapping
                    self._journal[new] = None
                    self._deletes += 1
                entries.append(entry)
            return entries
        finally:
            self._finding -= 1

    @enable_ki_protection
    def _change(self, changes: Mapping[Entry[K], T | Unset]) -> int:
        """Make a change, in which nothing can fail."""
        self._version = version = self._version + 1
        current, journal, whole = self._current, self._journal, self._whole
        for entry, value in changes.items():
            was_deleted = entry not in current
            del journal[entry]
            journal[entry] = None
            entry.version = version
            if isinstance(value, Unset):
                del current[entry]
                if whole is not None:
                    del whole[entry]
                self._deletes += 1
            else:
                current[entry] = value
                if whole is not None:
                    whole[entry] = Change(entry.key, UNSET, value)
            self._deletes -= was_deleted
        self._clock.set(None)
        if not self._finding and self._deletes > max(DELETES_KEPT, 2 * len(current)):
            self._prune_deletes()
        return version

    def _prune_deletes(self) -> None:
        """Remove the older half of the deletes from the journal.

        If the keys themselves change the mapping meanwhile, or raise, it is left as it is.
        """
        deleted = [entry for entry in self._journal if entry not in self._current]
        pruned = deleted[: len(deleted) // 2]
        journal = self._journal.copy()
        for entry in pruned:
            del journal[entry]
        before = (self._version, len(self._journal))
        self._finding += 1
        try:
            entries = {entry.key: entry for entry in journal}
        except Exception:  # noqa: BLE001  the keys': the change is made, and another one will prune
            return
        finally:
            self._finding -= 1
        if (self._version, len(self._journal)) == before:
            self._journal, self._entries = journal, entries
            self._deletes -= len(pruned)
            self._pruned_version = pruned[-1].version


@final
class Entry(Generic[K]):
    """A key of a map. It is hashed and compared by identity, which can't fail."""

    __slots__ = ("key", "version")

    def __init__(self, key: K, version: int) -> None:
        self.key = key
        # Of its last change.
        self.version = version


def _refuse_unset(method: str, mapping: Mapping[K, T]) -> None:
    """Raise if a value is what stands for a key that is not there."""
    for key, value in mapping.items():
        if value is UNSET:
            _refuse(method, key)


def _refuse(method: str, key: object) -> NoReturn:
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
        self._known: dict[Entry[K], T] = {}
        # The version that it is equal to.
        self._looked = 0
        self._is_copy = False

    @property
    def _version(self) -> int:
        return self._map._version

    def _read(self) -> tuple[Change[K, T], ...] | Seen:
        return self._take()[0]

    def _take(self) -> tuple[tuple[Change[K, T], ...] | Seen, Callable[[int], None]]:
        pruned: dict[Entry[K], Entry[K]] = {}
        if self._looked < self._map._pruned_version:
            pruned = self._pruned_entries()
        current, known = self._map._current, self._known
        batch = []
        entries = []
        for entry in self._changed_entries(pruned):
            old = known.get(pruned.get(entry, entry), UNSET)
            new = current.get(entry, UNSET)
            if old is not UNSET or new is not UNSET:
                batch.append(Change(entry.key, old, new))
                entries.append(entry)
        return tuple(batch) or SEEN, partial(self._commit, batch, entries, pruned)

    def _changed_entries(self, pruned: dict[Entry[K], Entry[K]]) -> list[Entry[K]]:
        """Return the entries that may have changed, in the order of their last change."""
        changed: dict[Entry[K], None] = {}
        for entry in reversed(self._map._journal):
            if entry.version <= self._looked:
                break
            changed[entry] = None
        if pruned:
            # What was pruned and is still deleted came before all that is in the journal.
            changed.update(dict.fromkeys(reversed(pruned)))
        return list(reversed(changed))

    def _pruned_entries(self) -> dict[Entry[K], Entry[K]]:
        """Return the known entries that were pruned, by what they are now."""
        changing = self._map
        pruned = [entry for entry in self._known if entry not in changing._journal]
        changing._finding += 1
        try:
            # All code of the keys runs here.
            return {changing._entries.get(entry.key, entry): entry for entry in pruned}
        finally:
            changing._finding -= 1

    def _whole(self) -> tuple[Change[K, T], ...]:
        return self._map._all()

    def _commit(
        self,
        batch: Sequence[Change[K, T]],
        entries: Sequence[Entry[K]],
        pruned: dict[Entry[K], Entry[K]],
        version: int,
    ) -> None:
        self._looked = version
        if self._is_copy:
            self._known = self._known.copy()
        known = self._known
        for entry in pruned.values():
            del known[entry]
        for change, entry in zip(batch, entries, strict=True):
            if not isinstance(change.new, Unset):
                known[entry] = change.new
            else:
                known.pop(entry, None)  # it is not there if it was pruned

    def _copy(self) -> _Changes[K, T]:
        copy = _Changes(self._map)
        copy._known, copy._looked, copy._is_copy = self._known, self._looked, True
        return copy

    def _end(self) -> Exception | None:
        return self._map._clock._end()

    def _queues(self) -> Collection[WaitQueue]:
        return self._map._clock._queues()

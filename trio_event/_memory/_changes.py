"""What has changed in a map since one watcher looked last.

A watcher keeps the map that it has returned (one reference to a value for each key). So it knows
the old value of each key, and returns nothing for a key that was set and deleted between two looks.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar, final

from .._graph import SEEN, Seen, Source
from .._unset import UNSET, Unset
from .._watcher import OWN_ERRORS, error_of_user
from ._contents import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from .._waiting import WaitQueue
    from ._contents import Contents, Entry
    from ._state import MemoryState

K = TypeVar("K")
T = TypeVar("T")


@final
class Changes(Source["Sequence[Change[K, T]]"], Generic[K, T]):
    """What has changed in a map since one watcher looked last (V20)."""

    __slots__ = ("_contents", "_is_copy", "_known", "_looked", "_state")

    _is_incremental = True

    def __init__(self, contents: Contents[K, T], state: MemoryState[None]) -> None:
        self._contents = contents
        # Has the end and the wait queue of the map.
        self._state = state
        # The mapping as the batches so far have made it.
        self._known: dict[Entry[K, T], T] = {}
        # The version that it is equal to.
        self._looked = 0
        self._is_copy = False

    @property
    def _version(self) -> int:
        return self._contents.version

    def _read(self) -> tuple[Change[K, T], ...] | Seen:
        return self._take()[0]

    def _take(self) -> tuple[tuple[Change[K, T], ...] | Seen, Callable[[int], None]]:
        pruned: dict[Entry[K, T], Entry[K, T]] = {}
        if self._looked < self._contents.pruned_version:
            pruned = self._pruned_entries()
        current, known = self._contents.current, self._known
        batch = []
        entries = []
        for entry in self._changed_entries(pruned):
            old = known.get(pruned.get(entry, entry), UNSET)
            new = current.get(entry, UNSET)
            if old is not UNSET or new is not UNSET:
                batch.append(Change(entry.key, old, new))
                entries.append(entry)
        return tuple(batch) or SEEN, partial(self._commit, batch, entries, pruned)

    def _changed_entries(self, pruned: dict[Entry[K, T], Entry[K, T]]) -> list[Entry[K, T]]:
        """Return the entries that may have changed, in the order of their last change."""
        changed: dict[Entry[K, T], None] = {}
        for entry in reversed(self._contents.journal):
            if entry.version <= self._looked:
                break
            changed[entry] = None
        if pruned:
            # What was pruned and is still deleted came before all that is in the journal.
            changed.update(dict.fromkeys(reversed(pruned)))
        return list(reversed(changed))

    def _pruned_entries(self) -> dict[Entry[K, T], Entry[K, T]]:
        """Return the known entries that were pruned, by what they are now."""
        contents = self._contents
        pruned = [entry for entry in self._known if entry not in contents.journal]
        contents.finding += 1
        try:
            # All code of the keys runs here.
            return {contents.entries.get(entry.key, entry): entry for entry in pruned}
        except OWN_ERRORS as error:
            raise error_of_user("the hash or comparison of a key", error) from error
        finally:
            contents.finding -= 1

    def _whole(self) -> Sequence[Change[K, T]]:
        return self._contents.whole()

    def _commit(
        self,
        batch: Sequence[Change[K, T]],
        entries: Sequence[Entry[K, T]],
        pruned: dict[Entry[K, T], Entry[K, T]],
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

    def _copy(self) -> Changes[K, T]:
        copy = Changes(self._contents, self._state)
        copy._known, copy._looked, copy._is_copy = self._known, self._looked, True
        return copy

    def _end(self) -> Exception | None:
        return self._state._end()

    def _queues(self) -> Collection[WaitQueue]:
        return self._state._queues()

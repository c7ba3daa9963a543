"""What a map holds: its keys and values, and the order in which they were changed.

The contents are an :class:`Entry` for each key, and a journal: the entries that were changed, in
order of the version of their last change. What has changed since a version is the journal's end.

The journal is pruned: of deleted keys it keeps about as many as there are keys, or items. A watcher
whose last look is older than a pruned delete compares all the keys that it knows: the batch has the
same changes, and costs more. The entry of an item stays for as long as the item does, so that the
item need not look for its key.

A change is made whole or not at all, though hashing and comparing keys, comparing values and
reading a mapping are code of the user, and may raise, or change this very map:

- All such code runs first. It finds the entry of each key, or makes one without a value, which is
  nothing but another deleted key.
- What follows concerns entries only. They are hashed and compared by identity, so nothing can raise
  or come between; the same goes for a watcher that has taken a batch.
- The dictionary of entries is the only one that has the users' keys. It is replaced only when the
  journal is pruned, as a whole, and never while another call is looking for entries.

All that there is, as a batch (:class:`Whole`), is asked for in each change if a task waits for a
predicate. So it is made when it is read. Until then it is given what is replaced, which costs what
has changed. A whole that somebody keeps unread is made when a key is deleted, whose place among the
others would be lost, and before the next one: so it is copied once.

Rejected: a whole that is copied when it is asked for (each change then costs as much as there are
keys); the journal as a ``dict`` (what is replaced leaves holes, which a batch would have to walk
over).
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Sequence
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, final, overload

import attrs
from trio.lowlevel import enable_ki_protection

from .._absent import ABSENT
from .._unset import UNSET, Unset
from ._item import Item

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from .._waiting import WaitQueue

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
class Entry(Generic[K, T]):
    """A key of a map. It is hashed and compared by identity, which can't fail."""

    __slots__ = ("item", "key", "version")

    def __init__(self, key: K, version: int) -> None:
        self.key = key
        # Of its last change.
        self.version = version
        # The item that somebody has of it, if any.
        self.item: weakref.ref[Item[T]] | None = None

    def find_item(self) -> Item[T] | None:
        """Return the item that somebody has of this key."""
        item = None if self.item is None else self.item()
        if item is None:
            self.item = None
        return item


@final
class Contents(Generic[K, T]):
    """The keys and values of a map at its newest version (V20)."""

    __slots__ = (
        "_made",
        "_made_version",
        "_queue",
        "_whole",
        "current",
        "deletes",
        "entries",
        "finding",
        "journal",
        "pruned_version",
        "version",
    )

    def __init__(self, initial: Mapping[K, T] | None, queue: WaitQueue) -> None:
        given = {} if initial is None else initial
        self.version = int(initial is not None)
        self.entries: dict[K, Entry[K, T]] = {key: Entry(key, 1) for key in given}
        self.current: dict[Entry[K, T], T] = dict(
            zip(self.entries.values(), given.values(), strict=True)
        )
        # In the order of the version of their last change, the oldest first, deleted ones included.
        self.journal: OrderedDict[Entry[K, T], None] = OrderedDict.fromkeys(self.current)
        # How many of these were deleted.
        self.deletes = 0
        # Deletes up to this version may have been pruned.
        self.pruned_version = 0
        # How many calls are looking for entries, or have found some that they are to change.
        self.finding = 0
        # Tells which run has the map.
        self._queue = queue
        # The newest whole, if somebody has one.
        self._whole: weakref.ref[Whole[K, T]] | None = None
        # What wholes are made of, once one was read: the changes of the keys that there are, in
        # their order. Those of later versions than that up to which they were made are missing.
        self._made: dict[Entry[K, T], Change[K, T] | None] | None = None
        self._made_version = 0

    @enable_ki_protection
    def find(self, keys: Iterable[K]) -> list[Entry[K, T]]:
        """Return the entry of each key; all code of the keys runs here.

        Of a key that is new this is one without a value, as that of a key that was deleted in the
        last change.
        """
        self.finding += 1
        try:
            entries = []
            for key in keys:
                new: Entry[K, T] = Entry(key, self.version)
                entry = self.entries.setdefault(key, new)
                if entry is new:
                    new.version = self.version  # the key may have changed the map
                    self.journal[new] = None
                    self.deletes += 1
                entries.append(entry)
            return entries
        finally:
            self.finding -= 1

    @enable_ki_protection
    def change(self, changes: Mapping[Entry[K, T], T | Unset]) -> Collection[Item[T]]:
        """Make a change, in which nothing can fail; return the items that it concerns (V23)."""
        whole = None if self._whole is None else self._whole()
        if whole is not None:
            whole.keep(changes)
        self.version = version = self.version + 1
        current, journal, made = self.current, self.journal, self._made
        items: dict[Item[T], None] = {}
        for entry, value in changes.items():
            self.deletes -= entry in journal and entry not in current
            journal[entry] = None
            journal.move_to_end(entry)
            entry.version = version
            if isinstance(value, Unset):
                del current[entry]
                self.deletes += 1
                if made is not None:
                    del made[entry]
            else:
                current[entry] = value
                if made is not None:
                    made[entry] = None
            if entry.item is not None and (item := entry.find_item()) is not None:
                item.advance(ABSENT if isinstance(value, Unset) else value)
                items[item] = None
        if version == 1:
            # Of all other keys it is known now that they are not there.
            for item in self.items():
                if item not in items:
                    item.advance(ABSENT)
                    items[item] = None
        return items

    def items(self) -> list[Item[T]]:
        """Return all items that somebody has."""
        found = [entry.find_item() for entry in self.entries.values() if entry.item is not None]
        return [item for item in found if item is not None]

    def item(self, key: K) -> Item[T]:
        """Return the item of a key, for all who ask the same one (V23)."""
        (entry,) = self.find((key,))
        item = entry.find_item()
        if item is None:
            absent = ABSENT if self.version else UNSET
            item = Item(key, self.current.get(entry, absent), self.version, self._queue)
            entry.item = weakref.ref(item)
        return item

    @enable_ki_protection
    def prune(self) -> None:
        """Remove the older half of the deletes from the journal, if there are many.

        If the keys themselves change the map meanwhile, or raise, it is left as it is.
        """
        most = max(DELETES_KEPT, 2 * len(self.current), len(self.entries) - len(self.journal))
        if self.finding or self.deletes <= most:
            return
        deleted = [entry for entry in self.journal if entry not in self.current]
        pruned = deleted[: len(deleted) // 2]
        journal = self.journal.copy()
        for entry in pruned:
            del journal[entry]
        kept = self._kept(journal)
        before = (self.version, len(self.journal))
        self.finding += 1
        try:
            entries = {entry.key: entry for entry in (*journal, *kept)}
        except Exception:  # noqa: BLE001  the keys': the change is made, and another one will prune
            return
        finally:
            self.finding -= 1
        if (self.version, len(self.journal)) == before and self._kept(journal) == kept:
            self.journal, self.entries = journal, entries
            self.deletes -= len(pruned)
            self.pruned_version = pruned[-1].version

    def _kept(self, journal: Collection[Entry[K, T]]) -> list[Entry[K, T]]:
        """Return the entries that somebody has the item of, and that are not in ``journal``."""
        return [
            entry
            for entry in self.entries.values()
            if entry not in journal and entry.find_item() is not None
        ]

    def whole(self) -> Sequence[Change[K, T]]:
        """Return all that there is, as a batch."""
        if self._queue.run.thread != get_ident():
            # The run may change the map at any moment: here it is copied in one action.
            return self.changes_of({})
        whole = None if self._whole is None else self._whole()
        if whole is None or whole.version != self.version:
            if whole is not None:
                whole.make()
            whole = Whole(self)
            self._whole = weakref.ref(whole)
        return whole

    def changes_of(self, replaced: dict[Entry[K, T], T | Unset]) -> tuple[Change[K, T], ...]:
        """Return all that there was before some values were replaced."""
        if self._queue.run.thread != get_ident():
            # First what there is: what is replaced after that is in both.
            copied: dict[Entry[K, T], T | Unset] = {**self.current}
            copied.update(replaced.copy())
            return tuple(_as_changes(copied).values())
        made = self._made
        if made is None:
            made = self._made = {**_as_changes(self.current)}
            self._made_version = self.version
        for entry in reversed(self.journal):
            if entry.version <= self._made_version:
                break
            if entry in self.current:
                made[entry] = Change(entry.key, UNSET, self.current[entry])
        self._made_version = self.version
        if replaced:
            made = made.copy()
            for entry, old in replaced.items():
                if isinstance(old, Unset):
                    del made[entry]
                else:
                    made[entry] = Change(entry.key, UNSET, old)
        return tuple(made.values())  # type: ignore[arg-type]  # none is missing any more


def _as_changes(values: Mapping[Entry[K, T], T | Unset]) -> dict[Entry[K, T], Change[K, T]]:
    return {
        entry: Change(entry.key, UNSET, value)
        for entry, value in values.items()
        if value is not UNSET
    }


@final
class Whole(Sequence[Change[K, T]]):
    """All that there is in a map at one version, as a batch, which is made when it is read."""

    __slots__ = ("__weakref__", "_changes", "_contents", "_length", "_replaced", "version")

    def __init__(self, contents: Contents[K, T]) -> None:
        self.version = contents.version
        self._length = len(contents.current)
        # What it is made of; None once it is made.
        self._contents: Contents[K, T] | None = contents
        # What has been replaced since: the oldest value of each key.
        self._replaced: dict[Entry[K, T], T | Unset] = {}
        self._changes: tuple[Change[K, T], ...] = ()

    def keep(self, changes: Mapping[Entry[K, T], T | Unset]) -> None:
        """Keep what is about to be changed, if the batch has yet to be made of it."""
        contents = self._contents
        if contents is None:
            return
        for entry, value in changes.items():
            if value is UNSET:
                self.make()
                return
            self._replaced.setdefault(entry, contents.current.get(entry, UNSET))

    def make(self) -> tuple[Change[K, T], ...]:
        """Make the batch, if it is not made yet."""
        contents = self._contents
        if contents is not None:
            changes = contents.changes_of(self._replaced)
            if self._contents is not None:  # else another thread has made it meanwhile
                self._changes = changes
                self._contents = None
        return self._changes

    def __len__(self) -> int:
        """Return how many keys there are."""
        return self._length

    @overload
    def __getitem__(self, index: int) -> Change[K, T]: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Change[K, T], ...]: ...

    def __getitem__(self, index: int | slice) -> Change[K, T] | tuple[Change[K, T], ...]:
        """Return one change, or several."""
        return self.make()[index]

    def __iter__(self) -> Iterator[Change[K, T]]:
        """Iterate over the changes, whatever becomes of the map meanwhile."""
        return iter(self.make())

    def __eq__(self, other: object) -> bool:
        """Compare with another batch, which may be a tuple."""
        if isinstance(other, Whole):
            other = other.make()
        return self.make() == other if isinstance(other, tuple) else NotImplemented

    def __hash__(self) -> int:
        """Hash it as a tuple."""
        return hash(self.make())

    def __repr__(self) -> str:
        """Show it as a tuple."""
        return repr(self.make())

    def __reduce__(self) -> tuple[type[tuple[Any, ...]], tuple[list[Change[K, T]]]]:
        """Copy and pickle it as a tuple."""
        return tuple, (list(self.make()),)

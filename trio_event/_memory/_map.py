"""Many values under keys, watched as one: ``ValueMap``.

The problem: a watcher of a mapping needs what has changed since it looked last, key by key,
deletes included; not the whole mapping each time, and not an event for each set. The mapping
must not know its watchers, must not keep every key that it ever had, and must not cost more the
more keys there are. What it holds is in ``_contents``, what a watcher gets of it in ``_changes``,
and one key of it in ``_item``.

As with any value, each set is an update: values are not compared, but by ``replace_all``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from threading import get_ident
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, final

import trio
from trio.lowlevel import checkpoint, enable_ki_protection

from .._absent import ABSENT, Absent
from .._arguments import check_error, check_mapping, check_version, shown
from .._unset import UNSET, Unset
from .._value import ValueWatch
from .._waiting import Waiter, notify_all, wait
from .._watcher import SourceWatcher
from ._changes import Changes
from ._contents import Change, Contents
from ._state import MemoryState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._graph import Source, Stage
    from .._watcher import Watcher
    from ._contents import Entry

K = TypeVar("K")
T = TypeVar("T")


@final
class ValueMap(ValueWatch[Sequence[Change[K, T]]], Mapping[K, T], Generic[K, T]):
    """Values under keys, in memory, whose watchers get batches of changes (V20).

    The first batch has all keys that there are. Each further one has what has changed since,
    compacted to one change for each key; a delete is a change whose ``new`` is :data:`UNSET`. A key
    that was set and deleted between two looks is in no batch, and a batch is never empty. All
    batches, applied to a dictionary, make it equal to the mapping. A batch is an immutable
    sequence, and costs what has changed.

    What asks for the newest value (``peek``, ``wait_for``, ``wait_version``, ``compose``) gets
    all that there is, as a batch. It is made only if it is read, beyond its length. So
    ``compose(peers)`` is a value of the whole map, and the one to take for :func:`follow` with
    ``latest=True``. To wait for one key, take its :meth:`item`: that costs nothing in the changes
    of the others.

    It is a :class:`collections.abc.Mapping` of what is there now, for every thread: ``peers[key]``,
    ``peers.get(key)``, ``key in peers``, ``len(peers)``, iteration over the keys, ``keys()``,
    ``values()``, ``items()``. Nothing is copied, so an iteration must be over before the next key
    comes or goes; :meth:`mapping` is a copy. :meth:`get` does not wait: the ``get`` that waits is a
    watcher's. As any value, a map is equal to itself only: compare its :meth:`mapping`.

    A map belongs to a Trio run, as a :class:`MemoryValue` does. Unlike there, what a predicate of
    ``wait_for`` changes in the middle of a change is there at once: others that are asked after it
    may see only the later state.

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

    __slots__ = ("__weakref__", "_contents", "_state")

    def __init__(self, initial: Mapping[K, T] | None = None) -> None:
        """Make a mapping; see the class."""
        if initial is not None:
            check_mapping("ValueMap", "initial", initial)
            initial = dict(initial)
            _refuse_in("ValueMap", initial, UNSET, ABSENT)
        # Has the wait queue, the run and the end.
        self._state: MemoryState[None] = MemoryState(UNSET)
        self._contents: Contents[K, T] = Contents(initial, self._state._queue)

    def __repr__(self) -> str:
        """Count the keys."""
        return f"<ValueMap of {len(self)} keys, version {self.version}>"

    def __len__(self) -> int:
        """Return how many keys there are."""
        return len(self._contents.current)

    def __iter__(self) -> Iterator[K]:
        """Iterate over the keys that there are."""
        return (entry.key for entry in self._contents.current)

    def __contains__(self, key: object) -> bool:
        """Return whether a key is there now."""
        contents = self._contents
        entry = contents.entries.get(key)  # type: ignore[arg-type]  # of any type
        return entry is not None and entry in contents.current

    def __getitem__(self, key: K) -> T:
        """Return the newest value of one key."""
        contents = self._contents
        entry = contents.entries.get(key)
        if entry is None or isinstance(value := contents.current.get(entry, UNSET), Unset):
            raise KeyError(key)
        return value

    def __eq__(self, other: object) -> bool:
        """Compare by identity, as all values."""
        return self is other

    __hash__ = object.__hash__

    @property
    def version(self) -> int:
        """How many changes there were; a batch counts once."""
        return self._contents.version

    def mapping(self) -> Mapping[K, T]:
        """Return an immutable copy of all keys and values.

        Checkpoints:
            Never.
        """
        current = self._contents.current.copy()
        return MappingProxyType({entry.key: value for entry, value in current.items()})

    def item(self, key: K) -> ValueWatch[T | Absent]:
        """Return the value of one key (V23).

        Its data is :data:`ABSENT` while the key is not there, and its versions count the changes of
        this key alone. What waits for it costs nothing in the changes of other keys. It ends with
        the mapping. Items of one mapping are never composed of two versions of it. While somebody
        has the item of a key, this returns the same one.

        Args:
            key: It need not be there.

        Raises:
            RuntimeError: if it is called in another thread than the mapping's.
            TypeError: if the key is not hashable.
            Exception: whatever else the key raises.

        Checkpoints:
            Never.

        Example::

            address = peers.item("alice").present()
            print(await address.watch().get())
        """
        self._check_here("item")
        item = self._contents.item(key)
        if not self._state._is_open:
            item.finish(self._state._error)
        self._contents.prune()
        return item

    def set(self, key: K, value: T) -> int:
        """Set the value of one key.

        It costs the same however many keys there are, and whatever waits for the others.

        Returns:
            The new version.

        Raises:
            ClosedResourceError: if the mapping has ended.
            RuntimeError: if it is called in another thread than the mapping's.
            TypeError: if the key is not hashable, or the value is :data:`UNSET` or :data:`ABSENT`.
            Exception: whatever else the key raises; nothing is changed then.

        Checkpoints:
            Never.
        """
        self._check("set")
        if value is UNSET or value is ABSENT:
            _refuse("set", key, value)
        contents = self._contents
        entry = contents.entries.get(key)
        if entry is None or entry not in contents.current:
            (entry,) = contents.find((key,))
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
        entry = self._contents.entries.get(key)
        self._check("delete")
        if entry is None or entry not in self._contents.current:
            raise KeyError(key)
        return self._change({entry: UNSET})

    def apply(self, changes: Mapping[K, T | Unset]) -> int:
        """Make several sets and deletes as one change: one version, and one batch for all.

        Each set is an update, also of an equal value. To delete a key that is not there is no
        change.

        Args:
            changes: The new value of each key; :data:`UNSET` deletes it.

        Returns:
            The version, one higher if there was a change.

        Raises:
            ClosedResourceError: if the mapping has ended.
            RuntimeError: if it is called in another thread than the mapping's.
            TypeError: if it is no mapping, or a value is :data:`ABSENT`; nothing is changed then.
            Exception: whatever a key raises, or the other mapping; likewise.

        Checkpoints:
            Never.

        Example::

            peers.apply({"alice": "10.0.0.4", "bob": UNSET})
        """
        check_mapping("apply", "changes", changes)
        self._check("apply")
        given = dict(changes)
        _refuse_in("apply", given, ABSENT)
        contents = self._contents
        contents.finding += 1
        try:
            # To delete what was never there must not make an entry.
            known = {
                key: value for key, value in given.items() if value is not UNSET or key in self
            }
            found = dict(zip(contents.find(known), known.values(), strict=True))
        finally:
            contents.finding -= 1
        self._check("apply")
        # A key may have deleted another one meanwhile.
        made = {
            entry: value
            for entry, value in found.items()
            if value is not UNSET or entry in contents.current
        }
        return self._change(made) if made else self.version

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
            TypeError: if it is no mapping, or a value is :data:`UNSET` or :data:`ABSENT`; nothing
                is changed then.
            Exception: whatever a comparison raises, or the other mapping; likewise.

        Checkpoints:
            Never.
        """
        check_mapping("replace_all", "mapping", mapping)
        self._check("replace_all")
        given = dict(mapping)
        _refuse_in("replace_all", given, UNSET, ABSENT)
        contents = self._contents
        contents.finding += 1
        try:
            new = dict(zip(contents.find(given), given.values(), strict=True))
            # Those that are equal to what they are compared with.
            equal: dict[Entry[K, T], T] = {}
            for entry, value in new.items():
                old = contents.current.get(entry, UNSET)
                if isinstance(old, Unset) or old != value:
                    continue
                equal[entry] = old
        finally:
            contents.finding -= 1
        self._check("replace_all")
        changes: dict[Entry[K, T], T | Unset] = {
            entry: UNSET for entry in contents.current if entry not in new
        }
        for entry, value in new.items():
            now = contents.current.get(entry, UNSET)
            if now is UNSET or equal.get(entry, UNSET) is not now:
                changes[entry] = value
        return self.version if self.version and not changes else self._change(changes)

    def close(self) -> None:
        """End the mapping in good order; see :meth:`Value.close`.

        Raises:
            RuntimeError: if it is called in another thread than the mapping's.

        Checkpoints:
            Never.
        """
        if self._state._is_open:
            self._check("close")
            self._finish(None)

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
        self._finish(error)

    def watch(self) -> Watcher[Sequence[Change[K, T]]]:
        """Return a new watcher, which has seen nothing. It will remember what it has seen.

        Checkpoints:
            Never.
        """
        return self._watch_through(())

    def _watch_through(self, stages: tuple[Stage, ...]) -> Watcher[Any]:
        # A watcher that is new has not missed what came before it, but for the newest.
        return SourceWatcher(self._open_source(), stages, max(self.version - 1, 0))

    async def wait_version(self, version: int) -> Sequence[Change[K, T]]:
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
        self._state._queue.use()
        await checkpoint()
        while self.version < version:
            end = self._state._end()
            if end is not None:
                raise end
            await wait(self._state._queues(), Waiter(), math.inf)
        return self._contents.whole()

    def _open_source(self) -> Source[Sequence[Change[K, T]]]:
        return Changes(self._contents, self._state)

    def _evaluate_now(self) -> Sequence[Change[K, T]] | Unset:
        return self._contents.whole() if self.version else UNSET

    def _check(self, method: str) -> None:
        """Raise unless ``method`` may change the mapping here and now."""
        if not self._state._is_open:
            msg = f"{method}() was called on {shown(self)}, which has ended: make a new mapping"
            raise trio.ClosedResourceError(msg)
        self._check_here(method)

    def _check_here(self, method: str) -> None:
        """Raise if ``method`` is called in another thread than the mapping's."""
        state = self._state
        if get_ident() != state._queue.run.thread and not state._is_here():
            msg = (
                f"{method}() was called in another thread than the one that {shown(self)} belongs "
                "to: call it there, by trio.from_thread.run_sync()"
            )
            raise RuntimeError(msg)

    @enable_ki_protection
    def _change(self, changes: Mapping[Entry[K, T], T | Unset]) -> int:
        """Make a change, in which nothing can fail."""
        contents = self._contents
        items = contents.change(changes)
        version = contents.version
        notify_all([self._state._queue, *[item._queue for item in items]])
        contents.prune()
        return version

    @enable_ki_protection
    def _finish(self, error: BaseException | None) -> None:
        """End the mapping and all of its items."""
        items = self._contents.items()
        self._state._is_open, self._state._error = False, error
        for item in items:
            item.finish(error)
        notify_all([self._state._queue, *[item._queue for item in items]])


def _refuse_in(method: str, mapping: Mapping[K, T], *refused: object) -> None:
    """Raise if a value is what stands for a key that is not there."""
    for key, value in mapping.items():
        for each in refused:
            if value is each:
                _refuse(method, key, value)


def _refuse(method: str, key: object, value: object) -> NoReturn:
    remedy = "UNSET deletes the key" if method == "apply" else "delete() the key"
    given = f"{shown(value)} for {shown(key)}"
    msg = f"{method}() was given {given}, which is no value of a key: {remedy}"
    raise TypeError(msg)

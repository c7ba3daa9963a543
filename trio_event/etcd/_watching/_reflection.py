"""What is known of a range of keys, and what a message changes in it. Nothing here waits or sends.

The problem: a range is read once and then followed; but the stream that tells its changes can be
cut at any byte, tell things twice, be compacted away, or come from a cluster whose revisions have
gone back. What it says has to be applied once, in order, and never a half of what the cluster has
done in one step.

The invariants:

- A revision is applied as a whole, or not yet. Messages are fragments of what the server had to
  say, cut by size alone, also through a revision. So the events of the newest revision in a
  fragment wait for the next one. All before them are whole, so that a long replay is not kept.
- The place to resume from is the revision after the last one that was applied, by an event or by
  a read. The header of a message may be ahead of what was delivered, and is not asked.
- What is told of a revision before that place was applied already, and is dropped.
- After a read, what counts as changed is decided by the modification revisions that were known.
  They say nothing where revisions have gone back: then every key counts as changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, final

from .._calling._requests import key_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .._calling._requests import KeyValue

_DELETE = 1


class Target(Protocol):
    """What is kept current: it gets each revision in one step."""

    def apply(self, revision: int, changes: Mapping[bytes, KeyValue | None]) -> None:
        """Take what a revision has changed; None for a key that was deleted.

        After a read, which is one step, it is what has changed since the revision before.
        """

    def finish(self, error: BaseException | None) -> None:
        """Take that nothing more comes: because of an error, or because it is not wanted."""


@final
class Reflection:
    """What is known of a range (E2, E3)."""

    def __init__(self, target: Target) -> None:
        """Make one that knows nothing."""
        self._target = target
        # The modification revision of each key.
        self._known: dict[bytes, int] = {}
        self._next = 0
        # Events of one revision that may not be whole yet.
        self._partial: list[Any] = []

    @property
    def next_revision(self) -> int:
        """The place to resume from; 0 if the range has to be read."""
        return self._next

    def mod_revision(self, key: bytes) -> int:
        """Return the revision that has put a key last; 0 if it is not there."""
        return self._known.get(key, 0)

    def forget_place(self) -> None:
        """Read the range before anything is resumed: the stream can't tell all that has changed."""
        self._next = 0
        self._partial.clear()

    def forget_all(self) -> None:
        """Likewise, and count every key as changed: the revisions that are known mean nothing."""
        self.forget_place()
        self._known = dict.fromkeys(self._known, -1)

    def restart(self) -> None:
        """Forget what a stream that was cut has told in part."""
        self._partial.clear()

    def is_unchanged(self, items: Iterable[KeyValue]) -> bool:
        """Return whether a read has found what is known."""
        return {item.key: item.mod_revision for item in items} == self._known

    def take_read(self, revision: int, items: Iterable[KeyValue]) -> None:
        """Take the whole range, as it was at a revision."""
        present = {item.key: item for item in items}
        changes: dict[bytes, KeyValue | None] = {
            key: None for key in self._known if key not in present
        }
        changes |= {
            key: item for key, item in present.items() if self._known.get(key) != item.mod_revision
        }
        self._apply(revision, changes)

    def take_events(self, events: Iterable[Any], *, is_fragment: bool) -> None:
        """Take a message of the stream; ``is_fragment`` says that there is more of it."""
        self._partial.extend(event for event in events if event.kv.mod_revision >= self._next)
        if not self._partial:
            return
        held = self._partial[-1].kv.mod_revision if is_fragment else None
        changes: dict[bytes, KeyValue | None] = {}
        waiting: list[Any] = []
        at = self._partial[0].kv.mod_revision
        for event in self._partial:
            revision = event.kv.mod_revision
            if revision == held:
                waiting.append(event)
                continue
            if revision != at:
                self._apply(at, changes)
                changes, at = {}, revision
            changes[event.kv.key] = None if event.type == _DELETE else key_value(event.kv)
        if changes:
            self._apply(at, changes)
        self._partial = waiting

    def _apply(self, revision: int, changes: Mapping[bytes, KeyValue | None]) -> None:
        for key, item in changes.items():
            if item is None:
                self._known.pop(key, None)
            else:
                self._known[key] = item.mod_revision
        self._next = revision + 1
        self._target.apply(revision, changes)

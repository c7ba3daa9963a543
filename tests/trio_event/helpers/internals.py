"""What tests use of the private modules of ``trio_event``.

No other module of the tests imports a private one, or looks at a private attribute of a map or of
a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from trio.lowlevel import current_trio_token

from trio_event._memory._contents import DELETES_KEPT
from trio_event._memory._watcher import MemoryWatcher
from trio_event._waiting import Subscription, Waiter, wait
from trio_event._watcher import SourceWatcher

if TYPE_CHECKING:
    from trio_event import MemoryValue, ValueMap, ValueWatch

__all__ = (
    "DELETES_KEPT",
    "MemoryWatcher",
    "SourceWatcher",
    "Subscription",
    "Waiter",
    "check_journal",
    "deliver_again",
    "entries_kept",
    "oldest_delete",
    "tasks_waiting",
    "wait",
    "waits_for",
)

K = TypeVar("K")
T = TypeVar("T")


def tasks_waiting(peers: ValueMap[K, T]) -> int:
    """Return how many waits are for a map, which has no statistics."""
    return len(peers._state._queue)


def check_journal(peers: ValueMap[K, T]) -> None:
    """Check that the journal of a map counts its deletes, and keeps no more than it may."""
    contents = peers._contents
    assert contents.deletes == len(contents.journal) - len(peers)
    assert contents.deletes <= max(DELETES_KEPT, 2 * len(peers))


def oldest_delete(peers: ValueMap[K, T]) -> int:
    """Return the version up to which deletes may be missing in the journal of a map."""
    return peers._contents.pruned_version


def entries_kept(peers: ValueMap[K, T]) -> int:
    """Return of how many keys that are not there a map still knows."""
    return len(peers._contents.entries) - len(peers)


def waits_for(value: ValueWatch[object]) -> int:
    """Return how many waits there are for a value; each is in all queues of what it is made of."""
    return max(len(queue) for queue in value.watch()._queues())


def deliver_again(value: MemoryValue[T]) -> None:
    """Have the value look for what other threads have set, as a set of theirs does."""
    current_trio_token().run_sync_soon(value._apply_from_thread)

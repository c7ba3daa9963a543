"""What tests use of the private modules of ``trio_event``.

No other module of the tests imports a private one, or looks at a private attribute of a map or of
a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from trio.lowlevel import current_trio_token

from trio_event._memory._map import DELETES_KEPT
from trio_event._memory._watcher import MemoryWatcher
from trio_event._waiting import Subscription, Waiter, wait
from trio_event._watcher import SourceWatcher

if TYPE_CHECKING:
    from trio_event import MemoryValue, ValueMap

__all__ = (
    "DELETES_KEPT",
    "MemoryWatcher",
    "SourceWatcher",
    "Subscription",
    "Waiter",
    "check_journal",
    "deliver_again",
    "oldest_delete",
    "tasks_waiting",
    "wait",
)

K = TypeVar("K")
T = TypeVar("T")


def tasks_waiting(peers: ValueMap[K, T]) -> int:
    """Return how many waits are for a map, which has no statistics."""
    return peers._clock.statistics().tasks_waiting


def check_journal(peers: ValueMap[K, T]) -> None:
    """Check that the journal of a map counts its deletes, and keeps no more than it may."""
    assert peers._deletes == len(peers._journal) - len(peers)
    assert peers._deletes <= max(DELETES_KEPT, 2 * len(peers))


def oldest_delete(peers: ValueMap[K, T]) -> int:
    """Return the version up to which deletes may be missing in the journal of a map."""
    return peers._pruned_version


def deliver_again(value: MemoryValue[T]) -> None:
    """Have the value look for what other threads have set, as a set of theirs does."""
    current_trio_token().run_sync_soon(value._apply_from_thread)

"""What tests use of the private modules of ``trio_event``.

No other module of the tests imports a private one, or looks at a private attribute of a map or of
a value; a storage of our own (``own_storage``) has to define the private methods of a watcher.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from trio.lowlevel import current_trio_token
from trio_event._keyed import DELETES_KEPT

from trio_event._waiting import Line as WaitQueue, Waiter

if TYPE_CHECKING:
    from trio_event import MemoryValue, ValueMap

__all__ = (
    "DELETES_KEPT",
    "WaitQueue",
    "Waiter",
    "check_journal",
    "deliver_again",
    "oldest_delete",
    "tasks_waiting",
)

K = TypeVar("K")
T = TypeVar("T")


def tasks_waiting(peers: ValueMap[K, T]) -> int:
    """Return how many waits are for a map, which has no statistics."""
    return peers._ticks.statistics().tasks_waiting


def check_journal(peers: ValueMap[K, T]) -> None:
    """Check that the journal of a map counts its deletes, and keeps no more than it may."""
    assert peers._deletes == len(peers._journal) - len(peers)
    assert peers._deletes <= max(DELETES_KEPT, 2 * len(peers))


def oldest_delete(peers: ValueMap[K, T]) -> int:
    """Return the version up to which deletes may be missing in the journal of a map."""
    return peers._horizon


def deliver_again(value: MemoryValue[T]) -> None:
    """Have the value look for what other threads have set, as a set of theirs does."""
    current_trio_token().run_sync_soon(value._take_over)

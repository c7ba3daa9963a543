"""Batches of changes of a map, in a form that tests compare and apply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from trio_event import UNSET, Change, Unset

if TYPE_CHECKING:
    from collections.abc import Iterable

K = TypeVar("K")
T = TypeVar("T")

Batch = Sequence[Change[str, int]]
Flat = list[tuple[str, int | Unset, int | Unset]]


def flat(batch: Iterable[Change[str, int]]) -> Flat:
    """Show key, old and new of each change."""
    return [(change.key, change.old, change.new) for change in batch]


def apply(batch: Sequence[Change[K, T]], known: dict[K, T]) -> None:
    """Apply a batch to a dictionary, and check that the batch fits it."""
    assert batch
    assert len({change.key for change in batch}) == len(batch)
    for change in batch:
        assert known.get(change.key, UNSET) is change.old
        assert change.old is not UNSET or change.new is not UNSET
        if isinstance(change.new, Unset):
            del known[change.key]
        else:
            known[change.key] = change.new

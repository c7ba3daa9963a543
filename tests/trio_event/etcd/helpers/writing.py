"""Writes to keys while something goes wrong, and what the values of these keys get of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import trio

from trio_event.etcd import EtcdError, UnknownOutcomeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_event.etcd import EtcdClient, EtcdValue, KeyValue


@final
class Record:
    """What is written to a key and what is applied to its value, as numbers that grow."""

    def __init__(self, value: EtcdValue[bytes]) -> None:
        self.value = value
        self.acknowledged: dict[int, int] = {}
        self.unknown: set[int] = set()
        self.applied: list[tuple[int, int]] = []
        apply = value._kept.apply

        def record(revision: int, changes: Mapping[bytes, KeyValue | None]) -> None:
            self.applied += [
                (item.mod_revision, int(item.value)) for item in changes.values() if item
            ]
            apply(revision, changes)

        value._kept.apply = record  # type: ignore[method-assign]  # it is looked at, not changed

    async def write(self, client: EtcdClient, progress: Progress) -> None:
        """Write number after number, until it is enough."""
        number = 0
        while not progress.is_over:
            number += 1
            try:
                revision = await client.put(self.value.key, b"%d" % number)
                self.acknowledged[number] = revision
                progress.count()
            except UnknownOutcomeError:
                self.unknown.add(number)
            except EtcdError:
                pass

    def check(self) -> None:
        """Nothing is lost, nothing comes twice, and all is in order."""
        revisions = [revision for revision, _ in self.applied]
        numbers = [number for _, number in self.applied]
        assert revisions == sorted(set(revisions))
        assert len(numbers) == len(set(numbers))
        assert not set(self.acknowledged) - set(numbers), "lost"
        assert set(numbers) <= set(self.acknowledged) | self.unknown
        assert self.acknowledged.items() <= {number: at for at, number in self.applied}.items()


@final
class Progress:
    """How many writes were acknowledged."""

    def __init__(self) -> None:
        self.is_over = False
        self._done = 0
        self._changed = trio.Event()

    def count(self) -> None:
        self._done += 1
        self._changed.set()
        self._changed = trio.Event()

    async def wait_more(self, count: int) -> None:
        """Wait for so many more than now."""
        goal = self._done + count
        while self._done < goal:
            await self._changed.wait()

"""Writes to keys while something goes wrong, and what the values of these keys get of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import trio

from trio_event.etcd import EtcdError, EtcdMap, Put, UnknownOutcomeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_event.etcd import EtcdClient, EtcdValue, KeyValue


@final
class Record:
    """What is written and what is applied to a value, as numbers that grow.

    To a map, each number is written under two keys in one transaction.
    """

    def __init__(self, value: EtcdValue[bytes] | EtcdMap[bytes]) -> None:
        self.value = value
        self.acknowledged: dict[int, int] = {}
        self.unknown: set[int] = set()
        self.applied: list[tuple[int, int]] = []
        if isinstance(value, EtcdMap):
            self._keys = [f"{value.prefix}{name}" for name in "ab"]
        else:
            self._keys = [value.key]
        apply = value._kept.apply

        def record(revision: int, changes: Mapping[bytes, KeyValue | None]) -> None:
            items = [item for item in changes.values() if item]
            assert len(items) == len(self._keys), "a part of a revision"
            # Keys of one transaction have the same revision and number: they count as one.
            self.applied += sorted({(item.mod_revision, int(item.value)) for item in items})
            apply(revision, changes)

        value._kept.apply = record  # type: ignore[method-assign]  # it is looked at, not changed

    async def write(self, client: EtcdClient, progress: Progress) -> None:
        """Write number after number, until it is enough."""
        number = 0
        while not progress.is_over:
            number += 1
            try:
                self.acknowledged[number] = await self._put(client, b"%d" % number)
                progress.count()
            except UnknownOutcomeError:
                self.unknown.add(number)
            except EtcdError:
                pass

    async def _put(self, client: EtcdClient, data: bytes) -> int:
        if len(self._keys) == 1:
            return await client.put(self._keys[0], data)
        return (await client.transaction([], [Put(key, data) for key in self._keys])).revision

    async def wait_followed(self) -> None:
        """Wait until all that was acknowledged has come."""
        await self.value.wait_revision(max(self.acknowledged.values()))

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

"""A map beside the dictionaries of its consumers, compared at each look.

The model says that a dictionary to which all batches were applied equals the map.
"""

from __future__ import annotations

from typing import final

import trio

from trio_event import UNSET, ValueMap, atomic

from ..helpers.internals import DELETES_KEPT, check_journal
from ..helpers.maps import apply

Numbers = dict[int, int]


@final
class Consumer:
    """Applies the batches of its watcher to a dictionary."""

    def __init__(self, source: ValueMap[int, int]) -> None:
        self.watcher = source.watch()
        self.known: Numbers = {}

    async def get(self, *, at_least: int) -> None:
        apply(await self.watcher.get(predicate=lambda batch: len(batch) >= at_least), self.known)

    def catch_up(self) -> None:
        try:
            apply(self.watcher.get_nowait(), self.known)
        except trio.WouldBlock:
            assert not self.watcher.changed


@final
class MapScenario:
    """A map, and consumers that look at it at different times."""

    def __init__(self) -> None:
        self._map: ValueMap[int, int] = ValueMap()
        self._consumers = [Consumer(self._map) for _ in range(3)]

    def set(self, numbers: Numbers) -> None:
        for key, number in numbers.items():
            self._map.set(key, number)

    def delete(self, numbers: Numbers) -> None:
        for key in numbers.keys() & self._map.mapping().keys():
            self._map.delete(key)

    def replace_all(self, numbers: Numbers) -> None:
        version = self._map.version
        # The first one is a change in any case: from then on the map is known, even if empty.
        differs = not version or self._map.mapping() != numbers
        assert self._map.replace_all(numbers) == version + differs
        assert self._map.mapping() == numbers

    def apply(self, numbers: Numbers) -> None:
        """Apply changes of which the zeros are deletes."""
        before, version = self._map.mapping(), self._map.version
        changes = {key: number or UNSET for key, number in numbers.items()}
        is_change = any(number or key in before for key, number in numbers.items())
        assert self._map.apply(changes) == version + is_change
        expected = {key: number for key, number in before.items() if key not in numbers}
        expected |= {key: number for key, number in numbers.items() if number}
        assert self._map.mapping() == expected

    def set_and_delete_at_once(self, numbers: Numbers) -> None:
        with atomic():
            self.set(numbers)
            self.delete(dict.fromkeys(list(numbers)[1:], 0))

    def come_and_go(self, _: Numbers) -> None:
        """Leave more deletes behind than the journal keeps."""
        for key in range(1000, 1001 + DELETES_KEPT):
            self._map.set(key, key)
        self._consumers[2].catch_up()
        for key in range(1000, 1001 + DELETES_KEPT):
            self._map.delete(key)

    def look(self, numbers: Numbers) -> None:
        for which in numbers:
            self._consumers[which % 3].catch_up()
            assert self._consumers[which % 3].known == self._map.mapping()

    async def get_and_cancel(self, numbers: Numbers) -> None:
        """Get with a predicate and cancel, which loses nothing."""
        for which, at_least in numbers.items():
            with trio.move_on_after(1):
                await self._consumers[which % 3].get(at_least=at_least)

    def finish(self) -> None:
        self.look({0: 0, 1: 0, 2: 0})
        late = Consumer(self._map)
        late.catch_up()
        assert late.known == self._map.mapping()
        check_journal(self._map)

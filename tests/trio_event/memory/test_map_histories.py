"""Whoever applies the batches of a map has the map, whatever is done with it (V5, V6, V18, V20)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, final

import trio
from hypothesis import given, settings, strategies as st
from trio.testing import MockClock

from trio_event import UNSET, ValueMap, atomic
from trio_event._keyed import DELETES_KEPT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_event import Change

    Numbers = dict[int, int]
    Step = tuple[Callable[["Lab", Numbers], Awaitable[None] | None], Numbers]


@final
class Consumer:
    """Has a dictionary, to which it does what the batches say."""

    def __init__(self, source: ValueMap[int, int]) -> None:
        self.watcher = source.watch()
        self.known: Numbers = {}

    def apply(self, batch: tuple[Change[int, int], ...]) -> None:
        assert batch
        assert len({change.key for change in batch}) == len(batch)
        for change in batch:
            assert self.known.get(change.key, UNSET) is change.old
            assert change.old is not UNSET or change.new is not UNSET
            if change.new is UNSET:
                del self.known[change.key]
            else:
                self.known[change.key] = change.new

    async def get(self, *, at_least: int) -> None:
        self.apply(await self.watcher.get(predicate=lambda batch: len(batch) >= at_least))

    def catch_up(self) -> None:
        try:
            self.apply(self.watcher.get_nowait())
        except trio.WouldBlock:
            assert not self.watcher.changed


@final
class Lab:
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
        # The first one is a change in any case: now it is known that the map is empty.
        differs = not version or self._map.mapping() != numbers
        assert self._map.replace_all(numbers) == version + differs
        assert self._map.mapping() == numbers

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
        """A get that is cancelled, or whose predicate rejects, loses nothing."""
        for which, at_least in numbers.items():
            with trio.move_on_after(1):
                await self._consumers[which % 3].get(at_least=at_least)

    def finish(self) -> None:
        self.look({0: 0, 1: 0, 2: 0})
        late = Consumer(self._map)
        late.catch_up()
        assert late.known == self._map.mapping()
        assert self._map._deletes == len(self._map._journal) - len(self._map)


async def play(history: list[Step]) -> None:
    lab = Lab()
    for operation, numbers in history:
        pause = operation(lab, numbers)
        if pause is not None:
            await pause
    lab.finish()


operations = st.sampled_from(
    (
        *(Lab.set, Lab.delete, Lab.replace_all, Lab.look) * 2,
        Lab.set_and_delete_at_once,
        Lab.come_and_go,
        Lab.get_and_cancel,
    )
)
numbers = st.dictionaries(st.integers(0, 7), st.integers(0, 3), max_size=5)


@settings(deadline=None, max_examples=300, derandomize=True)
@given(history=st.lists(st.tuples(operations, numbers), max_size=30))
def test_whoever_applies_all_batches_has_the_map(history: list[Step]) -> None:
    """V20: the old of each change is what the watcher knew, and nothing is left out."""
    trio.run(partial(play, history), clock=MockClock(autojump_threshold=0.0))

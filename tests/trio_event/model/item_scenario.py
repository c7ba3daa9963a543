"""Items of a map beside a dictionary, compared at each look.

The model is a dictionary, and for each key the number of its changes. An item is the entry of its
key, ``ABSENT`` where there is none, and its watcher has something new if that number has changed.
Composed items are the entries of one dictionary, and a predicate of theirs is asked about each one
that it was.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, final

import trio
from trio.testing import wait_all_tasks_blocked

from trio_event import ABSENT, UNSET, Absent, ValueMap, atomic, compose

from ..helpers.calls import Call
from ..helpers.internals import DELETES_KEPT

if TYPE_CHECKING:
    from trio_event import Unset, ValueWatch, Watcher

Numbers = dict[int, int]
State = int | Absent
KEYS = (0, 1, 2)


@final
class Looker:
    """Has the item of one key, and a watcher of it, and knows what that is to return."""

    def __init__(self, scenario: ItemScenario, key: int) -> None:
        self._scenario = scenario
        self._key = key
        self.item: ValueWatch[State] = scenario.peers.item(key)
        self._watcher: Watcher[State] = self.item.watch()
        # What has been seen, of the number of changes of the key; the newest is to be seen.
        changes = scenario.changes[key]
        self._seen = changes - 1 if scenario.is_known else changes
        self._version = self.item.version - changes

    async def look(self) -> None:
        scenario, changes = self._scenario, self._scenario.changes[self._key]
        assert self.item is scenario.peers.item(self._key)
        if not scenario.is_known:
            assert self.item.peek(UNSET) is UNSET
            return
        state = scenario.state(self._key)
        assert self.item.peek() == state
        assert self.item.version == self._version + changes
        assert self._watcher.lag == changes - self._seen
        if changes == self._seen:
            assert not self._watcher.changed
            return
        update = await self._watcher.get_update()
        assert (update.value, update.missed) == (state, changes - self._seen - 1)
        self._seen = changes


@final
class ItemScenario:
    """A map, items that come and go, and composed items that a predicate is asked about."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.peers: ValueMap[int, int] = ValueMap()
        self.model: Numbers = {}
        self.is_known = False
        self.changes = dict.fromkeys(KEYS, 0)
        self._nursery = nursery
        self._lookers: dict[int, Looker] = {}
        self._together = compose(*(self.peers.item(key) for key in KEYS))
        # What the predicate was asked about, and what it is to be asked about.
        self._asked: list[tuple[State, ...]] = []
        self._expected: list[tuple[State, ...]] = []
        Call(nursery, partial(self._together.wait_for, self._remember))

    def _remember(self, states: tuple[State, ...]) -> bool:
        self._asked.append(states)
        return False

    def state(self, key: int) -> State:
        return self.model.get(key, ABSENT)

    def _change(self, changes: dict[int, int | Unset]) -> None:
        """Note what a step of the map changes."""
        concerned = {key for key in KEYS if key in changes}
        if not self.is_known:
            concerned = set(KEYS)
            self.is_known = True
        for key, number in changes.items():
            if number is UNSET:
                self.model.pop(key, None)
            else:
                self.model[key] = number
        for key in concerned:
            self.changes[key] += 1
        if concerned:
            self._expected.append(tuple(self.state(key) for key in KEYS))

    async def set(self, numbers: Numbers) -> None:
        for key, number in numbers.items():
            self._change({key: number})
            self.peers.set(key, number)

    async def delete(self, numbers: Numbers) -> None:
        for key in numbers.keys() & self.model.keys():
            self._change({key: UNSET})
            self.peers.delete(key)

    async def apply(self, numbers: Numbers) -> None:
        """Apply changes of which the zeros are deletes."""
        version = self.peers.version
        changes: dict[int, int | Unset] = {key: n or UNSET for key, n in numbers.items()}
        real = {key: n for key, n in changes.items() if n is not UNSET or key in self.model}
        if real:
            self._change(real)
        assert self.peers.apply(changes) == version + bool(real)

    async def replace_all(self, numbers: Numbers) -> None:
        changes: dict[int, int | Unset] = dict.fromkeys(self.model.keys() - numbers, UNSET)
        changes |= {key: n for key, n in numbers.items() if self.model.get(key) != n}
        if changes or not self.is_known:
            self._change(changes)
        self.peers.replace_all(numbers)

    async def change_at_once(self, numbers: Numbers) -> None:
        """Make several changes of one atomic block; a predicate is asked about the last state."""
        asked = len(self._expected)
        with atomic():
            await self.set(numbers)
            await self.delete(dict(list(numbers.items())[1:]))
        self._expected[asked:] = self._expected[asked:][-1:]

    async def come_and_go(self, _: Numbers) -> None:
        """Leave more deletes behind than the map remembers."""
        for key in range(1000, 1001 + 3 * DELETES_KEPT):
            self._change({key: key})
            self.peers.set(key, key)
            self._change({key: UNSET})
            self.peers.delete(key)

    async def begin(self, numbers: Numbers) -> None:
        for key in numbers.keys() & set(KEYS):
            self._lookers[key] = Looker(self, key)

    async def forget(self, numbers: Numbers) -> None:
        for key in numbers:
            self._lookers.pop(key, None)

    async def look(self, numbers: Numbers) -> None:
        for key in numbers.keys() & self._lookers.keys():
            await self._lookers[key].look()

    async def rest(self, _: Numbers) -> None:
        await wait_all_tasks_blocked()

    async def check(self) -> None:
        """Compare all that can be read."""
        assert dict(self.peers) == self.peers.mapping() == self.model
        assert len(self.peers) == len(self.model)
        if self.is_known:
            assert {change.key: change.new for change in self.peers.peek()} == self.model
            assert self._together.peek() == tuple(self.state(key) for key in KEYS)

    async def finish(self) -> None:
        for looker in self._lookers.values():
            await looker.look()
        await self.check()
        assert self._asked == self._expected
        self._nursery.cancel_scope.cancel()

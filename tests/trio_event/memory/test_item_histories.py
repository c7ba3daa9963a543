"""Items of a map, alone and composed, are as their model (V16, V18, V20, V23)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio
from hypothesis import given, settings
from trio.testing import MockClock, wait_all_tasks_blocked

from ..model.item_scenario import ItemScenario
from ..model.strategies import item_histories

if TYPE_CHECKING:
    from ..model.strategies import ItemHistory


async def play(history: ItemHistory) -> None:
    async with trio.open_nursery() as nursery:
        scenario = ItemScenario(nursery)
        await wait_all_tasks_blocked()
        for operation, numbers in history:
            await operation(scenario, numbers)
            await scenario.check()
        await scenario.finish()


@settings(deadline=None, max_examples=300, derandomize=True)
@given(history=item_histories)
def test_items_are_the_entries_of_one_dictionary(history: ItemHistory) -> None:
    """V23: each change of a key is one version of its item, and none is a mixture of two states."""
    trio.run(partial(play, history), clock=MockClock(autojump_threshold=0.0))

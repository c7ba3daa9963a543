"""A map and the batches of its watchers are as their model (V5, V6, V18, V20)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio
from hypothesis import given, settings
from trio.testing import MockClock

from ..model.map_scenario import MapScenario
from ..model.strategies import map_histories

if TYPE_CHECKING:
    from ..model.strategies import MapHistory


async def play(history: MapHistory) -> None:
    scenario = MapScenario()
    for operation, numbers in history:
        pause = operation(scenario, numbers)
        if pause is not None:
            await pause
    scenario.finish()


@settings(deadline=None, max_examples=300, derandomize=True)
@given(history=map_histories)
def test_dictionary_to_which_all_batches_were_applied_equals_the_map(history: MapHistory) -> None:
    """V20: the old of each change is what the watcher knew, and no change is missing."""
    trio.run(partial(play, history), clock=MockClock(autojump_threshold=0.0))

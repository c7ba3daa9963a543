"""Values and watchers are as their model, whatever is done with them (V2 to V18)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from hypothesis import given, settings
from trio.testing import MockClock

from .model.scenario import Scenario
from .model.strategies import histories

if TYPE_CHECKING:
    from .model.strategies import History


async def play(history: History) -> None:
    async with trio.open_nursery() as nursery:
        scenario = Scenario(nursery)
        for which in range(4):
            await scenario.watch(which, which)
        for operation, first, second in history:
            await operation(scenario, first, second)
        await scenario.finish()


@settings(deadline=None, max_examples=500, derandomize=True)
@given(history=histories)
def test_every_history_is_as_the_contract_says(history: History) -> None:
    """V2 to V18: nothing goes back, comes twice, is lost or left behind; no call hangs."""
    trio.run(play, history, clock=MockClock(autojump_threshold=0.0))

"""Derived and composed values are as their model, whatever is set (V4, V15 to V18)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio
from hypothesis import given, settings
from trio.testing import MockClock, wait_all_tasks_blocked

from ..model.expression_scenario import ExpressionScenario
from ..model.strategies import expression_histories, expressions

if TYPE_CHECKING:
    from ..model.expressions import Expression
    from ..model.strategies import ExpressionHistory


async def play(expression: Expression, history: ExpressionHistory) -> None:
    scenario = ExpressionScenario(expression)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scenario.consume)
        nursery.start_soon(scenario.wait_for)
        await wait_all_tasks_blocked()
        for change, sets, pause in history:
            change(scenario, sets)
            await pause(scenario)
        await scenario.rest()
        nursery.cancel_scope.cancel()


@settings(deadline=None, max_examples=300, derandomize=True)
@given(expression=expressions, history=expression_histories)
def test_every_expression_is_what_the_model_says(
    expression: Expression, history: ExpressionHistory
) -> None:
    """V4, V16 to V18: no consumer sees a glitch, and at rest each has the newest state."""
    trio.run(partial(play, expression, history), clock=MockClock(autojump_threshold=0.0))

"""Random trees of runnables that do what is planned, compared with a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from hypothesis import given, settings, strategies as st
from trio.testing import MockClock

from .model.operators import commands
from .model.scenario import Ending, Scenario
from .model.strategies import trees, trees_with_pools

if TYPE_CHECKING:
    from .model.operators import Command
    from .model.strategies import GroupPlan

endings = st.sampled_from(Ending)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(root=trees, ending=endings)
def test_every_tree_runs_and_ends_as_the_model_predicts(root: GroupPlan, ending: Ending) -> None:
    """S3, S7, S9 to S14, S16, S20, S21, S25, S26, S28, S30 to S32: all is in time and order.

    Nothing is left.
    """
    trio.run(Scenario(root, ending).run, clock=MockClock(autojump_threshold=0.0))


@settings(deadline=None, max_examples=400, derandomize=True)
@given(root=trees_with_pools, ending=endings, commands=commands)
def test_whatever_operators_call_comes_as_the_model_predicts(
    root: GroupPlan, ending: Ending, commands: list[Command]
) -> None:
    """S19, S21, S23, S26: what is stopped stays so, restarts come at once, and no call hangs."""
    trio.run(Scenario(root, ending, commands).run, clock=MockClock(autojump_threshold=0.0))

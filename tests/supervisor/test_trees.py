"""Random trees of runnables that live and die as planned, under an observer and its model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from hypothesis import given, settings, strategies as st
from trio.testing import MockClock

from .model.operators import acts
from .model.scenario import Drama, Ending
from .model.strategies import trees, trees_with_pools

if TYPE_CHECKING:
    from .model.operators import Act
    from .model.strategies import GroupPlan

endings = st.sampled_from(Ending)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(root=trees, ending=endings)
def test_every_tree_lives_and_ends_as_it_should(root: GroupPlan, ending: Ending) -> None:
    """S3, S7, S9 to S14, S16, S20, S21, S25: all is due, in order, seen, and gone in the end."""
    trio.run(Drama(root, ending).run, clock=MockClock(autojump_threshold=0.0))


@settings(deadline=None, max_examples=400, derandomize=True)
@given(root=trees_with_pools, ending=endings, acts=acts)
def test_whatever_operators_do_is_done_and_holds(
    root: GroupPlan, ending: Ending, acts: list[Act]
) -> None:
    """S19, S21, S23: what is stopped stays so, restarts are at once, and no call hangs."""
    trio.run(Drama(root, ending, acts).run, clock=MockClock(autojump_threshold=0.0))

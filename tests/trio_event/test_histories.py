"""Whatever is done with values and watchers, in whatever order, the contract holds (V2 to V18)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from hypothesis import given, settings, strategies as st
from trio.testing import MockClock

from .model.scenario import World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Step = tuple[Callable[[World, int, int], Awaitable[None]], int, int]

# What matters most, most often.
OPERATIONS = (
    *(World.set, World.get, World.rest) * 3,
    *(World.watch, World.select, World.step, World.cancel, World.set_at_once) * 2,
    World.get_nowait,
    World.get_backlog,
    World.wait_for,
    World.close,
    World.end,
)

# The order of tasks in Trio and the choices of select are part of a history.
histories = st.random_module().flatmap(
    lambda _: st.lists(
        st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 5), st.integers(0, 5)),
        min_size=20,
        max_size=60,
    )
)


async def play(history: list[Step]) -> None:
    """Do all of it in one nursery, and then finish."""
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        for which in range(4):
            await world.watch(which, which)
        for operation, first, second in history:
            await operation(world, first, second)
        await world.finish()


@settings(deadline=None, max_examples=500, derandomize=True)
@given(history=histories)
def test_every_history_is_as_the_contract_says(history: list[Step]) -> None:
    """V2 to V18: nothing goes back, comes twice, waits in vain, is lost or is left behind."""
    trio.run(play, history, clock=MockClock(autojump_threshold=0.0))

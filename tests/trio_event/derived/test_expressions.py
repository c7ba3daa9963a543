"""Whatever is derived and composed, and whatever is set, is as the model says (V4, V15 to V18)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, final

import trio
from hypothesis import given, settings, strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_event import UNSET, MemoryValue, Unset, atomic

from ..model.expressions import expressions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Set as AbstractSet

    from trio_event import ValueWatch

    from ..model.expressions import Expression

    Sets = list[tuple[int, int]]
    Step = tuple[Callable[["Lab", Sets], None], Sets, Callable[["Lab"], Awaitable[None]]]


@final
class Lab:
    """Three values, an expression of them, and consumers that check all that they see."""

    def __init__(self, expression: Expression) -> None:
        self._sources: list[MemoryValue[int]] = [MemoryValue() for _ in range(3)]
        self._expression = expression
        self._value: ValueWatch[int] = expression.build(self._sources)
        self._returned: list[int] = []
        self._get = trio.CancelScope()
        # What a predicate was asked about, and what it had to be asked about.
        self._asked: list[int] = []
        self._states: list[int] = []

    def model(self) -> int | Unset:
        return self._expression.compute([source.peek(UNSET) for source in self._sources])

    async def consume(self) -> None:
        """Get one value after the other."""
        with self._value.watch() as watcher:
            while True:
                with trio.CancelScope() as self._get:
                    value = await watcher.get()
                    assert self._expression.late or value == self.model()
                    self._returned.append(value)

    async def be_asked(self) -> None:
        """Note what the predicate of a wait_for is asked about."""

        def remember(value: int) -> bool:
            assert self._expression.late or value == self.model()
            self._asked.append(value)
            return False

        await self._value.wait_for(remember)

    def set(self, sets: Sets) -> None:
        for index, number in sets:
            self._sources[index].set(number)
            self._note({index})

    def set_at_once(self, sets: Sets) -> None:
        with atomic():
            for index, number in sets:
                self._sources[index].set(number)
        self._note({index for index, _ in sets})

    def _note(self, changed: AbstractSet[int]) -> None:
        state = self.model()
        assert self._value.peek(UNSET) == state
        if changed & self._expression.indexes and not isinstance(state, Unset):
            self._states.append(state)

    async def step(self) -> None:
        await trio.lowlevel.checkpoint()

    async def wait(self) -> None:
        await trio.sleep(1)

    async def cancel(self) -> None:
        """A get that is cancelled loses nothing."""
        self._get.cancel()
        await trio.lowlevel.checkpoint()

    async def rest(self) -> None:
        """Nothing is in flight: each consumer has what the model says."""
        await trio.sleep(100)
        state = self.model()
        assert isinstance(state, Unset) or self._returned[-1] == state
        assert self._expression.timed or self._asked == self._states


async def play(expression: Expression, history: list[Step]) -> None:
    lab = Lab(expression)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lab.consume)
        nursery.start_soon(lab.be_asked)
        await wait_all_tasks_blocked()
        for change, sets, pause in history:
            change(lab, sets)
            await pause(lab)
        await lab.rest()
        nursery.cancel_scope.cancel()


changes = st.sampled_from((Lab.set, Lab.set_at_once))
pauses = st.sampled_from((Lab.step, Lab.wait, Lab.cancel, Lab.rest))
numbered = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), max_size=3)


# The order of tasks in Trio is part of a history.
@settings(deadline=None, max_examples=300, derandomize=True)
@given(
    expression=expressions,
    history=st.random_module().flatmap(
        lambda _: st.lists(st.tuples(changes, numbered, pauses), max_size=12)
    ),
)
def test_every_expression_is_what_the_model_says(
    expression: Expression, history: list[Step]
) -> None:
    """V4, V16 to V18: no glitch is ever seen, and at rest each consumer has the newest."""
    trio.run(partial(play, expression, history), clock=MockClock(autojump_threshold=0.0))

"""Values and an expression of them beside its model, compared at each step."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import trio

from trio_event import UNSET, MemoryValue, Unset, atomic

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from trio_event import ValueWatch

    from .expressions import Expression

Sets = list[tuple[int, int]]


@final
class ExpressionScenario:
    """Three values, an expression of them, and consumers that check all that they get."""

    def __init__(self, expression: Expression) -> None:
        self._sources: list[MemoryValue[int]] = [MemoryValue() for _ in range(3)]
        self._expression = expression
        self._value: ValueWatch[int] = expression.build(self._sources)
        self._returned: list[int] = []
        self._get = trio.CancelScope()
        # What a predicate was asked about, and what it should have been asked about.
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

    async def wait_for(self) -> None:
        """Record what the predicate of a wait_for is asked about."""

        def remember(value: int) -> bool:
            assert self._expression.late or value == self.model()
            self._asked.append(value)
            return False

        await self._value.wait_for(remember)

    def set(self, sets: Sets) -> None:
        for index, number in sets:
            self._sources[index].set(number)
            self._record({index})

    def set_at_once(self, sets: Sets) -> None:
        with atomic():
            for index, number in sets:
                self._sources[index].set(number)
        self._record({index for index, _ in sets})

    def _record(self, changed: AbstractSet[int]) -> None:
        state = self.model()
        assert self._value.peek(UNSET) == state
        if changed & self._expression.indexes and not isinstance(state, Unset):
            self._states.append(state)

    async def step(self) -> None:
        await trio.lowlevel.checkpoint()

    async def wait(self) -> None:
        await trio.sleep(1)

    async def cancel(self) -> None:
        """Cancel a get, which loses nothing."""
        self._get.cancel()
        await trio.lowlevel.checkpoint()

    async def rest(self) -> None:
        """Let all time pass; then each consumer has what the model says."""
        await trio.sleep(100)
        state = self.model()
        assert isinstance(state, Unset) or self._returned[-1] == state
        assert self._expression.timed or self._asked == self._states

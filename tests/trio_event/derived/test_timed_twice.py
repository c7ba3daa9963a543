"""A timed value that is composed twice is at one state in all parts of a snapshot (V18)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
import trio
from hypothesis import given, settings, strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_event import MemoryValue, compose

from ..helpers.calls import Call
from ..helpers.clocks import Ticking
from ..helpers.timeline import play

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_event import ValueWatch

    Source = ValueWatch[int]

TIMED: Final[dict[str, Callable[[Source, float], Source]]] = {
    "throttle": lambda source, seconds: source.throttle(seconds),
    "debounce": lambda source, seconds: source.debounce(seconds),
    "both": lambda source, seconds: source.debounce(seconds).throttle(seconds),
}
# Ways to compose one value with itself; each makes a tuple whose numbers are to be the same.
TWICE: Final[dict[str, Callable[[Source], ValueWatch[tuple[int, ...]]]]] = {
    "alone": compose,
    "itself": lambda timed: compose(timed, timed),
    "derived": lambda timed: compose(timed, timed.map(abs), timed.map(lambda n: -n).map(abs)),
    "derived_first": lambda timed: compose(timed.map(abs), timed),
    "nested": lambda timed: compose(compose(timed, timed).map(max), timed, compose(timed).map(max)),
    "behind_distinct": lambda timed: compose(timed.distinct(), timed),
}


@pytest.mark.parametrize("twice", TWICE)
@pytest.mark.parametrize("kind", TIMED)
def test_parts_are_of_one_state_though_time_goes_on_while_they_are_taken(
    kind: str, twice: str
) -> None:
    """V17, V18: what becomes due between two looks at the clock is due for all parts, or later."""

    async def get(looks: int) -> None:
        value = MemoryValue(0)
        watcher = TWICE[twice](TIMED[kind](value, looks * 1e-6)).watch()
        with trio.fail_after(60):
            number = 0
            while number < 3:
                parts = await watcher.get()
                assert len(set(parts)) == 1, parts
                number = parts[0] + 1
                value.set(number)

    for looks in range(40):
        trio.run(get, looks, clock=Ticking())


@pytest.mark.parametrize("kind", TIMED)
async def test_function_that_sets_the_value_makes_no_mixture(kind: str) -> None:
    """V18, V19: all parts are taken before anything is computed of them."""
    value = MemoryValue(1)

    def count(number: int) -> int:
        if number < 3:
            value.set(number + 1)
        return number * 10

    timed = TIMED[kind](value, 0)
    watcher = compose(timed.map(count), timed, timed.map(abs)).watch()
    with trio.fail_after(60):
        assert [await watcher.get() for _ in range(3)] == [(10, 1, 1), (20, 2, 2), (30, 3, 3)]


@settings(deadline=None, max_examples=100, derandomize=True)
@given(
    kind=st.sampled_from(tuple(TIMED)),
    twice=st.sampled_from(tuple(TWICE)),
    gaps=st.lists(st.sampled_from((0.25, 0.5, 1.0, 2.0)), min_size=1, max_size=8),
    pauses=st.lists(st.sampled_from((0.0, 0.5, 1.5)), min_size=1, max_size=5),
)
def test_no_get_returns_a_mixture(
    kind: str, twice: str, gaps: list[float], pauses: list[float]
) -> None:
    """V17, V18: whenever the value is set, and whenever the consumer comes."""

    async def observe() -> None:
        value = MemoryValue(0)
        events = [(sum(gaps[: index + 1]), index + 1) for index in range(len(gaps))]

        async def consume() -> None:
            watcher = TWICE[twice](TIMED[kind](value, 1)).watch()
            for turn in range(100):
                parts = await watcher.get()
                assert len(set(parts)) == 1, parts
                await trio.sleep(pauses[turn % len(pauses)])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(consume)
            await play(value, *events)
            await trio.sleep(20)
            nursery.cancel_scope.cancel()

    trio.run(observe, clock=MockClock(autojump_threshold=0.0))


async def test_part_that_was_rejected_is_taken_with_the_other(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V6, V18: a snapshot that the predicate rejects is complete in the next get."""
    value = MemoryValue(0)
    timed = value.throttle(1)
    watcher = compose(timed, timed.map(abs)).watch()
    get = Call(nursery, partial(watcher.get, predicate=lambda parts: parts[0] == 2))
    await wait_all_tasks_blocked()
    for number in (1, 2):
        value.set(number)
        await trio.sleep(3)
    assert await get.result() == (2, 2)


async def test_wait_for_is_asked_about_no_mixture(
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """V16, V18: also if it lets time pass."""
    value = MemoryValue(0)
    timed = value.throttle(1)
    asked: list[tuple[int, int]] = []

    def record(parts: tuple[int, int]) -> bool:
        asked.append(parts)
        return parts[0] == 4

    waiting: Call[object] = Call(nursery, partial(compose(timed, timed.map(abs)).wait_for, record))
    await play(value, *((number * 0.75, number) for number in range(1, 5)))
    assert await waiting.result() == (4, 4)
    assert all(first == second for first, second in asked)

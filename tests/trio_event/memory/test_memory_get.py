"""The get of a value in memory, a copy of the general one for speed, does the same (V3 to V9)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, final

import attrs
import trio
from hypothesis import given, settings, strategies as st
from trio.testing import wait_all_tasks_blocked

from trio_event import MemoryValue, Watcher

from ..helpers.calls import counting
from ..helpers.internals import MemoryWatcher, SourceWatcher

if TYPE_CHECKING:
    from collections.abc import Callable

    Predicate = Callable[["Side", int], bool]
    Actions = list[tuple[str, Predicate | int | None]]


@final
@attrs.define(eq=False)
class Side:
    """A value, a watcher of it, and what the calls of its get came to."""

    value: MemoryValue[int]
    watcher: Watcher[int]
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    log: list[object] = attrs.field(factory=list)
    # One call at a time: Trio would run several in any order.
    is_busy: bool = False

    async def get(self, predicate: Predicate | None) -> None:
        asked = None if predicate is None else partial(predicate, self)
        steps = 0
        with counting() as counts, trio.CancelScope() as self.scope:
            try:
                self.log.append(await self.watcher.get(predicate=asked))
            except Exception as error:  # noqa: BLE001  it is compared
                self.log.append(repr(error))
            steps = counts.steps[trio.lowlevel.current_task()]
        self.log.append((steps, self.scope.cancelled_caught, self.watcher.lag))
        self.is_busy = False


def accept_even(_: Side, number: int) -> bool:
    return number % 2 == 0


def refuse_odd(_: Side, number: int) -> bool:
    if number % 2:
        msg = f"no {number}"
        raise ValueError(msg)
    return True


def set_if_odd(side: Side, number: int) -> bool:
    if number % 2 and number < 100:
        side.value.set(number + 100)
    return number % 2 == 0


def set_and_end(side: Side, number: int) -> bool:
    if number % 2 and number < 100:
        side.value.set(number + 101)
        side.value.close()
    return number % 2 == 0


def end(side: Side, _: int) -> bool:
    side.value.close()
    return False


def close(side: Side, _: int) -> bool:
    side.watcher.close()
    return False


PREDICATES: Final[tuple[Predicate | None, ...]] = (
    None,
    accept_even,
    refuse_odd,
    set_if_odd,
    set_and_end,
    end,
    close,
)

actions = st.one_of(
    st.tuples(st.just("get"), st.sampled_from(PREDICATES)),
    st.tuples(st.just("set"), st.integers(0, 9)),
    st.tuples(st.sampled_from(("rest", "step", "cancel", "close", "end", "fail")), st.none()),
)


async def act(side: Side, nursery: trio.Nursery, name: str, what: Predicate | int | None) -> None:
    """Do one thing, whatever it comes to."""
    try:
        if name == "get" and not side.is_busy:
            assert not isinstance(what, int)
            side.is_busy = True
            nursery.start_soon(side.get, what)
        elif name == "set":
            assert isinstance(what, int)
            side.value.set(what)
        elif name == "cancel":
            side.scope.cancel()
        elif name == "close":
            side.watcher.close()
        elif name == "end":
            side.value.close()
        elif name == "fail":
            side.value.fail(OSError())
    except trio.ClosedResourceError as error:
        side.log.append(repr(error).replace(repr(side.value), ""))


async def play(history: Actions) -> tuple[list[object], list[object]]:
    """Do the same to both kinds of watchers; return what has come of it."""
    values: tuple[MemoryValue[int], MemoryValue[int]] = (MemoryValue(), MemoryValue())
    watchers = (values[0].watch(), SourceWatcher[int](values[1], (), 0))
    assert isinstance(watchers[0], MemoryWatcher)
    sides = [Side(value, watcher) for value, watcher in zip(values, watchers, strict=True)]
    async with trio.open_nursery() as nursery:
        for name, what in history:
            for side in sides:
                await act(side, nursery, name, what)
            if name == "rest":
                await wait_all_tasks_blocked()
            elif name == "step":
                await trio.lowlevel.checkpoint()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return sides[0].log, sides[1].log


@settings(deadline=None, max_examples=300, derandomize=True)
@given(history=st.lists(actions, max_size=12))
def test_get_of_memory_does_what_the_general_get_does(history: Actions) -> None:
    """V3 to V7, V9, V19: the same results and errors in as many steps, and as much is seen."""
    memory, general = trio.run(play, history)
    assert memory == general

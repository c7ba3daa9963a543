"""``changed``, ``lag``, ``repr`` and ``statistics`` change nothing, in any chain (V15).

What is asked here is what a monitor asks, or a debugger: it must not decide what the consumer gets.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, final

import pytest
import trio
from hypothesis import given, settings
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_event import BacklogDone, MemoryValue, ValueMap, compose

from ..helpers.calls import Call, counting
from ..helpers.functions import anything, is_even, refuse_two
from ..helpers.maps import flat
from ..model.expressions import Source
from ..model.strategies import asking_histories, expressions, map_asking_histories

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock as Clock

    from trio_event import ValueWatch, Watcher

    from ..model.expressions import Expression
    from ..model.strategies import AskingHistory, MapAskingHistory

# What may be asked of a watcher.
QUESTIONS: Final[dict[str, Callable[[Watcher[object]], object]]] = {
    "changed": lambda watcher: watcher.changed,
    "lag": lambda watcher: watcher.lag,
    "repr": repr,
}


def ask_all(watcher: Watcher[object]) -> None:
    for ask in QUESTIONS.values():
        ask(watcher)


def outcome(get: Callable[[], object]) -> object:
    """Return what a call returns, or the type of what it raises."""
    try:
        return get()
    except Exception as error:  # noqa: BLE001  it is compared with another
        return type(error)


async def async_outcome(get: Callable[[], Awaitable[object]]) -> object:
    """Return what a call returns, or the type of what it raises."""
    try:
        return await get()
    except Exception as error:  # noqa: BLE001  it is compared with another
        return type(error)


@final
class Pair:
    """Two watchers of one value, of which one is asked again and again."""

    def __init__(self, value: ValueWatch[object]) -> None:
        self._value = value
        self._asked = value.watch()
        self._plain = value.watch()

    def ask(self) -> None:
        ask_all(self._asked)
        repr(self._value)
        assert self._value.version >= 0
        self._value.peek(None)

    def get_nowait(self) -> None:
        changed = self._asked.changed
        result = outcome(self._asked.get_nowait)
        assert result == outcome(self._plain.get_nowait)
        assert changed == (result not in {trio.WouldBlock, trio.EndOfChannel})

    async def get_backlog(self) -> None:
        """Get at the same time, because a value that lets time pass may have to wait for it."""
        results: list[object] = []

        async def get(watcher: Watcher[object]) -> None:
            results.append(await async_outcome(partial(watcher.get, backlog_only=True)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(get, self._asked)
            nursery.start_soon(get, self._plain)
            await wait_all_tasks_blocked()
            self.ask()
        assert results[0] == results[1]

    def finish(self) -> None:
        assert self._asked.lag == self._plain.lag
        assert repr(self._asked) == repr(self._plain)
        self.get_nowait()


def is_derived(expression: Expression) -> bool:
    return not isinstance(expression, Source)


async def play(expression: Expression, history: AskingHistory) -> None:
    sources: list[MemoryValue[int]] = [MemoryValue() for _ in range(3)]
    # Those of which the expression is made: each set is to matter.
    used = [sources[index] for index in sorted(expression.indexes)]
    pair = Pair(expression.build(sources))
    for what, which, number in history:
        if what == "set":
            used[which % len(used)].set(number)
        elif what == "sleep":
            await trio.sleep(number)
        elif what == "ask":
            pair.ask()
        elif what == "get_nowait":
            pair.get_nowait()
        else:
            await pair.get_backlog()
    pair.finish()


@settings(deadline=None, max_examples=400, derandomize=True)
@given(expression=expressions.filter(is_derived), history=asking_histories)
def test_watcher_that_is_asked_gets_what_another_gets(
    expression: Expression, history: AskingHistory
) -> None:
    """V10, V15, V17, V18: and what it answers is what get_nowait does then."""
    trio.run(partial(play, expression, history), clock=MockClock(autojump_threshold=0.0))


async def play_map(history: MapAskingHistory, derive: Callable[..., ValueWatch[object]]) -> None:
    peers: ValueMap[int, int] = ValueMap()
    pair = Pair(derive(peers))
    for what, key, number in history:
        if what == "set":
            peers.set(key, number)
        elif what == "delete":
            if key in peers.mapping():
                peers.delete(key)
        elif what == "sleep":
            await trio.sleep(number)
        elif what == "ask":
            pair.ask()
        elif what == "get_nowait":
            pair.get_nowait()
        else:
            await pair.get_backlog()
    pair.finish()


@pytest.mark.parametrize(
    "derive",
    [
        lambda peers: peers,
        lambda peers: peers.filter(lambda batch: len(batch) > 1),
        lambda peers: peers.throttle(2),
        lambda peers: peers.debounce(1).map(len).distinct(),
        compose,
        lambda peers: compose(peers.throttle(2), peers),
    ],
    ids=["map", "filtered", "throttled", "debounced", "composed", "composed_of_throttled"],
)
@settings(deadline=None, max_examples=60, derandomize=True)
@given(history=map_asking_histories)
def test_watcher_of_a_map_that_is_asked_gets_what_another_gets(
    derive: Callable[..., ValueWatch[object]], history: MapAskingHistory
) -> None:
    """V10, V15, V20: batches, backlogs and lags are the same."""
    run = partial(play_map, history, derive)
    trio.run(run, clock=MockClock(autojump_threshold=0.0))


@pytest.mark.parametrize("question", QUESTIONS)
async def test_asking_a_chain_of_two_distincts_loses_no_update(question: str) -> None:
    """V15, V17: what one stage skips is compared when it is taken, and not when it is asked."""
    value = MemoryValue(0)
    watcher = value.distinct(lambda n: n % 4).map(lambda n: n // 2).distinct().watch()
    assert watcher.get_nowait() == 0
    value.set(1)
    QUESTIONS[question](watcher)
    value.set(5)
    assert watcher.get_nowait() == 2


@pytest.mark.parametrize("question", QUESTIONS)
async def test_asking_takes_nothing_of_a_timed_source(
    autojump_clock: Clock,  # noqa: ARG001  time is Trio's
    question: str,
) -> None:
    """V15, V18: a throttle counts from when the composed value was taken."""
    value = MemoryValue(1)
    watcher = compose(value, value.throttle(2)).watch()
    assert await watcher.get() == (1, 1)
    value.set(2)
    await trio.sleep(2.5)
    QUESTIONS[question](watcher)
    value.set(3)
    await trio.sleep(0.5)
    QUESTIONS[question](watcher)
    assert watcher.get_nowait() == (3, 3)


@pytest.mark.parametrize("question", QUESTIONS)
async def test_asking_begins_no_time_of_a_debounce(
    autojump_clock: Clock,
    question: str,
) -> None:
    """V15, V17: the time counts from when a get notices the value."""
    for debounced in (MemoryValue(1).debounce(2), compose(MemoryValue(1).debounce(2))):
        watcher = debounced.watch()
        QUESTIONS[question](watcher)
        await trio.sleep(10)
        QUESTIONS[question](watcher)
        assert not watcher.changed
        start = autojump_clock.current_time()
        await watcher.get()
        assert autojump_clock.current_time() == start + 2


async def test_changed_is_what_get_nowait_does(
    autojump_clock: Clock,  # noqa: ARG001  time is Trio's
) -> None:
    """V15, V17: false while the time has not come, for a debounce also until a get has noticed."""
    value = MemoryValue(0)
    throttled, debounced = value.throttle(2).watch(), value.debounce(2).watch()
    assert (throttled.changed, debounced.changed) == (True, False)
    assert throttled.get_nowait() == 0
    with pytest.raises(trio.WouldBlock):
        debounced.get_nowait()
    value.set(1)
    assert (throttled.changed, debounced.changed) == (False, False)
    with pytest.raises(trio.WouldBlock):
        debounced.get_nowait()
    await trio.sleep(2)
    assert (throttled.changed, debounced.changed) == (True, True)
    assert (throttled.get_nowait(), debounced.get_nowait()) == (1, 1)
    assert (throttled.changed, debounced.changed) == (False, False)


async def test_asking_changes_no_lag() -> None:
    """V15, V20: a repetition and a key that came and went count until they are looked at."""
    value = MemoryValue(1)
    peers = ValueMap({"a": 1})
    distinct, changes = value.distinct().watch(), peers.watch()
    assert (distinct.get_nowait(), flat(changes.get_nowait())[0][0]) == (1, "a")
    value.set(1)
    peers.set("b", 1)
    peers.delete("b")
    for _ in range(2):
        assert not distinct.changed
        assert not changes.changed
        assert (distinct.lag, changes.lag) == (1, 2)


@pytest.mark.parametrize("kind", ["distinct", "map"])
async def test_repetition_that_was_asked_about_is_missed(kind: str) -> None:
    """V15: missed counts the same versions, asked or not."""
    value = MemoryValue(1)
    derived = value.distinct() if kind == "distinct" else value.map(abs)
    watchers = [derived.watch(), derived.watch()]
    for watcher in watchers:
        await watcher.get_update()
    value.set(1)
    ask_all(watchers[0])
    value.set(2)
    ask_all(watchers[0])
    updates = [await watcher.get_update() for watcher in watchers]
    assert updates[0] == updates[1]
    assert updates[0].missed == 1


async def test_error_of_a_function_is_raised_by_changed_as_by_get_nowait(
    autojump_clock: Clock,  # noqa: ARG001  time is Trio's
) -> None:
    """V15, V17: again and again; lag and repr raise nothing."""
    for derive in (
        lambda value: value.map(refuse_two),
        lambda value: value.filter(lambda number: bool(refuse_two(number))),
        lambda value: value.distinct(refuse_two),
        lambda value: value.throttle(1).map(refuse_two),
        lambda value: compose(value, value.map(refuse_two)),
        lambda value: compose(value, value.map(refuse_two).throttle(1)),
    ):
        value = MemoryValue(1)
        watcher = derive(value).watch()
        await watcher.get()
        value.set(2)
        await trio.sleep(2)
        for _ in range(2):
            assert watcher.lag > 0
            assert "behind" in repr(watcher)
            for get in (lambda: watcher.changed, watcher.get_nowait):  # noqa: B023  called now
                with pytest.raises(ValueError, match="I don't like 2"):
                    get()
        value.set(3)
        assert watcher.changed
        await watcher.get()


async def test_watcher_that_is_closed_has_not_changed() -> None:
    """V7, V15: get_nowait would return nothing."""
    value = MemoryValue(1)
    for watcher in (value.watch(), value.map(abs).watch(), compose(value).watch()):
        watcher.close()
        assert not watcher.changed
        assert "closed" in repr(watcher)


async def test_asking_in_the_middle_of_a_wait_disturbs_no_get(
    nursery: trio.Nursery,
    autojump_clock: Clock,
) -> None:
    """V15, V17, V18: another task asks the watcher that waits, before, at and after its time."""
    value = MemoryValue(0)
    for derive in (
        lambda value: value.throttle(2),
        lambda value: value.debounce(2),
        lambda value: compose(value.throttle(2).filter(is_even)),
        lambda value: compose(value.debounce(2)),
    ):
        watcher = derive(value).watch()
        await watcher.get()
        start = autojump_clock.current_time()
        value.set(value.peek() + 2)
        get = Call(nursery, watcher.get)
        for _ in range(7):
            ask_all(watcher)
            await trio.sleep(0.5)
        assert get.ended
        assert await get.result() in {value.peek(), (value.peek(),)}
        assert autojump_clock.current_time() == start + 3.5


async def test_asking_wakes_no_task_and_starts_none(
    autojump_clock: Clock,  # noqa: ARG001  time is Trio's
) -> None:
    """V15, V21: statistics of a value neither."""
    value = MemoryValue(1)
    watcher = compose(value.throttle(1), value.debounce(1)).filter(anything).watch()
    with counting() as counts:
        ask_all(watcher)
        before = value.statistics()
        assert value.statistics() == before
        assert before.tasks_waiting == 0
    assert not counts.scheduled


async def test_asking_ends_no_backlog() -> None:
    """V10, V15: what belongs to it was decided by the first call."""
    value = MemoryValue(1)
    watcher = value.distinct().watch()
    assert await watcher.get(backlog_only=True) == 1
    value.set(2)
    ask_all(watcher)
    with pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)
    ask_all(watcher)
    assert await watcher.get(backlog_only=True) == 2


async def test_asking_calls_no_function_for_what_was_seen() -> None:
    """V15, V17: there is nothing to compute then."""
    value = MemoryValue(1)
    computed: list[int] = []

    def double(number: int) -> int:
        computed.append(number)
        return number * 2

    watcher = value.map(double).watch()
    assert await watcher.get() == 2
    computed.clear()
    ask_all(watcher)
    assert computed == []

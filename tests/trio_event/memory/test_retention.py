"""Nothing is kept that was returned, but where a stage compares with it (V8)."""

from __future__ import annotations

import gc
import weakref
from functools import partial
from typing import TYPE_CHECKING, Final, final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_event import (
    UNSET,
    MemoryValue,
    ValueMap,
    ValueWatch,
    Watcher,
    compose,
    follow,
    pipe,
    select,
)

from ..helpers.calls import Call
from ..helpers.functions import anything, first, same
from ..helpers.piping import received, running
from ..helpers.threads import call_in_thread, run_to_the_end

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Snapshots = ValueWatch["Snapshot"]


@final
class Snapshot:
    """Data whose life can be watched."""

    def __init__(self, name: str = "") -> None:
        self.name = name


@final
class Lives:
    """Which of some objects are alive."""

    def __init__(self) -> None:
        self._refs: list[weakref.ref[object]] = []

    def make(self, name: str = "") -> Snapshot:
        snapshot = Snapshot(name)
        self.add(snapshot)
        return snapshot

    def add(self, thing: object) -> None:
        self._refs.append(weakref.ref(thing))

    @property
    def alive(self) -> list[bool]:
        gc.collect()
        return [ref() is not None for ref in self._refs]


# Values that are like their source, and have nothing to compare with.
KINDS: Final[dict[str, Callable[[Snapshots], Snapshots]]] = {
    "memory": same,
    "mapped": lambda source: source.map(same),
    "filtered": lambda source: source.filter(anything),
    "distinct_by_a_key": lambda source: source.distinct(id),
    "throttled": lambda source: source.throttle(0),
    "debounced": lambda source: source.debounce(0),
    "chain": lambda source: source.map(same).throttle(0).filter(anything).distinct(id).debounce(0),
    "composed": lambda source: compose(source, source.map(same)).map(first),
}
# Those that compare with the last, or make the next snapshot of it.
KEEPING: Final[dict[str, Callable[[Snapshots], Snapshots]]] = {
    "distinct": lambda source: source.distinct(),
    "distinct_before_debounce": lambda source: source.distinct().debounce(0),
    "composed_of_timed": lambda source: compose(source.throttle(0)).map(first),
}


async def by_get(watcher: Watcher[Snapshot]) -> None:
    await watcher.get()


async def by_get_of_the_backlog(watcher: Watcher[Snapshot]) -> None:
    await watcher.get(backlog_only=True)


async def by_get_with_a_predicate(watcher: Watcher[Snapshot]) -> None:
    await watcher.get(predicate=anything)


async def by_get_nowait(watcher: Watcher[Snapshot]) -> None:
    # A debounced value begins its time at the first call.
    await trio.lowlevel.checkpoint()
    watcher.get_nowait()


async def by_receive(watcher: Watcher[Snapshot]) -> None:
    await watcher.receive()


async def by_anext(watcher: Watcher[Snapshot]) -> None:
    await anext(watcher)


async def by_select(watcher: Watcher[Snapshot]) -> None:
    await select(watcher)


TAKES: Final = (
    by_get,
    by_get_of_the_backlog,
    by_get_with_a_predicate,
    by_get_nowait,
    by_receive,
    by_anext,
    by_select,
)


@pytest.mark.parametrize("kind", KINDS)
async def test_idle_watcher_keeps_nothing_that_was_replaced(kind: str) -> None:
    """V8: watchers of many ages keep no old state alive, by whatever call they returned it."""
    lives = Lives()
    value: MemoryValue[Snapshot] = MemoryValue(lives.make())
    derived = KINDS[kind](value)
    watchers = []
    for take in TAKES:
        watcher = derived.watch()
        await take(watcher)
        watchers.append(watcher)
        value.set(lives.make())
    assert lives.alive == [False] * len(TAKES) + [True]
    del watchers


@pytest.mark.parametrize("kind", [*KINDS, *KEEPING])
async def test_closed_watcher_keeps_nothing(kind: str) -> None:
    """V7, V8: neither what it returned, nor what a stage of it compares with."""
    for take in TAKES:
        lives = Lives()
        value: MemoryValue[Snapshot] = MemoryValue(lives.make())
        watcher = (KINDS | KEEPING)[kind](value).watch()
        await take(watcher)
        value.set(lives.make())
        watcher.close()
        assert lives.alive == [False, True]
        assert "closed" in repr(watcher)


@pytest.mark.parametrize("kind", [*KINDS, *KEEPING])
async def test_closed_watcher_keeps_no_value(kind: str) -> None:
    """V7, V8: a value that only closed watchers refer to is gone, with its data."""
    lives = Lives()
    value: MemoryValue[Snapshot] = MemoryValue(lives.make())
    lives.add(value)
    watcher = (KINDS | KEEPING)[kind](value).watch()
    await watcher.get()
    watcher.close()
    del value
    assert lives.alive == [False, False]
    with pytest.raises(trio.ClosedResourceError):
        await watcher.get()
    with pytest.raises(trio.ClosedResourceError):
        watcher.get_nowait()
    watcher.close()


async def test_watcher_that_is_asked_for_updates_keeps_the_one_before() -> None:
    """V8, V15: one state, and only as long as it is open."""
    lives = Lives()
    value: MemoryValue[Snapshot] = MemoryValue(lives.make("a"))
    watcher = value.watch()
    await watcher.get_update()
    value.set(lives.make("b"))
    update = await watcher.get_update()
    assert isinstance(update.previous, Snapshot)
    assert update.previous.name == "a"
    del update
    value.set(lives.make("c"))
    assert lives.alive == [False, True, True]
    watcher.close()
    assert lives.alive == [False, False, True]


async def test_distinct_keeps_one_state_to_compare_with() -> None:
    """V8, V17: and no older one."""
    lives = Lives()
    value: MemoryValue[Snapshot] = MemoryValue(lives.make())
    watcher = value.distinct().watch()
    for _ in range(3):
        watcher.get_nowait()
        value.set(lives.make())
    assert lives.alive == [False, False, True, True]


async def test_distinct_with_a_key_keeps_the_key_only() -> None:
    """V8, V17: it is what is compared."""
    lives = Lives()
    value: MemoryValue[Snapshot] = MemoryValue(lives.make("a"))
    watcher = value.distinct(lambda snapshot: snapshot.name).watch()
    watcher.get_nowait()
    value.set(lives.make("b"))
    assert lives.alive == [False, True]
    watcher.get_nowait()


async def test_what_was_never_returned_is_not_kept() -> None:
    """V6, V8: what a predicate has rejected, and what was asked about."""
    lives = Lives()
    value: MemoryValue[Snapshot] = MemoryValue(lives.make())
    watchers = [derive(value).watch() for derive in KINDS.values()]
    for watcher in watchers:
        with trio.move_on_after(0):
            await watcher.get(predicate=lambda _: False)
        assert watcher.lag >= 0
        repr(watcher)
        _ = watcher.changed
    value.set(lives.make())
    assert lives.alive[-1]
    assert not lives.alive[0]


async def test_cancelled_wait_keeps_nothing(nursery: trio.Nursery) -> None:
    """V5, V8: neither the data, nor a predicate, nor what it refers to."""
    lives = Lives()
    value: MemoryValue[Snapshot] = MemoryValue(lives.make())

    @final
    class Predicate:
        def __call__(self, _: Snapshot) -> bool:
            return False

    waits: tuple[Callable[[Predicate], Awaitable[object]], ...] = (
        lambda predicate: value.watch().get(predicate=predicate),
        value.wait_for,
        lambda predicate: value.wait_for(predicate, held_for=1),
        lambda predicate: value.throttle(0).wait_for(predicate),
        lambda predicate: value.filter(predicate).watch().get(),
        lambda predicate: select(value.filter(predicate).watch()),
        lambda predicate: follow(value, ignore, predicate=predicate),
        lambda predicate: follow(value, ignore, predicate=predicate, latest=True),
    )
    for wait in waits:
        predicate = Predicate()
        lives.add(predicate)
        call: Call[object] = Call(nursery, partial(wait, predicate))
        await wait_all_tasks_blocked()
        await call.cancel()
        del predicate, call
        await wait_all_tasks_blocked()
    value.set(lives.make())
    assert lives.alive == [False] * 9 + [True]


async def ignore(_: object) -> None:
    await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("how", ["each", "latest", "latest_timed"])
async def test_follow_keeps_nothing_after_a_call(nursery: trio.Nursery, how: str) -> None:
    """V8, V22: while it waits for the next value, the last one is not kept."""
    lives = Lives()
    value = MemoryValue("a")

    def wrap(name: str) -> Snapshot:
        return lives.make(name)

    derived = value.map(wrap)
    source = derived.throttle(0) if how == "latest_timed" else derived
    following = Call(nursery, partial(follow, source, ignore, latest=how != "each"))
    await wait_all_tasks_blocked()
    value.set("b")
    await wait_all_tasks_blocked()
    assert not any(lives.alive)
    await following.cancel()


async def test_pipe_keeps_nothing_that_it_has_sent() -> None:
    """V8, V13: while it waits for the next value."""
    lives = Lives()
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[Snapshot](0)

    def wrap(number: int) -> Snapshot:
        return lives.make(str(number))

    def count(snapshot: Snapshot) -> Snapshot:
        return snapshot

    async with running({"pipe": pipe(value.map(wrap), send, transform=count)}):
        assert (await receive.receive()).name == "1"
        value.set(2)
        await wait_all_tasks_blocked()
        assert (await receive.receive()).name == "2"
        await wait_all_tasks_blocked()
        assert not any(lives.alive)


async def test_pipe_keeps_nothing_that_was_replaced_while_it_waits() -> None:
    """V8, V13: it holds the newest value, and not the one that it first tried to send."""
    lives = Lives()
    value: MemoryValue[Snapshot] = MemoryValue(lives.make())
    send, receive = trio.open_memory_channel[Snapshot](0)
    async with running({"pipe": pipe(value, send)}):
        for _ in range(3):
            await wait_all_tasks_blocked()
            value.set(lives.make())
        await wait_all_tasks_blocked()
        assert lives.alive == [False, False, False, True]
        await received(receive)  # type: ignore[arg-type]  # of any items


async def test_value_keeps_nothing_that_was_replaced() -> None:
    """V8: whatever way it was set in."""
    lives = Lives()
    value: MemoryValue[Snapshot] = MemoryValue(lives.make(), eq=lambda _old, _new: False)
    value.set(lives.make())
    value.update(lambda _: lives.make())
    value.compare_and_set(value.version, lives.make())
    value.set_from_thread(lives.make())
    await wait_all_tasks_blocked()
    await trio.to_thread.run_sync(value.set_from_thread, lives.make())
    await wait_all_tasks_blocked()
    assert lives.alive == [False] * 5 + [True]


async def test_suppressed_set_is_not_kept() -> None:
    """V1, V8: the value keeps the one that it has."""
    lives = Lives()
    value: MemoryValue[Snapshot] = MemoryValue(lives.make(), eq=lambda _old, _new: True)
    value.set(lives.make())
    value.set_from_thread(lives.make())
    await wait_all_tasks_blocked()
    assert lives.alive == [True, False, False]


def test_set_from_a_thread_that_is_refused_keeps_nothing() -> None:
    """V8, V11: where no run is known, the run is over, or the value has ended."""
    lives = Lives()
    unknown, over, ended = (MemoryValue[Snapshot]() for _ in range(3))

    async def use() -> trio.lowlevel.TrioToken:
        with trio.move_on_after(1):
            await over.watch().get()
        return trio.lowlevel.current_trio_token()

    token = run_to_the_end(use)
    ended.close()
    for value in (unknown, over, ended):
        with pytest.raises((RuntimeError, trio.ClosedResourceError)):
            call_in_thread(partial(set_new, value, lives))
        with pytest.raises((RuntimeError, trio.ClosedResourceError)):
            call_in_thread(partial(set_new, value, lives, token))
    assert not any(lives.alive)


def set_new(
    value: MemoryValue[Snapshot], lives: Lives, token: trio.lowlevel.TrioToken | None = None
) -> None:
    value.set_from_thread(lives.make(), trio_token=token)


async def test_set_from_a_thread_that_comes_after_the_end_is_not_kept() -> None:
    """V8, V9, V11: what is dropped is let go."""
    lives = Lives()
    value = MemoryValue[Snapshot]()
    value.set_from_thread(lives.make())
    value.close()
    await wait_all_tasks_blocked()
    assert lives.alive == [False]


async def test_watcher_of_a_map_keeps_what_it_compares_with_only() -> None:
    """V8, V20: the last value of each key, and not what its last batch had as old."""
    lives = Lives()
    peers: ValueMap[str, Snapshot] = ValueMap({"a": lives.make(), "b": lives.make()})
    watcher = peers.watch()
    watcher.get_nowait()
    peers.set("a", lives.make())
    assert lives.alive == [True, True, True]
    watcher.get_nowait()
    assert lives.alive == [False, True, True]
    peers.delete("b")
    watcher.get_nowait()
    assert lives.alive == [False, False, True]
    peers.set("a", lives.make())
    watcher.close()
    assert lives.alive == [False, False, False, True]


async def test_closed_watcher_of_a_map_keeps_nothing() -> None:
    """V7, V8, V20: neither values, nor the map."""
    lives = Lives()
    peers: ValueMap[str, Snapshot] = ValueMap({"a": lives.make()})
    lives.add(peers)
    watchers: list[Watcher[object]] = [
        peers.watch(),
        compose(peers).watch(),
        peers.map(len).distinct().watch(),
    ]
    for watcher in watchers:
        await watcher.get()
        watcher.close()
    del peers
    assert lives.alive == [False, False]


async def test_map_keeps_nothing_that_was_replaced_or_deleted() -> None:
    """V8, V20: the journal has keys, and no values."""
    lives = Lives()
    peers: ValueMap[str, Snapshot] = ValueMap({"a": lives.make()})
    peers.set("a", lives.make())
    peers.set("b", lives.make())
    peers.delete("b")
    peers.replace_all({"a": lives.make()})
    assert lives.alive == [False, False, False, True]


def one_of_each() -> list[object]:
    value, peers = MemoryValue(1), ValueMap({"a": 1})
    return [
        value,
        peers,
        value.map(abs),
        value.filter(bool),
        value.distinct(),
        value.debounce(1),
        value.throttle(1),
        compose(value, value),
        compose(a=value),
    ]


def test_values_watchers_and_maps_can_be_weakly_referenced() -> None:
    """V8: of each kind; the reference is dead when the last strong one is gone."""
    for thing in one_of_each():
        assert isinstance(thing, ValueWatch)
        watcher = thing.watch()
        refs: list[weakref.ref[object]] = [weakref.ref(thing), weakref.ref(watcher)]
        assert refs[0]() is thing
        assert refs[1]() is watcher
        del watcher
        gc.collect()
        assert refs[1]() is None


def test_values_and_watchers_are_keys_of_weak_dictionaries() -> None:
    """V8: they are hashed by identity."""
    kept = one_of_each()
    weak: weakref.WeakKeyDictionary[object, int] = weakref.WeakKeyDictionary(
        {thing: index for index, thing in enumerate(kept)}
    )
    assert len(weak) == len(kept)
    kept.clear()
    gc.collect()
    assert len(weak) == 0


def test_dropped_value_is_freed_at_once() -> None:
    """V8: it is in no cycle with its watchers, or with what is derived of it."""
    gc.collect()
    gc.disable()
    try:
        kept = one_of_each()
        refs = [weakref.ref(thing) for thing in kept]
        for thing in kept:
            assert isinstance(thing, ValueWatch)
            thing.watch()
        kept.clear()
        del thing
        assert [ref() for ref in refs] == [None] * len(refs)
    finally:
        gc.enable()


async def test_watcher_that_its_own_function_closes_keeps_nothing() -> None:
    """V7, V8: a get under way returns what it has taken, and remembers it nowhere."""
    for derive in (
        lambda source: source.map(close_it).distinct(),
        lambda source: compose(source.throttle(0), source).map(close_it).distinct(),
    ):
        lives = Lives()
        value: MemoryValue[Snapshot] = MemoryValue(lives.make())
        watchers: list[Watcher[object]] = []

        def close_it(snapshot: object, watchers: list[Watcher[object]] = watchers) -> object:
            watchers[0].close()
            return snapshot

        watchers.append(derive(value).watch())
        await watchers[0].get()
        del value
        assert not any(lives.alive)
        with pytest.raises(trio.ClosedResourceError):
            watchers[0].get_nowait()


async def test_select_of_a_watcher_that_is_asked_for_updates_is_remembered() -> None:
    """V14, V15: it is what the watcher has returned before, if it was that one which was taken."""
    first, second = MemoryValue(1), MemoryValue(1)
    watchers = [first.watch(), second.watch()]
    for watcher in watchers:
        assert (await watcher.get_update()).value == 1
    first.set(2)
    assert await select(*watchers) == (0, 2)
    for value in (first, second):
        value.set(3)
    assert [(await watcher.get_update()).previous for watcher in watchers] == [2, 1]


def test_watcher_that_is_asked_for_updates_remembers_them_in_the_next_run() -> None:
    """V11, V15: what it has returned is the watcher's, whichever run uses it."""
    value = MemoryValue(1)
    watcher = value.watch()

    async def next_update() -> object:
        return (await watcher.get_update()).previous

    previous = []
    for number in (2, 3):
        previous.append(run_to_the_end(next_update))
        value.set(number)
    assert [*previous, run_to_the_end(next_update)] == [UNSET, 1, 2]


async def test_update_of_a_watcher_that_its_predicate_closes_is_returned() -> None:
    """V7, V8, V15: and nothing is kept of it."""
    lives = Lives()
    value: MemoryValue[Snapshot] = MemoryValue(lives.make())
    watcher = value.watch()

    def close(_: Snapshot) -> bool:
        watcher.close()
        return True

    assert (await watcher.get_update(predicate=close)).version == 1
    del value
    assert lives.alive == [False]


async def test_select_of_watchers_that_a_function_closes_raises() -> None:
    """V7, V14: whichever of them is looked at first."""
    for _ in range(10):
        watchers: list[Watcher[int]] = []

        def close_others(number: int, watchers: list[Watcher[int]] = watchers) -> bool:
            for watcher in watchers[1:]:
                watcher.close()
            return number > 1

        watchers.extend(
            (
                MemoryValue(1).filter(close_others).watch(),
                MemoryValue(1).filter(bool).watch(),
                compose(MemoryValue(1).throttle(0)).map(first).watch(),
            )
        )
        with pytest.raises(trio.ClosedResourceError):
            await select_all(watchers)


async def select_all(watchers: list[Watcher[int]]) -> None:
    while True:
        await select(*watchers)

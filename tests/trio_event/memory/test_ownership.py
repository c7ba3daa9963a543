"""A value belongs to the Trio run that uses it, until that run is over (V11)."""

from __future__ import annotations

import operator
import threading
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
import trio
from trio.lowlevel import current_trio_token
from trio.testing import wait_all_tasks_blocked

from trio_event import MemoryValue, ValueMap, ValueWatch, Watcher, atomic, compose, follow, select

from ..helpers.calls import Call
from ..helpers.functions import anything, is_big, same
from ..helpers.internals import tasks_waiting
from ..helpers.own_storage import OwnStorage
from ..helpers.several import waiting
from ..helpers.threads import (
    PlainThread,
    call_in_other_run,
    call_in_thread,
    call_in_thread_with_id,
    run_to_the_end,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Value = MemoryValue[int]
    Use = Callable[[Value], Awaitable[object]]


async def sleep_forever(_: object) -> None:
    await trio.sleep_forever()


async def step(_: object) -> None:
    await trio.lowlevel.checkpoint()


async def use_set(value: Value) -> None:
    value.set(1)


async def use_set_of_an_equal_value(value: Value) -> None:
    value.set(value.peek())


async def use_update(value: Value) -> None:
    value.update(abs)


async def use_compare_and_set(value: Value) -> None:
    value.compare_and_set(value.version, 1)


async def use_failing_compare_and_set(value: Value) -> None:
    value.compare_and_set(value.version + 1, 1)


async def use_watch(value: Value) -> None:
    value.watch()


async def use_watch_of_a_derived_value(value: Value) -> None:
    compose(value.map(same), value).throttle(1).watch()


async def use_get(value: Value) -> None:
    await value.watch().get()


async def use_get_update(value: Value) -> None:
    await value.watch().get_update()


async def use_get_of_the_backlog(value: Value) -> None:
    await value.watch().get(backlog_only=True)


async def use_get_nowait(value: Value) -> None:
    value.watch().get_nowait()


async def use_get_of_a_derived_value(value: Value) -> None:
    await compose(value.map(same).filter(anything), value.distinct()).watch().get()


async def use_select(value: Value) -> None:
    await select(value.watch())


async def use_wait_for(value: Value) -> None:
    await value.wait_for(anything)


async def use_wait_version(value: Value) -> None:
    await value.wait_version(1)


async def use_follow(value: Value) -> None:
    with trio.move_on_after(1):
        await follow(value, sleep_forever)


async def use_cancelled_get(value: Value) -> None:
    watcher = value.watch()
    await watcher.get()
    with trio.move_on_after(1):
        await watcher.get()


async def use_set_in_a_batch(value: Value) -> None:
    with atomic():
        value.set(1)


# What a run does with a value that has data and then is idle.
USES: Final[tuple[Use, ...]] = (
    use_set,
    use_set_of_an_equal_value,
    use_update,
    use_compare_and_set,
    use_failing_compare_and_set,
    use_set_in_a_batch,
    use_watch,
    use_watch_of_a_derived_value,
    use_get,
    use_get_update,
    use_get_of_the_backlog,
    use_get_nowait,
    use_get_of_a_derived_value,
    use_select,
    use_wait_for,
    use_wait_version,
    use_follow,
    use_cancelled_get,
)


async def get_unseen(value: ValueWatch[object]) -> None:
    """Get once more than there is to get."""
    with value.watch() as watcher:
        while True:
            await watcher.get()


async def select_unseen(value: ValueWatch[object]) -> None:
    other = MemoryValue[object]()
    with value.watch() as watcher, other.watch() as free:
        try:
            while True:
                await select(free, watcher)
        finally:
            # The error leaves the watchers free, and no wait.
            other.set(1)
            assert free.get_nowait() == 1
            assert other.statistics().tasks_waiting == 0


# How a run waits for what another one owns.
WAITS: Final[dict[str, Callable[[Value], Awaitable[object]]]] = {
    "get": get_unseen,
    "get_of_a_derived_value": lambda value: get_unseen(value.map(same).distinct(id)),
    "get_of_a_timed_value": lambda value: get_unseen(value.throttle(1)),
    "get_of_a_composed_value": lambda value: get_unseen(compose(MemoryValue(0), value)),
    "select": select_unseen,
    "wait_for": lambda value: value.wait_for(is_big),
    "wait_for_of_a_timed_value": lambda value: value.debounce(1).wait_for(is_big),
    "wait_version": lambda value: value.wait_version(100),
    "follow": lambda value: follow(value.map(same), step),
    "follow_the_latest": lambda value: follow(value, sleep_forever, latest=True),
}
CHANGES: Final[dict[str, Callable[[Value], object]]] = {
    "set": lambda value: value.set(7),
    "update": lambda value: value.update(abs),
    "compare_and_set": lambda value: value.compare_and_set(value.version, 7),
    "close": lambda value: value.close(),
    "fail": lambda value: value.fail(OSError("gone")),
}


@pytest.fixture
def value() -> Value:
    """Make a value outside of the run of the test, in its thread."""
    return MemoryValue(0)


async def check_owner(value: Value) -> None:
    """Check that the calling run can change the value and wait for it."""
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            watcher = value.watch()
            watcher.get_nowait()
            get = Call(nursery, watcher.get)
            await wait_all_tasks_blocked()
            assert value.set(100) == value.version
            assert await get.result() == 100
    assert value.statistics().tasks_waiting == 0


async def expect_refusal(wait: Callable[[], Awaitable[object]]) -> None:
    """Wait in a run that does not own the value."""
    with trio.fail_after(60), pytest.raises(RuntimeError, match=r"another Trio run.*: "):
        await wait()


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
async def test_any_use_makes_a_value_the_run_s(
    value: Value,
    use: Use,
    autojump_clock: object,  # noqa: ARG001  time is Trio's
) -> None:
    """V11: the run that has used a value keeps it, and a wait of another run raises."""
    await use(value)
    await call_in_other_run(partial(expect_refusal, partial(WAITS["get"], value)))
    await check_owner(value)


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("use", [use_set, use_get], ids=lambda use: use.__name__)
async def test_wait_of_another_run_raises_and_leaves_nothing(
    value: Value, use: Use, wait: str
) -> None:
    """V11: the other run gets the error, whatever it waits with; the owner's waits go on."""
    await use(value)
    await call_in_other_run(partial(expect_refusal, partial(WAITS[wait], value)))
    assert waiting([value]) == 0
    await check_owner(value)


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
async def test_change_by_another_run_raises(
    value: Value,
    use: Use,
    autojump_clock: object,  # noqa: ARG001  time is Trio's
) -> None:
    """V11: the error names set_from_thread, and nothing is changed."""
    await use(value)
    before = repr(value)

    async def intrude() -> None:
        for name, change in CHANGES.items():
            with pytest.raises(
                RuntimeError, match=rf"{name}\(\) .*another (thread|Trio run).*set_from_thread"
            ):
                change(value)

    await call_in_other_run(intrude)
    assert repr(value) == before
    await check_owner(value)


@pytest.mark.parametrize("change", CHANGES)
async def test_thread_that_made_the_value_is_another_thread_than_its_run_s(change: str) -> None:
    """V11: a run that has only looked at a value has it, and not the thread that made it."""
    with PlainThread() as maker:
        value = maker.call(lambda: MemoryValue(0))
        assert await value.watch().get() == 0
        with pytest.raises(RuntimeError, match=rf"{change}\(\) .*set_from_thread"):
            maker.call(partial(CHANGES[change], value))
    assert (value.peek(), value.version) == (0, 1)
    await check_owner(value)


async def test_thread_with_the_id_of_the_maker_s_is_another_thread() -> None:
    """V11: the id of an ended thread says nothing about the thread that has it now."""
    idents: list[int] = []

    def make() -> Value:
        idents.append(threading.get_ident())
        return MemoryValue(0)

    value = call_in_thread(make)
    assert await value.watch().get() == 0
    with pytest.raises(RuntimeError, match=r"set\(\) .*set_from_thread"):
        call_in_thread_with_id(idents[0], partial(value.set, 1))
    assert (value.peek(), value.version) == (0, 1)
    await check_owner(value)


def test_thread_with_the_id_of_a_run_that_is_over_may_run_another() -> None:
    """V11: the run in the new thread has the value, and its threads set it."""
    idents: list[int] = []
    value: Value = MemoryValue(0)

    async def first() -> None:
        idents.append(threading.get_ident())
        await use_cancelled_get(value)

    async def second() -> None:
        value.set(5)
        call_in_thread(partial(value.set_from_thread, 7))
        await wait_all_tasks_blocked()
        assert value.peek() == 7
        await check_owner(value)

    call_in_thread(partial(run_to_the_end, first))
    call_in_thread_with_id(idents[0], partial(run_to_the_end, second))


def test_atomic_block_of_an_ended_thread_is_no_block_of_the_next() -> None:
    """V11, V18: a thread that ended in a block holds back no set in a thread with its id."""
    idents: list[int] = []
    other: Value = MemoryValue(0)
    blocks = [atomic()]

    def enter() -> None:
        idents.append(threading.get_ident())
        blocks[0].__enter__()

    async def in_a_run() -> None:
        await check_owner(other)

    call_in_thread(enter)
    call_in_thread_with_id(idents[0], partial(run_to_the_end, in_a_run))


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
async def test_thread_may_set_as_soon_as_the_run_has_used_the_value(
    value: Value,
    use: Use,
    autojump_clock: object,  # noqa: ARG001  time is Trio's
) -> None:
    """V11: any use makes the run known, so a plain thread needs no token."""
    await use(value)
    call_in_thread(partial(value.set_from_thread, 7))
    await wait_all_tasks_blocked()
    assert value.peek() == 7


@pytest.mark.parametrize("same_thread", [False, True], ids=["other_thread", "same_thread"])
@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_run_after_another_has_the_value(
    use: Use,
    same_thread: bool,  # noqa: FBT001  a parameter of the test's
) -> None:
    """V11: a run that is over has no value, and its token is never used."""
    value: Value = MemoryValue(0)
    run_to_the_end(partial(use_cancelled_get, value))

    async def second() -> None:
        await use(value)
        call_in_thread(partial(value.set_from_thread, 7))
        await wait_all_tasks_blocked()
        assert value.peek() == 7
        await call_in_other_run(partial(expect_refusal, partial(WAITS["get"], value)))
        await check_owner(value)

    if same_thread:
        run_to_the_end(second)
    else:
        call_in_thread(partial(run_to_the_end, second))


@pytest.mark.parametrize(
    "earlier", [None, *USES], ids=lambda use: getattr(use, "__name__", "unused")
)
def test_worker_thread_sets_in_the_run_that_has_started_it(earlier: Use | None) -> None:
    """V11: also if an earlier run has used the value, and this one has not."""
    value: Value = MemoryValue(0)
    if earlier is not None:
        run_to_the_end(partial(earlier, value))

    async def main() -> None:
        await trio.to_thread.run_sync(value.set_from_thread, 7)
        await wait_all_tasks_blocked()
        assert value.peek() == 7

    run_to_the_end(main)


async def test_worker_thread_of_another_run_sets_in_the_owner_s(
    value: Value, nursery: trio.Nursery
) -> None:
    """V11: the value's run takes what any thread sets, whichever run has started the thread."""
    watcher = value.watch()
    await watcher.get()
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()

    async def elsewhere() -> None:
        await trio.to_thread.run_sync(value.set_from_thread, 7)

    await call_in_other_run(elsewhere)
    assert await get.result() == 7


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_plain_thread_after_the_run_gets_an_error_and_sets_nothing(use: Use) -> None:
    """V11: no run is known then, and the next run does not get what was set in vain."""
    value: Value = MemoryValue(0)
    run_to_the_end(partial(use, value))
    before = repr(value)
    with pytest.raises(RuntimeError):
        call_in_thread(partial(value.set_from_thread, 7))
    assert repr(value) == before

    async def second() -> None:
        value.watch()
        await wait_all_tasks_blocked()
        assert repr(value) == before

    run_to_the_end(second)


def test_token_of_a_run_that_is_over_is_refused_in_the_next() -> None:
    """V11: the value belongs to another run, or to none; nothing is set."""
    value: Value = MemoryValue(0)

    async def first() -> trio.lowlevel.TrioToken:
        await use_cancelled_get(value)
        return current_trio_token()

    token = run_to_the_end(first)
    with pytest.raises(trio.RunFinishedError):
        value.set_from_thread(7, trio_token=token)

    async def second() -> None:
        value.set(5)
        with pytest.raises(RuntimeError):
            value.set_from_thread(7, trio_token=token)
        await wait_all_tasks_blocked()
        assert value.peek() == 5

    run_to_the_end(second)


def test_value_of_a_run_that_is_over_may_be_changed_outside_of_a_run() -> None:
    """V11: the run was in another thread; its value is free, and can be set and closed here."""
    value: Value = MemoryValue(0)
    call_in_thread(partial(run_to_the_end, partial(use_cancelled_get, value)))
    assert value.set(5) == 2
    value.close()
    assert value.peek() == 5


def test_values_pass_from_run_to_run_in_any_threads() -> None:
    """V11: each run sets and waits, whether the thread is new or the one of an earlier run."""
    value: Value = MemoryValue(0)
    for where in (call_in_thread, lambda run: run(), call_in_thread, lambda run: run()):
        where(partial(run_to_the_end, partial(check_owner, value)))


async def test_reading_is_free_for_every_thread(value: Value) -> None:
    """V11, V15: what neither changes nor waits works in any thread, and makes no owner."""
    call_in_thread(partial(read, value))
    assert await value.watch().get() == 0
    call_in_thread(partial(read, value))
    await call_in_other_run(partial(read_in_a_run, value))
    await check_owner(value)


def read(value: Value) -> None:
    assert value.peek() == value.map(same).peek() == 0
    assert value.version == value.statistics().version == 1
    assert repr(value) == "<MemoryValue 0 version 1>"


async def read_in_a_run(value: Value) -> None:
    read(value)


# Watchers that a task waits with.
WATCHERS: Final[dict[str, Callable[[MemoryValue[int], ValueMap[str, int]], Watcher[object]]]] = {
    "memory": lambda value, _: value.watch(),
    "derived": lambda value, _: value.map(str).filter(anything).distinct().watch(),
    "timed": lambda value, _: value.throttle(1).debounce(1).watch(),
    "composed": lambda value, _: compose(MemoryValue(0), value).watch(),
    "map": lambda _, peers: peers.watch(),
    "item": lambda value, peers: compose(peers, value).map(str).watch(),
}


async def aclose(watcher: Watcher[object]) -> None:
    await watcher.aclose()


def close(watcher: Watcher[object]) -> None:
    watcher.close()


def leave(watcher: Watcher[object]) -> None:
    with watcher:
        pass


def aclose_in_a_run(watcher: Watcher[object]) -> None:
    run_to_the_end(partial(aclose, watcher))


# Ways to close a watcher in another thread.
CLOSES: Final = (close, leave, aclose_in_a_run)


@pytest.mark.parametrize("call", ["idle", "get", "select"])
@pytest.mark.parametrize("kind", WATCHERS)
async def test_watcher_is_not_closed_in_another_thread(
    nursery: trio.Nursery,
    autojump_clock: object,  # noqa: ARG001  time is Trio's
    kind: str,
    call: str,
) -> None:
    """V7, V11: the close raises and touches nothing, so the task that waits is woken later."""
    value, peers = MemoryValue(0), ValueMap({"a": 1})
    watcher = WATCHERS[kind](value, peers)
    await watcher.get()
    waiting: Call[object] | None = None
    if call == "get":
        waiting = Call(nursery, watcher.get)
    elif call == "select":
        waiting = Call(nursery, partial(select, watcher))
    await wait_all_tasks_blocked()
    for close_it in CLOSES:
        with pytest.raises(
            RuntimeError, match=r"close\(\) .*another (thread|Trio run).*from_thread\.run_sync"
        ):
            call_in_thread(partial(close_it, watcher))
    value.set(7)
    peers.set("a", 7)
    with trio.fail_after(60):
        await (watcher.get() if waiting is None else waiting.result())
    watcher.close()
    with pytest.raises(trio.ClosedResourceError):
        watcher.get_nowait()


def test_watcher_of_a_run_that_is_over_is_closed_anywhere() -> None:
    """V7, V11: no task can wait with it any more."""
    value: Value = MemoryValue(0)
    watcher = value.watch()

    async def main() -> None:
        await watcher.get()
        with trio.move_on_after(1):
            await watcher.get()

    run_to_the_end(main)
    call_in_thread(watcher.close)
    with pytest.raises(trio.ClosedResourceError):
        watcher.get_nowait()


MAP_CHANGES: Final[dict[str, Callable[[ValueMap[str, int]], object]]] = {
    "set": lambda peers: peers.set("b", 2),
    "delete": lambda peers: peers.delete("a"),
    "replace_all": lambda peers: peers.replace_all({}),
    "close": lambda peers: peers.close(),
    "fail": lambda peers: peers.fail(OSError("gone")),
}


async def use_map_set(peers: ValueMap[str, int]) -> None:
    peers.set("a", 1)


async def use_map_replace_all_without_difference(peers: ValueMap[str, int]) -> None:
    peers.replace_all({"a": 1})


async def use_map_watch(peers: ValueMap[str, int]) -> None:
    peers.watch()


async def use_map_get(peers: ValueMap[str, int]) -> None:
    await peers.watch().get()


async def use_map_wait_version(peers: ValueMap[str, int]) -> None:
    await peers.wait_version(1)


MAP_USES: Final = (
    use_map_set,
    use_map_replace_all_without_difference,
    use_map_watch,
    use_map_get,
    use_map_wait_version,
)
MAP_WAITS: Final[dict[str, Callable[[ValueMap[str, int]], Awaitable[object]]]] = {
    "get": get_unseen,
    "get_of_a_composed_value": lambda peers: get_unseen(compose(peers)),
    "select": select_unseen,
    "wait_version": lambda peers: peers.wait_version(100),
    "wait_for": lambda peers: peers.wait_for(lambda batch: len(batch) > 10),
}


@pytest.fixture
def peers() -> ValueMap[str, int]:
    """Make a map outside of the run of the test, in its thread."""
    return ValueMap({"a": 1})


@pytest.mark.parametrize("use", MAP_USES, ids=lambda use: use.__name__)
async def test_any_use_makes_a_map_the_run_s(
    peers: ValueMap[str, int],
    use: Callable[[ValueMap[str, int]], Awaitable[object]],
) -> None:
    """V11, V20: a wait of another run raises, and the owner's map is as it was."""
    await use(peers)
    for wait in MAP_WAITS.values():
        await call_in_other_run(partial(expect_refusal, partial(wait, peers)))
        assert tasks_waiting(peers) == 0
    assert peers.set("b", 2) == peers.version
    assert peers.mapping() == {"a": 1, "b": 2}


@pytest.mark.parametrize("use", MAP_USES, ids=lambda use: use.__name__)
async def test_change_of_a_map_by_another_run_raises(
    peers: ValueMap[str, int],
    use: Callable[[ValueMap[str, int]], Awaitable[object]],
) -> None:
    """V11, V20: the error names trio.from_thread.run_sync, and nothing is changed."""
    await use(peers)
    version = peers.version

    async def intrude() -> None:
        for name, change in MAP_CHANGES.items():
            with pytest.raises(
                RuntimeError,
                match=rf"{name}\(\) .*another (thread|Trio run).*from_thread\.run_sync",
            ):
                change(peers)

    await call_in_other_run(intrude)
    assert (peers.mapping(), peers.version) == ({"a": 1}, version)
    peers.set("b", 2)
    assert peers.mapping() == {"a": 1, "b": 2}


def test_maps_pass_from_run_to_run_in_any_threads() -> None:
    """V11, V20: each run changes the map and waits for it."""
    peers = ValueMap[str, int]({})

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            version = peers.version
            waiting = Call(nursery, partial(peers.wait_version, version + 1))
            await wait_all_tasks_blocked()
            peers.set("a", version)
            await waiting.result()

    for where in (call_in_thread, lambda run: run(), call_in_thread, lambda run: run()):
        where(partial(run_to_the_end, main))
    assert peers.mapping() == {"a": 4}


async def test_eq_is_asked_in_the_run_that_owns_the_value() -> None:
    """V1, V11: a set of an equal value by another run is refused before eq is asked."""
    value = MemoryValue(0, eq=operator.eq)
    value.set(0)

    async def intrude() -> None:
        with pytest.raises(RuntimeError, match=r"set\(\) .*set_from_thread"):
            value.set(0)

    await call_in_other_run(intrude)
    assert value.statistics().suppressed == 1


def test_value_of_a_thread_that_has_ended_may_be_changed_by_any() -> None:
    """V11: as long as the thread lives it has the value, if no run has used that."""
    with PlainThread() as maker:
        value = maker.call(lambda: MemoryValue(0))
        with pytest.raises(RuntimeError, match=r"set\(\) .*another thread"):
            value.set(1)
        maker.call(partial(value.set, 1))
    assert value.set(2) == 3


def test_watcher_made_before_the_run_is_of_the_run_that_uses_it() -> None:
    """V7, V11: a get makes the value, and the watcher, the run's."""
    value: Value = MemoryValue(0)
    watcher = value.watch()

    async def main() -> None:
        assert await watcher.get() == 0
        with pytest.raises(RuntimeError, match=r"close\(\) .*another thread"):
            await trio.to_thread.run_sync(watcher.close)
        await check_owner(value)

    run_to_the_end(main)


async def test_watcher_of_another_run_is_closed_there(value: Value) -> None:
    """V7, V11: what a run may read, it may stop reading; the owner is not disturbed."""
    value.set(1)

    async def elsewhere() -> None:
        with value.watch() as watcher:
            assert await watcher.get() == 1
        index, number = await select(value.watch())
        assert (index, number) == (0, 1)

    await call_in_other_run(elsewhere)
    await check_owner(value)


async def test_watcher_is_not_closed_in_another_thread_in_the_middle_of_a_get(
    value: Value,
) -> None:
    """V7, V11: also where the task that uses it does not wait."""

    def close_elsewhere(number: int) -> int:
        with pytest.raises(RuntimeError, match=r"close\(\) .*another thread"):
            call_in_thread(watcher.close)
        return number

    watcher = value.map(close_elsewhere).watch()
    assert await watcher.get() == 0
    assert value.set(1) == 2
    assert await watcher.get() == 1


async def test_set_from_a_thread_on_its_way_to_a_run_that_has_lost_the_value(
    nursery: trio.Nursery,
) -> None:
    """V11: it is set in the run that has the value now."""
    value: Value = MemoryValue(0)

    async def first() -> None:
        await trio.to_thread.run_sync(value.set_from_thread, 7)
        await wait_all_tasks_blocked()

    watcher = value.watch()
    await watcher.get()
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    await call_in_other_run(first)
    assert await get.result() == 7


async def test_storage_of_another_run_is_not_notified(nursery: trio.Nursery) -> None:
    """V11: notify() raises and touches nothing, so the task that waits is woken later."""
    storage = OwnStorage[int]()
    get = Call(nursery, storage.watch().get)
    await wait_all_tasks_blocked()
    with pytest.raises(RuntimeError, match=r"notify\(\) .*another thread.*from_thread\.run_sync"):
        await trio.to_thread.run_sync(storage.receive, 1)
    await wait_all_tasks_blocked()
    assert not get.ended
    storage.receive(2)
    assert await get.result() == 2

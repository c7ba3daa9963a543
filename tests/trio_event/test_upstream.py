"""The scenarios of Monogon's ``osbase/event``, and its known defects.

The scenarios of its tests and of its example come first, and hold here too. Then one test for each
defect that was found in it shows that this package does not have it. The defects of its etcd
storage do not concern values in memory.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import NodeState, Signal
from trio_event import BacklogDone, MemoryValue, follow, pipe, select

from .helpers.calls import Call, after_this_step, counting
from .helpers.piping import node, received, running

if TYPE_CHECKING:
    from trio_event import Watcher


async def test_watcher_catches_up_with_the_newest_value() -> None:
    """V3: after a hundred sets for which no task waited, a get returns the last."""
    value = MemoryValue(0)
    watcher = value.watch()
    assert await watcher.get() == 0
    for number in range(1, 101):
        value.set(number)
    assert await watcher.get() == 100


async def test_of_two_gets_at_once_one_is_an_error(nursery: trio.Nursery) -> None:
    """V7: one of two tasks may wait with one watcher."""
    value: MemoryValue[int] = MemoryValue()
    watcher = value.watch()
    gets = [Call(nursery, watcher.get) for _ in range(2)]
    await wait_all_tasks_blocked()
    (busy,) = [get for get in gets if get.ended]
    with pytest.raises(trio.BusyResourceError):
        await busy.result()
    value.set(1)
    (other,) = [get for get in gets if get is not busy]
    assert await other.result() == 1


async def test_hundred_watchers_of_different_speed_settle_on_the_last_value(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """V3: each sees the values in order, none twice, and the last one at most a pause late."""
    value = MemoryValue(0)
    start = autojump_clock.current_time()

    async def observe(pause: int) -> list[int]:
        watcher = value.watch()
        seen = [await watcher.get()]
        while seen[-1] != 100:
            await trio.sleep(pause)
            seen.append(await watcher.get())
        assert autojump_clock.current_time() <= start + 200 + pause
        return seen

    observers = [Call(nursery, partial(observe, pause)) for pause in range(100)]
    for number in range(1, 101):
        await trio.sleep(2)
        value.set(number)
    sightings = [await observer.result() for observer in observers]
    assert all(seen == sorted(set(seen)) for seen in sightings)
    assert sightings[0] == list(range(101))


async def test_watcher_works_on_after_a_cancelled_get(nursery: trio.Nursery) -> None:
    """V5: the next get returns the value."""
    value: MemoryValue[int] = MemoryValue()
    watcher = value.watch()
    cancelled = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    await cancelled.cancel()
    assert cancelled.cancelled
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    value.set(1)
    assert await get.result() == 1


async def test_set_between_watch_and_the_first_get_is_what_it_returns() -> None:
    """V3: of the values before and after the watch, the get returns the newer one only."""
    value = MemoryValue(0)
    watcher = value.watch()
    value.set(1)
    assert await watcher.get() == 1
    with pytest.raises(trio.WouldBlock):
        watcher.get_nowait()


async def test_ten_thousand_watchers_in_one_place_do_not_disturb_the_others() -> None:
    """V8: one of a hundred watchers is closed and replaced again and again; all get the value."""
    value: MemoryValue[int] = MemoryValue()
    watchers = [value.watch() for _ in range(100)]
    for _ in range(10_000):
        watchers[10].close()
        watchers[10] = value.watch()
    value.set(1)
    assert value.statistics().tasks_waiting == 0
    assert [await watcher.get() for watcher in watchers] == [1] * 100


@attrs.frozen
class NetworkStatus:
    """What is known of a machine's network."""

    external_address: str | None = None
    default_gateway: str | None = None


async def test_network_service_tells_the_hosts_file(autojump_clock: MockClock) -> None:
    """V22: in Monogon's example, a service's state reaches a writer that is independent of it."""
    status: MemoryValue[NetworkStatus] = MemoryValue()
    log: list[tuple[float, str]] = []
    start = autojump_clock.current_time()

    def note(text: str) -> None:
        log.append((autojump_clock.current_time() - start, text))

    async def network_service() -> None:
        status.set(NetworkStatus())
        for event, address in (
            ("leased", "203.0.113.24"),
            ("changed", "203.0.113.103"),
        ):
            await trio.sleep(1)
            note(event)
            status.set(NetworkStatus(address, "203.0.113.1"))
        await trio.sleep(1)
        status.close()

    async def write_hosts(newest: NetworkStatus) -> None:
        await trio.lowlevel.checkpoint()
        if newest.external_address is not None:
            note(newest.external_address)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, status, write_hosts)
        nursery.start_soon(network_service)
    assert log == [
        (1.0, "leased"),
        (1.0, "203.0.113.24"),
        (2.0, "changed"),
        (2.0, "203.0.113.103"),
    ]


async def test_close_twice_is_no_error() -> None:
    """V7: Monogon's panics."""
    watcher = MemoryValue(1).watch()
    watcher.close()
    watcher.close()


async def test_get_that_waits_is_woken_by_close(nursery: trio.Nursery) -> None:
    """V7: Monogon's waits until its context ends."""
    value: MemoryValue[int] = MemoryValue()
    watcher = value.watch()
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    watcher.close()
    with pytest.raises(trio.ClosedResourceError):
        await get.result()


async def test_get_after_close_returns_no_value() -> None:
    """V7: Monogon's returns the buffered value, and the next one blocks for ever."""
    watcher = MemoryValue(1).watch()
    watcher.close()
    for _ in range(2):
        with pytest.raises(trio.ClosedResourceError):
            await watcher.get()


async def test_set_does_not_go_through_the_watchers() -> None:
    """V1, V8: Monogon's does, under a lock, and removes the closed ones only then."""
    value = MemoryValue(0)
    watchers = [value.watch() for _ in range(1000)]
    for watcher in watchers[::2]:
        watcher.close()
    with counting() as counts:
        value.set(1)
    assert not counts.scheduled
    assert value.statistics().tasks_waiting == 0


async def test_cancelled_get_never_returns_the_value() -> None:
    """V5: Monogon's returns it half of the time."""
    value = MemoryValue(1)
    watcher = value.watch()
    for _ in range(100):
        with trio.CancelScope() as scope:
            scope.cancel()
            await watcher.get()
        assert scope.cancelled_caught
    assert await watcher.get() == 1


async def test_filtered_get_consumes_nothing_that_it_rejects() -> None:
    """V6: Monogon's next get without the filter blocks, although the value was never returned."""
    watcher = MemoryValue(1).watch()
    with trio.CancelScope() as scope:
        after_this_step(scope.cancel)
        await watcher.get(predicate=lambda number: number > 1)
    assert scope.cancelled_caught
    assert await watcher.get() == 1


async def test_value_that_the_filter_accepts_is_returned_though_an_older_one_was_rejected(
    nursery: trio.Nursery,
) -> None:
    """V6: the filter is asked about each newest value when the task runs, until one satisfies."""
    value = MemoryValue(2)
    get = Call(nursery, partial(value.watch().get, predicate=lambda number: number == 100))
    await wait_all_tasks_blocked()
    value.set(2)
    value.set(100)
    assert await get.result() == 100


async def test_backlog_is_supported_and_has_an_error_of_its_own() -> None:
    """V10: Monogon's storage in memory returns an error of no type."""
    watcher = MemoryValue(1).watch()
    assert await watcher.get(backlog_only=True) == 1
    with pytest.raises(BacklogDone):
        await watcher.get(backlog_only=True)


async def test_value_says_when_no_more_will_come(nursery: trio.Nursery) -> None:
    """V9: Monogon's has no end, and its watchers wait for ever."""
    value = MemoryValue(1)
    watcher = value.watch()
    assert await watcher.get() == 1
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    value.close()
    with pytest.raises(trio.EndOfChannel):
        await get.result()


async def test_two_sets_before_the_receiver_runs_give_it_the_second(
    nursery: trio.Nursery,
) -> None:
    """V4: Monogon's gives a waiting watcher the first, against its own contract."""
    value: MemoryValue[str] = MemoryValue()
    watcher = value.watch()
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    value.set("old")
    value.set("new")
    assert await get.result() == "new"
    with pytest.raises(trio.WouldBlock):
        watcher.get_nowait()


async def test_equal_values_are_updates_only_if_they_are_to_be() -> None:
    """V1: Monogon's gives no choice."""
    every, changes = MemoryValue(1), MemoryValue(1, eq=lambda old, new: old == new)
    watchers = (every.watch(), changes.watch())
    for watcher in watchers:
        assert await watcher.get() == 1
    every.set(1)
    changes.set(1)
    assert await watchers[0].get() == 1
    with pytest.raises(trio.WouldBlock):
        watchers[1].get_nowait()


async def test_pipe_does_not_hold_on_to_an_old_value() -> None:
    """V13: Monogon's blocks on the send of the value that was new when it began."""
    value = MemoryValue("old")
    send, receive = trio.open_memory_channel[str](0)
    async with running({"pipe": pipe(value, send)}):
        value.set("new")
        await wait_all_tasks_blocked()
        assert await receive.receive() == "new"


async def test_filter_of_a_pipe_consumes_nothing() -> None:
    """V6, V13: a value that one pipe's filter rejects is sent by another pipe."""
    value = MemoryValue(1)
    big_send, big = trio.open_memory_channel[int](0)
    all_send, everything = trio.open_memory_channel[int](0)
    group = {
        "big": pipe(value, big_send, predicate=lambda number: number > 10),
        "all": pipe(value, all_send),
    }
    async with running(group) as tree:
        assert await received(everything) == 1
        value.set(11)
        assert await received(big) == 11
        assert await received(everything) == 11
        assert node(tree, "big").state is NodeState.HEALTHY


async def test_consumer_of_several_values_needs_no_pipe() -> None:
    """V14: Monogon needs a pipe for each value; here the consumer selects."""
    lease: MemoryValue[str] = MemoryValue()
    cluster: MemoryValue[str] = MemoryValue()
    seen: set[tuple[str, str]] = set()

    async def consume(watch_lease: Watcher[str], watch_cluster: Watcher[str]) -> None:
        supervisor.signal(Signal.HEALTHY)
        while True:
            seen.add(await select(lease=watch_lease, cluster=watch_cluster))

    async with running({"consumer": partial(consume, lease.watch(), cluster.watch())}):
        lease.set("203.0.113.24")
        cluster.set("home")
        await wait_all_tasks_blocked()
        assert seen == {("lease", "203.0.113.24"), ("cluster", "home")}

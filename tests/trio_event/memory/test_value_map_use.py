"""Maps where other values are taken: in pipes, followed, composed, in time (V20)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_event import UNSET, Change, MemoryValue, Unset, ValueMap, compose, follow, pipe

from ..helpers.calls import Call
from ..helpers.piping import running

if TYPE_CHECKING:
    from trio.testing import MockClock


def flat(batch: tuple[Change[str, int], ...]) -> list[tuple[str, int | Unset, int | Unset]]:
    return [(change.key, change.old, change.new) for change in batch]


async def take_long(_: object) -> None:
    await trio.sleep_forever()


async def test_pipe_sends_all_batches_of_a_map() -> None:
    """V13, V20: a batch that the consumer has not taken yet is not replaced by the next."""
    peers = ValueMap({"a": 1})
    send, receive = trio.open_memory_channel[list[tuple[str, int | Unset, int | Unset]]](0)
    known: list[tuple[str, int | Unset, int | Unset]] = []
    async with running({"pipe": pipe(peers.map(flat), send)}):
        await wait_all_tasks_blocked()
        for number in (2, 3):
            peers.set("b", number)
            await wait_all_tasks_blocked()
        for _ in range(2):
            known += await receive.receive()
            await wait_all_tasks_blocked()
    assert known == [("a", UNSET, 1), ("b", UNSET, 3)]


async def test_follow_of_a_map_loses_no_batch(nursery: trio.Nursery) -> None:
    """V20, V22: with latest it would, so that is refused; the whole can be followed so."""
    peers = ValueMap({"a": 1})
    with pytest.raises(ValueError, match=r"would lose .* <ValueMap .* compose\(\) of it"):
        await follow(peers.throttle(1), take_long, latest=True)
    seen: list[list[str]] = []

    async def look(parts: tuple[tuple[Change[str, int], ...]]) -> None:
        seen.append([change.key for change in parts[0]])
        await trio.sleep_forever()

    nursery.start_soon(partial(follow, compose(peers), look, latest=True))
    await wait_all_tasks_blocked()
    peers.set("b", 2)
    await wait_all_tasks_blocked()
    assert seen == [["a"], ["a", "b"]]


async def test_map_that_lets_time_pass_is_asked_about_and_composed_as_a_whole(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """V16, V18, V20: as one that does not."""
    peers = ValueMap({"a": 1})
    throttled = peers.throttle(2)
    two = Call(nursery, partial(throttled.wait_for, lambda batch: len(batch) == 2))
    watcher = compose(throttled, MemoryValue(0)).map(lambda parts: flat(parts[0])).watch()
    assert await watcher.get() == [("a", UNSET, 1)]
    await trio.sleep(1)
    peers.set("b", 2)
    assert await watcher.get() == [("a", UNSET, 1), ("b", UNSET, 2)]
    assert autojump_clock.current_time() == 2
    assert flat(await two.result()) == [("a", UNSET, 1), ("b", UNSET, 2)]


async def test_pipe_of_a_map_that_is_stopped_leaves_nothing_behind() -> None:
    """V5, V13, V20: cancelled while it waits for the consumer; the next has all that there is."""
    peers = ValueMap({"a": 1})
    send, receive = trio.open_memory_channel[tuple[Change[str, int], ...]](0)
    async with running({"pipe": pipe(peers, send)}):
        assert send.statistics().tasks_waiting_send == 1
    assert send.statistics().tasks_waiting_send == 0
    async with running({"pipe": pipe(peers, send)}):
        assert flat(await receive.receive()) == [("a", UNSET, 1)]


async def test_cancelled_wait_version_of_a_map_leaves_nothing_behind(
    nursery: trio.Nursery,
) -> None:
    """V5, V15, V20: cancelled while it waits for the change."""
    peers = ValueMap({"a": 1})
    waiting = Call(nursery, partial(peers.wait_version, 2))
    await wait_all_tasks_blocked()
    assert len(peers._ticks._line) == 1
    await waiting.cancel()
    assert waiting.cancelled
    assert len(peers._ticks._line) == 0


async def test_unset_is_no_value_of_a_key() -> None:
    """V20: it is refused, with what to call instead, and nothing is changed."""
    peers: ValueMap[str, object] = ValueMap({"a": 1})
    for change in (
        partial(peers.set, "a", UNSET),
        partial(peers.set, "b", UNSET),
        partial(peers.replace_all, {"b": 2, "a": UNSET}),
        partial(ValueMap, {"a": UNSET}),
    ):
        with pytest.raises(TypeError, match=r"given UNSET for '\w', .*: delete\(\) the key"):
            change()
    assert (dict(peers.mapping()), peers.version) == ({"a": 1}, 1)


async def test_mapping_that_is_known_to_be_empty_has_data() -> None:
    """V20: it begins with what is empty, or is made equal to that; a new one knows nothing."""
    unknown: ValueMap[str, int] = ValueMap()
    assert (unknown.version, unknown.peek(None)) == (0, None)
    assert [unknown.replace_all({}) for _ in range(2)] == [1, 1]
    for empty in (unknown, ValueMap[str, int]({})):
        assert (empty.version, empty.peek()) == (1, ())
        with trio.fail_after(1):
            assert await compose(empty).watch().get() == ((),)
        with pytest.raises(trio.WouldBlock):
            empty.watch().get_nowait()

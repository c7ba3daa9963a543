"""Following a LogBuffer: what is there, then what comes, without a gap and nothing twice."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from supervisor import InvalidNameError
from supervisor.logs import LogBuffer

from ..helpers.buffers import attached, put, texts

# Behind all other places, so that the packages which are tested stay those of the wheel.
sys.path.append(str(Path(__file__).parents[3]))

from benchmarks.soak.followers import follow

if TYPE_CHECKING:
    from supervisor.logs import LogEntry, LogFollower

QUEUE_LENGTH = 1000
"""How far behind a follower may be."""


def fill(buffer: LogBuffer, count: int, dn: str = "root", *, start: int = 1) -> None:
    for number in range(start, start + count):
        put(buffer, dn, "%d", number)


async def taken(follower: LogFollower, count: int) -> list[LogEntry]:
    """Receive so many entries."""
    return [await follower.receive() for _ in range(count)]


async def is_idle(follower: LogFollower) -> bool:
    """Return whether nothing can be received now."""
    with trio.move_on_after(0) as scope:
        await follower.receive()
    return scope.cancelled_caught


# What comes


async def test_what_is_there_comes_first_and_then_what_comes() -> None:
    """S36: the last n in order, then each new entry, once."""
    buffer = LogBuffer()
    fill(buffer, 5)
    with buffer.follow(n=3) as follower:
        fill(buffer, 2, start=6)
        assert texts(await taken(follower, 5)) == ["3", "4", "5", "6", "7"]
        assert await is_idle(follower)
        assert follower.missed == 0


async def test_only_what_is_wanted_comes() -> None:
    """S36: of the subtree, and from the level on, in what is there and in what comes."""
    buffer = LogBuffer()
    with buffer.follow("root.net", level=logging.WARNING, n=None) as before:
        for dn in ("root", "root.net", "root.network", "root.net.dns", "-"):
            put(buffer, dn, "%s", f"{dn} low")
            put(buffer, dn, "%s", dn, level=logging.WARNING)
        with buffer.follow("root.net", level=logging.WARNING, n=None) as after:
            expected = ["root.net", "root.net.dns"]
            assert texts(await taken(before, 2)) == expected
            assert texts(await taken(after, 2)) == expected
            assert await is_idle(before)
            assert await is_idle(after)


async def test_a_waiting_task_gets_what_a_thread_logs() -> None:
    """S36: records come from any thread; the channel can be iterated."""
    logger = logging.getLogger("tests.follower")
    with attached(logger) as buffer, buffer.follow() as follower:
        async with trio.open_nursery() as nursery:

            async def consume() -> None:
                async for entry in follower:
                    received.append(entry.text)  # noqa: PERF401  at once, not at the end

            received: list[str] = []
            nursery.start_soon(consume)
            await wait_all_tasks_blocked()
            await trio.to_thread.run_sync(logger.warning, "from a thread")
            await wait_all_tasks_blocked()
            assert received == ["from a thread"]
            logger.warning("from a task")
            await wait_all_tasks_blocked()
            assert received == ["from a thread", "from a task"]
            buffer.close()


async def test_several_tasks_share_a_follower() -> None:
    """S36: each entry goes to one of them."""
    buffer = LogBuffer()
    received: list[str] = []

    async def consume(follower: LogFollower) -> None:
        received.append((await follower.receive()).text)

    with buffer.follow() as follower:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consume, follower)
            nursery.start_soon(consume, follower)
            await wait_all_tasks_blocked()
            put(buffer, "root", "a")
            await wait_all_tasks_blocked()
            assert received == ["a"]
            put(buffer, "root", "b")
    assert received == ["a", "b"]


async def test_trio_is_woken_only_where_nothing_was_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """S36: a burst of records is one entry in Trio's queue."""
    woken: list[object] = []
    buffer = LogBuffer()
    with buffer.follow() as follower:
        run_sync_soon = follower._token.run_sync_soon

        class Token:
            def run_sync_soon(self, *args: Any, **options: Any) -> None:  # noqa: ANN401
                woken.append(args)
                run_sync_soon(*args, **options)

        monkeypatch.setattr(follower, "_token", Token())
        fill(buffer, 100)
        assert len(woken) == 1
        await taken(follower, 100)
        fill(buffer, 1)
        assert len(woken) == 2


# What is missing


async def test_a_slow_follower_loses_the_oldest_and_is_told_how_many() -> None:
    """S36: it keeps 1000; missed grows at the entry that comes after the gap."""
    buffer = LogBuffer(per_node=10)
    fill(buffer, 2)
    with buffer.follow() as follower:
        fill(buffer, QUEUE_LENGTH + 7, start=3)
        assert texts(await taken(follower, 2)) == ["1", "2"]
        assert follower.missed == 0
        assert (await follower.receive()).seq == 3 + 7
        assert follower.missed == 7
        rest = await taken(follower, QUEUE_LENGTH - 1)
        assert rest[-1].seq == QUEUE_LENGTH + 9
        fill(buffer, 1)
        await follower.receive()
        assert follower.missed == 7


async def test_what_is_there_may_be_more_than_the_limit() -> None:
    """S36: the limit is for what comes; n=None gives all that is there."""
    buffer = LogBuffer(per_node=3000)
    fill(buffer, 3000)
    with buffer.follow(n=None) as follower:
        assert [entry.seq for entry in await taken(follower, 3000)] == list(range(1, 3001))
        assert follower.missed == 0


# Resuming


async def test_a_follower_resumes_after_an_entry() -> None:
    """S36: all later entries come, whatever n is, and none of the earlier ones."""
    buffer = LogBuffer()
    fill(buffer, 9)
    with buffer.follow(n=1, after=4) as follower:
        assert follower.missed == 0
        assert texts(await taken(follower, 5)) == ["5", "6", "7", "8", "9"]
        assert await is_idle(follower)
    with buffer.follow(after=9) as follower:
        assert await is_idle(follower)
        fill(buffer, 1, start=10)
        assert texts(await taken(follower, 1)) == ["10"]


async def test_what_has_left_the_buffer_meanwhile_is_counted() -> None:
    """S36: of all entries, that is exact."""
    buffer = LogBuffer(per_node=3)
    fill(buffer, 10)
    with buffer.follow(after=5) as follower:
        assert follower.missed == 2
        assert texts(await taken(follower, 3)) == ["8", "9", "10"]
        assert follower.missed == 2


async def test_what_other_nodes_have_lost_is_not_missed() -> None:
    """S36: a subtree that has lost nothing misses nothing, however much others log."""
    buffer = LogBuffer(per_node=3)
    put(buffer, "root.quiet", "a")
    fill(buffer, 100, "root.noisy")
    put(buffer, "root.quiet", "b")
    with buffer.follow("root.quiet", after=1) as follower:
        assert follower.missed == 0
        assert texts(await taken(follower, 1)) == ["b"]


async def test_of_a_subtree_at_most_so_many_are_missed() -> None:
    """S36: it is known how many it has lost in all, and which one was the last."""
    buffer = LogBuffer(per_node=3)
    for number in range(1, 18):
        put(buffer, "root.net" if number % 2 else "root.other", "%d", number)
    # root.net has had 1, 3, ..., 17, and has dropped all up to 11. root.other has 12, 14, 16.
    for after, missed in ((0, 6), (2, 6), (9, 2), (10, 1), (11, 0), (17, 0)):
        with buffer.follow("root.net", after=after) as follower:
            assert follower.missed == missed


async def test_what_vanished_nodes_had_logged_may_be_missed() -> None:
    """S36: of DNs without entries it is not known whose were dropped."""
    buffer = LogBuffer(total=3)
    for number in range(1, 11):
        put(buffer, f"root.pool.{number}", "%d", number)
    with buffer.follow("root.pool", after=2) as follower:
        assert follower.missed == 5
        assert texts(await taken(follower, 3)) == ["8", "9", "10"]
    with buffer.follow("root.pool", after=7) as follower:
        assert follower.missed == 0


def test_an_entry_of_another_buffer_is_refused() -> None:
    """S36: a number that the buffer has not given is an error, at the call."""
    buffer = LogBuffer()
    fill(buffer, 3)
    with pytest.raises(ValueError, match="after=4 is not an entry of this buffer, whose last"):
        buffer.follow(after=4)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"dn": "net"}, InvalidNameError, "dn='net'"),
        ({"n": -1}, ValueError, "n=-1"),
        ({"level": -1}, ValueError, "level=-1"),
        ({"after": -1}, ValueError, "after=-1"),
        ({"after": "7"}, TypeError, "after='7'"),
    ],
)
def test_follow_refuses_what_makes_no_sense(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    """S36: a wrong argument is named, at the call."""
    with pytest.raises(error, match=text):
        LogBuffer().follow(**arguments)


def test_a_follower_needs_trio() -> None:
    """S36: entering outside of Trio changes nothing."""
    buffer = LogBuffer()
    with pytest.raises(RuntimeError, match="async context"), buffer.follow():
        pass
    assert buffer._followers == ()


# Ends


async def test_leaving_the_block_closes_the_channel() -> None:
    """S36: nothing is told any more, and a task that waits is told that it is closed."""
    buffer = LogBuffer()
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await follower.receive()

        with buffer.follow() as follower:
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
    fill(buffer, 1)
    with pytest.raises(trio.ClosedResourceError):
        await follower.receive()
    assert buffer._followers == ()


async def test_a_thread_can_close_a_follower() -> None:
    """S36: ends of followers come from any thread."""
    buffer = LogBuffer()
    with buffer.follow() as follower:
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await follower.receive()

            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            await trio.to_thread.run_sync(follower.close)
    assert buffer._followers == ()


async def test_aclose_closes_even_if_cancelled() -> None:
    """S36: a checkpoint, after it is closed."""
    buffer = LogBuffer()
    with buffer.follow() as follower:
        with trio.CancelScope() as scope:
            scope.cancel()
            await follower.aclose()
        assert scope.cancelled_caught
        with assert_checkpoints(), pytest.raises(trio.ClosedResourceError):
            await follower.receive()
        with assert_checkpoints():
            await follower.aclose()


async def test_the_channels_of_a_closed_buffer_end() -> None:
    """S36: after what is left; a follower that comes later gets what is there."""
    buffer = LogBuffer()
    fill(buffer, 1)
    with buffer.follow() as follower:
        buffer.close()
        assert texts([entry async for entry in follower]) == ["1"]
        with assert_checkpoints(), pytest.raises(trio.EndOfChannel):
            await follower.receive()
    with buffer.follow() as follower:
        assert texts([entry async for entry in follower]) == ["1"]


async def test_a_waiting_task_sees_the_end_of_the_buffer() -> None:
    """S36: close() wakes it."""
    buffer = LogBuffer()
    with buffer.follow() as follower:
        async with trio.open_nursery() as nursery:

            async def consume() -> None:
                assert [entry async for entry in follower] == []

            nursery.start_soon(consume)
            await wait_all_tasks_blocked()
            buffer.close()


def test_a_follower_of_a_run_that_has_ended_harms_no_record() -> None:
    """S36: a record that nobody can be woken for is kept as any other."""
    buffer = LogBuffer()

    async def leave_it() -> None:
        await trio.lowlevel.checkpoint()
        left.append(buffer.follow().__enter__())

    left: list[LogFollower] = []
    trio.run(leave_it)
    fill(buffer, 3)
    left[0].close()
    assert len(buffer.read()) == 3


# Cancellation


async def test_a_cancelled_receive_takes_nothing() -> None:
    """S36: neither before it waits, nor while it waits."""
    buffer = LogBuffer()
    fill(buffer, 1)
    with buffer.follow() as follower:
        assert await is_idle(follower)  # cancelled at its checkpoint, although there is an entry
        assert texts(await taken(follower, 1)) == ["1"]
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                await follower.receive()

            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            fill(buffer, 1, start=2)
            nursery.cancel_scope.cancel()  # in the step in which the entry has come
        assert texts(await taken(follower, 1)) == ["2"]


async def test_receive_is_a_checkpoint_with_and_without_entries() -> None:
    """S36: a follower with much to do lets others run."""
    buffer = LogBuffer()
    fill(buffer, 1)
    with buffer.follow() as follower, assert_checkpoints():
        await follower.receive()


# Many threads, many followers


async def test_each_follower_sees_an_unbroken_run_or_how_many_it_has_missed() -> None:
    """S36: threads write as fast as they can, while followers come and go."""
    lives = await follow(threads=4, records=6000, followers=5)
    assert lives
    assert all(life.is_whole for life in lives)
    assert max(life.last for life in lives) == 6000

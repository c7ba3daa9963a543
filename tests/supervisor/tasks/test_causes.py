"""The cause of a death is on record, also where another member is blamed for it first."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, NodeSnapshot, RestartLimit, Signal, Snapshot
from supervisor.testing import HarnessError, Remote, open_harness

from ..helpers.loggers import text_of

if TYPE_CHECKING:
    from trio.testing import MockClock

NEVER = Backoff(initial=1000.0, maximum=1000.0, jitter=0.0)
CAUSE = "ValueError: the real cause"

Runnable = Callable[[], Awaitable[None]]


async def fail_in_finally(send: trio.MemorySendChannel[int]) -> NoReturn:
    """Fail where the clean-up lets the consumer end, and then waits."""
    try:
        await trio.sleep(1.0)
        raise ValueError("the real cause")
    finally:
        send.close()
        await trio.sleep(1.0)


async def fail_in_nursery(send: trio.MemorySendChannel[int]) -> None:
    """Fail in a task of an own nursery, which is cancelled while that task cleans up."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_in_finally, send)
        await trio.sleep_forever()


async def fail_in_context_manager(send: trio.MemorySendChannel[int]) -> NoReturn:
    """Fail in the body of a context manager that is a generator."""

    @asynccontextmanager
    async def closing() -> AsyncIterator[None]:
        try:
            yield
        finally:
            send.close()
            await trio.sleep(1.0)

    async with closing():
        await trio.sleep(1.0)
        raise ValueError("the real cause")


async def fail_twice(send: trio.MemorySendChannel[int]) -> NoReturn:
    """Fail, and be cancelled once more on the way out."""
    try:
        try:
            await trio.sleep(1.0)
            raise ValueError("the real cause")
        finally:
            send.close()
            await trio.sleep(1.0)
    finally:
        await trio.lowlevel.checkpoint()


async def consume(receive: trio.MemoryReceiveChannel[int]) -> None:
    """End when the channel does, which is no good end of a runnable."""
    supervisor.signal(Signal.HEALTHY)
    async for _ in receive:
        pass


def node(snapshot: Snapshot, dn: str) -> NodeSnapshot:
    """Return one node of a snapshot."""
    return snapshot.nodes[dn]


@pytest.mark.parametrize(
    "produce",
    [fail_in_finally, fail_in_nursery, fail_in_context_manager, fail_twice],
)
@pytest.mark.parametrize("grace", [0.0, 0.1])
async def test_an_error_that_cancellation_replaced_is_on_record(
    produce: Callable[[trio.MemorySendChannel[int]], Awaitable[None]],
    grace: float,
    caplog: pytest.LogCaptureFixture,
    autojump_clock: MockClock,
) -> None:
    """S5, S14: it is the node's stop error, named in the record of the death, and in the log."""

    async def root() -> None:
        send, receive = trio.open_memory_channel[int](0)
        members: dict[str, Runnable] = {
            "producer": partial(produce, send),
            "consumer": partial(consume, receive),
        }
        supervisor.run_group(members, backoff=NEVER, grace=grace)
        await trio.sleep_forever()

    async with open_harness(root) as tree:
        await trio.sleep(9.0)
        snapshot = tree.snapshot()
    error = node(snapshot, "root.producer").stop_error
    assert error is not None
    assert error.error == CAUSE
    (death,) = node(snapshot, "root.consumer").crashes
    assert death.error.startswith("UnexpectedReturnError")
    assert death.meanwhile == f"root.producer was failing with {CAUSE}"
    assert f"while root.producer was failing with {CAUSE}" in str(snapshot)
    (record,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert record.name == "supervisor.node.root.producer"
    assert CAUSE in record.getMessage()
    assert "raise ValueError" in text_of(record)
    assert autojump_clock.current_time() == 9.0


async def test_the_error_of_a_group_that_gives_up_names_the_cause(
    autojump_clock: MockClock,
) -> None:
    """S10, S14: the message and the causes of RestartLimitExceeded have it."""

    async def parent() -> None:
        send, receive = trio.open_memory_channel[int](0)
        members: dict[str, Runnable] = {
            "producer": partial(fail_in_finally, send),
            "consumer": partial(consume, receive),
        }
        supervisor.run_group(members, limit=RestartLimit(0, within=1.0))
        await trio.sleep_forever()

    async def root() -> None:
        supervisor.run("parent", parent, backoff=NEVER)
        await trio.sleep_forever()

    async with open_harness(root) as tree:
        await trio.sleep(10.0)
        (crash,) = node(tree.snapshot(), "root.parent").crashes
    assert crash.error.startswith("RestartLimitExceeded")
    assert f"while root.parent.producer was failing with {CAUSE}" in crash.error
    assert autojump_clock.current_time() == 10.0


def fail() -> NoReturn:
    """Fail, for a caller that handles it."""
    raise OSError("handled by the caller")


async def test_the_error_of_the_task_that_cancels_is_not_taken_for_an_own(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """S5: a node that was only cancelled has no stop error, whatever its canceller is handling."""
    remote = Remote()

    async def root() -> None:
        other = supervisor.run("other", trio.sleep_forever)
        supervisor.run_group({"dies": remote, "sibling": trio.sleep_forever}, backoff=NEVER)
        await wait_all_tasks_blocked()
        try:
            fail()
        except OSError:
            await other.stop()
        await trio.sleep_forever()

    async with open_harness(root) as tree:
        await remote.die()
        await trio.sleep(1.0)
        nodes = tree.snapshot().nodes
        assert nodes["root.sibling"].stop_error is None
        assert nodes["root.other"].stop_error is None
        assert nodes["root.dies"].crashes[-1].meanwhile == ""
        assert not [each for each in caplog.records if each.levelno == logging.WARNING]
    assert autojump_clock.current_time() == 1.0


async def test_a_stop_error_has_no_context_of_another_task(autojump_clock: MockClock) -> None:
    """S14: what a member raises while it is stopped does not show the death of its sibling."""
    remote = Remote()

    async def stubborn() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("in the clean-up")

    async def root() -> None:
        supervisor.run_group({"dies": remote, "stubborn": stubborn}, backoff=NEVER)
        await trio.sleep_forever()

    async with open_harness(root) as tree:
        await remote.die()
        await trio.sleep(1.0)
        error = tree.snapshot().nodes["root.stubborn"].stop_error
    assert error is not None
    assert "in the clean-up" in error.traceback
    assert "supervisor.testing.RemoteDeathError" not in error.traceback
    assert error.traceback.count("Traceback") == 2  # of the error, and of its own Cancelled
    assert autojump_clock.current_time() == 1.0


async def test_repeated_deaths_are_summarised_whatever_happened_meanwhile(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """S17: what others were failing with makes no new death of the same one."""

    def group() -> dict[str, Runnable]:
        send, receive = trio.open_memory_channel[int](0)
        return {
            "producer": partial(fail_in_finally, send),
            "consumer": partial(consume, receive),
        }

    async def root() -> None:
        supervisor.run_group(group, backoff=Backoff(initial=1.0, maximum=1.0, jitter=0.0))
        await trio.sleep_forever()

    async with open_harness(root):
        await trio.sleep(10.5)
    deaths = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    assert len(deaths) == 5
    assert ["the same death again" in text for text in deaths] == [False, True, True, True, True]
    assert autojump_clock.current_time() == 10.5


async def test_a_function_that_fails_at_a_restart_is_in_the_snapshot(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """S8, S14, S17: its failures are crashes of each member, and repetitions are summarised."""
    starts = 0

    async def dies() -> NoReturn:
        raise OSError("the first death")

    def group() -> dict[str, Runnable]:
        nonlocal starts
        starts += 1
        if starts > 1:
            raise OSError("no channels today")
        return {"a": dies, "b": trio.sleep_forever}

    async def root() -> None:
        supervisor.run_group(group, backoff=Backoff(initial=1.0, maximum=1.0, jitter=0.0))
        await trio.sleep_forever()

    async with open_harness(root) as tree:
        await trio.sleep(3.5)
        nodes = tree.snapshot().nodes
    failed = ["OSError: no channels today"] * 3
    assert [crash.error for crash in nodes["root.a"].crashes] == [
        "OSError: the first death",
        *failed,
    ]
    assert [crash.error for crash in nodes["root.b"].crashes] == failed
    assert nodes["root.b"].crashes[0].dn == "root.{a,b}"
    texts = [text_of(each) for each in caplog.records if "no channels" in each.getMessage()]
    assert ["Traceback" in text for text in texts] == [True, False, False]
    assert autojump_clock.current_time() == 3.5


@pytest.mark.parametrize(
    ("error", "level", "lines"),
    [
        (SystemExit(3), "INFO", 1),
        (GeneratorExit("odd"), "ERROR", 4),
    ],
)
async def test_what_leaves_the_tree_is_logged_with_its_node(
    error: BaseException, level: str, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    """S11: SystemExit leaves with one line, other exceptions that are no Exception with more."""
    caplog.set_level(logging.INFO)

    async def leave() -> NoReturn:
        raise error

    async def root() -> None:
        supervisor.run("leaver", leave)
        await trio.sleep_forever()

    with pytest.raises(type(error)):
        await supervisor.supervise(root)
    (record,) = [each for each in caplog.records if each.name != "supervisor"]
    assert (record.name, record.levelname) == ("supervisor.node.root.leaver", level)
    assert record.getMessage().startswith(f"root.leaver raised {type(error).__name__}: ")
    assert text_of(record).count("\n") + 1 >= lines


async def test_the_root_of_a_harness_is_named_with_its_cause(autojump_clock: MockClock) -> None:
    """S14: a harness whose root gives up tells what its members were failing with."""

    async def root() -> None:
        send, receive = trio.open_memory_channel[int](0)
        members: dict[str, Runnable] = {
            "producer": partial(fail_in_finally, send),
            "consumer": partial(consume, receive),
        }
        supervisor.run_group(members, limit=RestartLimit(0, within=1.0))
        await trio.sleep_forever()

    with pytest.raises(HarnessError, match=CAUSE):
        async with open_harness(root):
            await trio.sleep(10.0)
    assert autojump_clock.current_time() == 1.0

"""What is kept, logged and let go of when a runnable ends in an uncommon way."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from typing import NoReturn

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, NodeState, NotSupervisedError, Pool, RestartLimit, Signal
from supervisor.testing import open_harness

PATIENT = Backoff(initial=1000.0, maximum=1000.0, jitter=0.0)


async def idle() -> None:
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


class Resource:
    """Something that a runnable uses."""


async def test_a_request_is_seen_by_who_asks_for_the_first_time_in_its_grace(
    autojump_clock: MockClock,
) -> None:
    """S21: a runnable that was busy when it was asked to stop learns of it afterwards."""

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(2.0)
        with assert_checkpoints():
            await supervisor.wait_stop_requested()

    async with supervisor.open_supervisor(root, grace=100.0) as tree:
        await tree.wait_ready()
    assert autojump_clock.current_time() == 2.0


@pytest.mark.parametrize("fatal", [SystemExit(3), KeyboardInterrupt()])
async def test_what_leaves_is_no_death(
    fatal: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """S11: its node is DEAD, but there is nothing to restart, to log or to keep on record."""
    tree = None

    async def child() -> NoReturn:
        raise fatal

    async def root() -> None:
        supervisor.run("child", child)
        await idle()

    with pytest.raises(type(fatal)):
        async with supervisor.open_supervisor(root) as tree:
            await trio.sleep_forever()
    assert tree is not None
    node = tree.snapshot().nodes["root.child"]
    assert (node.state, node.crashes) == (NodeState.DEAD, ())
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_uptime_counts_from_the_start_of_the_incarnation(autojump_clock: MockClock) -> None:
    """S14: not from when it became healthy, nor with what its children took to end."""

    async def slow() -> None:
        try:
            await idle()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(10.0)

    async def child() -> NoReturn:
        supervisor.run("slow", slow)
        await trio.sleep(2.0)
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(3.0)
        raise OSError

    async def root() -> None:
        supervisor.run("child", child, backoff=PATIENT)
        await idle()

    async with supervisor.open_supervisor(root) as tree:
        await trio.sleep(20.0)
        (crash,) = tree.snapshot().nodes["root.child"].crashes
        assert (crash.time, crash.uptime) == (5.0, 5.0)
    assert autojump_clock.current_time() == 20.0


async def test_giving_up_keeps_nothing_alive_that_the_child_used() -> None:
    """S14: while the parent waits for its restart, the error that it died of is text only."""
    used: list[weakref.ref[Resource]] = []

    async def child() -> NoReturn:
        resource = Resource()
        used.append(weakref.ref(resource))
        raise OSError

    async def parent() -> None:
        supervisor.run("child", child, limit=RestartLimit(0, within=1.0))
        await idle()

    async def root() -> None:
        supervisor.run("parent", parent, backoff=PATIENT)
        await idle()

    async with supervisor.open_supervisor(root) as tree:
        await tree.wait_settled()
        await wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root.parent"].group.deadline is not None
        gc.collect()
        assert used[0]() is None


async def test_a_thread_that_knows_no_trio_is_refused_by_a_pool() -> None:
    """S23: also one that neither Trio nor a runnable has started."""
    pools: list[Pool] = []
    errors: list[Exception] = []

    async def root() -> None:
        pools.append(supervisor.run_pool("pool"))

    def run() -> None:
        try:
            pools[0].run("child", idle)
        except NotSupervisedError as error:
            errors.append(error)

    async with open_harness(root) as tree:
        await tree.wait_settled()
        thread = threading.Thread(target=run)
        thread.start()
        await trio.to_thread.run_sync(thread.join)
        assert len(pools[0]) == 0
    (error,) = errors
    assert str(error).startswith("run() of the pool root.pool was called in another thread")


async def test_a_group_that_gave_up_in_vain_is_let_go_of(autojump_clock: MockClock) -> None:
    """S14: a parent that is stopped in the meantime keeps nothing of what its child used."""
    used: list[weakref.ref[Resource]] = []
    handles: list[supervisor.Handle] = []

    async def leaf() -> NoReturn:
        resource = Resource()
        used.append(weakref.ref(resource))
        await trio.sleep(1.0)
        raise ValueError

    async def slow() -> None:
        try:
            await idle()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(5.0)

    async def middle() -> None:
        supervisor.run("leaf", leaf, limit=RestartLimit(0, 1.0))
        supervisor.run("slow", slow)
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async def root() -> None:
        handles.append(supervisor.run("middle", middle))
        await idle()

    async with supervisor.open_supervisor(root) as tree:
        await trio.sleep(2.0)
        await handles[0].stop()
        assert autojump_clock.current_time() == 6.0
        gc.collect()
        assert used[0]() is None
        assert tree.snapshot().nodes["root.middle"].stop_error is not None

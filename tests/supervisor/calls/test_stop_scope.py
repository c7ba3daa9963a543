"""Stopping without boilerplate: scopes, own stops, missing grace periods, escaped tasks (S32)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import (
    Handle,
    NotSupervisedError,
    Pool,
    Signal,
    StaleRunnableError,
    open_supervisor,
)
from supervisor.testing import open_harness

from ..helpers.loggers import of_package
from ..helpers.runnables import idle
from ..helpers.trees import open_pool, open_started

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_the_scope_is_cancelled_at_the_request_and_the_grace_remains(
    autojump_clock: MockClock,
) -> None:
    """S32: what follows the scope runs within the grace."""
    times: list[float] = []

    async def worker() -> None:
        supervisor.signal(Signal.HEALTHY)
        with supervisor.stop_scope() as scope:
            await trio.sleep_forever()
        assert scope.cancelled_caught
        times.append(trio.current_time())
        await trio.sleep(4.0)
        times.append(trio.current_time())

    async with open_started(supervisor.run, "worker", worker, grace=5.0) as (_, handle):
        await trio.sleep(1.0)
        await handle.stop()
        assert autojump_clock.current_time() == 5.0
    assert times == [1.0, 5.0]


async def test_a_scope_that_is_entered_after_the_request_is_cancelled() -> None:
    """S32: so is one that was made before it."""
    entered: list[bool] = []

    async def worker() -> None:
        supervisor.signal(Signal.HEALTHY)
        before = supervisor.stop_scope()
        await supervisor.wait_stop_requested()
        for scope in (before, supervisor.stop_scope()):
            with scope as entered_scope:
                await trio.sleep_forever()
            entered.append(entered_scope.cancelled_caught)

    async with open_started(supervisor.run, "worker", worker, grace=5.0) as (_, handle):
        await handle.stop()
    assert entered == [True, True]


async def test_a_child_that_its_pool_stops_by_its_own_call_gets_no_grace(
    autojump_clock: MockClock,
) -> None:
    """S32, S29: it waits for its own end; so does what runs below it."""
    async with open_pool() as (_, pool):

        async def below() -> None:
            supervisor.signal(Signal.HEALTHY)
            await pool.stop("above")

        async def above() -> None:
            supervisor.run("below", below, grace=10.0)
            await idle()

        async def alone() -> None:
            supervisor.signal(Signal.HEALTHY)
            await pool.stop("alone")

        handles = [pool.run("alone", alone, grace=10.0), pool.run("above", above, grace=3.0)]
        await handles[0].wait_ended()
        assert autojump_clock.current_time() == 0.0
        await handles[1].wait_ended()
        assert autojump_clock.current_time() == 3.0
        assert len(pool) == 0


async def test_each_incarnation_has_a_request_of_its_own() -> None:
    """S32: scopes may be nested, and used one after the other; a restart asks again."""
    seen: list[int] = []

    async def worker() -> None:
        supervisor.signal(Signal.HEALTHY)
        with supervisor.stop_scope():
            await trio.lowlevel.checkpoint()
        with supervisor.stop_scope(), supervisor.stop_scope():
            await trio.sleep_forever()
        seen.append(1)

    async with open_started(supervisor.run, "worker", worker, grace=5.0) as (_, handle):
        for _ in range(3):
            await handle.restart()
            await wait_all_tasks_blocked()
    assert len(seen) == 4


async def test_a_cancellation_from_outside_goes_through_the_scope() -> None:
    """S32, S12: nothing behind the scope runs on then."""
    ran_on: list[bool] = []

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        with supervisor.stop_scope():
            await trio.sleep_forever()
        ran_on.append(True)
        await trio.lowlevel.checkpoint()
        ran_on.append(True)

    with trio.CancelScope() as scope:
        async with open_supervisor(root, grace=5.0):
            await wait_all_tasks_blocked()
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert len(ran_on) < 2


def test_a_scope_needs_a_runnable() -> None:
    """S32, S1: the error names the function."""
    with pytest.raises(NotSupervisedError, match=r"supervisor\.stop_scope\(\)"):
        supervisor.stop_scope()


@pytest.mark.parametrize("name", ["stop", "restart"])
async def test_a_runnable_that_stops_itself_gets_no_grace(
    name: str,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S32: by its handle, and in any task of its own; other members have theirs."""
    handles: list[Handle] = []
    ended: dict[str, float] = {}

    async def one() -> None:
        supervisor.signal(Signal.HEALTHY)
        try:
            async with trio.open_nursery() as nursery:
                await wait_all_tasks_blocked()
                if len(ended) == 0:
                    nursery.start_soon(getattr(handles[0], name))
                await trio.sleep_forever()
        finally:
            ended.setdefault("one", trio.current_time())

    async def two() -> None:
        supervisor.signal(Signal.HEALTHY)
        await supervisor.wait_stop_requested()
        await trio.sleep(2.0)
        ended.setdefault("two", trio.current_time())

    async with open_started(supervisor.run_group, {"one": one, "two": two}, grace=60.0) as (
        _,
        handle,
    ):
        handles.append(handle)
        await trio.sleep(10.0)
        assert ended == {"one": 0.0, "two": 2.0}
        await handle.stop()


async def test_a_child_that_stops_its_parent_gets_no_grace(autojump_clock: MockClock) -> None:
    """S32: it waits for its own end as well."""
    handles: list[Handle] = []

    async def child() -> None:
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(1.0)
        await handles[0].stop()

    async def parent() -> None:
        supervisor.run("child", child, grace=60.0)
        await idle()

    async with open_started(supervisor.run, "parent", parent) as (_, handle):
        handles.append(handle)
        await handle.wait_ended()
        assert autojump_clock.current_time() == 1.0


async def test_a_wait_for_another_group_costs_no_grace(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S32: a runnable that stops others, and is stopped meanwhile, has its grace."""
    times: list[float] = []

    async def stubborn() -> None:
        supervisor.signal(Signal.HEALTHY)
        with trio.CancelScope(shield=True):
            await trio.sleep(4.0)

    async def one() -> None:
        other = handles[1]
        supervisor.signal(Signal.HEALTHY)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other.stop)
            await supervisor.wait_stop_requested()
            await trio.sleep(2.0)
            times.append(trio.current_time())
            nursery.cancel_scope.cancel()

    handles: list[Handle] = []

    async def root() -> None:
        handles.append(supervisor.run("one", one, grace=60.0))
        handles.append(supervisor.run("stubborn", stubborn))

    async with open_harness(root):
        await trio.sleep(1.0)
        await handles[0].stop()
    assert times == [3.0]


async def test_an_escaped_task_is_woken_when_its_incarnation_ends() -> None:
    """S32, S1: nothing would ever ask it to stop."""
    outer: list[trio.Nursery] = []
    errors: list[str] = []

    async def escaped() -> None:
        with pytest.raises(StaleRunnableError) as caught:
            await supervisor.wait_stop_requested()
        errors.append(str(caught.value))

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        outer[0].start_soon(escaped)
        await wait_all_tasks_blocked()
        supervisor.signal(Signal.DONE)

    async with trio.open_nursery() as nursery:
        outer.append(nursery)
        await supervisor.supervise(root)
    (error,) = errors
    assert "wait_stop_requested() was called by a task of incarnation 1 of root" in error


@pytest.mark.parametrize("grace", [0.0, 1.0])
async def test_a_missing_grace_is_reported_once(
    grace: float,
    caplog: pytest.LogCaptureFixture,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S32: a runnable without one is cancelled in the instant of the request."""
    caplog.set_level(logging.INFO)

    async def worker() -> None:
        supervisor.signal(Signal.HEALTHY)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.wait_stop_requested)
            with supervisor.stop_scope():
                await trio.sleep_forever()

    async with open_started(supervisor.run, "worker", worker, grace=grace) as (_, handle):
        for _ in range(3):
            await handle.restart()
            await wait_all_tasks_blocked()
    records = [each for each in of_package(caplog) if "grace" in each.getMessage()]
    if grace:
        assert records == []
    else:
        (record,) = records
        assert (record.name, record.levelno) == ("supervisor.node.root.worker", logging.INFO)
        assert record.getMessage() == (
            "root.worker waits for its stop request, but will be cancelled in the same instant: "
            "it has no grace, so pass grace= when it is started"
        )


async def test_the_log_says_when_it_reports_no_further_missing_grace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S32: 100 nodes are reported, and then that there are more."""
    caplog.set_level(logging.INFO)

    async def root() -> None:
        for number in range(103):
            supervisor.run(f"n{number}", supervisor.wait_stop_requested)
        await idle()

    async with open_supervisor(root):
        await wait_all_tasks_blocked()
    records = [each for each in of_package(caplog) if "no grace" in each.getMessage()]
    assert len(records) == 101
    assert len({each.name for each in records[:100]}) == 100
    assert records[100].name == "supervisor"
    assert records[100].getMessage() == (
        "more than 100 nodes wait for their stop requests and have no grace: "
        "no further ones are reported"
    )


async def test_a_missing_grace_is_reported_once_for_all_children_of_a_pool(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S32: they are alike, and may be many."""
    caplog.set_level(logging.INFO)
    pool = Pool()

    async def child() -> None:
        supervisor.signal(Signal.HEALTHY)
        with supervisor.stop_scope():
            await trio.lowlevel.checkpoint()
        supervisor.signal(Signal.DONE)

    async def root() -> None:
        supervisor.run("pool", pool)

    async with open_harness(root):
        await pool.wait_healthy()
        for _ in range(10):
            pool.run(None, child)
        await wait_all_tasks_blocked()
    assert len([each for each in of_package(caplog) if "no grace" in each.getMessage()]) == 1

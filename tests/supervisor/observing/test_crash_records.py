"""What is kept of a death: a record of text, and no object that the runnable used (S14)."""

from __future__ import annotations

import gc
import logging
import weakref
from typing import NoReturn

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, RestartLimit, Signal
from supervisor.logs import LogBuffer
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import AT_ONCE, LONG
from ..helpers.runnables import idle, start

TWO_SECONDS = Backoff(initial=2.0, factor=2.0, jitter=0.0)


async def test_a_crash_record_has_time_and_error(autojump_clock: MockClock) -> None:
    """S14: DN, time, uptime, incarnation, and the error in a line."""
    remote = Remote()
    async with open_harness(start, supervisor.run, "child", remote, backoff=TWO_SECONDS) as tree:
        await remote.become_healthy()
        await trio.sleep(5.0)
        await remote.die(ValueError("first"))
        await remote.become_healthy()
        assert autojump_clock.current_time() == 7.0
        await trio.sleep(1.0)
        await remote.die(OSError("second"))
        await wait_all_tasks_blocked()
        first, second = tree.snapshot().nodes["root.child"].crashes
    assert (first.dn, first.time, first.uptime, first.incarnation) == ("root.child", 5.0, 5.0, 1)
    assert (second.time, second.uptime, second.incarnation) == (8.0, 1.0, 2)
    assert (first.error, second.error) == ("ValueError: first", "OSError: second")
    assert first.traceback == "ValueError: first"  # Remote is a part of the package


async def test_uptime_counts_from_the_start_of_the_incarnation(autojump_clock: MockClock) -> None:
    """S14: not from HEALTHY, and without the time that its children took to end."""

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
        supervisor.run("child", child, backoff=LONG)
        await idle()

    async with supervisor.open_supervisor(root) as tree:
        await trio.sleep(20.0)
        (crash,) = tree.snapshot().nodes["root.child"].crashes
        assert (crash.time, crash.uptime) == (5.0, 5.0)
    assert autojump_clock.current_time() == 20.0


async def test_only_the_last_few_crashes_are_kept() -> None:
    """S14: the record is bounded, the newest comes last, and it is kept through restarts."""
    remote = Remote()
    async with open_harness(start, supervisor.run, "child", remote, backoff=AT_ONCE) as tree:
        for number in range(1, 13):
            await remote.die(ValueError(f"number {number}"))
        await remote.become_healthy()
        child = tree.snapshot().nodes["root.child"]
    assert child.incarnation == 13
    assert [crash.incarnation for crash in child.crashes] == [8, 9, 10, 11, 12]
    assert child.crashes[-1].error == "ValueError: number 12"
    assert child.deaths == 12


def log_text_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log into a buffer, and not to pytest, which keeps records with their exceptions."""
    logger = logging.getLogger("supervisor")
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [LogBuffer()])


@pytest.mark.parametrize("grouped", [False, True])
async def test_a_crash_keeps_nothing_alive_that_the_runnable_used(
    *, grouped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S14: no frame, traceback or exception is kept, not even during the backoff."""
    log_text_only(monkeypatch)
    locals_of_the_dead: list[weakref.ref[Remote]] = []

    async def child() -> None:
        precious = Remote()
        locals_of_the_dead.append(weakref.ref(precious))
        raise ValueError(precious)

    members = {"child": child, "other": idle} if grouped else {"child": child}
    async with open_harness(start, supervisor.run_group, members, backoff=LONG) as tree:
        await tree.wait_settled()
        assert tree.snapshot().nodes["root.child"].crashes
        gc.collect()
        assert [reference() for reference in locals_of_the_dead] == [None]


class Resource:
    """Something that a runnable uses."""


async def test_giving_up_keeps_nothing_alive_that_the_child_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """S14: while the parent waits for its restart, its error is kept as text only."""
    log_text_only(monkeypatch)
    used: list[weakref.ref[Resource]] = []

    async def child() -> NoReturn:
        resource = Resource()
        used.append(weakref.ref(resource))
        raise OSError

    async def parent() -> None:
        supervisor.run("child", child, limit=RestartLimit(0, within=1.0))
        await idle()

    async def root() -> None:
        supervisor.run("parent", parent, backoff=LONG)
        await idle()

    async with supervisor.open_supervisor(root) as tree:
        await tree.wait_settled()
        await wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root.parent"].group.deadline is not None
        gc.collect()
        assert used[0]() is None


async def test_a_stopped_parent_keeps_nothing_of_a_child_that_gave_up(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S14: a parent that is stopped before it dies of its child keeps nothing of the child."""
    log_text_only(monkeypatch)
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

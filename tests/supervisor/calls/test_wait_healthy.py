"""``Handle.wait_healthy()`` (S19)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

import supervisor
from supervisor import GaveUpError, GroupState, Handle, RestartLimit
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import LONG
from ..helpers.internals import waits_are_registered
from ..helpers.runnables import finish, idle
from ..helpers.traces import check_that_cancelling_leaves_nothing
from ..helpers.trees import open_started

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

ONCE = RestartLimit(0, within=1.0)


@pytest.mark.parametrize("runnable", [idle, finish])
async def test_wait_healthy_returns_at_once(runnable: Callable[[], Awaitable[object]]) -> None:
    """S19: where all members are HEALTHY or DONE it is only a checkpoint."""
    async with open_started(supervisor.run_group, {"a": runnable, "b": finish}) as (_, handle):
        with assert_checkpoints():
            await handle.wait_healthy()


async def test_wait_healthy_waits_through_crashes(autojump_clock: MockClock) -> None:
    """S19: it waits for the last member, through its deaths and the backoffs of the group."""
    attempts = 0

    async def reluctant() -> None:
        nonlocal attempts
        attempts += 1
        if attempts <= 3:
            raise OSError("not yet")
        await trio.sleep(10.0)
        await idle()

    members = {"a": finish, "b": reluctant, "c": idle}
    async with open_started(supervisor.run_group, members) as (_, handle):
        await handle.wait_healthy()
        assert autojump_clock.current_time() == 1.0 + 2.0 + 4.0 + 10.0


@pytest.mark.parametrize(
    ("way", "why"),
    [
        ("handle stopped", "it was stopped"),
        ("gave up", r"root\.parent\.child gave up: 0 restarts within 1 s are allowed"),
        ("parent died", "ends with its parent"),
        ("tree stopped", "ends with its parent"),
        ("tree cancelled", "ends with its parent"),
    ],
)
async def test_a_group_that_cannot_become_healthy_raises_at_once(
    way: str, why: str, autojump_clock: MockClock
) -> None:
    """S19: wait_healthy() and restart() raise a GaveUpError with the cause; stop() returns."""
    parent, child = Remote(), Remote()
    handles: list[Handle] = []

    async def be_parent() -> None:
        handles.append(supervisor.run("child", child, limit=ONCE))
        await parent()

    async def root() -> None:
        supervisor.run("parent", be_parent, backoff=LONG)
        await idle()

    async def wait() -> None:
        with pytest.raises(GaveUpError, match=f"^root.parent.child will not be healthy: .*{why}"):
            await handles[0].wait_healthy()

    async def check() -> None:
        assert not nursery.child_tasks
        await wait()
        if way != "handle stopped":
            with pytest.raises(GaveUpError, match=f"will not restart: .*{why}"):
                await handles[0].restart()
        state = handles[0].state
        with assert_checkpoints():
            await handles[0].stop()
        assert handles[0].state is state

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as outside:
            async with supervisor.open_supervisor(root) as tree:
                await wait_all_tasks_blocked()
                nursery.start_soon(wait)
                await wait_all_tasks_blocked()
                ways = {
                    "handle stopped": handles[0].stop,
                    "gave up": child.die,
                    "parent died": parent.die,
                    "tree stopped": tree.stop,
                }
                if way in ways:
                    await ways[way]()
                else:
                    outside.cancel()
                await wait_all_tasks_blocked()
                await check()
        if outside.cancelled_caught:
            await check()
    assert outside.cancelled_caught == (way == "tree cancelled")
    assert autojump_clock.current_time() == 0.0


class Refusals:
    """Records when calls raised a GaveUpError, and its text."""

    def __init__(self, clock: MockClock) -> None:
        self._clock = clock
        self.seen: list[tuple[float, str]] = []

    async def expect(self, call: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(GaveUpError) as caught:
            await call()
        self.seen.append((self._clock.current_time(), str(caught.value)))


async def test_a_group_that_ends_with_its_parent_cannot_restart(autojump_clock: MockClock) -> None:
    """S19, S21: in its grace, restart() and wait_healthy() raise at once; stop() waits."""
    refusals = Refusals(autojump_clock)
    handles: list[Handle] = []
    seen = []

    async def child() -> None:
        await supervisor.wait_stop_requested()
        await trio.sleep(5.0)

    async def root() -> None:
        handles.append(supervisor.run("child", child, grace=10.0))
        await finish()

    async def stop() -> None:
        await handles[0].stop()
        seen.append((autojump_clock.current_time(), handles[0].state))

    async with trio.open_nursery() as nursery, supervisor.open_supervisor(root) as tree:
        await wait_all_tasks_blocked()
        nursery.start_soon(tree.stop)
        await wait_all_tasks_blocked()
        assert handles[0].state is GroupState.STOPPING
        nursery.start_soon(stop)
        nursery.start_soon(refusals.expect, handles[0].restart)
        nursery.start_soon(refusals.expect, handles[0].wait_healthy)
        await tree.stop()
        assert autojump_clock.current_time() == 5.0
    why = "it is stopped for good, or ends with its parent"
    assert sorted(refusals.seen) == [
        (0.0, f"root.child will not be healthy: {why}"),
        (0.0, f"root.child will not restart: {why}"),
    ]
    assert seen == [(5.0, GroupState.STOPPED)]


async def test_a_wait_ends_when_the_parent_ends(
    autojump_clock: MockClock,
) -> None:
    """S19: a group that was restarting slowly when its parent ended will not be healthy."""
    refusals = Refusals(autojump_clock)
    handles: list[Handle] = []
    dying, slow = Remote(), Remote()
    slow.stop_slowly(100.0)

    async def root() -> None:
        handles.append(supervisor.run_group({"dying": dying, "slow": slow}))
        await finish()

    async with trio.open_nursery() as nursery, supervisor.open_supervisor(root) as tree:
        await dying.die()
        nursery.start_soon(refusals.expect, handles[0].wait_healthy)
        await trio.sleep(3.0)
        assert (handles[0].state, refusals.seen) == (GroupState.STOPPING, [])
        await tree.stop()
    assert autojump_clock.current_time() == 100.0
    assert [time for time, _ in refusals.seen] == [3.0]


async def test_a_wait_ends_before_the_parent_of_a_group_that_gave_up(
    autojump_clock: MockClock,
) -> None:
    """S10, S19: it does not wait for the slow siblings of the group."""
    refusals = Refusals(autojump_clock)
    handles: list[Handle] = []
    dying, slow = Remote(), Remote()
    slow.stop_slowly(100.0)

    async def parent() -> None:
        handles.append(supervisor.run("dying", dying, limit=RestartLimit(0, within=1.0)))
        supervisor.run("slow", slow)
        await finish()

    async def root() -> None:
        supervisor.run("parent", parent, backoff=LONG)

    async with trio.open_nursery() as nursery, open_harness(root, patience=1000.0):
        await wait_all_tasks_blocked()
        nursery.start_soon(refusals.expect, handles[0].wait_healthy)
        await dying.die()
        await trio.sleep(1.0)
        await refusals.expect(handles[0].restart)
    (waited, why), (restarted, _) = refusals.seen
    assert (waited, restarted) == (0.0, 1.0)
    assert "root.parent.dying will not be healthy: root.parent.dying gave up: 0 restarts" in why


@pytest.mark.parametrize("how", ["cancelled", "fatal"])
async def test_a_wait_ends_when_the_tree_is_cancelled(how: str, autojump_clock: MockClock) -> None:
    """S19: it does not wait for the slowest task, and is registered nowhere afterwards."""
    handles: list[supervisor.Handle] = []
    ends: list[float] = []

    async def slow() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(10.0)

    async def bad() -> None:
        await trio.sleep(1.0)
        if how == "fatal":
            raise SystemExit

    async def root() -> None:
        handles.append(supervisor.run("slow", slow))
        supervisor.run("bad", bad)
        supervisor.signal(supervisor.Signal.HEALTHY)
        await trio.sleep_forever()

    async def wait() -> None:
        await trio.sleep(0.5)
        with pytest.raises(GaveUpError):
            await handles[0].wait_healthy()
        ends.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        with contextlib.suppress(SystemExit), trio.move_on_after(1.0 if how == "cancelled" else 99):
            await supervisor.supervise(root)
    assert ends == [1.0]
    assert autojump_clock.current_time() == 11.0
    assert not waits_are_registered(handles[0])


async def test_a_member_that_is_cancelled_when_new_is_not_healthy(
    autojump_clock: MockClock,
) -> None:
    """S12, S19: when all is cancelled from outside, no wait for health returns."""
    handles: list[Handle] = []
    above, slow = Remote(), Remote()
    above.stop_slowly(1.0)
    slow.stop_slowly(1.0)

    async def root() -> None:
        handles.append(supervisor.run_group({"new": Remote(), "slow": slow}))
        await above()

    async def wait() -> None:
        with pytest.raises(GaveUpError, match="ends with its parent"):
            await handles[0].wait_healthy()
        assert autojump_clock.current_time() == 0.0

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as outside:
            async with open_harness(root):
                await slow.become_healthy()
                nursery.start_soon(wait)
                await wait_all_tasks_blocked()
                outside.cancel()
                await trio.sleep_forever()


async def test_a_wait_that_is_cancelled_leaves_nothing_registered(
    autojump_clock: MockClock,
) -> None:
    """S19: neither with the group nor with the nursery that it runs in."""
    handles: list[supervisor.Handle] = []

    async def root() -> None:
        handles.append(supervisor.run("child", trio.sleep_forever))
        supervisor.signal(supervisor.Signal.HEALTHY)
        await trio.sleep_forever()

    async with supervisor.open_supervisor(root):
        await trio.testing.wait_all_tasks_blocked()
        await check_that_cancelling_leaves_nothing(handles[0].wait_healthy, 1.0)
        assert not waits_are_registered(handles[0])
    assert autojump_clock.current_time() == 1.0

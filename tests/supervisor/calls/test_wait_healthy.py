"""Handles while what they stand for is ending slowly, or has ended (S19)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, GaveUpError, GroupState, Handle, NodeState, RestartLimit, Signal
from supervisor.testing import Remote, open_harness

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

LONG = Backoff(initial=1000.0, jitter=0.0, maximum=1000.0)


async def idle() -> None:
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


def be_done() -> None:
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


class Refusals:
    """Notes when calls were refused, and why."""

    def __init__(self, clock: MockClock) -> None:
        self._clock = clock
        self.seen: list[tuple[float, str]] = []

    async def expect(self, call: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(GaveUpError) as caught:
            await call()
        self.seen.append((self._clock.current_time(), str(caught.value)))


async def test_what_ends_with_its_parent_cannot_be_brought_back(autojump_clock: MockClock) -> None:
    """S19, S21: in its grace, restart and wait_healthy fail at once, and stop waits for the end."""
    refusals = Refusals(autojump_clock)
    handles: list[Handle] = []
    seen = []

    async def child() -> None:
        await supervisor.wait_stop_requested()
        await trio.sleep(5.0)

    async def root() -> None:
        handles.append(supervisor.run("child", child, grace=10.0))
        be_done()

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


async def test_the_end_of_the_parent_is_told_to_who_waits_for_a_restart(
    autojump_clock: MockClock,
) -> None:
    """S19: a group that was restarting slowly when its parent ended will not be healthy."""
    refusals = Refusals(autojump_clock)
    handles: list[Handle] = []
    dying, slow = Remote(), Remote()
    slow.stop_slowly(100.0)

    async def root() -> None:
        handles.append(supervisor.run_group({"dying": dying, "slow": slow}))
        be_done()

    async with trio.open_nursery() as nursery, supervisor.open_supervisor(root) as tree:
        await dying.die()
        nursery.start_soon(refusals.expect, handles[0].wait_healthy)
        await trio.sleep(3.0)
        assert (handles[0].state, refusals.seen) == (GroupState.STOPPING, [])
        await tree.stop()
    assert autojump_clock.current_time() == 100.0
    assert [time for time, _ in refusals.seen] == [3.0]


async def test_giving_up_is_told_before_the_parent_has_ended(autojump_clock: MockClock) -> None:
    """S10, S19: nobody has to wait for the slow siblings of a group that has given up."""
    refusals = Refusals(autojump_clock)
    handles: list[Handle] = []
    dying, slow = Remote(), Remote()
    slow.stop_slowly(100.0)

    async def parent() -> None:
        handles.append(supervisor.run("dying", dying, limit=RestartLimit(0, within=1.0)))
        supervisor.run("slow", slow)
        be_done()

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


async def test_what_has_finished_with_its_parent_is_over() -> None:
    """S13, S19: where parent and children are done, there is no tree to restart a child in."""
    handles: list[Handle] = []

    async def child() -> None:
        be_done()

    async def parent() -> None:
        handles.append(supervisor.run("child", child))
        be_done()

    async def root() -> None:
        supervisor.run("parent", parent)

    async with open_harness(root) as tree:
        await wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root.parent"].group.state is GroupState.FINISHED
        with pytest.raises(GaveUpError, match=r"child will not restart: it has finished"):
            await handles[0].restart()
        await handles[0].wait_healthy()


async def test_a_death_by_a_child_that_comes_too_late_is_a_stop_error(
    autojump_clock: MockClock,
) -> None:
    """S5, S10: a DONE parent that is stopped while it joins what is left keeps what it dies of."""
    dying, slow = Remote(), Remote()
    slow.stop_slowly(10.0)

    async def parent() -> None:
        supervisor.run("dying", dying, limit=RestartLimit(0, within=1.0))
        supervisor.run("slow", slow)
        be_done()

    async def root() -> None:
        supervisor.run("parent", parent)
        be_done()

    async with supervisor.open_supervisor(root) as tree:
        await wait_all_tasks_blocked()
        await dying.die()
        await trio.sleep(5.0)
        await tree.stop()
        assert autojump_clock.current_time() == 10.0
    node = tree.snapshot().nodes["root.parent"]
    assert (node.state, node.crashes) == (NodeState.DONE, ())
    assert node.stop_error is not None
    assert node.stop_error.error.startswith("RestartLimitExceeded: root.parent.dying gave up")


@pytest.mark.parametrize("how", ["cancelled", "fatal"])
async def test_waiting_ends_with_the_tree_and_not_with_its_slowest_task(
    how: str, autojump_clock: MockClock
) -> None:
    """S19: when all is cancelled, nobody waits for what will not be, and nothing is registered."""
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
    assert not handles[0]._group.host.awaited


async def test_a_wait_that_is_cancelled_leaves_nothing_registered() -> None:
    """S19: neither with the group nor with its host."""
    handles: list[supervisor.Handle] = []

    async def root() -> None:
        handles.append(supervisor.run("child", trio.sleep_forever))
        supervisor.signal(supervisor.Signal.HEALTHY)
        await trio.sleep_forever()

    async with supervisor.open_supervisor(root):
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(handles[0].wait_healthy)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert not handles[0]._group.changed
        assert not handles[0]._group.host.awaited

"""Readiness that can't come any more, because the tree is ending or has ended (S25)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import GaveUpError, Signal
from supervisor.testing import Remote

if TYPE_CHECKING:
    from trio.testing import MockClock

    from supervisor import Supervisor


async def be_done() -> None:
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


async def test_a_stop_ends_the_wait_at_once(autojump_clock: MockClock) -> None:
    """S25, S21: from the request on, also for a node that was NEW, and for one yet to come."""
    times = []

    async def child() -> None:
        await supervisor.wait_stop_requested()
        await trio.sleep(2.0)

    async def root() -> None:
        supervisor.run("child", child, grace=5.0)
        supervisor.signal(Signal.HEALTHY)
        await supervisor.wait_stop_requested()
        await trio.sleep(2.0)

    async def wait(tree: Supervisor, dn: str) -> None:
        with pytest.raises(GaveUpError, match=rf"^{dn} will not be ready: the tree is stopped"):
            await tree.wait_ready(dn)
        times.append(autojump_clock.current_time())

    async with (
        trio.open_nursery() as nursery,
        supervisor.open_supervisor(root, grace=5.0) as tree,
    ):
        nursery.start_soon(wait, tree, "root")
        nursery.start_soon(wait, tree, "root.child")
        nursery.start_soon(wait, tree, "root.other")
        await trio.sleep(1.0)
        assert times == []
        await tree.stop()
        assert times == [1.0, 1.0, 1.0]
        assert autojump_clock.current_time() == 5.0


async def test_the_end_of_the_tree_ends_the_wait() -> None:
    """S25, S13: of a tree that has finished all is ready, but for what is not there."""
    remote = Remote()

    async def root() -> None:
        supervisor.run("child", remote)
        await be_done()

    async def wait() -> None:
        with pytest.raises(GaveUpError, match=r"^root\.other will not be ready: .* has ended$"):
            await tree.wait_ready("root.other")

    async with supervisor.open_supervisor(root) as tree, trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await remote.become_healthy()
        await wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        await remote.be_done()
        await tree.wait_ready()
        await wait_all_tasks_blocked()
        await wait()


async def test_what_leaves_the_tree_ends_the_wait(autojump_clock: MockClock) -> None:
    """S25, S11: who waits beside a tree that is left waits no longer, not even for slow ends."""
    leaver, slow = Remote(), Remote()
    slow.stop_slowly(10.0)
    trees: list[Supervisor] = []

    async def root() -> None:
        supervisor.run("leaver", leaver)
        supervisor.run("slow", slow)
        await be_done()

    async def run() -> None:
        async with supervisor.open_supervisor(root) as tree:
            trees.append(tree)
            await trio.sleep_forever()

    async def expect() -> None:
        with pytest.raises(SystemExit):
            await run()
        assert autojump_clock.current_time() == 10.0

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect)
        await leaver.become_healthy()
        nursery.start_soon(leaver.die, SystemExit())
        with pytest.raises(GaveUpError):
            await trees[0].wait_ready()
        assert autojump_clock.current_time() == 0.0


async def test_a_cancellation_from_outside_ends_the_wait_at_once(autojump_clock: MockClock) -> None:
    """S25, S12: whoever waits elsewhere does not have to wait for a slow end."""
    slow = Remote()
    slow.stop_slowly(10.0)
    trees: list[Supervisor] = []

    async def run() -> None:
        with trio.move_on_after(1.0):
            async with supervisor.open_supervisor(slow) as tree:
                trees.append(tree)
                await trio.sleep_forever()
        assert autojump_clock.current_time() == 11.0

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await wait_all_tasks_blocked()
        with pytest.raises(GaveUpError):
            await trees[0].wait_ready()
        assert autojump_clock.current_time() == 1.0

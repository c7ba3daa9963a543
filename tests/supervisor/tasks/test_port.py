"""The port: what looks at a tree from outside, and acts on it, in the middle of what happens."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NoReturn

import trio

import supervisor
from supervisor import Backoff, GroupState, Signal
from supervisor.testing import Remote, open_harness

from ..helpers.internals import GroupMoved
from ..helpers.runnables import idle

if TYPE_CHECKING:
    from trio.testing import MockClock

SLOW = Backoff(initial=1000.0, maximum=1000.0, jitter=0.0)


async def test_a_demand_of_an_observer_at_the_begin_of_a_backoff_ends_it(
    autojump_clock: MockClock,
) -> None:
    """S9, S16, S19: the group restarts at once, although nothing waits for the backoff yet."""
    worker = Remote()

    async def root() -> None:
        supervisor.run("worker", worker, backoff=SLOW)
        await idle()

    async with open_harness(root) as tree:
        port = tree._port

        def restart(event: object) -> None:
            if isinstance(event, GroupMoved) and event.state is GroupState.BACKOFF:
                port.restart_node(event.group.members[0], "an observer wants it")

        port.add_observer(restart)
        await worker.become_healthy()
        await worker.die()
        await worker.become_healthy()
        assert tree.snapshot().nodes["root.worker"].group.operator_restarts == 1
        port.remove_observer(restart)
    assert autojump_clock.current_time() == 0.0


async def test_a_node_that_was_stopped_by_the_port_is_restarted_by_it(
    autojump_clock: MockClock,
) -> None:
    """S19: both act on the node's group, as a handle does."""
    worker = Remote()

    async def root() -> None:
        supervisor.run("worker", worker)
        await idle()

    async with open_harness(root) as tree:
        port = tree._port
        await worker.become_healthy()
        *_, node = port.path("root.worker") or []
        port.stop_node(node, "an operator wants it")
        await trio.sleep(1.0)
        assert tree.snapshot().nodes["root.worker"].group.state is GroupState.STOPPED
        port.restart_node(node, "an operator wants it")
        await worker.become_healthy()
        assert worker.incarnations == 2
    assert autojump_clock.current_time() == 1.0


async def test_a_tree_whose_root_is_kept_stopped_can_be_stopped(autojump_clock: MockClock) -> None:
    """S21: stop() ends what an operator has put on hold, the root's group included."""
    async with supervisor.open_supervisor(idle) as tree:
        port = tree._port
        port.stop_node(next(port.nodes()), "an operator wants it")
        await trio.sleep(1.0)
        await tree.stop()
    assert autojump_clock.current_time() == 1.0


async def test_a_member_that_never_began_is_not_waited_for_when_it_is_gone(
    autojump_clock: MockClock,
) -> None:
    """S20, S25: the parent restarts before the second member of an ordered group has begun."""
    starts = 0

    async def first() -> None:
        if starts > 1:
            supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    async def parent() -> None:
        nonlocal starts
        starts += 1
        supervisor.run_group({"first": first, "second": idle}, ordered=True)
        supervisor.signal(Signal.HEALTHY)
        if starts == 1:
            await trio.sleep(1.0)
            raise OSError("the first parent ends")
        await trio.sleep_forever()

    async def root() -> None:
        supervisor.run("parent", parent, backoff=Backoff(initial=1.0, jitter=0.0))
        await idle()

    async with supervisor.open_supervisor(root) as tree:
        await tree.wait_ready()
        assert tree.ready()
    assert autojump_clock.current_time() == 2.0


async def test_the_record_of_a_death_names_a_bounded_number_of_members(
    autojump_clock: MockClock,
) -> None:
    """S14: however many members fail while they are stopped, the text has a limit."""
    remote = Remote()

    async def fail() -> NoReturn:
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("while it stops")

    async def root() -> None:
        members = {f"member{number}": fail for number in range(300)}
        supervisor.run_group({"dies": remote, **members}, backoff=SLOW)
        await idle()

    async with open_harness(root) as tree:
        await remote.die()
        await trio.sleep(1.0)
        (crash,) = tree.snapshot().nodes["root.dies"].crashes
    assert "raised OSError: while it stops while it stopped" in crash.meanwhile
    assert len(crash.meanwhile) < 4_000
    assert autojump_clock.current_time() == 1.0


async def test_a_logger_of_a_node_that_comes_again_is_the_same(autojump_clock: MockClock) -> None:
    """S17: what a module holds, or has set a handler on, serves the next incarnation, too."""
    found: list[logging.Logger] = []

    async def child() -> None:
        found.append(supervisor.logger())
        await idle()

    async def parent() -> None:
        supervisor.run("child", child)
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(1.0)
        raise OSError("the parent ends")

    async def root() -> None:
        supervisor.run("parent", parent, backoff=Backoff(initial=1.0, jitter=0.0))
        await idle()

    async with open_harness(root):
        await trio.sleep(2.5)
    assert len(found) == 2
    assert found[0] is found[1]
    assert "supervisor.node.root.parent.child" not in logging.Logger.manager.loggerDict
    assert autojump_clock.current_time() == 2.5

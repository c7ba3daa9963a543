"""What the log tells of a tree as a whole, and of nodes that are well again (S34)."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, RestartLimit, RestartLimitExceeded, Signal, open_supervisor
from supervisor.testing import Remote

from ..helpers.runnables import finish, idle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

FIRST = "the tree is ready, 2.0 s after its start"


def told(caplog: pytest.LogCaptureFixture, name: str = "supervisor") -> list[tuple[str, str]]:
    return [(each.levelname, each.getMessage()) for each in caplog.records if each.name == name]


async def slow() -> None:
    await trio.sleep(2.0)
    await idle()


async def die_later() -> NoReturn:
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep(1.0)
    raise OSError("broken")


async def test_the_first_readiness_and_the_stop_are_told(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """S34: once each, and a later readiness is not."""
    caplog.set_level(logging.INFO)

    async def root() -> None:
        supervisor.run("slow", slow, grace=5.0)
        await idle()

    async with open_supervisor(root) as tree:
        await trio.sleep(3.0)
        await tree.restart("root.slow")
        await trio.sleep(3.0)
        await tree.stop()
    assert told(caplog) == [("INFO", FIRST), ("INFO", "the tree has stopped, in 5.0 s")]
    assert autojump_clock.current_time() == 16.0


async def test_a_tree_that_finishes_says_so(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """S34, S13: with its age."""
    caplog.set_level(logging.INFO)

    async def root() -> None:
        await trio.sleep(2.0)
        await finish()

    await supervisor.supervise(root)
    assert told(caplog) == [
        ("INFO", FIRST),
        ("INFO", "the tree has finished, 2.0 s after its start"),
    ]
    assert autojump_clock.current_time() == 2.0


async def test_a_tree_that_gives_up_says_so(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """S34, S10: with its age."""
    caplog.set_level(logging.INFO)
    with pytest.raises(RestartLimitExceeded):
        await supervisor.supervise(die_later, limit=RestartLimit(0, within=1.0))
    assert told(caplog)[-1] == ("INFO", "the tree has given up, 1.0 s after its start")
    assert autojump_clock.current_time() == 1.0


async def test_a_tree_that_is_cancelled_or_left_by_an_error_says_so(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """S34, S11, S12: each in its own words."""
    caplog.set_level(logging.INFO)

    async def leave() -> NoReturn:
        raise SystemExit(3)

    with trio.move_on_after(1.0):
        await supervisor.supervise(idle)
    with pytest.raises(SystemExit):
        await supervisor.supervise(leave)
    assert [text for _, text in told(caplog)] == [
        "the tree is ready, 0.0 s after its start",
        "the tree was cancelled, 1.0 s after its start",
        "the tree has ended by SystemExit, 0.0 s after its start",
    ]
    assert autojump_clock.current_time() == 1.0


async def test_a_node_that_is_healthy_again_after_a_death_is_told(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """S34: how long it took; not after an operator's restart of a healthy one."""
    caplog.set_level(logging.INFO)
    remote = Remote()

    async def root() -> None:
        supervisor.run("redis", remote, backoff=Backoff(initial=0.9, jitter=0.0))
        await idle()

    async with open_supervisor(root) as tree:
        await remote.become_healthy()
        await remote.die()
        await remote.become_healthy()
        await tree.restart("root.redis")
        await remote.become_healthy()
        await wait_all_tasks_blocked()
    messages = [
        text for level, text in told(caplog, "supervisor.node.root.redis") if level == "INFO"
    ]
    assert messages == ["root.redis is healthy again after 0.9 s, incarnation 2"]
    assert autojump_clock.current_time() == 0.9


async def test_a_recovery_counts_from_the_first_death(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """S34: whatever has stopped or restarted the node meanwhile, and only for what has died."""
    caplog.set_level(logging.INFO)
    one, two, three = Remote(), Remote(), Remote()

    async def root() -> None:
        supervisor.run_group({"one": one, "two": two})
        supervisor.run("three", three)
        await idle()

    backoff = Backoff(initial=2.0, factor=1.0, jitter=0.0)
    async with open_supervisor(root, backoff=backoff) as tree:
        for remote in (one, two, three):
            await remote.become_healthy()
        await one.die()
        await three.die()
        await trio.sleep(2.5)  # all are NEW again
        await one.die()
        await trio.sleep(1.0)
        await tree.stop_node("root.three")
        await tree.restart("root.three")
        await trio.sleep(0.5)
        await tree.stop_node("root.three")
        await trio.sleep(5.0)
        await tree.restart("root.three")
        for remote in (two, one, three):
            await remote.become_healthy()
        await wait_all_tasks_blocked()
        assert autojump_clock.current_time() == 9.0
        await tree.restart("root.one")
        await one.become_healthy()
        await two.become_healthy()
        await wait_all_tasks_blocked()
    again = [each.getMessage() for each in caplog.records if "healthy again" in each.getMessage()]
    assert sorted(again) == [
        "root.one is healthy again after 9.0 s, incarnation 3",
        "root.three is healthy again after 9.0 s, incarnation 4",
    ]


async def test_each_transition_is_told_where_debug_is_wanted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S34: of nodes and groups, by the node's logger."""
    caplog.set_level(logging.DEBUG)
    async with open_supervisor(idle) as tree:
        await tree.wait_ready()
    assert [text for level, text in told(caplog, "supervisor.node.root") if level == "DEBUG"] == [
        "root is NEW",
        "root is HEALTHY",
        "the group of root is STOPPING",
        "root is CANCELED",
        "the group of root is STOPPED",
    ]


async def test_a_tree_that_nobody_logs_has_no_further_observers() -> None:
    """S34, S16: no transition is queued for the log."""
    async with open_supervisor(idle) as tree:
        await tree.wait_ready()
        assert not tree._tree.observes_moves


async def test_observers_are_told_the_events_of_a_tree(autojump_clock: MockClock) -> None:
    """S34, S16: those that are passed and those that are added, until they are removed."""
    passed: list[Any] = []
    added: list[Any] = []
    async with open_supervisor(
        die_later, observers=[passed.append], backoff=Backoff(initial=1.0, jitter=0.0)
    ) as tree:
        await tree.wait_settled()
        tree.add_observer(added.append)
        await trio.sleep(1.5)
        tree.remove_observer(added.append)
        await trio.sleep(1.0)
    names = [type(each).__name__ for each in passed]
    assert names[:6] == [
        "NodeMoved",
        "NodeMoved",
        "NodeMoved",
        "GroupMoved",
        "NodeDied",
        "GroupMoved",
    ]
    assert "NodeRecovered" in names
    assert [type(each).__name__ for each in added] == [
        "NodeMoved",
        "GroupMoved",
        "NodeDied",
        "GroupMoved",
    ]
    assert passed[4].node.dn == "root"
    assert autojump_clock.current_time() == 2.5


@pytest.mark.parametrize("value", [print, "abc", [print, 5]])
async def test_a_wrong_observer_is_named(value: Any) -> None:  # noqa: ANN401  it is wrong
    """S34, S2: at the call."""
    with pytest.raises(TypeError, match="observer"):
        await supervisor.supervise(idle, observers=value)
    async with open_supervisor(idle) as tree:
        with pytest.raises(TypeError, match="the observer 5 is no function: pass one that takes"):
            tree.add_observer(5)  # type: ignore[arg-type]


class AsyncObserver:
    async def __call__(self, event: object) -> None:
        """Nothing would await this."""


async def observe(event: object) -> None:
    """Nothing would await this."""


async def generate(event: object) -> AsyncIterator[object]:
    yield event


@pytest.mark.parametrize("observer", [observe, partial(observe), generate, AsyncObserver()])
async def test_an_async_observer_is_refused(observer: Any) -> None:  # noqa: ANN401  it is wrong
    """S34, S2: at the call, with what to do instead."""
    message = r"is async, and nothing would await it: pass a function that is not, which may hand"
    with pytest.raises(TypeError, match=message):
        await supervisor.supervise(idle, observers=[observer])
    async with open_supervisor(idle) as tree:
        with pytest.raises(TypeError, match=message):
            tree.add_observer(observer)

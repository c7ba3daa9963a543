"""The harness and the remote-controlled runnable that the package offers to its users' tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

import supervisor
from supervisor import (
    Backoff,
    InMemoryMetrics,
    NodeState,
    RestartLimit,
    RestartLimitExceeded,
    Signal,
)
from supervisor.testing import HarnessError, Remote, RemoteDeathError, open_harness

from .helpers.backoffs import AT_ONCE, LONG
from .helpers.runnables import idle, start

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_the_roots_error_fails_the_test_with_a_picture_of_the_tree(
    autojump_clock: MockClock,
) -> None:
    """The root is run once: a HarnessError shows what it died of, and the tree."""
    runs, error = 0, ValueError("broken")

    async def root() -> None:
        nonlocal runs
        runs += 1
        supervisor.run("child", idle)
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(3.0)
        raise error

    with pytest.raises(HarnessError) as caught:
        async with open_harness(root, backoff=AT_ONCE):
            await trio.sleep(1000.0)
    assert autojump_clock.current_time() == 3.0
    assert runs == 1
    assert str(caught.value).splitlines() == [
        "ValueError: broken",
        "",
        "root died in this tree:",
        "root     HEALTHY   3.0 s",
        "  child  HEALTHY   3.0 s",
    ]
    assert caught.value.__cause__ is error
    assert isinstance(caught.value, AssertionError)


async def test_an_assertion_in_the_root_fails_the_test() -> None:
    """The root may do the work of the test."""

    async def root() -> None:
        assert supervisor.current_dn() == "branch"

    with pytest.raises(HarnessError, match="AssertionError: assert 'root' == 'branch'"):
        async with open_harness(root) as tree:
            await tree.wait_settled()


@pytest.mark.parametrize("signals", [[], [Signal.HEALTHY], [Signal.HEALTHY, Signal.DONE]])
async def test_a_root_that_returns_is_done_and_its_children_live_on(signals: list[Signal]) -> None:
    """Whether it has signalled or not, it is not run again, nor is its return a death."""
    runs, remote = 0, Remote()

    async def root() -> None:
        nonlocal runs
        runs += 1
        supervisor.run("child", remote)
        for each in signals:
            supervisor.signal(each)

    async with open_harness(root) as tree:
        await remote.become_healthy()
        await tree.wait_settled()
        assert tree.snapshot().nodes["root"].state is NodeState.DONE
        await wait_all_tasks_blocked()
    assert runs == 1


async def test_the_root_dies_of_a_child_that_gives_up() -> None:
    """So the test fails, and the message names the child."""
    remote = Remote()

    async def root() -> None:
        supervisor.run("child", remote, limit=RestartLimit(0, within=1.0))
        await idle()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(remote.die)
        with pytest.raises(HarnessError) as caught:
            async with open_harness(root):
                await trio.sleep_forever()
    first, _, title, top, child = str(caught.value).splitlines()
    assert first.startswith("RestartLimitExceeded: root.child gave up: 0 restarts within 1 s")
    assert title == "root died in this tree:"
    assert top.startswith("root     DEAD ")
    assert child.startswith("  child  DEAD ")


async def test_other_runnables_are_supervised_as_usual() -> None:
    """A child's death fails no test: it restarts."""
    remote = Remote()
    async with open_harness(start, supervisor.run, "child", remote, backoff=AT_ONCE):
        await remote.die()
        await remote.become_healthy()
    assert remote.incarnations == 2


async def test_the_harness_passes_arguments_and_metrics_on() -> None:
    """It takes what open_supervisor() takes."""
    metrics, found = InMemoryMetrics(), []

    async def root(*args: object) -> None:
        found.append(args)

    async with open_harness(root, 1, "two", metrics=metrics) as tree:
        await tree.wait_settled()
    assert found == [(1, "two")]
    assert metrics.nodes()["root"].state is NodeState.DONE


async def test_a_slow_stop_fails_the_test_and_is_named(autojump_clock: MockClock) -> None:
    """The error names what took longer than ``patience``, with the seconds it took."""
    slow, quick = Remote(), Remote()
    slow.stop_slowly(7.0)
    quick.stop_slowly(5.0)
    members = {"slow": slow, "quick": quick}
    await trio.sleep(1.0)
    with pytest.raises(HarnessError) as caught:
        async with open_harness(start, supervisor.run_group, members):
            await slow.become_healthy()
    assert str(caught.value) == (
        "still alive 5 s after the tree was asked to stop: root.slow (7.0 s)"
    )
    assert (slow.running, quick.running) == (0, 0)
    assert autojump_clock.current_time() == 8.0


async def test_patience_can_be_chosen(autojump_clock: MockClock) -> None:
    """With more patience the same stop passes."""
    slow = Remote()
    slow.stop_slowly(7.0)
    async with open_harness(start, supervisor.run, "slow", slow, patience=7.0):
        await slow.become_healthy()
    assert autojump_clock.current_time() == 7.0


async def test_an_error_of_the_body_leaves_as_it_is() -> None:
    """The harness stops the tree and adds nothing to a failing test."""
    remote, error = Remote(), KeyError("the test's")

    async def body() -> NoReturn:
        async with open_harness(start, supervisor.run, "child", remote):
            await remote.become_healthy()
            raise error

    with pytest.raises(KeyError) as caught:
        await body()
    assert caught.value is error
    assert remote.running == 0


async def test_the_end_of_another_tree_leaves_as_it_is() -> None:
    """A tree that the body runs, and that gives up, is not the harness' own."""

    async def crash() -> None:
        raise ValueError("of another tree")

    async def inner() -> None:
        supervisor.run("child", crash, limit=RestartLimit(0, within=1.0))
        await trio.sleep_forever()

    with pytest.raises(RestartLimitExceeded) as caught:
        async with open_harness(idle):
            await supervisor.supervise(inner, limit=RestartLimit(0, within=1.0))
    assert caught.value.dn == "root"


async def test_a_cancelled_body_stops_the_tree() -> None:
    """All tasks are gone when the harness is left."""
    remote = Remote()
    with trio.CancelScope() as scope:
        async with open_harness(start, supervisor.run, "child", remote):
            await remote.become_healthy()
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert remote.running == 0


PROGRAM = """
import sys

sys.modules["pytest"] = sys.modules["_pytest"] = None  # as if they were not installed

import trio, trio.testing
import supervisor
from supervisor.testing import HarnessError, Remote, open_harness

async def main():
    remote = Remote()

    async def root():
        supervisor.run("child", remote)

    async with open_harness(root):
        await remote.die()
        await remote.become_healthy()
    async with open_harness(remote):
        await remote.die(ValueError("broken"))
        await trio.sleep_forever()

try:
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.0))
except HarnessError as error:
    print(str(error).splitlines()[0])
"""


def test_it_works_without_pytest() -> None:
    """supervisor.testing needs no test framework."""
    package = Path(supervisor.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(package)},
    )
    assert (done.stdout, done.returncode) == ("ValueError: broken\n", 0)


async def test_a_remote_obeys_commands() -> None:
    """It signals, returns and dies on command, and counts its incarnations."""
    remote = Remote()
    assert repr(remote) == "<Remote, started 0 times, 0 running>"
    async with open_harness(start, supervisor.run, "child", remote, backoff=AT_ONCE) as tree:

        async def state() -> NodeState:
            await wait_all_tasks_blocked()
            return tree.snapshot().nodes["root.child"].state

        assert await state() is NodeState.NEW
        await remote.become_healthy()
        assert await state() is NodeState.HEALTHY
        await remote.die()
        assert await state() is NodeState.NEW
        assert (remote.incarnations, remote.running) == (2, 1)
        await remote.become_healthy()
        await remote.be_done()
        assert await state() is NodeState.DONE
        assert (remote.incarnations, remote.running) == (2, 0)
    assert repr(remote) == "<Remote, started 2 times, 0 running>"


@pytest.mark.parametrize("error", [None, ValueError("chosen")])
async def test_a_remote_dies_of_the_error_it_is_given(error: Exception | None) -> None:
    """By default of a RemoteDeathError."""
    remote = Remote()
    async with open_harness(start, supervisor.run, "child", remote, backoff=LONG) as tree:
        await remote.die(error)
        await wait_all_tasks_blocked()
        (crash,) = tree.snapshot().nodes["root.child"].crashes
    expected = error or RemoteDeathError("died on request")
    assert crash.error == f"{type(expected).__name__}: {expected}"


async def test_a_remote_that_hangs_does_not_end_until_it_is_released() -> None:
    """hang() holds up each end, also one that has begun; release() undoes it for good."""
    remote = Remote()
    async with open_harness(start, supervisor.run, "child", remote, backoff=AT_ONCE):
        remote.hang()
        await remote.die()
        await wait_all_tasks_blocked()
        remote.hang()
        assert (remote.incarnations, remote.running) == (1, 1)
        remote.release()
        await remote.die()
        await wait_all_tasks_blocked()
        assert (remote.incarnations, remote.running) == (3, 1)


async def test_a_command_waits_for_the_next_incarnation(autojump_clock: MockClock) -> None:
    """If none runs, the one that starts after the backoff obeys it."""
    remote, steady = Remote(), Backoff(initial=3.0, jitter=0.0)
    async with open_harness(start, supervisor.run, "child", remote, backoff=steady) as tree:
        await remote.die()
        await remote.become_healthy()
        assert autojump_clock.current_time() == 3.0
        child = tree.snapshot().nodes["root.child"]
        assert (child.state, child.incarnation) == (NodeState.HEALTHY, 2)


@pytest.mark.parametrize("command", [Remote.become_healthy, Remote.be_done, Remote.die])
async def test_a_command_cancelled_before_it_is_received_has_not_been_given(
    command: Callable[[Remote], Awaitable[None]],
) -> None:
    """If it is cancelled while none runs, the next incarnation does not obey it."""
    remote = Remote()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(command, remote)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    with trio.CancelScope() as scope:
        scope.cancel()
        await command(remote)
    assert scope.cancelled_caught
    async with open_harness(start, supervisor.run, "child", remote) as tree:
        await wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root.child"].state is NodeState.NEW
        await remote.become_healthy()


@pytest.mark.parametrize(
    ("command", "state"),
    [
        (Remote.become_healthy, NodeState.HEALTHY),
        (Remote.be_done, NodeState.DONE),
        (Remote.die, NodeState.DEAD),
    ],
)
async def test_a_command_cancelled_after_it_was_received_is_carried_out(
    command: Callable[[Remote], Awaitable[None]], state: NodeState
) -> None:
    """It can't be recalled: the remote obeys it, and the command returns."""
    remote = Remote()
    async with open_harness(start, supervisor.run, "child", remote, backoff=LONG) as tree:
        if command is Remote.be_done:
            await remote.become_healthy()
        await wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            sent = trio.Event()

            async def give() -> None:
                sent.set()
                await command(remote)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(give)
                await sent.wait()
                scope.cancel()
        assert not scope.cancelled_caught
        await wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root.child"].state is state


async def test_a_command_is_a_checkpoint() -> None:
    """Also when the remote is ready to obey."""
    remote = Remote()
    async with open_harness(start, supervisor.run, "child", remote):
        for command in (Remote.become_healthy, Remote.be_done):
            await wait_all_tasks_blocked()
            with assert_checkpoints():
                await command(remote)

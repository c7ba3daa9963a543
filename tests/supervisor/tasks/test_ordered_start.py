"""Ordered start, and start timeouts (S20)."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, GroupState, Handle, NodeState, Signal
from supervisor.testing import Remote, open_harness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from trio.testing import MockClock

    Script = Callable[[], Awaitable[object]]

DOUBLING = Backoff(initial=1.0, factor=2.0, jitter=0.0)


@final
class Recorder:
    """Keeps the transitions of the nodes below the root, with their times."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, str, str]] = []

    def notify_node_state(self, dn: str, state: NodeState) -> None:
        if dn != "root":
            self.seen.append((trio.current_time(), dn.removeprefix("root."), state.name))

    def notify_node_gone(self, dn: str) -> None:
        raise AssertionError(dn)


@final
class Steps(trio.abc.Instrument):
    """Counts the steps of tasks by the tasks' names."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.names.append(task.name)


async def forever() -> None:
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


async def job() -> None:
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


async def hang() -> None:
    """Never become healthy."""
    await trio.sleep_forever()


@contextlib.asynccontextmanager
async def running(
    function: Callable[..., Handle], *args: object, **options: object
) -> AsyncIterator[tuple[supervisor.Supervisor, Handle, Recorder]]:
    """Run a tree whose root starts something; yield it with the handle and what it records."""
    handles: list[Handle] = []
    recorder = Recorder()

    async def root() -> None:
        handles.append(function(*args, **options))

    async with open_harness(root, backoff=DOUBLING, metrics=recorder, patience=60.0) as tree:
        await wait_all_tasks_blocked()
        yield tree, handles[0], recorder


# Ordered start


async def test_a_death_in_the_chain_starts_it_anew(autojump_clock: MockClock) -> None:
    """S20: each member starts when the one before is HEALTHY, and waits through its crashes."""
    deaths = 0

    async def fails_twice() -> None:
        nonlocal deaths
        await trio.sleep(0.25)
        if deaths < 2:
            deaths += 1
            raise OSError("not yet")
        await forever()

    group = {"a": forever, "b": fails_twice, "c": forever, "d": fails_twice, "e": forever}
    async with running(supervisor.run_group, group, ordered=True) as (tree, _, recorder):
        await trio.sleep(1.0)
        assert list(tree.snapshot().nodes) == ["root", "root.a", "root.b"]
        await trio.sleep(10.0)
        assert list(tree.snapshot().nodes) == ["root", *(f"root.{name}" for name in group)]
        assert recorder.seen == [
            (0.0, "a", "NEW"),
            (0.0, "a", "HEALTHY"),
            (0.0, "b", "NEW"),
            (0.25, "b", "DEAD"),
            (0.25, "a", "CANCELED"),
            (1.25, "a", "NEW"),
            (1.25, "a", "HEALTHY"),
            (1.25, "b", "NEW"),
            (1.5, "b", "DEAD"),
            (1.5, "a", "CANCELED"),
            (3.5, "a", "NEW"),
            (3.5, "a", "HEALTHY"),
            (3.5, "b", "NEW"),
            (3.75, "b", "HEALTHY"),
            (3.75, "c", "NEW"),
            (3.75, "c", "HEALTHY"),
            (3.75, "d", "NEW"),
            (4.0, "d", "HEALTHY"),
            (4.0, "e", "NEW"),
            (4.0, "e", "HEALTHY"),
        ]
        assert autojump_clock.current_time() == 11.0


async def test_done_counts_like_healthy() -> None:
    """S20: a member whose work is over lets the next one start."""
    group = {"a": job, "b": job, "c": forever}
    async with running(supervisor.run_group, group, ordered=True) as (_, handle, recorder):
        await handle.wait_healthy()
        states = ["NEW", "HEALTHY", "DONE"]
        expected = [(name, state) for name in "abc" for state in states][:-1]
        assert [(name, state) for _, name, state in recorder.seen] == expected


async def test_a_death_of_an_early_member_keeps_the_later_ones_waiting(
    autojump_clock: MockClock,
) -> None:
    """S20: while the group waits for its backoff, no member starts because another was HEALTHY."""
    first, second = Remote(), Remote()
    group = {"first": first, "second": second, "third": forever}
    async with running(supervisor.run_group, group, ordered=True) as (tree, handle, _):
        await first.become_healthy()
        await first.die()
        await wait_all_tasks_blocked()
        assert handle.state is GroupState.BACKOFF
        await first.become_healthy()
        assert autojump_clock.current_time() == 1.0
        await second.become_healthy()
        await handle.wait_healthy()
        nodes = tree.snapshot().nodes
        assert [nodes[f"root.{name}"].incarnation for name in group] == [2, 2, 1]


@pytest.mark.parametrize("how", ["handle", "tree", "parent", "sibling", "outside"])
@pytest.mark.parametrize("graces", [0.0, {"first": 1.0}])
async def test_what_waits_for_its_turn_never_starts_after_a_stop(
    how: str, graces: float | dict[str, float], autojump_clock: MockClock
) -> None:
    """S12, S20: whatever stops the group while a member is awaited, the later ones stay away."""
    first, second, parent = Remote(), Remote(), Remote()
    handles: list[Handle] = []
    recorder = Recorder()
    group: dict[str, Script] = {"first": first, "second": second, "third": forever}

    async def start() -> None:
        handles.append(supervisor.run_group(group, ordered=True, grace=graces))
        await parent()

    async def root() -> None:
        supervisor.run("parent", start, backoff=Backoff(initial=60.0, jitter=0.0))
        await forever()

    with trio.CancelScope() as outside:
        async with supervisor.open_supervisor(root, metrics=recorder) as tree:
            await first.become_healthy()
            await wait_all_tasks_blocked()
            if how == "outside":
                outside.cancel()
                await trio.lowlevel.checkpoint()
            elif how == "handle":
                await handles[0].stop()
            elif how == "tree":
                await tree.stop()
            else:
                await (parent if how == "parent" else second).die()
            await wait_all_tasks_blocked()
            assert "root.parent.third" not in tree.snapshot().nodes
            assert not tree.ready("root.parent.third")
    assert not [name for _, name, _ in recorder.seen if name == "parent.third"]
    assert (first.running, second.running) == (0, 0)
    asked = how != "outside" and graces
    assert autojump_clock.current_time() == (1.0 if asked else 0.0)


async def test_restart_starts_from_the_first() -> None:
    """S19, S20: the order is kept at each restart, an operator's as well."""
    first, second = Remote(), Remote()
    group = {"first": first, "second": second}
    async with running(supervisor.run_group, group, ordered=True) as (tree, handle, _):
        await first.become_healthy()
        await second.become_healthy()
        await handle.restart()
        await wait_all_tasks_blocked()
        assert (first.running, second.running) == (1, 0)
        node = tree.snapshot().nodes["root.second"]
        assert (node.state, node.incarnation) == (NodeState.CANCELED, 1)
        await first.become_healthy()
        await second.become_healthy()
        assert (first.incarnations, second.incarnations) == (2, 2)


async def test_the_tree_is_not_settled_in_the_middle_of_an_ordered_start() -> None:
    """S16, S20: between two members none is NEW, and yet there is more to come."""
    group = {f"m{number}": forever for number in range(20)}

    async def root() -> None:
        supervisor.run_group(group, ordered=True)
        await forever()

    async with supervisor.open_supervisor(root) as tree:
        await tree.wait_settled()
        states = [node.state for node in tree.snapshot().nodes.values()]
        assert states == [NodeState.HEALTHY] * 21


@pytest.mark.parametrize("stop", [False, True])
async def test_an_ordered_start_that_was_cut_short_is_settled(*, stop: bool) -> None:
    """S16, S20: where no member is to come for now, in BACKOFF or STOPPED, the tree is settled."""
    first = Remote()
    group = {"first": first, "second": forever}
    async with running(supervisor.run_group, group, ordered=True) as (tree, handle, _):
        await (handle.stop() if stop else first.die())
        await tree.wait_settled()
        assert handle.state is (GroupState.STOPPED if stop else GroupState.BACKOFF)


async def test_groups_are_ordered_by_wait_healthy(autojump_clock: MockClock) -> None:
    """S20: a parent that awaits one handle starts the next group when the first is healthy."""
    recorder = Recorder()

    async def database() -> None:
        await trio.sleep(3.0)
        await forever()

    async def root() -> None:
        handle = supervisor.run("database", database)
        await handle.wait_healthy()
        supervisor.run("api", forever)

    async with open_harness(root, metrics=recorder) as tree:
        await trio.sleep(4.0)
        await tree.wait_ready()
        assert recorder.seen == [
            (0.0, "database", "NEW"),
            (3.0, "database", "HEALTHY"),
            (3.0, "api", "NEW"),
            (3.0, "api", "HEALTHY"),
        ]
        assert autojump_clock.current_time() == 4.0


# Start timeouts


async def test_a_runnable_that_stays_new_dies(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """S20: each incarnation has its own timeout; the death is on record, logged and counted."""
    async with running(supervisor.run, "slow", hang, start_timeout=5.0) as (tree, handle, recorder):
        await trio.sleep(12.0)
        assert recorder.seen == [
            (0.0, "slow", "NEW"),
            (5.0, "slow", "DEAD"),
            (6.0, "slow", "NEW"),
            (11.0, "slow", "DEAD"),
        ]
        assert handle.state is GroupState.BACKOFF
        error = "StartTimeoutError: root.slow is still NEW after its start_timeout of 5 s"
        node = tree.snapshot().nodes["root.slow"]
        assert [(crash.error, crash.uptime) for crash in node.crashes] == [(error, 5.0)] * 2
        assert node.group.failures == 2
        assert autojump_clock.current_time() == 12.0
    deaths = [record for record in caplog.records if record.name == "supervisor.node.root.slow"]
    assert [record.levelno for record in deaths] == [logging.ERROR] * 2
    assert error in deaths[0].getMessage()


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_member_that_stays_new_restarts_its_group(
    autojump_clock: MockClock, *, ordered: bool
) -> None:
    """S20: it dies with its children, and its siblings are stopped."""
    child = Remote()

    async def slow() -> None:
        supervisor.run("child", child)
        try:
            await hang()
        finally:
            raise OSError("clean-up")

    async with running(
        supervisor.run_group, {"a": forever, "slow": slow}, ordered=ordered, start_timeout=5.0
    ) as (tree, _, _):
        await child.become_healthy()
        await trio.sleep(5.5)
        nodes = tree.snapshot().nodes
        states = {dn: nodes[dn].state.name for dn in ("root.a", "root.slow", "root.slow.child")}
        assert states == {
            "root.a": "CANCELED",
            "root.slow": "DEAD",
            "root.slow.child": "CANCELED",
        }
        assert nodes["root.slow"].crashes[0].error.startswith("StartTimeoutError: ")
        stop_error = nodes["root.slow"].stop_error
        assert stop_error is not None
        assert stop_error.error == "OSError: clean-up"
        assert child.running == 0
        await child.become_healthy()
        assert autojump_clock.current_time() == 6.0


async def test_each_member_is_timed_from_its_own_start(autojump_clock: MockClock) -> None:
    """S20: in an ordered group the wait for one's turn does not count."""

    async def takes_three_seconds() -> None:
        await trio.sleep(3.0)
        await forever()

    group = dict.fromkeys("abc", takes_three_seconds)
    async with running(supervisor.run_group, group, ordered=True, start_timeout=4.0) as running_:
        tree, handle, _ = running_
        await handle.wait_healthy()
        assert autojump_clock.current_time() == 9.0
        assert [node.incarnation for node in tree.snapshot().nodes.values()] == [1] * 4


async def test_nothing_happens_to_who_is_healthy_in_time(autojump_clock: MockClock) -> None:
    """S16, S20: the timeout passes without a death, and one step of one task is all it costs."""
    steps = Steps()

    async def in_time() -> None:
        await trio.sleep(4.0)
        await forever()

    async with running(supervisor.run, "in_time", in_time, start_timeout=5.0) as (tree, handle, _):
        await handle.wait_healthy()
        await wait_all_tasks_blocked()
        trio.lowlevel.add_instrument(steps)
        await trio.sleep(3600.0)
        trio.lowlevel.remove_instrument(steps)
        own = trio.lowlevel.current_task().name
        assert [name for name in steps.names if name != own] == ["alarms"]
        node = tree.snapshot().nodes["root.in_time"]
        assert (node.state, node.incarnation) == (NodeState.HEALTHY, 1)
        assert autojump_clock.current_time() == 3604.0


async def test_who_is_asked_to_stop_is_not_timed_any_more(autojump_clock: MockClock) -> None:
    """S20, S21: a node that is NEW in its grace ends CANCELED, however long that takes."""

    async def polite() -> None:
        await supervisor.wait_stop_requested()
        await trio.sleep(3.0)

    async with running(supervisor.run, "polite", polite, start_timeout=2.0, grace=9.0) as running_:
        tree, handle, _ = running_
        await trio.sleep(1.0)
        await handle.stop()
        assert autojump_clock.current_time() == 4.0
        node = tree.snapshot().nodes["root.polite"]
        assert (node.state, node.crashes) == (NodeState.CANCELED, ())


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
async def test_a_start_timeout_is_above_zero(seconds: float) -> None:
    """S20: the error names the number, and nothing has been started."""

    async def root() -> None:
        message = f"^start_timeout={seconds!r} is not a number of seconds above 0$"
        with pytest.raises(ValueError, match=message):
            supervisor.run("a", forever, start_timeout=seconds)
        with pytest.raises(ValueError, match=message):
            supervisor.run_group({"a": forever}, start_timeout=seconds)
        supervisor.run("a", forever, start_timeout=float("inf"))

    async with open_harness(root) as tree:
        await tree.wait_settled()
        assert list(tree.snapshot().nodes) == ["root", "root.a"]

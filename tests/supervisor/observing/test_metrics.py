"""Looking at a tree: metrics as things happen, snapshots, crash records, settling."""

from __future__ import annotations

import gc
import logging
import weakref
from collections import Counter
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, GroupState, InMemoryMetrics, NodeState, Signal
from supervisor.testing import Remote, open_harness

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

NEW, HEALTHY, DONE = NodeState.NEW, NodeState.HEALTHY, NodeState.DONE
DEAD, CANCELED = NodeState.DEAD, NodeState.CANCELED

AT_ONCE = Backoff(initial=0.0)
STEADY = Backoff(initial=2.0, factor=2.0, jitter=0.0)
PATIENT = Backoff(initial=1000.0, maximum=1000.0, jitter=0.0)

Event = tuple[str, NodeState | None]


class Transitions:
    """Metrics that keep what they are told; ``None`` stands for having vanished."""

    def __init__(self) -> None:
        self.seen: list[Event] = []

    def notify_node_state(self, dn: str, state: NodeState) -> None:
        self.seen.append((dn, state))

    def notify_node_gone(self, dn: str) -> None:
        self.seen.append((dn, None))

    def take(self) -> list[Event]:
        """Return what is new since the last call."""
        seen, self.seen = self.seen, []
        return seen


class Broken:
    """Metrics of which every call fails."""

    def __init__(self) -> None:
        self.calls = 0

    def __repr__(self) -> str:
        return "<Broken>"

    def notify_node_state(self, dn: str, state: NodeState) -> None:
        self.calls += 1
        raise ValueError(dn, state)

    def notify_node_gone(self, dn: str) -> None:
        self.calls += 1
        raise KeyError(dn)


class Steps(trio.abc.Instrument):
    """Counts the steps that tasks take, by name."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.counted[task.name] += 1


async def idle() -> None:
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


async def start(function: Callable[..., object], *args: object) -> None:
    """Be a root that starts something and returns, which is enough for the harness."""
    function(*args)


class Family:
    """A healthy root, a parent under remote control, and its two children in a group."""

    def __init__(self) -> None:
        self.parent, self.a, self.b = Remote(), Remote(), Remote()

    async def _parent(self) -> None:
        supervisor.run_group({"a": self.a, "b": self.b})
        await self.parent()

    async def __call__(self) -> None:
        supervisor.run("parent", self._parent)
        await idle()

    async def become_healthy(self) -> None:
        for each in (self.parent, self.a, self.b):
            await each.become_healthy()


PARENT, A, B = "root.parent", "root.parent.a", "root.parent.b"


async def test_metrics_see_every_transition_in_order_to_the_end_of_the_shutdown() -> None:
    """S16: called synchronously and in order, from the root's first NEW to the last CANCELED."""
    transitions, family = Transitions(), Family()
    async with supervisor.open_supervisor(family, metrics=transitions, backoff=AT_ONCE):
        await family.become_healthy()
        started = transitions.take()
        await family.a.die()
        await family.a.become_healthy()
        await family.b.become_healthy()
        restarted = transitions.take()
    stopped = transitions.take()
    assert started[:3] == [("root", NEW), (PARENT, NEW), ("root", HEALTHY)]
    assert started[3:] == [(A, NEW), (B, NEW), (PARENT, HEALTHY), (A, HEALTHY), (B, HEALTHY)]
    assert restarted == [
        (A, DEAD),
        (B, CANCELED),
        (A, NEW),
        (B, NEW),
        (A, HEALTHY),
        (B, HEALTHY),
    ]
    assert stopped[:2] == [("root", CANCELED), (PARENT, CANCELED)]
    # Members of one group are stopped side by side.
    assert sorted(stopped[2:]) == [(A, CANCELED), (B, CANCELED)]


async def test_nodes_vanish_when_their_parent_starts_again() -> None:
    """S16: notify_node_gone comes after a node's last state and before its parent's NEW."""
    transitions, family = Transitions(), Family()
    async with supervisor.open_supervisor(family, metrics=transitions, backoff=AT_ONCE):
        await family.become_healthy()
        transitions.take()
        await family.parent.die()
        await family.parent.become_healthy()
        seen = transitions.take()
    assert seen[0] == (PARENT, DEAD)
    assert sorted(seen[1:3]) == [(A, CANCELED), (B, CANCELED)]
    assert seen[3:] == [
        (A, None),
        (B, None),
        (PARENT, NEW),
        (A, NEW),
        (B, NEW),
        (PARENT, HEALTHY),
    ]


async def test_a_node_that_waits_for_its_restart_has_not_vanished() -> None:
    """S16: during the backoff the dead node and what was below it keep their last states."""
    metrics, family = InMemoryMetrics(), Family()
    async with supervisor.open_supervisor(family, metrics=metrics, backoff=PATIENT) as tree:
        await family.become_healthy()
        await family.parent.die()
        await wait_all_tasks_blocked()
        states = {dn: status.state for dn, status in metrics.nodes().items()}
        assert states == {"root": HEALTHY, PARENT: DEAD, A: CANCELED, B: CANCELED}
        assert tree.snapshot().nodes.keys() == states.keys()


async def test_the_states_that_a_tree_ends_with_are_kept() -> None:
    """S16: after the end nothing vanishes; DONE and CANCELED are told apart from DEAD."""
    metrics, family = InMemoryMetrics(), Family()
    async with supervisor.open_supervisor(family, metrics=metrics) as tree:
        await family.become_healthy()
        await family.parent.be_done()
        await wait_all_tasks_blocked()
    states = {dn: status.state for dn, status in metrics.nodes().items()}
    assert states == {"root": CANCELED, PARENT: DONE, A: CANCELED, B: CANCELED}
    assert {dn: node.state for dn, node in tree.snapshot().nodes.items()} == states


async def test_metrics_that_raise_are_logged_and_harm_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S16: a node starts, dies, restarts and ends as if nobody were looking."""
    broken, family = Broken(), Family()
    async with supervisor.open_supervisor(family, metrics=broken, backoff=AT_ONCE) as tree:
        await family.become_healthy()
        await family.parent.die()
        await family.become_healthy()
        assert tree.snapshot().nodes[PARENT].incarnation == 2
    failures = [record for record in caplog.records if record.name == "supervisor"]
    assert len(failures) == broken.calls
    assert all(record.levelno == logging.ERROR and record.exc_info for record in failures)
    messages = {record.getMessage() for record in failures}
    assert f"<Broken> failed at the transition of {PARENT} to DEAD" in messages
    assert f"<Broken> failed at the vanishing of {A}" in messages


async def test_in_memory_metrics_tell_states_and_since_when(autojump_clock: MockClock) -> None:
    """S16: nodes() is an immutable copy, which a worker thread may take as well."""
    metrics, remote = InMemoryMetrics(), Remote()
    async with open_harness(start, supervisor.run, "child", remote, metrics=metrics):
        await trio.sleep(3.0)
        before = metrics.nodes()
        await remote.become_healthy()
        child = (await trio.to_thread.run_sync(metrics.nodes))["root.child"]
        assert (child.state, child.since) == (HEALTHY, autojump_clock.current_time())
        assert (before["root.child"].state, before["root.child"].since) == (NEW, 0.0)
        with pytest.raises(TypeError):
            before["root.child"] = child  # type: ignore[index]
        assert repr(metrics) == "<InMemoryMetrics of 2 nodes>"


async def test_in_memory_metrics_forget_what_has_vanished() -> None:
    """S16: a child that the next incarnation of its parent does not start is not there any more."""
    metrics, remote, names = InMemoryMetrics(), Remote(), iter(["old", "new"])

    async def parent() -> None:
        supervisor.run(next(names), idle)
        await remote()

    async with open_harness(
        start, supervisor.run, "parent", parent, metrics=metrics, backoff=AT_ONCE
    ):
        await remote.die()
        await remote.become_healthy()
        assert metrics.nodes().keys() == {"root", PARENT, "root.parent.new"}


async def test_a_snapshot_holds_all_nodes_each_before_its_children() -> None:
    """S16: in order of start; members of a group share what is said of their group."""
    family = Family()
    async with supervisor.open_supervisor(family) as tree:
        await family.become_healthy()
        nodes = tree.snapshot().nodes
    assert list(nodes) == ["root", PARENT, A, B]
    assert [node.dn for node in nodes.values()] == list(nodes)
    assert nodes[A].group == nodes[B].group
    assert nodes[A].group.dn == "root.parent.{a,b}"
    assert nodes["root"].group.dn == "root"
    assert {node.group.state for node in nodes.values()} == {GroupState.RUNNING}


async def test_a_snapshot_does_not_change() -> None:
    """S16: it is immutable, and what happens later is not seen in it."""
    family = Family()
    async with supervisor.open_supervisor(family) as tree:
        await wait_all_tasks_blocked()
        snapshot = tree.snapshot()
        await family.become_healthy()
        assert snapshot.nodes[A].state is NEW
        assert tree.snapshot().nodes[A].state is HEALTHY
    with pytest.raises(TypeError):
        del snapshot.nodes["root"]  # type: ignore[attr-defined]
    for frozen in (snapshot, snapshot.nodes[A], snapshot.nodes[A].group):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            frozen.dn = "other"  # type: ignore[union-attr,misc]


async def test_a_backoff_is_visible_with_its_deadline(autojump_clock: MockClock) -> None:
    """S3, S16: BACKOFF is a state of the group; the deadline is that of the next start."""
    family = Family()
    async with supervisor.open_supervisor(family, backoff=STEADY) as tree:
        await family.become_healthy()
        await trio.sleep(1.5)
        await family.b.die()
        await wait_all_tasks_blocked()
        node = tree.snapshot().nodes[A]
        assert (node.state, node.since, node.incarnation) == (CANCELED, 1.5, 1)
        assert node.group.state is GroupState.BACKOFF
        assert (node.group.deadline, node.group.failures) == (3.5, 1)
        await family.a.become_healthy()
        node = tree.snapshot().nodes[A]
        assert (node.since, node.incarnation) == (3.5, 2)
        assert autojump_clock.current_time() == 3.5
        assert node.group.deadline is None


async def test_str_of_a_snapshot_is_a_picture(autojump_clock: MockClock) -> None:
    """S16: a line for each node: state, age, and what the group is at."""
    family = Family()
    async with supervisor.open_supervisor(family, backoff=STEADY) as tree:
        await family.become_healthy()
        await trio.sleep(7.0)
        await family.a.die(ValueError("two\nlines"))
        await trio.sleep(0.5)
        picture = str(tree.snapshot())
        assert autojump_clock.current_time() == 7.5
    waiting = "group BACKOFF, restarts in 1.5 s"
    assert picture.splitlines() == [
        "root      HEALTHY   7.5 s",
        "  parent  HEALTHY   7.5 s",
        f"    a     DEAD      0.5 s  {waiting}  incarnation 1, last died of ValueError: two lines",
        f"    b     CANCELED  0.5 s  {waiting}",
    ]


async def test_a_crash_record_tells_when_and_of_what(autojump_clock: MockClock) -> None:
    """S14: DN, time, uptime, incarnation, and the error in a line."""
    remote = Remote()
    async with open_harness(start, supervisor.run, "child", remote, backoff=STEADY) as tree:
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


async def test_only_the_last_few_crashes_are_kept() -> None:
    """S14: the record is bounded, the newest comes last, and it outlives restarts."""
    remote = Remote()
    async with open_harness(start, supervisor.run, "child", remote, backoff=AT_ONCE) as tree:
        for number in range(1, 13):
            await remote.die(ValueError(f"number {number}"))
        await remote.become_healthy()
        child = tree.snapshot().nodes["root.child"]
    assert child.incarnation == 13
    assert [crash.incarnation for crash in child.crashes] == [8, 9, 10, 11, 12]
    assert child.crashes[-1].error == "ValueError: number 12"


@pytest.mark.parametrize("grouped", [False, True])
async def test_a_crash_keeps_nothing_alive_that_the_runnable_used(*, grouped: bool) -> None:
    """S14: no frame, traceback or exception is kept, not even during the backoff."""
    locals_of_the_dead: list[weakref.ref[Remote]] = []

    async def child() -> None:
        precious = Remote()
        locals_of_the_dead.append(weakref.ref(precious))
        raise ValueError(precious)

    members = {"child": child, "other": idle} if grouped else {"child": child}
    async with open_harness(start, supervisor.run_group, members, backoff=PATIENT) as tree:
        await tree.wait_settled()
        assert tree.snapshot().nodes["root.child"].crashes
        gc.collect()
        assert [reference() for reference in locals_of_the_dead] == [None]


async def test_wait_settled_waits_for_each_node_to_say_that_it_is_healthy() -> None:
    """S16: no node is NEW when it returns; one that waits for its restart is settled."""
    family = Family()
    async with supervisor.open_supervisor(family, backoff=PATIENT) as tree:
        settled = trio.Event()

        async def watch() -> None:
            await tree.wait_settled()
            settled.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            for each in (family.parent, family.a, family.b):
                await wait_all_tasks_blocked()
                assert not settled.is_set()
                await each.become_healthy()
        assert settled.is_set()
        await family.a.die()
        await wait_all_tasks_blocked()
        await tree.wait_settled()
        assert tree.snapshot().nodes[A].group.state is GroupState.BACKOFF


async def test_wait_settled_takes_no_step_before_the_tree_has_settled(
    autojump_clock: MockClock,
) -> None:
    """S16: it is event driven: an hour of waiting costs nothing, and nor does an idle tree."""
    steps, family = Steps(), Family()
    async with supervisor.open_supervisor(family) as tree:
        await family.parent.become_healthy()
        await family.a.become_healthy()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tree.wait_settled, name="waiter")
            await wait_all_tasks_blocked()
            trio.lowlevel.add_instrument(steps)
            await trio.sleep(3600.0)
            del steps.counted[trio.lowlevel.current_task().name]
            assert steps.counted == {}
            await family.b.become_healthy()
        trio.lowlevel.remove_instrument(steps)
    assert autojump_clock.current_time() == 3600.0
    assert steps.counted["waiter"] == 1


async def test_wait_settled_returns_at_the_end_of_the_tree() -> None:
    """S16: a tree that was never settled is so when nothing of it is left."""
    remote = Remote()
    async with trio.open_nursery() as nursery, supervisor.open_supervisor(remote) as tree:
        nursery.start_soon(tree.wait_settled)
        await wait_all_tasks_blocked()

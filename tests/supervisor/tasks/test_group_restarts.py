"""Groups: members stop, wait and start together (S7), their backoff (S9), their end (S13)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, GroupState, NodeState, Signal
from supervisor.testing import Remote, open_harness

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

    Runnables = dict[str, Callable[[], Awaitable[None]]]

DOUBLING = Backoff(initial=1.0, factor=2.0, jitter=0.0)
LONG = Backoff(initial=1000.0, jitter=0.0, maximum=1000.0)


class Starts:
    """Keeps which nodes were started, and when."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, str]] = []

    def notify_node_state(self, dn: str, state: NodeState) -> None:
        if state is NodeState.NEW:
            self.seen.append((trio.current_time(), dn))

    def notify_node_gone(self, dn: str) -> None:
        """Be of no interest here."""


async def forever() -> None:
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


async def start(function: Callable[..., object], *args: object) -> None:
    """Be a root that starts something and returns, which is enough for the harness."""
    function(*args)


@pytest.mark.parametrize("state", [NodeState.NEW, NodeState.HEALTHY, NodeState.DONE])
async def test_sibling_of_a_failed_member_restarts_in_whatever_state_it_is(
    state: NodeState, autojump_clock: MockClock
) -> None:
    """S7: when a member dies, every other one starts again, those already DONE included."""
    failing = Remote()
    starts = []

    async def sibling() -> None:
        starts.append(autojump_clock.current_time())
        if state is not NodeState.NEW:
            supervisor.signal(Signal.HEALTHY)
        if state is NodeState.DONE:
            supervisor.signal(Signal.DONE)
        else:
            await trio.sleep_forever()

    group = {"sibling": sibling, "failing": failing}
    async with open_harness(start, supervisor.run_group, group, backoff=DOUBLING) as tree:
        await wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root.sibling"].state is state
        await failing.die()
        await failing.become_healthy()
        await wait_all_tasks_blocked()
        assert starts == [0.0, 1.0]
        assert tree.snapshot().nodes["root.sibling"].state is state


async def test_all_start_in_order_when_the_slowest_subtree_is_gone(
    autojump_clock: MockClock,
) -> None:
    """S7: each member's whole subtree is joined, then comes the backoff, then the mapping again."""
    failing, slow = Remote(), Remote()
    slow.stop_slowly(4.0)
    starts = Starts()

    async def above_slow() -> None:
        supervisor.run("slow", slow)
        await forever()

    group = {"quick": forever, "failing": failing, "above": above_slow, "again": forever}
    async with open_harness(
        start, supervisor.run_group, group, backoff=DOUBLING, metrics=starts
    ) as tree:
        await slow.become_healthy()
        await failing.die()
        await trio.sleep(3.0)
        assert tree.snapshot().nodes["root.quick"].group.state is GroupState.STOPPING
        assert (slow.running, failing.running) == (1, 0)
        await failing.become_healthy()
        assert autojump_clock.current_time() == 5.0
    dns = [f"root.{name}" for name in group]
    seen = [(time, dn) for time, dn in starts.seen if dn in dns]
    assert seen == [(time, dn) for time in (0.0, 5.0) for dn in dns]


async def test_members_that_die_together_count_once(autojump_clock: MockClock) -> None:
    """S9: three members that die in one instant are one failure, with the first delay."""
    doom = trio.Event()

    async def doomed() -> None:
        await doom.wait()
        raise OSError("doom")

    group = {"a": doomed, "b": doomed, "c": doomed}
    async with open_harness(start, supervisor.run_group, group, backoff=DOUBLING) as tree:
        await wait_all_tasks_blocked()
        doom.set()
        await wait_all_tasks_blocked()
        nodes = [tree.snapshot().nodes[f"root.{name}"] for name in group]
        assert nodes[0].group.failures == 1
        assert nodes[0].group.deadline == autojump_clock.current_time() + 1.0
        assert sum(len(node.crashes) for node in nodes) == 1
        assert sum(node.stop_error is not None for node in nodes) == 2


async def test_error_raised_while_stopping_does_not_count(autojump_clock: MockClock) -> None:
    """S9: what a member raises while its group stops is kept, and is no second failure."""
    failing = Remote()

    async def clumsy() -> None:
        try:
            await forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(4.0)
            raise OSError("while stopping")

    group = {"failing": failing, "clumsy": clumsy}
    async with open_harness(start, supervisor.run_group, group, backoff=DOUBLING) as tree:
        await wait_all_tasks_blocked()
        await failing.die()
        await failing.die()
        assert autojump_clock.current_time() == 4.0 + 1.0
        await failing.become_healthy()
        assert autojump_clock.current_time() == 5.0 + 4.0 + 2.0
        node = tree.snapshot().nodes["root.clumsy"]
        assert "while stopping" in str(node.stop_error)
        assert (node.crashes, node.group.failures) == ((), 2)


@pytest.mark.parametrize("stop", ["cancel", "leave"])
async def test_stop_ends_the_backoff_at_once(stop: str, autojump_clock: MockClock) -> None:
    """S9: a tree stops without waiting for the delays of its groups."""
    failing = Remote()
    group = {"failing": failing, "other": forever}
    with trio.CancelScope() as scope:
        async with open_harness(start, supervisor.run_group, group, backoff=LONG) as tree:
            await failing.die()
            await wait_all_tasks_blocked()
            assert tree.snapshot().nodes["root.other"].group.state is GroupState.BACKOFF
            if stop == "cancel":
                scope.cancel()
    assert autojump_clock.current_time() == 0.0
    stopped = tree.snapshot().nodes["root.other"].group
    assert (stopped.state, stopped.deadline) == (GroupState.STOPPED, None)


@pytest.mark.parametrize("last_state", [NodeState.HEALTHY, NodeState.DONE])
@pytest.mark.parametrize(("seconds", "failures"), [(9.75, 3), (10.0, 1), (60.0, 1)])
async def test_failures_are_forgotten_after_a_time_of_joint_health(
    seconds: float, failures: int, last_state: NodeState, autojump_clock: MockClock
) -> None:
    """S9: the delay resets when all members have been HEALTHY or DONE for reset_after seconds."""
    first, last = Remote(), Remote()
    group = {"first": first, "last": last}
    async with open_harness(start, supervisor.run_group, group, backoff=DOUBLING) as tree:
        await first.die()
        await first.die()
        await first.become_healthy()
        await trio.sleep(100.0)  # it does not count as long as the last member is NEW
        await last.become_healthy()
        if last_state is NodeState.DONE:
            await last.be_done()
        await trio.sleep(seconds)
        assert tree.snapshot().nodes["root.last"].state is last_state
        await first.die()
        await wait_all_tasks_blocked()
        after = tree.snapshot().nodes["root.last"].group
        assert after.failures == failures
        assert after.deadline == autojump_clock.current_time() + DOUBLING.delay(failures)


@pytest.mark.parametrize(
    ("backoff", "failures"),
    [
        (Backoff(jitter=0.0), [1, 2, 3, 4, 5, 6, 7, 8]),
        (Backoff(jitter=0.0, reset_after=0.0), [1] * 8),
    ],
    ids=["default", "reset at once"],
)
async def test_delays_of_a_healthy_then_crash_loop_grow_by_default(
    backoff: Backoff, failures: list[int], autojump_clock: MockClock
) -> None:
    """S9: a second of health does not reset the delay, except with reset_after=0."""
    starts = []

    async def crash_later() -> None:
        starts.append(autojump_clock.current_time())
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(1.0)
        raise OSError("crash")

    async with open_harness(start, supervisor.run, "loop", crash_later, backoff=backoff):
        await trio.sleep(60.0)
    delays = [later - sooner - 1.0 for sooner, later in itertools.pairwise(starts)]
    assert delays[:8] == [backoff.delay(count) for count in failures]


async def test_backoff_of_the_tree_is_the_default_of_each_group(autojump_clock: MockClock) -> None:
    """S9: backoff= of supervise() holds at every depth where a group has none of its own."""

    async def crash() -> None:
        raise OSError("crash")

    async def middle() -> None:
        supervisor.run("a", crash)
        supervisor.run("b", crash, backoff=LONG)
        supervisor.run_group({"c": crash})
        supervisor.run_group({"d": crash}, backoff=LONG)
        await forever()

    async with open_harness(start, supervisor.run, "middle", middle, backoff=DOUBLING) as tree:
        await wait_all_tasks_blocked()
        assert autojump_clock.current_time() == 0.0
        groups = [tree.snapshot().nodes[f"root.middle.{name}"].group for name in "abcd"]
        assert [group.deadline for group in groups] == [1.0, 1000.0, 1.0, 1000.0]


async def test_channels_of_a_factory_are_fresh_in_each_incarnation(
    autojump_clock: MockClock,
) -> None:
    """S8: a function is called at each start, so nothing stale is in the channels it makes."""
    received = []
    calls = []

    def group() -> Runnables:
        calls.append(autojump_clock.current_time())
        send, receive = trio.open_memory_channel[int](10)

        async def produce() -> None:
            for item in range(3):
                send.send_nowait(10 * len(calls) + item)
            await forever()

        async def consume() -> None:
            received.append(await receive.receive())
            if len(calls) < 3:
                raise OSError("two items are left in the channel")
            await forever()

        return {"produce": produce, "consume": consume}

    async with open_harness(start, supervisor.run_group, group, backoff=DOUBLING):
        await trio.sleep(10.0)
    assert received == [10, 20, 30]
    assert calls == [0.0, 1.0, 3.0]


def broken() -> Runnables:
    raise OSError("no channels today")


factories_that_fail = pytest.mark.parametrize(
    ("factory", "error"),
    [
        (broken, "OSError: no channels today"),
        (lambda: None, "TypeError: a group under root.parent got None"),
        (lambda: [forever], "TypeError: a group under root.parent got [<function forever"),
        (dict, "ValueError: a group under root.parent got an empty mapping"),
        (lambda: {"a": forever, "Bad!": forever}, "InvalidNameError: invalid name 'Bad!'"),
        (lambda: {"a": forever, "other": forever}, "DuplicateNameError: a node root.parent.other"),
        (
            lambda: {"a": forever, "log": forever},
            "DuplicateNameError: a sub-logger root.parent.log",
        ),
        (lambda: {"a": forever, "b": 3}, "TypeError: the runnable 'b' got 3"),
    ],
)


@factories_that_fail
async def test_factory_that_fails_at_the_first_call_fails_run_group(
    factory: Callable[[], Runnables], error: str
) -> None:
    """S8: the caller of run_group() gets what the function raises, and nothing has changed."""
    starts = Starts()

    async def parent() -> None:
        supervisor.run("other", forever)
        supervisor.sub_logger("log")
        with pytest.raises((OSError, TypeError, ValueError)) as caught:
            supervisor.run_group(factory)
        assert f"{type(caught.value).__name__}: {caught.value}".startswith(error)
        supervisor.run_group({"a": forever})
        await forever()

    async with open_harness(start, supervisor.run, "parent", parent, metrics=starts) as tree:
        await tree.wait_settled()
        assert tree.snapshot().nodes["root.parent"].state is NodeState.HEALTHY
    assert [dn for _, dn in starts.seen[2:]] == ["root.parent.other", "root.parent.a"]


@factories_that_fail
async def test_factory_that_fails_at_a_restart_is_a_failure_of_its_group(
    factory: Callable[[], Runnables],
    error: str,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S8: it is logged, the group waits longer and tries again, and its members are kept."""
    remote = Remote()
    calls: list[float] = []

    def group() -> Runnables:
        calls.append(autojump_clock.current_time())
        return factory() if len(calls) in {2, 3} else {"a": forever, "b": remote}

    async def parent() -> None:
        supervisor.run("other", forever)
        supervisor.sub_logger("log")
        supervisor.run_group(group)
        await forever()

    async with open_harness(start, supervisor.run, "parent", parent, backoff=DOUBLING) as tree:
        await remote.die()
        await trio.sleep(2.0)
        *_, a, b = tree.snapshot().nodes.values()
        assert (a.dn, b.dn) == ("root.parent.a", "root.parent.b")
        assert (a.group.state, a.group.failures) == (GroupState.BACKOFF, 2)
        await remote.become_healthy()
        assert (calls, remote.incarnations) == ([0.0, 1.0, 3.0, 7.0], 2)
    logged = [record.getMessage() for record in caplog.records[1:]]
    prefix = "the function that makes the runnables of root.parent.{a,b} failed: "
    assert [text.startswith(prefix + error) for text in logged] == [True, True]


async def test_factory_may_change_the_members_at_a_restart() -> None:
    """S8: a name that is missing vanishes with its subtree, a new one runs, the rest stay."""
    metrics = supervisor.InMemoryMetrics()
    remote = Remote()

    async def parent() -> None:
        supervisor.run("child", forever)
        await forever()

    members = {"leaves": parent, "stays": remote}
    async with open_harness(
        start, supervisor.run_group, lambda: members, backoff=DOUBLING, metrics=metrics
    ) as tree:
        await wait_all_tasks_blocked()
        assert "root.leaves.child" in metrics.nodes()
        members = {"stays": remote, "comes": parent}
        await remote.die()
        await remote.become_healthy()
        await tree.wait_settled()
        nodes = tree.snapshot().nodes
        assert set(nodes) == {"root", "root.stays", "root.comes", "root.comes.child"}
        assert set(metrics.nodes()) == set(nodes)
        assert nodes["root.comes"].group.dn == "root.{stays,comes}"
        assert [nodes[dn].incarnation for dn in ("root.stays", "root.comes")] == [2, 1]
        assert len(nodes["root.stays"].crashes) == 1


async def test_group_is_finished_when_all_subtrees_are_done() -> None:
    """S13: a group ends with the last node below its members, and with the root's the tree."""
    first, last = Remote(), Remote()

    async def done() -> None:
        supervisor.run("last", last)
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async def root() -> None:
        supervisor.run_group({"first": first, "done": done})
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async with supervisor.open_supervisor(root) as tree:
        await first.become_healthy()
        await last.become_healthy()
        await first.be_done()
        await wait_all_tasks_blocked()
        nodes = tree.snapshot().nodes
        assert {node.group.state for node in nodes.values()} == {GroupState.RUNNING}
        await last.be_done()
        await wait_all_tasks_blocked()
        nodes = tree.snapshot().nodes
        assert {node.group.state for node in nodes.values()} == {GroupState.FINISHED}
        assert {node.state for node in nodes.values()} == {NodeState.DONE}

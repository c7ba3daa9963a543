"""The function that makes the runnables of a group (S8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import GroupState, NodeState, RunError, Signal
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import AT_ONCE, DOUBLING
from ..helpers.runnables import idle, start
from ..helpers.transitions import TimedTransitions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

    Runnables = dict[str, Callable[[], Awaitable[None]]]

# The first call and each restart


async def test_channels_of_a_factory_are_fresh_in_each_incarnation(
    autojump_clock: MockClock,
) -> None:
    """S8: the function is called at each start, so the channels that it makes are empty."""
    received = []
    calls = []

    def group() -> Runnables:
        calls.append(autojump_clock.current_time())
        send, receive = trio.open_memory_channel[int](10)

        async def produce() -> None:
            for item in range(3):
                send.send_nowait(10 * len(calls) + item)
            await idle()

        async def consume() -> None:
            received.append(await receive.receive())
            if len(calls) < 3:
                raise OSError("two items are left in the channel")
            await idle()

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
        (lambda: [idle], "TypeError: a group under root.parent got [<function idle"),
        (dict, "ValueError: a group under root.parent got an empty mapping"),
        (lambda: {"a": idle, "Bad!": idle}, "InvalidNameError: invalid name 'Bad!'"),
        (lambda: {"a": idle, "other": idle}, "DuplicateNameError: a node root.parent.other"),
        (
            lambda: {"a": idle, "log": idle},
            "DuplicateNameError: a sub-logger root.parent.log",
        ),
        (lambda: {"a": idle, "b": 3}, "TypeError: the runnable 'b' got 3"),
    ],
)


@factories_that_fail
async def test_factory_that_fails_at_the_first_call_fails_run_group(
    factory: Callable[[], Runnables], error: str
) -> None:
    """S8: run_group() raises what the function raises, and nothing has changed."""
    transitions = TimedTransitions()

    async def parent() -> None:
        supervisor.run("other", idle)
        supervisor.sub_logger("log")
        with pytest.raises((OSError, TypeError, ValueError)) as caught:
            supervisor.run_group(factory)
        assert f"{type(caught.value).__name__}: {caught.value}".startswith(error)
        supervisor.run_group({"a": idle})
        await idle()

    async with open_harness(start, supervisor.run, "parent", parent, metrics=transitions) as tree:
        await tree.wait_settled()
        assert tree.snapshot().nodes["root.parent"].state is NodeState.HEALTHY
    assert [name for _, name in transitions.starts] == ["parent", "parent.other", "parent.a"]


@factories_that_fail
async def test_factory_that_fails_at_a_restart_is_a_failure_of_its_group(
    factory: Callable[[], Runnables],
    error: str,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S8: it is logged; the group waits longer, tries again, and keeps its members."""
    remote = Remote()
    calls: list[float] = []

    def group() -> Runnables:
        calls.append(autojump_clock.current_time())
        return factory() if len(calls) in {2, 3} else {"a": idle, "b": remote}

    async def parent() -> None:
        supervisor.run("other", idle)
        supervisor.sub_logger("log")
        supervisor.run_group(group)
        await idle()

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


async def test_a_function_that_ends_the_set_up_gets_no_group() -> None:
    """S6, S8: run_group() checks the state of the caller again after the function was called."""
    errors = []

    def members() -> dict[str, Callable[[], Awaitable[object]]]:
        supervisor.signal(Signal.HEALTHY)
        return {"child": idle}

    async def root() -> None:
        with pytest.raises(RunError) as caught:
            supervisor.run_group(members)
        errors.append(str(caught.value))
        await trio.sleep_forever()

    async with open_harness(root) as tree:
        await tree.wait_settled()
        assert list(tree.snapshot().nodes) == ["root"]
    (error,) = errors
    assert error.startswith("root can't start children when HEALTHY")


async def test_a_function_may_start_other_children() -> None:
    """S8: they come before the group's members, and end with the same parent."""
    starts = []

    async def noting() -> None:
        starts.append(supervisor.current_dn())
        await idle()

    def members() -> dict[str, Callable[[], Awaitable[object]]]:
        supervisor.run("helper", noting)
        return {"child": noting}

    async def root() -> None:
        supervisor.run_group(members)
        await idle()

    async with open_harness(root) as tree:
        await tree.wait_ready()
        assert list(tree.snapshot().nodes) == ["root", "root.helper", "root.child"]
        await wait_all_tasks_blocked()
        assert sorted(starts) == ["root.child", "root.helper"]


# Members that come and go


async def test_factory_may_change_the_members_at_a_restart(autojump_clock: MockClock) -> None:
    """S8: a missing name is removed with its subtree, a new one runs, the others stay."""
    metrics = supervisor.InMemoryMetrics()
    remote = Remote()

    async def parent() -> None:
        supervisor.run("child", idle)
        await idle()

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
    assert autojump_clock.current_time() == 1.0


async def test_new_members_take_the_place_of_the_old_ones() -> None:
    """S8, S21: a group that changes its members is still stopped in its order."""
    ended = []
    remote = Remote()

    async def noting() -> None:
        try:
            await idle()
        finally:
            ended.append(supervisor.current_dn())

    rounds: list[dict[str, Callable[[], Awaitable[object]]]]
    rounds = [{"new": noting, "newer": noting}, {"old": remote}]

    async def root() -> None:
        supervisor.run("before", noting)
        supervisor.run_group(rounds.pop)
        supervisor.run("after", noting)

    async with open_harness(root, backoff=AT_ONCE) as tree:
        await remote.die()
        await wait_all_tasks_blocked()
        assert list(tree.snapshot().nodes) == [
            "root",
            "root.before",
            "root.new",
            "root.newer",
            "root.after",
        ]
    assert (ended[0], set(ended[1:3]), ended[3]) == (
        "root.after",
        {"root.new", "root.newer"},
        "root.before",
    )


async def test_a_member_that_never_started_is_not_reported_gone() -> None:
    """S16, S20: metrics are not told of a member that was replaced before its start."""
    seen, gone = set(), set()

    class Metrics:
        def notify_node_state(self, dn: str, _: NodeState) -> None:
            seen.add(dn)

        def notify_node_gone(self, dn: str) -> None:
            gone.add(dn)

    async def crash() -> NoReturn:
        raise OSError

    rounds = [{"first": idle, "other": idle}, {"first": crash, "waiting": idle}]

    async def root() -> None:
        supervisor.run_group(rounds.pop, ordered=True)

    async with open_harness(root, backoff=AT_ONCE, metrics=Metrics()) as tree:
        await tree.wait_ready("root.other")
    assert (seen, gone) == ({"root", "root.first", "root.other"}, set())

"""The scenarios of Monogon's own tests: what they promise holds here as well."""

from __future__ import annotations

import contextvars
import logging
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, DuplicateNameError, GroupState, InMemoryMetrics, NodeState, Signal
from supervisor.testing import Remote, open_harness

from .helpers.backoffs import AT_ONCE
from .helpers.runnables import idle, start

if TYPE_CHECKING:
    from trio.testing import MockClock

NO_JITTER = Backoff(jitter=0.0)


async def grow(levels: int) -> None:
    """Run two children, each with two of its own, and so on for that many levels."""
    if levels:
        supervisor.run_group({name: partial(grow, levels - 1) for name in ("a", "b")})
    await idle()


async def test_group_becomes_healthy() -> None:
    """S3: a tree is settled when each of its runnables has signalled HEALTHY."""
    async with open_harness(start, supervisor.run_group, {"one": idle, "two": idle}) as tree:
        await tree.wait_settled()
        states = {dn: node.state.name for dn, node in tree.snapshot().nodes.items()}
        assert states == {"root": "DONE", "root.one": "HEALTHY", "root.two": "HEALTHY"}


async def test_death_restarts_the_sibling() -> None:
    """S7: a healthy member is started again when another member of its group dies."""
    one, two = Remote(), Remote()
    async with open_harness(
        start, supervisor.run_group, {"one": one, "two": two}, backoff=AT_ONCE
    ) as tree:
        await one.become_healthy()
        await two.become_healthy()
        await two.die()
        await wait_all_tasks_blocked()
        await one.become_healthy()
        nodes = tree.snapshot().nodes
        assert [nodes[dn].incarnation for dn in ("root.one", "root.two")] == [2, 2]
        assert nodes["root.one"].state is NodeState.HEALTHY
        assert not nodes["root.one"].crashes


async def test_death_restarts_the_whole_subtree_of_the_sibling() -> None:
    """S7: a member's subtree, five levels deep, is stopped and grows again with it."""
    two = Remote()
    metrics = InMemoryMetrics()
    async with open_harness(
        start,
        supervisor.run_group,
        {"one": partial(grow, 5), "two": two},
        backoff=NO_JITTER,
        metrics=metrics,
    ) as tree:
        await two.become_healthy()
        await tree.wait_settled()
        before = set(metrics.nodes())
        assert len(before) == 2 + 63
        await two.die()
        await wait_all_tasks_blocked()
        stopped = {dn: node.state for dn, node in metrics.nodes().items()}
        assert stopped.pop("root") is NodeState.DONE
        assert stopped.pop("root.two") is NodeState.DEAD
        assert set(stopped.values()) == {NodeState.CANCELED}
        await two.become_healthy()
        await tree.wait_settled()
        grown = {dn: node.state for dn, node in metrics.nodes().items()}
        assert set(grown) == before
        assert grown.pop("root") is NodeState.DONE
        assert set(grown.values()) == {NodeState.HEALTHY}


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("division by zero"),
        AssertionError("can't happen"),
        RecursionError("maximum recursion depth exceeded"),
        ExceptionGroup("from a nursery", [OSError("a"), ExceptionGroup("inner", [KeyError("b")])]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_programming_error_restarts_the_group(error: Exception) -> None:
    """S5: whatever Exception a runnable raises, its node dies and nothing else is harmed."""
    one, two = Remote(), Remote()

    async def root() -> None:
        supervisor.run_group({"one": one, "two": two})
        supervisor.run("other", idle)

    async with open_harness(root, backoff=AT_ONCE) as tree:
        await one.become_healthy()
        await two.die(error)
        await wait_all_tasks_blocked()
        nodes = tree.snapshot().nodes
        assert type(error).__name__ in nodes["root.two"].crashes[0].traceback
        assert one.incarnations == two.incarnations == 2
        assert nodes["root.other"].incarnation == 1


async def test_failure_at_every_level_at_once_heals(autojump_clock: MockClock) -> None:
    """S7: if a member of each of five nested groups dies at once, all are healthy later."""
    crash = trio.Event()

    async def fragile() -> None:
        supervisor.signal(Signal.HEALTHY)
        await crash.wait()
        raise OSError("all of them")

    async def nest(levels: int) -> None:
        if levels:
            supervisor.run_group({"fragile": fragile, "nest": partial(nest, levels - 1)})
        await idle()

    async with open_harness(nest, 5, backoff=NO_JITTER) as tree:
        await tree.wait_settled()
        dns = set(tree.snapshot().nodes)
        assert len(dns) == 11
        crash.set()
        await wait_all_tasks_blocked()
        crash = trio.Event()
        # Only the outermost of the groups that failed is left to wait.
        waiting = {node.group.dn for node in tree.snapshot().nodes.values() if node.group.deadline}
        assert waiting == {"root.{fragile,nest}"}
        await trio.sleep(NO_JITTER.initial)
        await tree.wait_settled()
        nodes = tree.snapshot().nodes
        assert set(nodes) == dns
        assert {node.state for node in nodes.values()} == {NodeState.HEALTHY}
        assert {node.group.state for node in nodes.values()} == {GroupState.RUNNING}
        assert autojump_clock.current_time() == NO_JITTER.initial


async def test_delay_grows_with_deaths_in_a_row_and_health_resets_it(
    autojump_clock: MockClock,
) -> None:
    """S9: with reset_after=0 the delays are upstream's: growing, and reset by one HEALTHY."""
    one = Remote()

    async with open_harness(
        start, supervisor.run, "one", one, backoff=Backoff(jitter=0.0, reset_after=0.0)
    ):
        await one.become_healthy()
        times = []
        for _ in range(4):
            await one.die()  # it obeys as soon as it has started again
            times.append(autojump_clock.current_time())
        assert times == [0.0, 0.5, 0.5 + 0.75, 0.5 + 0.75 + 1.125]
        await one.become_healthy()
        assert autojump_clock.current_time() == times[-1] + 1.6875
        await one.die()
        await one.become_healthy()
        assert autojump_clock.current_time() == times[-1] + 1.6875 + 0.5


async def test_death_of_the_parent_ends_the_wait_of_its_child(autojump_clock: MockClock) -> None:
    """S9: a child that waits for its restart does not hold up the restart of its parent."""
    outer, inner = Remote(), Remote()

    async def parent() -> None:
        supervisor.run("inner", inner, backoff=Backoff(initial=1000.0, maximum=1000.0))
        await outer()

    async with open_harness(start, supervisor.run, "outer", parent, backoff=NO_JITTER) as tree:
        await inner.die()
        await wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root.outer.inner"].group.state is GroupState.BACKOFF
        await outer.die()
        await inner.become_healthy()
        assert autojump_clock.current_time() == NO_JITTER.initial


async def test_done_runnable_that_has_not_returned_is_waited_for(
    autojump_clock: MockClock,
) -> None:
    """S4: a runnable that has signalled DONE runs on till it returns, and holds up restarts."""
    outer = Remote()
    started: list[float] = []

    async def inner() -> None:
        started.append(autojump_clock.current_time())
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)
        with trio.CancelScope(shield=True):
            await trio.sleep(10)

    async def parent() -> None:
        supervisor.run("inner", inner)
        await outer()

    async with open_harness(
        start, supervisor.run, "outer", parent, backoff=NO_JITTER, patience=10.0
    ) as tree:
        await wait_all_tasks_blocked()
        await outer.die()
        await wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root.outer.inner"].state is NodeState.HEALTHY
        await outer.become_healthy()
        await tree.wait_settled()
        assert started == [0.0, 10.0 + NO_JITTER.initial]


async def test_done_member_is_restarted_when_its_sibling_dies() -> None:
    """S7: a node in state DONE is stopped with its children, and started again, like any other."""
    sibling, inner = Remote(), Remote()

    async def done() -> None:
        supervisor.run("inner", inner)
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async with open_harness(
        start, supervisor.run_group, {"done": done, "sibling": sibling}, backoff=AT_ONCE
    ) as tree:
        await inner.become_healthy()
        await sibling.become_healthy()
        assert tree.snapshot().nodes["root.done"].state is NodeState.DONE
        inner.hang()
        await sibling.die()
        await wait_all_tasks_blocked()
        assert sibling.incarnations == 1
        inner.release()
        await inner.become_healthy()
        assert (inner.incarnations, inner.running) == (2, 1)


async def test_faulty_runnables_do_not_harm_others(autojump_clock: MockClock) -> None:
    """S5: wrong signals, busy loops and runaway growth leave a group of the same tree working."""
    requests, receive = trio.open_memory_channel[trio.Event](0)
    sibling = Remote()

    async def answers() -> None:
        supervisor.signal(Signal.HEALTHY)
        async for reply in receive:
            reply.set()

    async def signals_from_nowhere() -> None:
        contextvars.Context().run(supervisor.signal, Signal.HEALTHY)

    async def signals_out_of_order() -> None:
        supervisor.signal(Signal.DONE)

    async def runs_busily() -> None:
        while True:
            await trio.lowlevel.checkpoint()

    async def keeps_creating() -> None:
        for number in range(1000):
            supervisor.run(f"r{number}", grow, 2)
            await trio.lowlevel.checkpoint()

    async def root() -> None:
        supervisor.run_group({"answers": answers, "sibling": sibling})
        nasty = [signals_from_nowhere, signals_out_of_order, runs_busily, keeps_creating]
        for runnable in nasty:
            supervisor.run(runnable.__name__, runnable)

    async with open_harness(root, backoff=AT_ONCE) as tree:
        for _ in range(5):
            await sibling.become_healthy()
            for _ in range(10):
                reply = trio.Event()
                await requests.send(reply)
                await reply.wait()
            await sibling.die()
        await sibling.become_healthy()
        nodes = tree.snapshot().nodes
        assert nodes["root.answers"].incarnation == 6
        assert not nodes["root.answers"].crashes
        for name, cause in [
            ("signals_from_nowhere", "NotSupervisedError"),
            ("signals_out_of_order", "SignalError"),
        ]:
            assert nodes[f"root.{name}"].crashes[0].error.startswith(f"{cause}: ")
        assert nodes["root.runs_busily"].incarnation == 1
        assert nodes["root.keeps_creating.r5.a.b"].state is NodeState.HEALTHY
    assert autojump_clock.current_time() == 0.0


async def test_sub_logger_logs_under_a_name_that_no_child_can_have(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S2: a sub-logger has a DN of its own; names of children and sub-loggers do not collide."""
    caplog.set_level(logging.INFO, "supervisor.node")

    async def foo() -> None:
        supervisor.sub_logger("dut").info("hello from foo.dut")
        with pytest.raises(DuplicateNameError, match=r"^a sub-logger root\.foo\.dut exists"):
            supervisor.run("dut", idle)
        await idle()

    async def root() -> None:
        supervisor.run_group({"foo": foo})
        with pytest.raises(DuplicateNameError, match=r"^a node root\.foo exists"):
            supervisor.sub_logger("foo")
        await idle()

    async with open_harness(root) as tree:
        await tree.wait_settled()
        assert tree.snapshot().nodes["root.foo"].state is NodeState.HEALTHY
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("supervisor.node.root.foo.dut", "hello from foo.dut")
    ]


async def test_metrics_follow_a_crash_and_its_restart(autojump_clock: MockClock) -> None:
    """S16: the metrics hold the state of each node at every step of a crash and a restart."""
    metrics = InMemoryMetrics()
    steps = {name: trio.open_memory_channel[None](0) for name in ("root", "one", "two")}
    attempts = 0

    async def step(name: str) -> None:
        await steps[name][0].send(None)
        await wait_all_tasks_blocked()

    async def root() -> None:
        await steps["root"][1].receive()
        supervisor.run("one", one)
        await steps["root"][1].receive()
        await idle()

    async def one() -> None:
        nonlocal attempts
        attempts += 1
        await steps["one"][1].receive()
        supervisor.run("two", two)
        if attempts == 1:
            await steps["one"][1].receive()
            raise OSError("failed")
        supervisor.signal(Signal.HEALTHY)
        await steps["one"][1].receive()
        supervisor.signal(Signal.DONE)

    async def two() -> None:
        await steps["two"][1].receive()
        await idle()

    def states() -> dict[str, str]:
        return {dn: node.state.name for dn, node in metrics.nodes().items()}

    async with open_harness(root, backoff=NO_JITTER, metrics=metrics):
        await wait_all_tasks_blocked()
        assert states() == {"root": "NEW"}
        await step("root")
        assert states() == {"root": "NEW", "root.one": "NEW"}
        await step("one")
        await step("two")
        assert states() == {"root": "NEW", "root.one": "NEW", "root.one.two": "HEALTHY"}
        await step("one")
        assert states() == {"root": "NEW", "root.one": "DEAD", "root.one.two": "CANCELED"}
        await step("one")
        assert autojump_clock.current_time() == NO_JITTER.initial
        assert states() == {"root": "NEW", "root.one": "HEALTHY", "root.one.two": "NEW"}
        await step("one")
        assert states() == {"root": "NEW", "root.one": "DONE", "root.one.two": "NEW"}
        await step("two")
        assert states() == {"root": "NEW", "root.one": "DONE", "root.one.two": "HEALTHY"}


async def test_tree_goes_on_when_a_child_is_done() -> None:
    """S13: a runnable whose work is over ends, and the rest of its tree runs on."""

    async def child() -> None:
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async def root() -> None:
        supervisor.run("child", child)
        await idle()

    async with supervisor.open_supervisor(root) as tree:
        await tree.wait_settled()
        await wait_all_tasks_blocked()
        nodes = tree.snapshot().nodes
        assert nodes["root.child"].group.state is GroupState.FINISHED
        assert nodes["root"].group.state is GroupState.RUNNING

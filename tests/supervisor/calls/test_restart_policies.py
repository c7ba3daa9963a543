"""Which deaths are followed by a restart: policies, fatal errors, planned restarts (S26)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import (
    Backoff,
    FatalDeathError,
    GaveUpError,
    GroupFailedError,
    GroupState,
    Handle,
    NodeState,
    RestartLimit,
    RestartLimitExceeded,
    RestartPolicy,
    RestartRequested,
    Signal,
    Supervisor,
    open_supervisor,
)
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import LONG
from ..helpers.loggers import of_package
from ..helpers.runnables import idle
from ..helpers.trees import open_pool, open_started

if TYPE_CHECKING:
    from trio.testing import MockClock

NEVER = RestartPolicy.NEVER


def state_of(tree: Supervisor, dn: str) -> NodeState:
    return tree.snapshot().nodes[dn].state


# RestartPolicy.NEVER


async def test_what_never_restarts_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    """S26: the death is recorded and logged, the group is FAILED, and the parent goes on."""
    remote = Remote()
    async with open_started(supervisor.run, "one", remote, backoff=None, restart=NEVER) as (
        tree,
        handle,
    ):
        await remote.become_healthy()
        await remote.die()
        await wait_all_tasks_blocked()
        assert handle.state is GroupState.FAILED
        assert state_of(tree, "root.one") is NodeState.DEAD
        (crash,) = tree.snapshot().nodes["root.one"].crashes
        assert crash.error == "RemoteDeathError: died on request"
        assert state_of(tree, "root.other") is NodeState.HEALTHY
        assert tree.snapshot().nodes["root"].incarnation == 1
    (record,) = of_package(caplog)
    (line, *_) = record.getMessage().splitlines()
    assert line.endswith("died on request; it does not restart (its policy is NEVER)")


async def test_all_members_stop_for_good_when_one_dies(autojump_clock: MockClock) -> None:
    """S26, S7: a group shares its fate; no backoff is waited for."""
    one, two = Remote(), Remote()
    members = {"one": one, "two": two}
    async with open_started(supervisor.run_group, members, backoff=None, restart=NEVER) as (
        tree,
        handle,
    ):
        await one.become_healthy()
        await two.become_healthy()
        await one.die()
        await trio.sleep(1000.0)
        assert handle.state is GroupState.FAILED
        assert state_of(tree, "root.two") is NodeState.CANCELED
    assert autojump_clock.current_time() == 1000.0


async def test_an_operator_brings_back_what_never_restarts() -> None:
    """S26, S19: restart() starts it again, and it may fail again."""
    remote = Remote()
    async with open_started(supervisor.run, "one", remote, backoff=None, restart=NEVER) as (
        tree,
        handle,
    ):
        for incarnation in (1, 2, 3):
            await remote.become_healthy()
            await remote.die()
            await wait_all_tasks_blocked()
            assert handle.state is GroupState.FAILED
            node = tree.snapshot().nodes["root.one"]
            assert (node.incarnation, len(node.crashes)) == (incarnation, incarnation)
            await handle.restart()


async def test_a_wait_for_health_ends_when_what_never_restarts_dies() -> None:
    """S26, S19: the error says why."""
    remote = Remote()
    async with open_started(supervisor.run, "one", remote, backoff=None, restart=NEVER) as (
        _,
        handle,
    ):
        errors: list[str] = []

        async def wait() -> None:
            with pytest.raises(GaveUpError) as caught:
                await handle.wait_healthy()
            errors.append(str(caught.value))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await remote.die()
        (error,) = errors
        assert error == (
            "root.one will not be healthy: root.one died, and its policy is not to restart "
            "(RemoteDeathError: died on request)"
        )
        with pytest.raises(GaveUpError):
            await handle.wait_healthy()


async def test_a_function_that_fails_at_a_restart_leaves_the_group_failed() -> None:
    """S26, S8: an operator's restart raises why."""
    calls: list[int] = []

    def members() -> dict[str, Any]:
        calls.append(1)
        if len(calls) == 2:
            raise OSError("no channel")
        return {"one": idle}

    async with open_started(supervisor.run_group, members, backoff=None, restart=NEVER) as (
        _,
        handle,
    ):
        with pytest.raises(GaveUpError, match="no channel"):
            await handle.restart()
        assert handle.state is GroupState.FAILED
        await handle.restart()
        await handle.wait_healthy()


async def test_a_tree_finishes_beside_what_has_failed() -> None:
    """S26, S13: a parent does not wait for a group that does not come back."""

    async def dying() -> None:
        raise OSError("once")

    async def root() -> None:
        supervisor.run("dying", dying, restart=NEVER)
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    await supervisor.supervise(root)


async def test_a_healthy_runnable_brings_back_its_only_child(autojump_clock: MockClock) -> None:
    """S26, S13: it may do so as long as it runs, and its node finishes when it is done."""
    starts: list[float] = []

    async def dying() -> None:
        starts.append(trio.current_time())
        raise OSError("each time")

    async def root() -> None:
        handle = supervisor.run("dying", dying, restart=NEVER)
        supervisor.signal(Signal.HEALTHY)
        for _ in range(2):
            await trio.sleep(10.0)
            assert handle.state is GroupState.FAILED
            await handle.restart()
        await wait_all_tasks_blocked()
        supervisor.signal(Signal.DONE)

    await supervisor.supervise(root)
    assert starts == [0.0, 10.0, 20.0]
    assert autojump_clock.current_time() == 20.0


async def test_a_runnable_dies_with_a_child_that_never_restarts(autojump_clock: MockClock) -> None:
    """S26, S7: what it could bring back does not hold up its own restart."""
    starts: list[float] = []

    async def dying() -> None:
        raise OSError("at once")

    async def root() -> None:
        starts.append(trio.current_time())
        supervisor.run("dying", dying, restart=NEVER)
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(10.0)
        if len(starts) < 2:
            raise OSError("once")
        supervisor.signal(Signal.DONE)

    await supervisor.supervise(root, backoff=Backoff(initial=1.0, jitter=0.0))
    assert starts == [0.0, 11.0]
    assert autojump_clock.current_time() == 21.0


async def test_what_has_failed_can_not_come_back_when_its_parent_has_finished() -> None:
    """S26, S13: restart() raises."""
    handles: list[Handle] = []

    async def dying() -> None:
        raise OSError("once")

    async def parent() -> None:
        handles.append(supervisor.run("dying", dying, restart=NEVER))
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async def root() -> None:
        supervisor.run("parent", parent)
        supervisor.run("other", idle)

    async with open_harness(root) as tree:
        await tree.wait_settled()
        await wait_all_tasks_blocked()
        with pytest.raises(GaveUpError):
            await handles[0].restart()


# In a pool


async def test_a_child_of_a_pool_that_dies_vanishes() -> None:
    """S26, S23: by default; its name and its place are free."""
    remote = Remote()
    async with open_pool(max_children=1) as (tree, pool):
        for _ in range(3):
            pool.run("one", remote)
            await remote.become_healthy()
            await remote.die()
            await wait_all_tasks_blocked()
            assert len(pool) == 0
            assert "root.pool.one" not in tree.snapshot().nodes
        assert tree.snapshot().nodes["root.pool"].incarnation == 1


# Fatal errors


def raised_in_a_nursery(error: Exception) -> Callable[[], Any]:
    async def fail() -> None:
        raise error

    async def child() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)

    return child


def raised_plainly(error: Exception) -> Callable[[], Any]:
    async def child() -> None:
        raise error

    return child


@pytest.mark.parametrize("raised", [raised_plainly, raised_in_a_nursery])
@pytest.mark.parametrize("fatal", [OSError, (KeyError, PermissionError)])
@pytest.mark.parametrize("policy", RestartPolicy)
async def test_a_fatal_death_is_not_retried(
    raised: Callable[[Exception], Any], fatal: type[Exception], policy: RestartPolicy
) -> None:
    """S26, S10: the parent dies of a FatalDeathError, whose cause is the error itself."""
    error = PermissionError("not yours")
    child = raised(error)

    async def root() -> None:
        supervisor.run("child", child, fatal=fatal, restart=policy)
        await idle()

    with pytest.raises(RestartLimitExceeded) as caught:
        await supervisor.supervise(root, limit=RestartLimit(0, within=1.0))
    failure = caught.value.__cause__
    assert isinstance(failure, FatalDeathError)
    assert isinstance(failure, GroupFailedError)
    assert failure.dn == "root.child"
    assert [crash.dn for crash in failure.causes] == ["root.child"]
    cause = failure.__cause__
    assert cause is error or (isinstance(cause, ExceptionGroup) and cause.exceptions == (error,))


async def test_the_error_of_a_fatal_death_names_group_and_cause() -> None:
    """S26: dn, causes, the exception itself as the cause."""

    async def child() -> None:
        raise PermissionError("not yours")

    deaths: list[supervisor.Crash] = []

    async def root() -> None:
        supervisor.run("parent", parent, restart=NEVER)
        await idle()

    async def parent() -> None:
        supervisor.run("child", child, fatal=PermissionError)
        await idle()

    async with supervisor.open_supervisor(root) as tree:
        await tree.wait_settled()
        deaths.extend(tree.snapshot().nodes["root.parent"].crashes)
    (crash,) = deaths
    assert crash.error == (
        "FatalDeathError: root.parent.child gave up: it died of what is fatal "
        "(root.parent.child: PermissionError: not yours)"
    )
    assert "PermissionError: not yours" in crash.traceback


async def test_other_deaths_are_retried(autojump_clock: MockClock) -> None:
    """S26: what is not among the fatal errors restarts after its backoff."""
    remote = Remote()
    backoff = Backoff(initial=3.0, jitter=0.0)
    async with open_started(
        supervisor.run, "one", remote, backoff=backoff, fatal=(OSError, ValueError)
    ):
        await remote.become_healthy()
        await remote.die()
        await remote.become_healthy()
    assert autojump_clock.current_time() == 3.0


async def test_a_subclass_is_what_except_makes_of_it() -> None:
    """S26: a class's own __instancecheck__ is not asked, as `except` does not."""

    class Everything(type):
        def __instancecheck__(cls, _: object) -> bool:
            return True

        def __subclasscheck__(cls, _: type) -> bool:
            return True

    class Own(Exception, metaclass=Everything):  # noqa: N818
        pass

    remote = Remote()
    async with open_started(supervisor.run, "one", remote, fatal=Own) as (_, handle):
        await remote.die()
        await wait_all_tasks_blocked()
        assert handle.state is GroupState.BACKOFF


# Planned restarts


@pytest.mark.parametrize("raised", [raised_plainly, raised_in_a_nursery])
@pytest.mark.parametrize("policy", RestartPolicy)
async def test_a_planned_restart_is_no_failure(
    raised: Callable[[Exception], Any],
    policy: RestartPolicy,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S26: it is at once, however often, and counted as an operator's."""
    caplog.set_level(logging.INFO)
    ended = raised(RestartRequested("1000 requests"))
    runs: list[int] = []

    async def child() -> None:
        supervisor.signal(Signal.HEALTHY)
        runs.append(len(runs))
        if len(runs) <= 100:
            await ended()
        await trio.sleep_forever()

    options: dict[str, Any] = {"restart": policy}
    if policy is not NEVER:
        options |= {"backoff": LONG, "limit": RestartLimit(0, within=1000.0)}
    options.setdefault("backoff", None)
    async with open_started(supervisor.run, "child", child, **options) as (tree, _):
        await tree.wait_settled()
        node = tree.snapshot().nodes["root.child"]
        assert (node.state, node.crashes, node.stop_error) == (NodeState.HEALTHY, (), None)
        assert (node.group.failures, node.group.operator_restarts) == (0, 100)
    assert autojump_clock.current_time() == 0.0
    first = next(each for each in of_package(caplog) if each.name == "supervisor.node.root.child")
    assert first.levelno == logging.INFO
    assert first.getMessage().startswith("root.child ended to be restarted: ")
    assert first.getMessage().endswith("RestartRequested: 1000 requests; it restarts at once")


async def test_a_planned_restart_restarts_the_group() -> None:
    """S26, S7: the others are stopped, and all start again."""
    starts: list[str] = []

    async def one() -> None:
        starts.append("one")
        supervisor.signal(Signal.HEALTHY)
        if len(starts) <= 2:
            await wait_all_tasks_blocked()
            raise RestartRequested("afresh")
        await trio.sleep_forever()

    async def two() -> None:
        starts.append("two")
        await idle()

    async with open_started(supervisor.run_group, {"one": one, "two": two}) as (tree, _):
        await tree.wait_settled()
        await wait_all_tasks_blocked()
        nodes = tree.snapshot().nodes
        assert nodes["root.one"].state is nodes["root.two"].state is NodeState.HEALTHY
    assert sorted(starts) == ["one", "one", "two", "two"]


async def test_who_asks_for_a_restart_before_being_healthy_dies_of_it() -> None:
    """S26, S9: it would ask for ever, without a backoff."""
    remote = partial(raised_plainly(RestartRequested("too early")))
    async with open_started(supervisor.run, "one", remote) as (tree, handle):
        await wait_all_tasks_blocked()
        assert handle.state is GroupState.BACKOFF
        (crash,) = tree.snapshot().nodes["root.one"].crashes
        assert crash.error == "RestartRequested: too early"


async def test_an_error_beside_a_planned_restart_is_a_death() -> None:
    """S26: a group of exceptions that holds any other error is a failure."""

    async def child() -> None:
        supervisor.signal(Signal.HEALTHY)
        raise ExceptionGroup("both", [RestartRequested("afresh"), OSError("broken")])

    async with open_started(supervisor.run, "one", child) as (_, handle):
        await wait_all_tasks_blocked()
        assert handle.state is GroupState.BACKOFF


async def test_an_error_beside_very_many_planned_restarts_is_a_death() -> None:
    """S26: no error is lost because only so many are looked at."""

    async def child() -> None:
        supervisor.signal(Signal.HEALTHY)
        requests = [RestartRequested("afresh")] * 2000
        raise ExceptionGroup("many", [OSError("broken"), *requests])

    async with open_started(supervisor.run, "one", child) as (_, handle):
        await wait_all_tasks_blocked()
        assert handle.state is GroupState.BACKOFF


async def test_a_planned_restart_beside_what_leaves_the_tree_is_a_death() -> None:
    """S26, S11: nothing restarts any more, and the node dies of the rest."""

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        raise BaseExceptionGroup("both", [RestartRequested("afresh"), SystemExit(3)])

    with pytest.raises(SystemExit):
        async with open_supervisor(root) as tree:
            await trio.sleep_forever()
    node = tree.snapshot().nodes["root"]
    assert node.state is NodeState.DEAD
    assert [crash.error for crash in node.crashes] == ["RestartRequested: afresh"]


async def test_a_planned_restart_during_a_stop_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S26, S5: a stop was requested, so the node is CANCELED, and there is nothing to report."""

    async def child() -> None:
        supervisor.signal(Signal.HEALTHY)
        try:
            await trio.sleep_forever()
        finally:
            raise RestartRequested("afresh")

    async with open_started(supervisor.run, "one", child) as (tree, handle):
        await handle.stop()
        node = tree.snapshot().nodes["root.one"]
        assert (node.state, node.stop_error) == (NodeState.CANCELED, None)
    assert of_package(caplog) == []


# Arguments


@pytest.mark.parametrize("value", [None, "NEVER", True])
async def test_a_wrong_policy_is_named(value: RestartPolicy) -> None:
    """S26, S2: at the call, before anything starts."""

    async def root() -> None:
        with pytest.raises(TypeError, match=r"restart=.* is not a RestartPolicy: pass one, such"):
            supervisor.run("one", idle, restart=value)
        await idle()

    async with open_harness(root) as tree:
        await tree.wait_settled()
        assert list(tree.snapshot().nodes) == ["root"]


@pytest.mark.parametrize(
    "option", [{"limit": RestartLimit(1, within=1.0)}, {"backoff": Backoff(initial=1.0)}]
)
async def test_options_of_restarts_are_refused_for_what_never_restarts(
    option: dict[str, Any],
) -> None:
    """S26, S2: the error names the option, and both remedies."""
    (name,) = option
    message = (
        rf"{name}= is for what restarts, and restart is RestartPolicy.NEVER: leave {name} out, "
        r"or pass restart=RestartPolicy.ON_FAILURE"
    )
    async with open_pool() as (_, pool):
        with pytest.raises(ValueError, match=message):
            pool.run("one", idle, **option)
        assert len(pool) == 0


@pytest.mark.parametrize(
    "value", [None, "OSError", OSError("an instance"), [OSError], (OSError, 1), BaseException]
)
async def test_wrong_fatal_errors_are_named(value: type[Exception]) -> None:
    """S26, S2: fatal= takes what `except` takes, of ordinary exceptions."""

    async def root() -> None:
        with pytest.raises(TypeError, match=r"fatal=.* is no class of exceptions, nor a tuple"):
            supervisor.run_group({"one": idle}, fatal=value)
        await idle()

    async with open_harness(root) as tree:
        await tree.wait_settled()
        assert list(tree.snapshot().nodes) == ["root"]

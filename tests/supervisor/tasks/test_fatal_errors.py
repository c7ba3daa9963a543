"""Exceptions that are no ``Exception`` are never swallowed: they leave the tree (S11)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, InMemoryMetrics, NodeState, Signal
from supervisor.testing import Remote

from ..helpers.runnables import CountsCleanUps, idle, root_above, start_and_idle


class Abandon(BaseException):
    """An exception that is no Exception, of no library."""


FATAL = [KeyboardInterrupt("stop"), SystemExit(3), Abandon("why")]


@pytest.mark.parametrize("depth", [0, 3])
@pytest.mark.parametrize("error", FATAL, ids=repr)
async def test_a_base_exception_leaves_supervise(error: BaseException, depth: int) -> None:
    """S11: it cancels the tree and leaves as it is, when all tasks are gone."""
    other, metrics = CountsCleanUps(), InMemoryMetrics()

    async def failing() -> None:
        supervisor.signal(Signal.HEALTHY)
        await wait_all_tasks_blocked()
        raise error

    tasks = trio.lowlevel.current_statistics().tasks_living
    with pytest.raises(type(error)) as caught:
        await supervisor.supervise(root_above(failing, other, depth=depth), metrics=metrics)
    assert caught.value is error
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    # One at each level is the root or an inner node itself, one its child.
    assert other.cleaned_up == 2 * (depth + 1)
    states = {dn.rpartition(".")[2]: status.state for dn, status in metrics.nodes().items()}
    assert states.pop("failing") is NodeState.DEAD
    assert set(states.values()) == {NodeState.CANCELED}


@pytest.mark.parametrize("error", FATAL, ids=repr)
async def test_a_base_exception_leaves_without_the_groups_of_nurseries(
    error: BaseException,
) -> None:
    """S11: `except KeyboardInterrupt` catches it, raised in any nursery of a runnable."""

    async def fail() -> NoReturn:
        raise error

    async def root() -> None:
        async with trio.open_nursery() as outer, trio.open_nursery() as inner:
            outer.start_soon(trio.sleep_forever)
            inner.start_soon(fail)

    with pytest.raises(type(error)) as caught:
        await supervisor.supervise(root)
    assert caught.value is error


async def test_an_exception_group_is_split(caplog: pytest.LogCaptureFixture) -> None:
    """S11: the fatal part leaves, and the node dies of the rest."""
    other = CountsCleanUps()
    mixed = BaseExceptionGroup("mixed", [ValueError("broken"), SystemExit(3)])

    async def failing() -> NoReturn:
        raise mixed

    with pytest.raises(SystemExit) as caught:
        await supervisor.supervise(root_above(failing, other, depth=0))
    assert caught.value.code == 3
    (record,) = [r for r in caplog.records if r.name == "supervisor.node.root.failing"]
    assert "ValueError: broken" in record.getMessage()
    assert "SystemExit" not in record.getMessage()


class Whole(BaseExceptionGroup[BaseException]):
    """A group that cannot be split."""

    def derive(self, _: object) -> NoReturn:
        raise ValueError("indivisible")


async def test_a_group_that_cannot_be_split_leaves_whole() -> None:
    """S11: if the fatal part can't be told from the rest, all of it leaves."""
    whole = Whole("mixture", [ValueError("a mistake"), KeyboardInterrupt()])

    async def child() -> None:
        raise whole

    with pytest.raises(Whole) as caught:
        await supervisor.supervise(start_and_idle, supervisor.run, "child", child)
    assert caught.value is whole


async def test_several_fatal_exceptions_leave_in_a_group() -> None:
    """S11: those of one runnable stay in its group, without its other errors."""
    error = BaseExceptionGroup("mixed", [KeyboardInterrupt(), ValueError("broken"), SystemExit(3)])

    async def root() -> NoReturn:
        raise error

    with pytest.RaisesGroup(KeyboardInterrupt, SystemExit, match="mixed"):
        await supervisor.supervise(root)


async def test_fatal_exceptions_of_several_runnables_leave_in_a_group() -> None:
    """S11: a second one, raised while the tree is being cancelled, is not lost."""

    async def failing() -> None:
        supervisor.signal(Signal.HEALTHY)
        await wait_all_tasks_blocked()
        raise KeyboardInterrupt

    async def other() -> None:
        supervisor.signal(Signal.HEALTHY)
        try:
            await trio.sleep_forever()
        finally:
            raise SystemExit(3)

    async def root() -> None:
        supervisor.run("other", other)
        await failing()

    with pytest.RaisesGroup(KeyboardInterrupt, SystemExit, match="several exceptions left"):
        await supervisor.supervise(root)


async def test_a_base_exception_raised_while_stopping_leaves_too() -> None:
    """S11: also when the runnable had been asked to stop."""

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        try:
            await trio.sleep_forever()
        finally:
            raise Abandon

    with pytest.raises(Abandon):
        async with supervisor.open_supervisor(root) as tree:
            await tree.wait_settled()


async def test_a_base_exception_of_a_factory_leaves_too() -> None:
    """S11: the function that makes a group's runnables is a user's code as well."""
    remote, calls = Remote(), 0

    def factory() -> dict[str, Callable[[], Awaitable[object]]]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Abandon
        return {"a": remote, "b": idle}

    async def root() -> None:
        supervisor.run_group(factory, backoff=Backoff(initial=0.0))
        await idle()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(remote.die)
        with pytest.raises(Abandon):
            await supervisor.supervise(root)


async def test_no_fatal_exception_is_followed_by_a_restart() -> None:
    """S11: what raised it is not started again, nor is anything else."""
    starts: list[str] = []

    async def child() -> None:
        starts.append(supervisor.current_dn())
        supervisor.signal(Signal.HEALTHY)
        await wait_all_tasks_blocked()
        raise Abandon

    async def root() -> None:
        starts.append(supervisor.current_dn())
        supervisor.run_group({"a": child, "b": idle}, backoff=Backoff(initial=0.0))
        await idle()

    with pytest.raises(Abandon):
        await supervisor.supervise(root, backoff=Backoff(initial=0.0))
    assert starts == ["root", "root.a"]


@pytest.mark.parametrize("fatal", [SystemExit(3), KeyboardInterrupt()])
async def test_a_base_exception_is_no_crash(
    fatal: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """S11: its node is DEAD, but nothing restarts, and nothing is logged or recorded."""
    tree = None

    async def child() -> NoReturn:
        raise fatal

    async def root() -> None:
        supervisor.run("child", child)
        await idle()

    with pytest.raises(type(fatal)):
        async with supervisor.open_supervisor(root) as tree:
            await trio.sleep_forever()
    assert tree is not None
    node = tree.snapshot().nodes["root.child"]
    assert (node.state, node.crashes) == (NodeState.DEAD, ())
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# Beside a body


async def test_a_base_exception_cancels_the_body() -> None:
    """S11: open_supervisor()'s body ends, and the exception leaves as it is."""

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        await wait_all_tasks_blocked()
        raise Abandon

    with pytest.raises(Abandon):
        async with supervisor.open_supervisor(root):
            await trio.sleep_forever()


async def test_an_error_of_the_body_leaves_as_it_is() -> None:
    """S11: it cancels the tree, and no group is wrapped around it."""
    other, error = CountsCleanUps(), ValueError("the body's")

    async def body() -> NoReturn:
        async with supervisor.open_supervisor(other) as tree:
            await tree.wait_settled()
            raise error

    with pytest.raises(ValueError, match="the body's") as caught:
        await body()
    assert caught.value is error
    assert other.cleaned_up == 1


async def test_errors_of_body_and_tree_leave_together() -> None:
    """S11: both leave in a group."""

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        try:
            await trio.sleep_forever()
        finally:
            raise Abandon

    with pytest.RaisesGroup(ValueError, Abandon, match="several exceptions left"):
        async with supervisor.open_supervisor(root) as tree:
            await tree.wait_settled()
            raise ValueError("the body's")


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.filterwarnings("ignore::trio.TrioDeprecationWarning")
def test_errors_of_body_and_tree_leave_together_however_trio_runs(*, strict: bool) -> None:
    """S11: with and without strict exception groups."""

    async def root() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise SystemExit(5)

    async def main() -> None:
        async with supervisor.open_supervisor(root):
            await wait_all_tasks_blocked()
            raise ValueError("body")

    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(main, strict_exception_groups=strict)
    assert {type(error) for error in caught.value.exceptions} == {SystemExit, ValueError}

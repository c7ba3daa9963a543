"""What is never swallowed: exceptions that are no mistakes of a runnable, and propagate."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, InMemoryMetrics, NodeState, Signal
from supervisor.testing import Remote

PATIENT = Backoff(initial=1000.0, maximum=1000.0, jitter=0.0)


class Abandon(BaseException):
    """Something that is no Exception, and of nobody's library."""


class Bystander:
    """A runnable that notes that it was cleaned up."""

    def __init__(self) -> None:
        self.cleaned_up = 0

    async def __call__(self) -> None:
        supervisor.signal(Signal.HEALTHY)
        try:
            await trio.sleep_forever()
        finally:
            self.cleaned_up += 1


def below(depth: int, culprit: Callable[[], Awaitable[object]], bystander: Bystander) -> Bystander:
    """Return a root with a bystander beside ``culprit``, so many levels down."""

    async def nest(levels: int) -> None:
        if levels:
            supervisor.run("inner", nest, levels - 1)
        else:
            supervisor.run("culprit", culprit)
        supervisor.run("bystander", bystander)
        await bystander()

    class Root(Bystander):
        async def __call__(self) -> None:
            await nest(depth)

    return Root()


FATAL = [KeyboardInterrupt("stop"), SystemExit(3), Abandon("why")]


@pytest.mark.parametrize("depth", [0, 3])
@pytest.mark.parametrize("error", FATAL, ids=repr)
async def test_what_is_no_exception_leaves_supervise(error: BaseException, depth: int) -> None:
    """S11: it cancels the tree and leaves as it is, when all tasks are gone."""
    bystander, metrics = Bystander(), InMemoryMetrics()

    async def culprit() -> None:
        supervisor.signal(Signal.HEALTHY)
        await wait_all_tasks_blocked()
        raise error

    tasks = trio.lowlevel.current_statistics().tasks_living
    with pytest.raises(type(error)) as caught:
        await supervisor.supervise(below(depth, culprit, bystander), metrics=metrics)
    assert caught.value is error
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    # One at each level is the root or an inner node itself, one its child.
    assert bystander.cleaned_up == 2 * (depth + 1)
    states = {dn.rpartition(".")[2]: status.state for dn, status in metrics.nodes().items()}
    assert states.pop("culprit") is NodeState.DEAD
    assert set(states.values()) == {NodeState.CANCELED}


@pytest.mark.parametrize("error", FATAL, ids=repr)
async def test_what_a_nursery_wrapped_leaves_without_the_wrapping(error: BaseException) -> None:
    """S11: `except KeyboardInterrupt` catches it, in whatever nurseries of a runnable it arose."""

    async def fail() -> NoReturn:
        raise error

    async def root() -> None:
        async with trio.open_nursery() as outer, trio.open_nursery() as inner:
            outer.start_soon(trio.sleep_forever)
            inner.start_soon(fail)

    with pytest.raises(type(error)) as caught:
        await supervisor.supervise(root)
    assert caught.value is error


async def test_a_group_is_split_never_guessed_at(caplog: pytest.LogCaptureFixture) -> None:
    """S11: of a mixture the fatal part leaves, and the rest is what the node dies of."""
    bystander = Bystander()
    mixed = BaseExceptionGroup("mixed", [ValueError("broken"), SystemExit(3)])

    async def culprit() -> NoReturn:
        raise mixed

    with pytest.raises(SystemExit) as caught:
        await supervisor.supervise(below(0, culprit, bystander))
    assert caught.value.code == 3
    (record,) = [r for r in caplog.records if r.name == "supervisor.node.root.culprit"]
    assert "ValueError: broken" in record.getMessage()
    assert "SystemExit" not in record.getMessage()


async def test_several_fatal_exceptions_leave_in_a_group() -> None:
    """S11: those of one runnable stay in its group, without the mistakes among them."""
    error = BaseExceptionGroup("mixed", [KeyboardInterrupt(), ValueError("broken"), SystemExit(3)])

    async def root() -> NoReturn:
        raise error

    with pytest.RaisesGroup(KeyboardInterrupt, SystemExit, match="mixed"):
        await supervisor.supervise(root)


async def test_fatal_exceptions_of_several_runnables_leave_in_a_group() -> None:
    """S11: a second one, raised while the tree is being cancelled, is not lost."""

    async def culprit() -> None:
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
        await culprit()

    with pytest.RaisesGroup(KeyboardInterrupt, SystemExit, match="several exceptions left"):
        await supervisor.supervise(root)


async def test_what_is_raised_while_stopping_leaves_too() -> None:
    """S11: being asked to stop excuses no BaseException."""

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        try:
            await trio.sleep_forever()
        finally:
            raise Abandon

    with pytest.raises(Abandon):
        async with supervisor.open_supervisor(root) as tree:
            await tree.wait_settled()


async def test_what_a_factory_raises_leaves_too() -> None:
    """S11: the function that makes a group's runnables is a user's code as well."""
    remote, calls = Remote(), 0

    def factory() -> dict[str, Callable[[], Awaitable[object]]]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Abandon
        return {"a": remote, "b": Bystander()}

    async def root() -> None:
        supervisor.run_group(factory, backoff=Backoff(initial=0.0))
        await Bystander()()

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
        supervisor.run_group({"a": child, "b": Bystander()}, backoff=Backoff(initial=0.0))
        await Bystander()()

    with pytest.raises(Abandon):
        await supervisor.supervise(root, backoff=Backoff(initial=0.0))
    assert starts == ["root", "root.a"]


# The first death leaves, on demand.


@pytest.mark.parametrize("depth", [0, 3])
async def test_propagate_lets_the_first_death_leave_as_it_is(depth: int) -> None:
    """S15: it cancels the tree, and is the runnable's own exception with a note of the DN."""
    bystander, error = Bystander(), ValueError("broken")

    async def culprit() -> None:
        supervisor.signal(Signal.HEALTHY)
        await wait_all_tasks_blocked()
        raise error

    with pytest.raises(ValueError, match="broken") as caught:
        await supervisor.supervise(below(depth, culprit, bystander), propagate=True)
    assert caught.value is error
    assert error.__notes__ == [f"raised by the runnable root{'.inner' * depth}.culprit"]
    assert bystander.cleaned_up == 2 * (depth + 1)


async def test_propagate_lets_an_unexpected_return_leave() -> None:
    """S15: a death without an exception leaves as an UnexpectedReturnError."""

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)

    with pytest.raises(supervisor.UnexpectedReturnError, match="root returned when HEALTHY"):
        await supervisor.supervise(root, propagate=True)


async def test_of_two_deaths_at_once_the_first_propagates(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S15: the first death asks the other node to stop, so its error is logged as a stop error."""
    errors = [ValueError("broken"), ValueError("broken too")]

    async def dies(error: Exception) -> None:
        await wait_all_tasks_blocked()
        raise error

    async def root() -> None:
        supervisor.run("a", dies, errors[0])
        supervisor.run("b", dies, errors[1])
        await Bystander()()

    with pytest.raises(ValueError, match="broken") as caught:
        await supervisor.supervise(root, propagate=True)
    errors.remove(caught.value)
    died, stopped = (record.getMessage() for record in caplog.records)
    assert (
        f"died in incarnation 1, 0.0 s old: ValueError: {caught.value}; it is being stopped\n"
        in died
    )
    assert f"was asked to stop and raised an error: ValueError: {errors[0]}\n" in stopped


# Beside a body.


async def test_what_leaves_the_tree_cancels_the_body() -> None:
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
    bystander, error = Bystander(), ValueError("the body's")

    async def body() -> NoReturn:
        async with supervisor.open_supervisor(bystander) as tree:
            await tree.wait_settled()
            raise error

    with pytest.raises(ValueError, match="the body's") as caught:
        await body()
    assert caught.value is error
    assert bystander.cleaned_up == 1


async def test_errors_of_body_and_tree_leave_together() -> None:
    """S11: neither hides the other."""

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


# A real Ctrl-C, in a process of its own.

PROGRAM = """
import signal, sys, trio, supervisor
from supervisor import Signal

signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal's foreground

def work():  # CPython 3.13 may skip a `finally` right around a loop like this one
    while True:
        pass

async def child(busy):
    try:
        supervisor.signal(Signal.HEALTHY)
        await trio.testing.wait_all_tasks_blocked()
        print("ready", flush=True)
        if busy:
            work()
        await trio.sleep_forever()
    finally:
        print("child cleaned up", flush=True)

async def other():
    try:
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()
    finally:
        print("other cleaned up", flush=True)

async def root():
    supervisor.run("child", child, sys.argv[1] == "busy")
    supervisor.run_group({"a": other, "b": other})
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)

try:
    trio.run(supervisor.supervise, root)
except KeyboardInterrupt:
    print("KeyboardInterrupt", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT to one process")
@pytest.mark.parametrize("state", ["idle", "busy"])
def test_ctrl_c_leaves_after_the_clean_ups(state: str) -> None:
    """S11: a SIGINT, in Trio's wait or in a runnable's busy loop, ends with KeyboardInterrupt."""
    package = Path(supervisor.__file__).parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", "import trio.testing\n" + PROGRAM, state],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(package)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate()
    *clean_ups, end = output.splitlines()
    assert end == "KeyboardInterrupt"
    assert sorted(clean_ups) == ["child cleaned up", "other cleaned up", "other cleaned up"]
    assert errors == ""
    assert process.returncode == 0

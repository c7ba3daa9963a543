"""What run() and run_group() take, give back and refuse, and when (S2, S6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest
import trio

import supervisor
from supervisor import InMemoryMetrics, NodeState, RunError, Signal
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import AT_ONCE, LONG
from ..helpers.runnables import idle, start
from ..helpers.trees import in_root

NOT_FUNCTIONS: list[object] = [None, 3, "idle", trio.Event()]


@pytest.mark.parametrize("wrong", NOT_FUNCTIONS, ids=repr)
def test_an_object_that_is_not_callable_is_refused_at_once(wrong: object) -> None:
    """S2: the TypeError names function, name and object, and nothing has been started."""
    metrics = InMemoryMetrics()
    anything: Any = wrong

    async def root() -> None:
        with pytest.raises(
            TypeError, match=r"^run\('child'\) got .*, which is not an async"
        ) as run:
            supervisor.run("child", anything)
        with pytest.raises(TypeError, match=r"^the runnable 'child' got .*, which is not") as group:
            supervisor.run_group({"child": anything})
        assert repr(wrong) in str(run.value)
        assert repr(wrong) in str(group.value)
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    trio.run(partial(supervisor.supervise, root, metrics=metrics, propagate=True))
    assert metrics.nodes().keys() == {"root"}


def test_a_coroutine_object_is_refused_with_the_remedy() -> None:
    """S2: the error says that the async function was called instead of passed."""

    def check() -> None:
        remedy = "pass the async function and its arguments, without calling it"
        with pytest.raises(TypeError, match=rf"^run\('child'\) got <coroutine .*idle.*: {remedy}"):
            supervisor.run("child", idle())  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=rf"^the runnable 'child' got <coroutine .*: {remedy}"):
            supervisor.run_group({"child": idle()})  # type: ignore[dict-item]

    in_root(check)


@pytest.mark.parametrize("wrong", NOT_FUNCTIONS, ids=repr)
def test_a_root_that_is_not_callable_is_refused(wrong: object) -> None:
    """S1: supervise() and open_supervisor() check their root before they start anything."""
    anything: Any = wrong

    async def main() -> None:
        with pytest.raises(TypeError, match=r"^supervise\(\) got .*, which is not an async"):
            await supervisor.supervise(anything)
        with pytest.raises(TypeError, match=r"^open_supervisor\(\) got .*, which is not an async"):
            async with supervisor.open_supervisor(anything):
                raise AssertionError("unreachable")

    trio.run(main)


def test_a_root_that_was_called_is_refused_with_the_remedy() -> None:
    """S1: the error says that the root was called instead of passed."""

    async def main() -> None:
        with pytest.raises(TypeError, match=r"^supervise\(\) got <coroutine .*without calling it"):
            await supervisor.supervise(idle())  # type: ignore[arg-type]

    trio.run(main)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ([("a", idle)], TypeError, r"a group under root got \[.*: pass a mapping from names"),
        ("a", TypeError, "a group under root got 'a': pass a mapping from names to async"),
        (None, TypeError, "a group under root got None: pass a mapping"),
        ({}, ValueError, "a group under root got an empty mapping: a group needs a member"),
    ],
)
@pytest.mark.parametrize("factory", [False, True])
def test_an_object_that_is_no_mapping_of_runnables_is_refused(
    wrong: object, error: type[Exception], message: str, *, factory: bool
) -> None:
    """S8: a group is a non-empty mapping, or a function that returns one."""
    anything: Any = (lambda: wrong) if factory else wrong

    def check() -> None:
        with pytest.raises(error, match=message):
            supervisor.run_group(anything)

    in_root(check)


def test_an_async_function_as_factory_is_refused() -> None:
    """S8: the function that makes the runnables is a plain one; a group of one needs run()."""

    def check() -> None:
        with pytest.raises(TypeError, match="a group under root got <coroutine"):
            supervisor.run_group(idle)  # type: ignore[arg-type]

    in_root(check)


async def test_arguments_are_passed_in_each_incarnation() -> None:
    """S7: run(name, fn, *args) calls fn(*args), again at each restart."""
    calls: list[tuple[object, ...]] = []
    remote = Remote()

    async def child(*args: object) -> None:
        calls.append(args)
        await remote()

    async with open_harness(start, supervisor.run, "child", child, 1, "two", backoff=AT_ONCE):
        await remote.become_healthy()
        await remote.die()
        await remote.become_healthy()
    assert calls == [(1, "two"), (1, "two")]


async def test_a_root_gets_its_arguments() -> None:
    """S1: supervise() and open_supervisor() pass *args on to the root."""
    calls: list[tuple[object, ...]] = []

    async def root(*args: object) -> None:
        calls.append(args)
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    await supervisor.supervise(root, 1, "two")
    async with supervisor.open_supervisor(root, 3) as tree:
        await tree.wait_settled()
    assert calls == [(1, "two"), (3,)]


async def test_a_child_is_outside_of_its_parents_cancel_scopes() -> None:
    """S12: only the supervisor stops a child, not a scope or nursery its parent opened."""
    entered = trio.Event()

    async def root() -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                supervisor.run("child", idle)
                nursery.cancel_scope.cancel()
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        supervisor.signal(Signal.HEALTHY)
        entered.set()
        await trio.sleep_forever()

    async with open_harness(root) as tree:
        await entered.wait()
        await tree.wait_settled()
        assert tree.snapshot().nodes["root.child"].state is NodeState.HEALTHY


async def test_each_incarnation_finds_the_context_variables_of_the_call() -> None:
    """S1: a variable set in one incarnation is not seen in the next; that of run() is in both."""
    variable: ContextVar[str] = ContextVar("variable", default="unset")
    found: list[str] = []
    alone, member = Remote(), Remote()

    def child(remote: Remote) -> Callable[[], Awaitable[object]]:
        async def run() -> None:
            found.append(variable.get())
            variable.set("set by an incarnation")
            await remote()

        return run

    async def root() -> None:
        variable.set("at run()")
        supervisor.run("alone", child(alone))
        supervisor.run_group({"member": child(member), "other": idle})
        variable.set("after run()")
        await idle()

    async with open_harness(root, backoff=AT_ONCE):
        for remote in (alone, member):
            await remote.become_healthy()
            await remote.die()
            await remote.become_healthy()
    assert found == ["at run()"] * 4
    assert variable.get() == "unset"


async def test_the_root_finds_the_context_variables_of_supervise() -> None:
    """S1: the caller's variables reach the root, and the root's do not reach the caller."""
    variable: ContextVar[str] = ContextVar("variable")
    variable.set("the caller's")
    found: list[str] = []

    async def root() -> None:
        found.append(variable.get())
        variable.set("the root's")
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    await supervisor.supervise(root)
    assert (found, variable.get()) == (["the caller's"], "the caller's")


@pytest.mark.parametrize("signals", [[Signal.HEALTHY], [Signal.HEALTHY, Signal.DONE]])
async def test_children_start_only_when_new(signals: list[Signal]) -> None:
    """S6: after HEALTHY, which ends the set-up, run() and run_group() are errors."""
    errors: list[str] = []
    tried = trio.Event()

    async def parent() -> None:
        supervisor.run("early", idle)
        for each in signals:
            supervisor.signal(each)
        for attempt in (
            partial(supervisor.run, "late", idle),
            partial(supervisor.run_group, {"late": idle}),
        ):
            with pytest.raises(RunError) as caught:
                attempt()
            errors.append(str(caught.value))
        tried.set()

    async with open_harness(start, supervisor.run, "parent", parent, backoff=LONG) as tree:
        await tried.wait()
        assert "root.parent.late" not in tree.snapshot().nodes
    message = "root.parent can't start children when HEALTHY: start them before signal(Signal."
    assert len(errors) == 2
    assert all(error.startswith(message) for error in errors)

"""Cancel scopes and nurseries that a runnable leaves open: its own death, and nobody else's."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any, NoReturn

import pytest
import trio
from trio.testing import MockClock

import supervisor
from supervisor import Backoff, GroupState, NodeState, Signal, UnclosedScopeError

STEADY = Backoff(initial=1.0, factor=1.0, jitter=0.0)

# What the mistakes below have left open, to be kept until the test is over.
kept: list[Any] = []


@pytest.fixture(autouse=True)
def let_go() -> Iterator[None]:
    """Keep it no longer than its test."""
    yield
    kept.clear()


async def idle() -> None:
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


def opened() -> trio.CancelScope:
    scope = trio.CancelScope()
    scope.__enter__()
    kept.append(scope)
    return scope


async def opened_nursery() -> trio.Nursery:
    manager = trio.open_nursery()
    kept.append(manager)
    return await manager.__aenter__()


def leave(scope: trio.CancelScope) -> None:
    scope.__exit__(None, None, None)


# The mistakes


async def ticks_with_timeout() -> AsyncIterator[int]:
    with trio.move_on_after(1000.0):
        while True:
            await trio.sleep(0.1)
            yield 1


async def ticks_with_nursery() -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        while True:
            await trio.sleep(0.1)
            yield 1


async def abandon(make: Callable[[], AsyncIterator[int]]) -> None:
    """Break out of an async generator without closing it."""
    ticks = make()
    kept.append(ticks)
    async for _ in ticks:
        break


async def enter_only() -> None:
    opened()


async def enter_shielded() -> None:
    opened().shield = True


async def enter_and_cancel() -> None:
    opened().cancel()


async def enter_until_late() -> None:
    opened().deadline = trio.current_time() + 0.1
    await trio.sleep_forever()


async def let_a_child_leave() -> None:
    """Close a scope in a task of a nursery in it."""
    scope = opened()
    with contextlib.suppress(BaseExceptionGroup):
        async with trio.open_nursery() as nursery:

            async def child() -> None:
                leave(scope)

            nursery.start_soon(child)


async def let_a_child_leave_and_wait() -> None:
    scope = opened()

    async def child() -> None:
        with contextlib.suppress(RuntimeError):
            leave(scope)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(child)
    await trio.sleep_forever()


async def enter_nursery_only() -> None:
    nursery = await opened_nursery()
    nursery.start_soon(trio.sleep_forever)


async def enter_empty_nursery() -> None:
    await opened_nursery()


async def leave_a_scope_around_a_nursery() -> None:
    scope = opened()
    nursery = await opened_nursery()
    nursery.start_soon(trio.sleep_forever)
    with contextlib.suppress(RuntimeError):
        leave(scope)


async def leave_nurseries_in_wrong_order() -> None:
    outer = trio.open_nursery()
    await outer.__aenter__()
    inner = await opened_nursery()
    inner.start_soon(trio.sleep_forever)
    with contextlib.suppress(AssertionError):
        await outer.__aexit__(None, None, None)


MISTAKES: dict[str, Callable[[], Awaitable[None]]] = {
    "a generator with a timeout": partial(abandon, ticks_with_timeout),
    "a generator with a nursery": partial(abandon, ticks_with_nursery),
    "a scope": enter_only,
    "a shielded scope": enter_shielded,
    "a cancelled scope": enter_and_cancel,
    "a scope whose time is over": enter_until_late,
    "a scope that a child has closed": let_a_child_leave,
    "a scope that a child has closed, and a wait": let_a_child_leave_and_wait,
    "a nursery": enter_nursery_only,
    "an empty nursery": enter_empty_nursery,
    "a nursery in a scope that was closed": leave_a_scope_around_a_nursery,
    "nurseries in the wrong order": leave_nurseries_in_wrong_order,
}
each_mistake = pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)

# How a runnable ends after the mistake.


async def return_at_once() -> None:
    """Return when HEALTHY."""


async def be_done() -> None:
    supervisor.signal(Signal.DONE)


async def die() -> NoReturn:
    raise ValueError("a mistake")


each_end = pytest.mark.parametrize("end", [return_at_once, be_done, die])

# Where the runnable is in the tree.


def alone(bad: Callable[[], Awaitable[None]]) -> None:
    supervisor.run("bad", bad)


def first(bad: Callable[[], Awaitable[None]], **options: object) -> None:
    supervisor.run_group({"bad": bad, "member": idle}, **options)  # type: ignore[arg-type]


def last(bad: Callable[[], Awaitable[None]], **options: object) -> None:
    supervisor.run_group({"member": idle, "bad": bad}, **options)  # type: ignore[arg-type]


PLACES: dict[str, Callable[[Callable[[], Awaitable[None]]], None]] = {
    "alone": alone,
    "first of a group": first,
    "last of an ordered group": partial(last, ordered=True),
    "in a group with grace": partial(last, grace=0.5),
    "in a group with one grace": partial(first, grace={"member": 0.5}),
}
each_place = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)


async def run_all(
    place: Callable[[Callable[[], Awaitable[None]]], None], bad: Callable[[], Awaitable[None]]
) -> None:
    """Start a runnable in its place, beside one that it must not harm."""
    supervisor.run("innocent", idle)
    place(bad)
    await idle()


@each_place
@each_end
@each_mistake
async def test_who_leaves_something_open_dies_alone_and_restarts(
    mistake: Callable[[], Awaitable[None]],
    end: Callable[[], Awaitable[None]],
    place: Callable[[Callable[[], Awaitable[None]]], None],
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S12: its group restarts, its siblings never notice, and the error says what was left."""
    runs: list[str] = []

    async def kid() -> None:
        supervisor.signal(Signal.HEALTHY)
        runs.append("kid begins")
        try:
            await trio.sleep_forever()
        finally:
            runs.append("kid ends")

    async def bad() -> None:
        supervisor.run("kid", kid)
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(0.1)
        await mistake()
        await end()

    async with supervisor.open_supervisor(run_all, place, bad, backoff=STEADY) as tree:
        await trio.sleep(3.7)
        nodes = tree.snapshot().nodes
        assert nodes["root.innocent"].incarnation == 1
        assert nodes["root"].incarnation == 1
        assert len(nodes["root.bad"].crashes) >= 2
        for crash in nodes["root.bad"].crashes:
            assert "UnclosedScopeError: root.bad ended, and a " in crash.traceback
            assert "that it had opened was still open" in crash.traceback
            assert crash.error.startswith("UnclosedScopeError: ") or end is die
        await tree.stop()
    assert runs == ["kid begins", "kid ends"] * nodes["root.bad"].incarnation


@each_end
@each_mistake
async def test_a_root_that_leaves_something_open_restarts(
    mistake: Callable[[], Awaitable[None]],
    end: Callable[[], Awaitable[None]],
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S12: as any node does; its children end with it."""

    async def root() -> None:
        supervisor.run("child", idle)
        supervisor.signal(Signal.HEALTHY)
        await mistake()
        await end()

    async with supervisor.open_supervisor(root, backoff=STEADY) as tree:
        await trio.sleep(2.7)
        node = tree.snapshot().nodes["root"]
        assert node.incarnation >= 2
        assert all("UnclosedScopeError: root ended" in crash.traceback for crash in node.crashes)


async def test_an_error_beside_the_scope_is_kept() -> None:
    """S14: the node dies of both, in one group."""

    async def bad() -> None:
        enter = opened()
        assert enter.cancel_called is False
        await die()

    with pytest.RaisesGroup(
        pytest.RaisesExc(ValueError, match="a mistake"),
        pytest.RaisesExc(UnclosedScopeError, match=r"^root ended, and a cancel scope that it had"),
    ):
        await supervisor.supervise(bad, propagate=True)


async def test_a_group_too_deep_to_be_taken_apart_is_kept_whole() -> None:
    """S11, S14: beside the scope, and the tree lives on."""
    deep: Exception = ValueError("a mistake")
    for _ in range(10_000):
        deep = ExceptionGroup("", [deep])

    async def bad() -> None:
        supervisor.signal(Signal.HEALTHY)
        opened()
        raise deep

    async with supervisor.open_supervisor(run_all, alone, bad) as tree:
        await trio.testing.wait_all_tasks_blocked()
        nodes = tree.snapshot().nodes
        assert nodes["root.bad"].state is NodeState.DEAD
        assert nodes["root.innocent"].state is NodeState.HEALTHY
        assert nodes["root.bad"].crashes[0].error == "ValueError: a mistake (and 1 more)"


@pytest.mark.parametrize("end", [return_at_once, let_a_child_leave_and_wait])
async def test_a_scope_alone_is_the_error_alone(end: Callable[[], Awaitable[None]]) -> None:
    """S5: with no other error there is no group around it, also if a Cancelled ends the run."""

    async def bad() -> None:
        opened()
        await end()

    with pytest.raises(UnclosedScopeError, match=r"^root ended, and .* contextlib\.aclosing\(\)"):
        await supervisor.supervise(bad, propagate=True)


async def test_the_tasks_in_a_nursery_end_before_the_next_incarnation(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S7: they are cancelled and waited for, and what they raise is on record."""
    alive = 0

    async def helper() -> None:
        nonlocal alive
        alive += 1
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(3.0)
            alive -= 1
            raise KeyError("late")

    async def bad() -> None:
        assert alive == 0
        supervisor.signal(Signal.HEALTHY)
        nursery = await opened_nursery()
        nursery.start_soon(helper)
        await trio.testing.wait_all_tasks_blocked()

    async with supervisor.open_supervisor(
        run_all, partial(last, backoff=STEADY), bad, backoff=STEADY
    ) as tree:
        await trio.sleep(2.9)
        assert tree.snapshot().nodes["root.bad"].state is NodeState.HEALTHY
        await trio.sleep(0.2)
        node = tree.snapshot().nodes["root.bad"]
        assert node.state is NodeState.DEAD
        assert "KeyError: 'late'" in node.crashes[0].traceback
        await trio.sleep(1.0)
        assert tree.snapshot().nodes["root.bad"].incarnation == 2


async def test_a_task_in_a_nursery_that_does_not_end_is_reported(
    caplog: pytest.LogCaptureFixture,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S18: as a task in a nursery that is open in a runnable."""

    async def helper() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(6.0)

    async def bad() -> None:
        nursery = await opened_nursery()
        nursery.start_soon(helper)
        await trio.testing.wait_all_tasks_blocked()

    async with supervisor.open_supervisor(run_all, alone, bad) as tree:
        await trio.testing.wait_all_tasks_blocked()
        await tree.stop()
    (report,) = [record for record in caplog.records if "has not ended 5 s" in record.message]
    assert report.message.startswith("root.bad has not ended")
    assert "in helper" in report.message


@pytest.mark.parametrize("what", ["scope", "nursery"])
async def test_who_is_stopped_with_something_open_is_stopped(what: str) -> None:
    """S5: what it has left open is its stop error."""

    async def bad() -> None:
        supervisor.signal(Signal.HEALTHY)
        if what == "nursery":
            (await opened_nursery()).start_soon(trio.sleep_forever)
        else:
            opened()
        await trio.sleep_forever()

    handles: list[supervisor.Handle] = []

    async def root() -> None:
        handles.append(supervisor.run("bad", bad))
        await idle()

    async with supervisor.open_supervisor(root) as tree:
        await tree.wait_ready()
        await handles[0].restart()
        await tree.wait_ready()
        await handles[0].stop()
        node = tree.snapshot().nodes["root.bad"]
        assert (node.state, node.group.state) == (NodeState.CANCELED, GroupState.STOPPED)
        assert node.crashes == ()
        assert node.stop_error is not None
        assert node.stop_error.error.startswith("UnclosedScopeError: root.bad ended")
        await handles[0].restart()
        await tree.wait_ready()


async def test_a_cancellation_from_outside_ends_all_of_it(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S12: no task of the tree is left."""
    before = trio.lowlevel.current_statistics().tasks_living

    async def bad() -> None:
        supervisor.signal(Signal.HEALTHY)
        (await opened_nursery()).start_soon(trio.sleep_forever)
        opened()
        await trio.sleep_forever()

    with trio.move_on_after(1.0) as scope:
        await supervisor.supervise(run_all, partial(first, grace=1.0), bad)
    assert scope.cancelled_caught
    assert trio.lowlevel.current_statistics().tasks_living == before


@pytest.mark.parametrize("what", ["scope", "nursery"])
async def test_what_is_no_exception_leaves_the_tree_with_something_open(what: str) -> None:
    """S11: and without the groups around it."""

    async def bad() -> None:
        if what == "nursery":
            await opened_nursery()
        else:
            opened()
        raise SystemExit(7)

    with pytest.raises(SystemExit, match="7"):
        await supervisor.supervise(run_all, last, bad)


async def test_what_leaves_from_a_nursery_that_was_left_open_leaves_the_tree() -> None:
    """S11: none is lost, wherever it comes from."""

    async def helper() -> NoReturn:
        raise SystemExit(7)

    async def bad() -> None:
        (await opened_nursery()).start_soon(helper)

    with pytest.raises(SystemExit, match="7"):
        await supervisor.supervise(run_all, alone, bad)


async def test_a_scope_of_another_node_can_not_be_left(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S12: who tries gets Trio's error and dies of it; the owner of the scope goes on."""
    scopes: list[trio.CancelScope] = []

    async def owner() -> None:
        with trio.CancelScope() as scope:
            scopes.append(scope)
            await idle()

    async def bad() -> None:
        await trio.sleep(1.0)
        leave(scopes[0])

    async def root() -> None:
        supervisor.run("owner", owner)
        supervisor.run("bad", bad, backoff=STEADY)
        await idle()

    async with supervisor.open_supervisor(root) as tree:
        await trio.sleep(3.5)
        nodes = tree.snapshot().nodes
        assert nodes["root.owner"].state is NodeState.HEALTHY
        assert nodes["root.owner"].incarnation == 1
        assert "Cancel scope stack corrupted" in nodes["root.bad"].crashes[-1].traceback


async def test_who_has_closed_in_the_end_what_it_opened_is_done() -> None:
    """S5: in whatever order: what counts is that nothing is open."""

    async def tidy() -> None:
        outer, inner = opened(), opened()
        with contextlib.suppress(RuntimeError):
            leave(outer)
        leave(inner)
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    await supervisor.supervise(tidy, propagate=True)


async def test_trio_has_the_names_that_this_rests_on() -> None:
    """S12: they are private, and a Trio without them would let the mistake through."""
    task = trio.lowlevel.current_task()
    async with trio.open_nursery() as nursery:
        assert task._cancel_status is nursery._cancel_status
        assert task._child_nurseries[-1] is nursery
        scope = opened()
        assert scope._cancel_status is not None
        assert task._cancel_status is scope._cancel_status
        assert task in scope._cancel_status.tasks
        assert scope._cancel_status in nursery._cancel_status.children
        leave(scope)
    assert callable(task._activate_cancel_status)
    assert callable(nursery._nested_child_finished)


# Other mistakes with what a task carries along


async def test_a_token_of_another_context_is_the_death_of_who_uses_it(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S12: a context variable can't be reset by it, and nothing else happens."""
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")
    token = variable.set(1)

    async def bad() -> None:
        variable.reset(token)

    async with supervisor.open_supervisor(run_all, alone, bad, backoff=STEADY) as tree:
        await trio.sleep(2.5)
        nodes = tree.snapshot().nodes
        assert nodes["root.innocent"].incarnation == 1
        assert nodes["root.bad"].crashes[-1].error.startswith("ValueError: <Token")


async def test_a_runnable_may_change_the_context_of_its_task(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S1, S12: it is not found any more then, and starts again in a context that is right."""

    async def bad() -> None:
        trio.lowlevel.current_task().context = contextvars.Context()
        await trio.sleep(0.1)
        supervisor.signal(Signal.HEALTHY)

    async with supervisor.open_supervisor(run_all, alone, bad, backoff=STEADY) as tree:
        await trio.sleep(2.5)
        nodes = tree.snapshot().nodes
        assert nodes["root.innocent"].incarnation == 1
        assert nodes["root.bad"].incarnation == 3
        assert nodes["root.bad"].crashes[-1].error.startswith("NotSupervisedError: supervisor.sig")

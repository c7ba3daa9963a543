"""The ways in which an incarnation can end, and the state that it ends in (S5)."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NoReturn

import pytest
import trio
from hypothesis import given, settings, strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import Crash, NodeState, Signal, SignalError
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import LONG
from ..helpers.loggers import text_of
from ..helpers.runnables import idle, start
from ..helpers.transitions import CANCELED, DEAD, DONE, HEALTHY, NEW, Transitions

Script = Callable[[], Awaitable[object]]


# Nobody asked it to stop


async def a_cancelled() -> trio.Cancelled:
    """Return a Cancelled that a scope of the caller's own has raised."""
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            return cancelled
    raise AssertionError("unreachable")


async def return_when_new() -> None:
    await trio.lowlevel.checkpoint()


async def return_when_healthy() -> None:
    supervisor.signal(Signal.HEALTHY)


async def return_after_done() -> None:
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


async def raise_when_new() -> NoReturn:
    raise ValueError("broken")


async def raise_when_healthy() -> NoReturn:
    supervisor.signal(Signal.HEALTHY)
    raise ValueError("broken")


async def raise_after_done() -> NoReturn:
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)
    raise ValueError("broken")


async def raise_foreign_cancelled() -> NoReturn:
    supervisor.signal(Signal.HEALTHY)
    raise await a_cancelled()


async def raise_foreign_cancelled_after_done() -> NoReturn:
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)
    raise await a_cancelled()


async def raise_group_of_foreign_cancelled() -> NoReturn:
    raise BaseExceptionGroup("nursery", [await a_cancelled(), await a_cancelled()])


async def raise_cancelled_and_error() -> NoReturn:
    raise BaseExceptionGroup("nursery", [await a_cancelled(), ValueError("broken")])


RETURNED = "UnexpectedReturnError: root.child returned when"


FOREIGN = "UnexpectedReturnError: root.child ended by a Cancelled that nobody asked for when"


REMEDY = "a runnable whose work is over has to call"


SAY_BOTH = f"{REMEDY} signal(Signal.HEALTHY) and signal(Signal.DONE) before"


SAY_DONE = f"{REMEDY} signal(Signal.DONE) before"


@pytest.mark.parametrize(
    ("script", "state", "error"),
    [
        (return_when_new, DEAD, f"{RETURNED} NEW; {SAY_BOTH}"),
        (return_when_healthy, DEAD, f"{RETURNED} HEALTHY; {SAY_DONE}"),
        (return_after_done, DONE, None),
        (raise_when_new, DEAD, "ValueError: broken"),
        (raise_when_healthy, DEAD, "ValueError: broken"),
        (raise_after_done, DEAD, "ValueError: broken"),
        (raise_foreign_cancelled, DEAD, f"{FOREIGN} HEALTHY; {SAY_DONE}"),
        (raise_foreign_cancelled_after_done, DEAD, f"{FOREIGN} HEALTHY; {SAY_DONE}"),
        (raise_group_of_foreign_cancelled, DEAD, f"{FOREIGN} NEW; {SAY_BOTH}"),
        (raise_cancelled_and_error, DEAD, "ValueError: broken"),
    ],
)
@pytest.mark.parametrize("grouped", [False, True])
def test_an_end_that_was_not_asked_for(
    script: Script, state: NodeState, error: str | None, *, grouped: bool
) -> None:
    """S5: a return after DONE is DONE; any other return, and any exception, is a death."""

    async def root() -> None:
        members = {"child": script, "sibling": idle} if grouped else {"child": script}
        supervisor.run_group(members, backoff=LONG)
        await idle()

    async def main() -> None:
        async with open_harness(root) as tree:
            await tree.wait_settled()
            await wait_all_tasks_blocked()
            child = tree.snapshot().nodes["root.child"]
            assert child.state is state
            assert [crash.error for crash in child.crashes] == ([] if error is None else [error])
            assert child.stop_error is None

    # Not by pytest-trio, which takes a Cancelled that leaves a test for a success.
    trio.run(main)


def sync_function() -> int:
    return 3


async def wants_two(first: object, second: object) -> None:
    raise AssertionError(first, second)


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (sync_function, "is not an async function: it returned 3"),
        (partial(wants_two, 1), "TypeError: wants_two() missing 1 required positional argument"),
    ],
)
async def test_a_call_that_gives_no_awaitable_is_a_death(
    function: Callable[[], Awaitable[object]], error: str
) -> None:
    """S5: the node dies of a TypeError that names the function and what it returned."""
    async with open_harness(start, supervisor.run, "child", function, backoff=LONG) as tree:
        await tree.wait_settled()
        (crash,) = tree.snapshot().nodes["root.child"].crashes
        assert error in crash.error


# It was asked to stop


async def let_it_pass() -> None:
    await trio.sleep_forever()


async def return_politely() -> None:
    with contextlib.suppress(trio.Cancelled):
        await trio.sleep_forever()


async def return_politely_after_done() -> None:
    try:
        await trio.sleep_forever()
    except trio.Cancelled:
        if supervisor.current_dn() in STARTED_HEALTHY:
            supervisor.signal(Signal.DONE)


async def raise_while_stopping() -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise OSError("flush failed")


async def raise_group_while_stopping() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(raise_while_stopping)
        nursery.start_soon(trio.sleep_forever)


async def raise_nested_cancelled() -> None:
    try:
        await trio.sleep_forever()
    except trio.Cancelled as cancelled:
        raise BaseExceptionGroup("outer", [BaseExceptionGroup("inner", [cancelled])]) from None


STARTED_HEALTHY = {"root.healthy"}


async def by_leaving(_: Remote) -> None:
    """Let the end of the body stop the tree."""


async def by_a_siblings_death(sibling: Remote) -> None:
    await sibling.die()
    await wait_all_tasks_blocked()


@pytest.mark.parametrize("stop", [by_leaving, by_a_siblings_death])
@pytest.mark.parametrize(
    ("script", "error"),
    [
        (let_it_pass, None),
        (return_politely, None),
        (return_politely_after_done, None),
        (raise_while_stopping, "OSError: flush failed"),
        (raise_group_while_stopping, "OSError: flush failed"),
        (raise_nested_cancelled, None),
    ],
)
async def test_an_end_that_was_asked_for_is_canceled(
    script: Script,
    error: str | None,
    stop: Callable[[Remote], Awaitable[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S5: after a stop, however a runnable ends it is CANCELED; its error is logged and kept."""
    transitions, sibling = Transitions(), Remote()

    async def signalling() -> None:
        supervisor.signal(Signal.HEALTHY)
        await script()

    async def root() -> None:
        members: dict[str, Script] = {"new": script, "healthy": signalling, "sibling": sibling}
        supervisor.run_group(members, backoff=LONG)
        await idle()

    async with open_harness(root, metrics=transitions) as tree:
        await sibling.become_healthy()
        await stop(sibling)
    for name, states in (("new", [NEW, CANCELED]), ("healthy", [NEW, HEALTHY, CANCELED])):
        dn = f"root.{name}"
        assert transitions.of(dn) == states
        node = tree.snapshot().nodes[dn]
        assert node.crashes == ()
        logged = [text_of(r) for r in caplog.records if r.name == f"supervisor.node.{dn}"]
        if error is None:
            assert node.stop_error is None
            assert logged == []
        else:
            assert node.stop_error is not None
            assert node.stop_error.error.startswith(error)
            assert "flush failed" in node.stop_error.traceback
            (message,) = logged
            assert message.startswith(f"{dn} was asked to stop and raised an error: {error}")
            assert "raise OSError" in message


async def test_a_stop_error_is_a_record_of_the_end(autojump_clock: MockClock) -> None:
    """S5: the snapshot keeps DN, time, uptime and incarnation of what was raised while stopping."""

    async def child() -> None:
        supervisor.signal(Signal.HEALTHY)
        await raise_while_stopping()

    async def root() -> None:
        supervisor.run("child", child)
        await idle()

    async with open_harness(root) as tree:
        await tree.wait_settled()
        await trio.sleep(7.0)
    error = tree.snapshot().nodes["root.child"].stop_error
    assert isinstance(error, Crash)
    assert (error.dn, error.incarnation, error.uptime) == ("root.child", 1, 7.0)
    assert error.time == autojump_clock.current_time()
    assert error.traceback.endswith("OSError: flush failed")


# Any signals, and any end


class End(enum.Enum):
    """How the run ends."""

    RETURN = enum.auto()
    RAISE = enum.auto()
    RETURN_ASKED = enum.auto()
    RAISE_ASKED = enum.auto()
    CANCELLED = enum.auto()


async def run_child(signals: list[Signal], end: End) -> None:
    """Run ``root.child``, compare what it sees after each signal, and what it ends in."""
    state, announced, told = NEW, False, [NEW]

    class Told:
        def notify_node_state(self, dn: str, state: NodeState) -> None:
            if dn == "root.child":
                states.append(state)

        def notify_node_gone(self, dn: str) -> None:
            gone.append(dn)

    states: list[NodeState] = []
    gone: list[str] = []

    async def child() -> None:
        nonlocal state, announced
        for each in signals:
            if each is Signal.HEALTHY and state is NEW:
                state = HEALTHY
                told.append(state)
                supervisor.signal(each)
            elif each is Signal.DONE and state is HEALTHY and not announced:
                announced = True
                supervisor.signal(each)
            else:
                with pytest.raises(SignalError, match=f"root.child signalled {each.name}"):
                    supervisor.signal(each)
            assert states == told
        if end in {End.RETURN_ASKED, End.RAISE_ASKED}:
            await supervisor.wait_stop_requested()
        elif end is End.CANCELLED:
            await trio.sleep_forever()
        if end in {End.RAISE, End.RAISE_ASKED}:
            raise OSError("as it was told")

    async def root() -> None:
        supervisor.run("child", child, backoff=LONG, grace=1.0)

    async with open_harness(root, metrics=Told()) as tree:
        await wait_all_tasks_blocked()
        await tree.stop()
        node = tree.snapshot().nodes["root.child"]
    if end is End.RETURN and announced:
        told.append(DONE)
    else:
        told.append(DEAD if end in {End.RETURN, End.RAISE} else CANCELED)
    assert (states, node.state) == (told, told[-1])
    died_of = {End.RETURN: "UnexpectedReturnError", End.RAISE: "OSError"}
    assert [crash.error.partition(":")[0] for crash in node.crashes] == (
        [died_of[end]] if told[-1] is DEAD else []
    )
    assert not gone
    assert (node.stop_error is not None) == (end is End.RAISE_ASKED)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(signals=st.lists(st.sampled_from(Signal), max_size=5), end=st.sampled_from(End))
def test_every_run_agrees_with_a_model(signals: list[Signal], end: End) -> None:
    """S3, S4, S5: a wrong signal changes nothing; a stop request decides, not the error."""
    trio.run(run_child, signals, end, clock=MockClock(autojump_threshold=0.0))

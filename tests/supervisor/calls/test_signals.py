"""Signals, and the ways in which a run can end."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NoReturn

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, Crash, NodeState, Signal, SignalError
from supervisor.testing import Remote, open_harness

if TYPE_CHECKING:
    from trio.testing import MockClock

NEW, HEALTHY, DONE = NodeState.NEW, NodeState.HEALTHY, NodeState.DONE
DEAD, CANCELED = NodeState.DEAD, NodeState.CANCELED

Script = Callable[[], Awaitable[object]]

# So long that no restart comes between the death and the look at it.
PATIENT = Backoff(initial=1000.0, maximum=1000.0, jitter=0.0)


class Transitions:
    """Metrics that keep what they are told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, NodeState | None]] = []

    def notify_node_state(self, dn: str, state: NodeState) -> None:
        self.seen.append((dn, state))

    def notify_node_gone(self, dn: str) -> None:
        self.seen.append((dn, None))

    def of(self, dn: str) -> list[NodeState | None]:
        return [state for name, state in self.seen if name == dn]


def healthy() -> None:
    supervisor.signal(Signal.HEALTHY)


def done() -> None:
    supervisor.signal(Signal.DONE)


async def idle() -> None:
    healthy()
    await trio.sleep_forever()


async def a_cancelled() -> trio.Cancelled:
    """Return a Cancelled that a scope of the caller's own has brought forth."""
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            return cancelled
    raise AssertionError("unreachable")


@pytest.mark.parametrize(
    ("before", "wrong", "message"),
    [
        ([], Signal.DONE, r"signalled DONE when NEW: call signal\(Signal.HEALTHY\) before"),
        ([Signal.HEALTHY], Signal.HEALTHY, "signalled HEALTHY when HEALTHY: signal it once"),
        ([Signal.HEALTHY, Signal.DONE], Signal.HEALTHY, "signalled HEALTHY when HEALTHY"),
        ([Signal.HEALTHY, Signal.DONE], Signal.DONE, "signalled DONE twice: signal it once"),
    ],
)
async def test_a_wrong_signal_raises_and_changes_nothing(
    before: list[Signal], wrong: Signal, message: str
) -> None:
    """S4: HEALTHY only in NEW; DONE only in HEALTHY, once. Afterwards the right signals work."""
    transitions = Transitions()

    async def child() -> None:
        for each in before:
            supervisor.signal(each)
        seen = transitions.seen.copy()
        with pytest.raises(SignalError, match=rf"root\.child {message}"):
            supervisor.signal(wrong)
        assert transitions.seen == seen
        for each in (Signal.HEALTHY, Signal.DONE):
            if each not in before:
                supervisor.signal(each)

    async def root() -> None:
        supervisor.run("child", child)
        await idle()

    async with open_harness(root, metrics=transitions) as tree:
        await tree.wait_settled()
        await wait_all_tasks_blocked()
        assert transitions.of("root.child") == [NEW, HEALTHY, DONE]


@pytest.mark.parametrize("wrong", list(Signal))
async def test_a_runnable_that_has_returned_signals_no_more(wrong: Signal) -> None:
    """S4: a task left behind by a DONE runnable whose children live can't signal for it."""
    transitions = Transitions()
    outcome: list[str] = []

    async with trio.open_nursery() as foreign:
        asked = trio.Event()

        async def left_behind() -> None:
            await asked.wait()
            with pytest.raises(SignalError) as caught:
                supervisor.signal(wrong)
            outcome.append(str(caught.value))

        async def middle() -> None:
            supervisor.run("leaf", idle)
            foreign.start_soon(left_behind)
            healthy()
            done()

        async def root() -> None:
            supervisor.run("middle", middle)
            await idle()

        async with open_harness(root, metrics=transitions) as tree:
            await tree.wait_settled()
            await wait_all_tasks_blocked()
            assert transitions.of("root.middle") == [NEW, HEALTHY, DONE]
            asked.set()
            await wait_all_tasks_blocked()
            assert transitions.of("root.middle") == [NEW, HEALTHY, DONE]
    assert len(outcome) == 1
    assert f"root.middle signalled {wrong.name}" in outcome[0]


@pytest.mark.parametrize("no_signal", ["HEALTHY", NodeState.HEALTHY, None, 1])
async def test_what_is_no_signal_is_a_type_error(no_signal: object) -> None:
    """S4: a state or a string in place of a signal is named in the error; nothing changes."""

    async def root() -> None:
        with pytest.raises(TypeError, match=r"not a supervisor\.Signal: pass Signal\.") as caught:
            supervisor.signal(no_signal)  # type: ignore[arg-type]
        assert repr(no_signal) in str(caught.value)
        await idle()

    async with open_harness(root) as tree:
        await tree.wait_settled()
        assert tree.snapshot().nodes["root"].state is HEALTHY


async def test_announcing_done_changes_no_state_before_the_return() -> None:
    """S4: the state becomes DONE when the runnable returns, not when it says that it will."""
    announced, leave = trio.Event(), trio.Event()

    async def child() -> None:
        healthy()
        done()
        announced.set()
        await leave.wait()

    async def root() -> None:
        supervisor.run("child", child)
        await idle()

    async with open_harness(root) as tree:
        await announced.wait()
        assert tree.snapshot().nodes["root.child"].state is HEALTHY
        leave.set()
        await wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root.child"].state is DONE


async def return_when_new() -> None:
    await trio.lowlevel.checkpoint()


async def return_when_healthy() -> None:
    healthy()


async def return_after_done() -> None:
    healthy()
    done()


async def raise_when_new() -> NoReturn:
    raise ValueError("broken")


async def raise_when_healthy() -> NoReturn:
    healthy()
    raise ValueError("broken")


async def raise_after_done() -> NoReturn:
    healthy()
    done()
    raise ValueError("broken")


async def raise_foreign_cancelled() -> NoReturn:
    healthy()
    raise await a_cancelled()


async def raise_foreign_cancelled_after_done() -> NoReturn:
    healthy()
    done()
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
        (raise_cancelled_and_error, DEAD, "ExceptionGroup: nursery (1 sub-exception)"),
    ],
)
@pytest.mark.parametrize("grouped", [False, True])
def test_an_end_that_was_not_asked_for(
    script: Script, state: NodeState, error: str | None, *, grouped: bool
) -> None:
    """S5: a return after DONE is DONE; any other return, and any exception, is a death."""

    async def root() -> None:
        members = {"child": script, "sibling": idle} if grouped else {"child": script}
        supervisor.run_group(members, backoff=PATIENT)
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
            done()


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
        (raise_group_while_stopping, "ExceptionGroup: Exceptions from Trio nursery"),
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
        healthy()
        await script()

    async def root() -> None:
        members: dict[str, Script] = {"new": script, "healthy": signalling, "sibling": sibling}
        supervisor.run_group(members, backoff=PATIENT)
        await idle()

    async with open_harness(root, metrics=transitions) as tree:
        await sibling.become_healthy()
        await stop(sibling)
    for name, states in (("new", [NEW, CANCELED]), ("healthy", [NEW, HEALTHY, CANCELED])):
        dn = f"root.{name}"
        assert transitions.of(dn) == states
        node = tree.snapshot().nodes[dn]
        assert node.crashes == ()
        logged = [r.getMessage() for r in caplog.records if r.name == f"supervisor.node.{dn}"]
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
        healthy()
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

"""When a runnable may signal, and what comes of it (S4)."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import NodeState, Signal, SignalError
from supervisor.testing import open_harness

from ..helpers.runnables import idle
from ..helpers.transitions import DONE, HEALTHY, NEW, Transitions


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
async def test_a_task_of_a_runnable_that_has_returned_cannot_signal(wrong: Signal) -> None:
    """S4: a task left behind by a DONE runnable can't signal for it, while its children run."""
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
            supervisor.signal(Signal.HEALTHY)
            supervisor.signal(Signal.DONE)

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
async def test_an_object_that_is_no_signal_is_a_type_error(no_signal: object) -> None:
    """S4: the error names the state or string that was passed, and nothing changes."""

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
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)
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

"""Whatever a runnable signals and however it ends, its states are a model's (S3, S4, S5)."""

from __future__ import annotations

import enum

import pytest
import trio
from hypothesis import given, settings, strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, NodeState, Signal, SignalError
from supervisor.testing import open_harness

NEW, HEALTHY, DONE = NodeState.NEW, NodeState.HEALTHY, NodeState.DONE
DEAD, CANCELED = NodeState.DEAD, NodeState.CANCELED
LONG = Backoff(initial=1000.0, maximum=1000.0, jitter=0.0)


class End(enum.Enum):
    """How the run ends."""

    RETURN = enum.auto()
    RAISE = enum.auto()
    RETURN_ASKED = enum.auto()
    RAISE_ASKED = enum.auto()
    CANCELLED = enum.auto()


async def play(signals: list[Signal], end: End) -> None:
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
def test_every_run_is_as_the_model_says(signals: list[Signal], end: End) -> None:
    """S3, S4, S5: a wrong signal raises and changes nothing; being asked decides, not the error."""
    trio.run(play, signals, end, clock=MockClock(autojump_threshold=0.0))

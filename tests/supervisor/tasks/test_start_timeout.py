"""Start timeouts that come before anything else of a runnable has (S20)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

import supervisor
from supervisor import Backoff, GroupState, NodeState, Signal

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENT = Backoff(initial=1000.0, maximum=1000.0, jitter=0.0)


async def idle() -> None:
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


def test_who_has_not_begun_in_time_has_died() -> None:
    """S20: set-up of the parent that takes too long is no reason to forget the child."""

    def alone(seconds: float) -> None:
        supervisor.run("child", idle, start_timeout=seconds, backoff=PATIENT)

    def together(seconds: float) -> None:
        group = {"child": idle, "other": idle}
        supervisor.run_group(group, start_timeout=seconds, backoff=PATIENT)

    async def main(run: Callable[[float], None]) -> None:
        async def root() -> None:
            run(1.0)
            clock.jump(2.0)  # as work without a checkpoint lets time pass
            await idle()

        async with supervisor.open_supervisor(root) as tree:
            await trio.sleep(5.0)
            node = tree.snapshot().nodes["root.child"]
            if node.state is NodeState.DEAD:
                (death,) = node.crashes
                assert death.error.startswith("StartTimeoutError: root.child is still NEW after")
                assert node.group.state is GroupState.BACKOFF
            else:
                # Of two tasks that are due at once, the runnable's was the first.
                assert node.state is NodeState.HEALTHY
            states.add(node.state)

    states: set[NodeState] = set()
    for run in (alone, together):
        for _ in range(20):
            clock = MockClock(autojump_threshold=0.0)
            trio.run(main, run, clock=clock)
    assert NodeState.DEAD in states


@pytest.mark.parametrize("grace", [0.0, 5.0])
async def test_who_is_too_late_dies_of_that_whatever_it_raises_then(
    grace: float,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S20: what a runnable raises when it is stopped for its timeout is kept, and not its death."""

    async def child() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("too late")

    async def root() -> None:
        supervisor.run("child", child, start_timeout=1.0, grace=grace, backoff=PATIENT)
        await idle()

    async with supervisor.open_supervisor(root) as tree:
        await trio.sleep(10.0)
        node = tree.snapshot().nodes["root.child"]
        assert [crash.error.partition(":")[0] for crash in node.crashes] == ["StartTimeoutError"]
        assert node.stop_error is not None
        assert node.stop_error.error == "OSError: too late"

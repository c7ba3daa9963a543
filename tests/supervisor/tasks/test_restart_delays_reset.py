"""When the delay of a group begins anew, in a tree (S9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Backoff
from supervisor.testing import Remote, open_harness

if TYPE_CHECKING:
    from trio.testing import MockClock

    from supervisor import Supervisor

DOUBLING = Backoff(initial=1.0, factor=2.0, jitter=0.0, reset_after=10.0)


def failures(tree: Supervisor) -> int:
    return tree.snapshot().nodes["root.worker"].group.failures


async def test_readiness_of_an_earlier_round_does_not_count(autojump_clock: MockClock) -> None:
    """S9: the seconds of readiness are those of the round that failed."""
    worker = Remote()

    async def root() -> None:
        supervisor.run("worker", worker)

    async with open_harness(root, backoff=DOUBLING) as tree:
        await worker.become_healthy()
        await trio.sleep(1.0)
        await worker.die()
        await trio.sleep(1000.0)
        await worker.die()
        await wait_all_tasks_blocked()
        assert failures(tree) == 2
    assert autojump_clock.current_time() == 1001.0


async def test_readiness_before_a_death_does_not_count_for_what_fails_after_it(
    autojump_clock: MockClock,
) -> None:
    """S8, S9: the function of a group that fails at a restart adds to the failures in a row."""
    worker = Remote()
    broken = False

    def group() -> dict[str, Remote]:
        if broken:
            raise OSError("no channels")
        return {"worker": worker}

    async def root() -> None:
        supervisor.run_group(group)

    async with open_harness(root, backoff=DOUBLING) as tree:
        await worker.become_healthy()
        await trio.sleep(1000.0)
        broken = True
        await worker.die()
        await wait_all_tasks_blocked()
        assert failures(tree) == 1
        await trio.sleep(1.5)
        assert failures(tree) == 2
    assert autojump_clock.current_time() == 1001.5

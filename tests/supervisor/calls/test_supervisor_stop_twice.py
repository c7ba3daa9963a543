"""Several stops of one tree, with several budgets (S21)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from supervisor import StopTimeoutError, open_supervisor
from supervisor.testing import Remote

if TYPE_CHECKING:
    from trio.testing import MockClock


@pytest.mark.parametrize("other", [None, 2.0, 60.0])
async def test_each_stop_tells_of_the_budget_that_was_over(
    other: float | None, autojump_clock: MockClock
) -> None:
    """S21: whatever its own: none, one that is over later, or one that never is."""
    slow = Remote()
    slow.stop_slowly(3.0)
    async with open_supervisor(slow, grace=9.0) as tree:

        async def stop(seconds: float | None) -> None:
            with pytest.raises(StopTimeoutError, match=r"not stopped after 1 s .*: root$"):
                await tree.stop(timeout=seconds)

        await slow.become_healthy()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop, 1.0)
            nursery.start_soon(stop, other)
        assert autojump_clock.current_time() == 4.0

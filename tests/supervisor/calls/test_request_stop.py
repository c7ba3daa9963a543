"""A stop that is requested, and not waited for (S21)."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import pytest
import trio

import supervisor
from supervisor import NotSupervisedError, open_supervisor

from ..helpers.loggers import of_package
from ..helpers.runnables import finish, idle
from ..helpers.stop_times import StopTimes

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_a_requested_stop_is_in_good_order(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """S21: the call returns at once, the nodes have their grace, and the log says why."""
    caplog.set_level(logging.INFO, logger="supervisor")
    stops = StopTimes()

    async def root() -> None:
        supervisor.run("child", stops.stay, 1.0, grace=2.0)
        await finish()

    async with open_supervisor(root) as tree:
        await trio.sleep(1.0)
        tree.request_stop("enough\nis done")
        assert not tree.ready()
        tree.request_stop("enough is enough")
    assert autojump_clock.current_time() == 2.0
    assert stops.asked == {"root.child": 1.0}
    assert stops.cancelled == {}
    messages = [record.getMessage() for record in of_package(caplog)]
    assert [each for each in messages if each.startswith("stop requested")] == [
        "stop requested: enough is done",
        "stop requested: enough is enough",
    ]


async def test_the_reason_comes_with_the_cancellation(autojump_clock: MockClock) -> None:
    """S21: it is that of the Cancelled, cut to 500 characters."""
    stops = StopTimes()
    async with open_supervisor(stops.stay, grace=1.0) as tree:
        await tree.wait_settled()
        tree.request_stop("x" * 1000)
    reason = stops.cancelled["root"].reason
    assert reason is not None
    assert re.fullmatch(r"stop requested: x+ \[\.\.\. 500 characters left out \.\.\.\] x+", reason)
    assert autojump_clock.current_time() == 1.0


async def test_a_request_after_the_end_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """S21: nothing is stopped, and the log does not say that it is."""
    caplog.set_level(logging.INFO, logger="supervisor")
    async with open_supervisor(idle) as tree:
        await tree.wait_settled()
        await tree.stop()
        caplog.clear()
        tree.request_stop("too late")
        assert of_package(caplog) == []


@pytest.mark.parametrize(
    ("reason", "error", "message"),
    [
        (5, TypeError, "reason=5 does not say why: pass it in a few words"),
        (None, TypeError, "reason=None does not say why"),
        ("", ValueError, "reason='' does not say why"),
    ],
)
async def test_a_wrong_reason_is_named(reason: str, error: type[Exception], message: str) -> None:
    """S2: the value is shown, and nothing is stopped."""
    async with open_supervisor(idle) as tree:
        await tree.wait_settled()
        with pytest.raises(error, match=re.escape(message)):
            tree.request_stop(reason)
        assert tree.ready()


async def test_a_request_in_another_thread_is_refused() -> None:
    """S1: the error names the call that brings it to the tree's thread."""
    async with open_supervisor(idle) as tree:
        await tree.wait_settled()
        expected = (
            r"request_stop\(\) of the tree root was .*from_thread\.run_sync\(tree\.request_stop"
        )
        with pytest.raises(NotSupervisedError, match=expected):
            await trio.to_thread.run_sync(tree.request_stop, "from a thread")
        assert tree.ready()

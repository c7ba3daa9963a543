"""A stop of a process that a runnable requests (S33)."""

from __future__ import annotations

import signal as signals
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

import supervisor
from supervisor import Signal

from ..helpers.services import (
    SIGTERM,
    end_of,
    next_line,
    send_second,
    service,
    status_of,
    wait_for_log,
)

if TYPE_CHECKING:
    import subprocess


def request(process: subprocess.Popen[str], reason: str) -> None:
    """Have the service request its own stop."""
    assert process.stdin is not None
    process.stdin.write(f"{reason}\n")
    process.stdin.flush()


def test_a_requested_stop_is_one_in_good_order() -> None:
    """S33: the log says why, and the status is 0."""
    with service("asked.py", "stop_itself") as process:
        assert next_line(process) == "serving"
        request(process, "a new version is there")
        status, log = end_of(process)
    assert status == 0
    assert [(record["level"], record["message"]) for record in log] == [
        ("INFO", "stop requested: a new version is there; stopping, within 30 s")
    ]


def test_a_requested_stop_comes_after_the_drain() -> None:
    """S33: as at a signal; requests that come meanwhile change nothing, but are logged."""
    with service("asked.py", "stop_itself", "", 0.5) as process:
        assert next_line(process) == "serving"
        request(process, "one")
        request(process, "two")
        status, log = end_of(process)
    assert status == 0
    assert [record["message"] for record in log] == [
        "stop requested: one; draining for 0.5 s, then stopping, within 30 s",
        "stop requested: two; already stopping",
        "drained for 0.5 s: stopping, within 30 s",
    ]


def test_a_signal_after_a_request_is_the_first_one() -> None:
    """S33, S22: it changes nothing, and the second one cancels everything."""
    with service("asked.py", "stop_itself", "", 3600) as process:
        assert next_line(process) == "serving"
        request(process, "one")
        wait_for_log(process, "stop requested: one; draining for 3600 s")
        process.send_signal(SIGTERM)
        wait_for_log(process, "SIGTERM: already stopping")
        send_second(process, SIGTERM)
        status, log = end_of(process)
    assert (status, [record["message"] for record in log]) == (
        3,
        ["SIGTERM again: stopping at once"],
    )


def test_a_request_after_a_signal_changes_nothing() -> None:
    """S33: the stop goes on as it was begun."""
    with service("asked.py", "stop_itself", "", 3600) as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGTERM)
        wait_for_log(process, "SIGTERM: draining")
        request(process, "two")
        wait_for_log(process, "stop requested: two; already stopping")


@pytest.mark.processes
def test_a_loop_that_is_blocked_after_a_request_does_not_keep_the_process() -> None:
    """S33, S22: 5 s after the timeout it ends without it; no signal has come."""
    with service("asked.py", "stop_and_block") as process:
        status, log = end_of(process)
    assert status == 3
    assert log[0]["message"] == "stop requested: a test; stopping, within 0 s"
    assert log[-1]["message"].startswith("root blocks the event loop; the process ends without it")


def test_a_requested_stop_is_bounded() -> None:
    """S33, S21: by the timeout of main(); the status is 3."""

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        supervisor.current_supervisor().request_stop("a test")
        await trio.sleep_forever()

    assert status_of(lambda: supervisor.main(root, timeout=0.0, grace=3600.0)) == 3


@pytest.mark.parametrize("is_signalled", [False, True])
def test_a_tree_that_a_runnable_stops_itself_does_not_drain(*, is_signalled: bool) -> None:
    """S33, S28: nothing is ready by then. The status is 0, unless a signal bounds the stop."""

    async def child() -> None:
        supervisor.signal(Signal.HEALTHY)
        await supervisor.wait_stop_requested()
        if is_signalled:
            signals.raise_signal(SIGTERM)
            await trio.sleep_forever()

    async def root() -> None:
        await supervisor.run("child", child, grace=3600.0).wait_healthy()
        supervisor.signal(Signal.HEALTHY)
        await supervisor.current_supervisor().stop()

    main = partial(supervisor.main, root, drain=3600.0, timeout=0.0)
    assert status_of(main) == (3 if is_signalled else 0)

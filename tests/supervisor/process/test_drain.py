"""Before a process stops, nothing of its tree is ready for a while (S33)."""

from __future__ import annotations

import re

import pytest
import trio

import supervisor

from ..helpers.services import (
    SIGINT,
    SIGTERM,
    end_of,
    next_line,
    send_second,
    service,
    wait_for_log,
)


def test_the_stop_begins_when_the_drain_is_over() -> None:
    """S33: both are logged, and the status is that of any stop."""
    with service("asked.py", "serve", "", 0.1) as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGTERM)
        status, log = end_of(process)
    assert status == 0
    assert [(record["level"], record["message"]) for record in log] == [
        ("INFO", "SIGTERM: draining for 0.1 s, then stopping, within 30 s"),
        ("INFO", "drained for 0.1 s: stopping, within 30 s"),
    ]


def test_a_second_signal_ends_a_drain_at_once() -> None:
    """S33, S22: it cancels everything, as it does in a stop; the status is 3."""
    with service("asked.py", "serve", "", 3600) as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGTERM)
        wait_for_log(process, "SIGTERM: draining for 3600 s")
        send_second(process, SIGINT)
        status, log = end_of(process)
    assert status == 3
    assert [record["message"] for record in log] == ["SIGINT again: stopping at once"]


def test_a_tree_that_ends_in_the_drain_has_ended() -> None:
    """S33: when all of it is DONE, nothing is waited for."""
    with service("asked.py", "finish_on_line", "", 3600) as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGTERM)
        wait_for_log(process, "SIGTERM: draining for 3600 s")
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        assert end_of(process) == (0, [])


@pytest.mark.parametrize("drain", [-1.0, float("nan")])
def test_a_wrong_drain_is_named(drain: float) -> None:
    """S2, S33: drain= is a number of seconds, and nothing has been run when it is not."""
    message = f"drain={drain!r} is not a number of seconds of at least 0"
    with pytest.raises(ValueError, match=re.escape(message)):
        supervisor.main(trio.sleep_forever, drain=drain)

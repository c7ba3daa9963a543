"""The process ends when it has to, whatever holds it up (S22)."""

from __future__ import annotations

import re
import signal as signals
import subprocess
import time

import pytest

from ..helpers.internals import LAST_RESORT
from ..helpers.services import (
    LONG,
    SIGINT,
    SIGTERM,
    end_of,
    insist,
    next_line,
    service,
    wait_for_log,
)


@pytest.mark.parametrize("signal", [SIGTERM, SIGINT])
def test_a_runnable_that_blocks_does_not_keep_the_process(signal: signals.Signals) -> None:
    """S22: 5 s after a second signal it ends, writes its output, and says who blocks, and where."""
    with service("stops.py", "block", LONG) as process:
        assert next_line(process) == "serving"
        insist(process, signal)
        assert next_line(process) == "unwritten"
        status, log = end_of(process)
    assert status == 3
    (last,) = log
    assert last["level"] == "CRITICAL"
    who, where = last["message"].split("\n", 1)
    assert who == ("root.child blocks the event loop; the process ends without it. It is here:")
    assert re.fullmatch(
        r'  File ".*stops\.py", line \d+, in busy\n    time\.sleep\(3600\).*', where
    )


@pytest.mark.processes
def test_a_log_that_nobody_reads_does_not_keep_the_process() -> None:
    """S22: blocked in a write, after the timeout, it ends within seconds, with what fits logged."""
    with service("stops.py", "log_unread", 0.0) as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGTERM)
        assert process.wait() == 3


@pytest.mark.processes
def test_a_suspended_process_still_cleans_up() -> None:
    """S22: the seconds in which it does not run are not counted."""
    with service("stops.py", "clean_up", 0.25) as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGTERM)
        assert next_line(process) == "stopping"
        process.send_signal(signals.SIGSTOP)
        time.sleep(0.25 + LAST_RESORT + 0.25)  # all the time that it has
        process.send_signal(signals.SIGCONT)
        wait_for_log(process, "root has not ended within the 0.25 s")
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.close()
        assert next_line(process) == "cleaned up"
        assert end_of(process)[0] == 3


@pytest.mark.processes
def test_a_process_that_does_not_exit_is_ended_by_a_signal() -> None:
    """S22: 5 s after a signal, with the status of the tree that has ended; it says what is left."""
    with service("stops.py", "leave_thread:late") as process:
        assert next_line(process) == "ended"
        process.send_signal(SIGTERM)
        status, log = end_of(process)
    assert status == 0
    (last,) = log
    assert last["level"] == "CRITICAL"
    assert last["message"].startswith(
        "the tree has ended, but the process does not exit (there are other threads: reader); "
        "the process ends without it. It is here:\n"
    )
    assert "sys.stdin.readline()" in last["message"]


@pytest.mark.processes
def test_a_process_in_a_c_function_at_its_end_is_ended_by_a_signal() -> None:
    """S22: the signal is received while no handler that is written in Python can run."""
    with service("stops.py", "finish:late_in_c") as process:
        assert next_line(process) == "ended"
        process.send_signal(SIGTERM)
        status, log = end_of(process)
    assert status == 0
    (last,) = log
    assert last["message"].startswith("the tree has ended, but the process does not exit;")
    assert ", in block_in_c\n" in last["message"]


# Standard error


@pytest.mark.parametrize(("how", "logged"), [("closed", ""), ("substitute", "logged")])
def test_it_serves_with_an_unusual_standard_error(how: str, logged: str) -> None:
    """S22: one that is closed, or has no isatty(), keeps no service from starting."""
    with service("stops.py", f"say_done:{how}", stderr=subprocess.PIPE) as process:
        assert next_line(process) == "done"
        _, log = process.communicate()
    assert process.returncode == 0
    assert logged in log
    assert "Traceback" not in log

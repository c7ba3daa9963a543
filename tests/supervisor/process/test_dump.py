"""A signal has the tree logged: its states, and where its tasks wait (S33)."""

from __future__ import annotations

import re
import signal as signals

import pytest
import trio

import supervisor

from ..helpers.services import (
    SIGTERM,
    SIGUSR1,
    end_of,
    next_line,
    service,
    wait_for_log,
)

DUMP = r"""SIGUSR1: 2 nodes
root     HEALTHY   \d+\.\d s
  child  HEALTHY   \d+\.\d s
task root:
  File ".*asked\.py", line \d+, in serve
    await trio\.sleep_forever\(\)
(.*\n)*task root\.child:
  File ".*asked\.py", line \d+, in idle
    await trio\.sleep_forever\(\)
"""


def test_a_signal_has_the_tree_logged() -> None:
    """S33: one record of the package's logger, with each node and the stacks of those that run."""
    with service("asked.py", "serve") as process:
        assert next_line(process) == "serving"
        for _ in range(2):
            process.send_signal(SIGUSR1)
            record = wait_for_log(process, "SIGUSR1")
            assert (record["level"], record["logger"]) == ("INFO", "supervisor")
            assert re.match(DUMP, record["message"]), record["message"]
        process.send_signal(SIGTERM)
        status, log = end_of(process)
    assert (status, len(log)) == (0, 1)


def test_a_draining_tree_is_logged_as_such() -> None:
    """S33: the signal works during the drain."""
    with service("asked.py", "serve", "", 3600) as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGTERM)
        wait_for_log(process, "SIGTERM: draining for 3600 s, then stopping, within 30 s")
        process.send_signal(SIGUSR1)
        assert wait_for_log(process, "SIGUSR1")["message"].startswith(
            "SIGUSR1: 2 nodes, draining\n"
        )


def test_a_loop_that_answers_is_not_called_blocked() -> None:
    """S33: nothing follows the dump, though the process goes on for more than a second."""
    with service("asked.py", "serve", "", 1.5) as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGUSR1)
        wait_for_log(process, "SIGUSR1")
        process.send_signal(SIGTERM)
        status, log = end_of(process)
    assert status == 0
    assert [record["message"] for record in log] == [
        "SIGTERM: draining for 1.5 s, then stopping, within 30 s",
        "drained for 1.5 s: stopping, within 30 s",
    ]


def test_a_tree_that_is_being_stopped_is_logged() -> None:
    """S33: the signal works during the stop, and shows what holds it up."""
    with service("endings.py", "stay") as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGTERM)
        wait_for_log(process, "SIGTERM")
        process.send_signal(SIGUSR1)
        record = wait_for_log(process, "SIGUSR1")
        assert re.match(r"SIGUSR1: 1 node\nroot  HEALTHY .* group STOPPING\n", record["message"])
        assert "in stay\n" in record["message"]


def test_the_log_says_what_blocks_the_loop() -> None:
    """S33: which node and which line, when people want to know; the tree follows when it can."""
    with service("asked.py", "block") as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGUSR1)
        record = wait_for_log(process, "SIGUSR1")
        assert record["level"] == "WARNING"
        who, where = record["message"].split("\n", 1)
        assert who == "SIGUSR1: root.child blocks the event loop. It is here:"
        assert re.fullmatch(
            r'  File ".*asked\.py", line \d+, in child\n    sys\.stdin\.readline\(\).*', where
        )
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        assert wait_for_log(process, "SIGUSR1")["message"].startswith("SIGUSR1: 2 nodes\n")
        process.send_signal(SIGTERM)
        assert end_of(process)[0] == 0


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """S22, S33: as all that were ignored when the process started."""
    with service("asked.py", "serve:ignoring") as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGUSR1)
        process.send_signal(SIGTERM)
        status, log = end_of(process)
    assert (status, len(log)) == (0, 1)


def test_without_a_signal_for_it_the_default_is_left_alone() -> None:
    """S33: with dump_signal=None, SIGUSR1 does what it would do without main()."""
    with service("asked.py", "serve:mute") as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGUSR1)
        assert process.wait() == -SIGUSR1


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("SIGUSR1", TypeError, "dump_signal='SIGUSR1' is no signal: pass one, such as signal."),
        (True, TypeError, "dump_signal=True is no signal"),
        (0, ValueError, "dump_signal=0 is no signal"),
        (1000, ValueError, "dump_signal=1000 is no signal"),
        (signals.SIGKILL, ValueError, "dump_signal=SIGKILL can't be caught: pass another one"),
        (signals.SIGTERM, ValueError, "dump_signal=SIGTERM stops the process: pass another one"),
        (signals.SIGHUP, ValueError, "dump_signal=SIGHUP stops the process"),
    ],
)
def test_a_wrong_signal_is_named(
    value: signals.Signals, error: type[Exception], message: str
) -> None:
    """S2, S33: the value is shown with what to pass, and nothing has been run."""
    with pytest.raises(error, match=re.escape(message)):
        supervisor.main(trio.sleep_forever, dump_signal=value)

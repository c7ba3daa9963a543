"""What a signal reloads a service with (S33)."""

from __future__ import annotations

import re
import signal as signals
from typing import TYPE_CHECKING

import pytest
import trio

import supervisor
from supervisor import Signal

from ..helpers.services import (
    SIGHUP,
    SIGTERM,
    SIGUSR1,
    end_of,
    next_line,
    send_second,
    service,
    status_of,
    wait_for_log,
)

if TYPE_CHECKING:
    import subprocess


def write_line(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def test_a_hangup_calls_the_function_as_the_root() -> None:
    """S33: the function has the root's DN, logger and context; each call is logged, twice."""
    with service("asked.py", "serve", "note") as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGHUP)
        assert next_line(process) == "root at the root"
        assert wait_for_log(process, "SIGHUP: reloading")["level"] == "INFO"
        noted = wait_for_log(process, "new configuration")
        assert (noted["dn"], noted["logger"]) == ("root", "supervisor.node.root")
        assert wait_for_log(process, "reloaded in 0.")["level"] == "INFO"
        process.send_signal(SIGTERM)
        assert end_of(process)[0] == 0


def test_hangups_during_a_reload_make_one_more() -> None:
    """S33: one at a time, and none is lost, though several are answered by one."""
    with service("asked.py", "serve", "wait_for_line") as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGHUP)
        assert next_line(process) == "reloading"
        for _ in range(3):
            process.send_signal(SIGHUP)
        # A dump is answered after what was asked before it.
        process.send_signal(SIGUSR1)
        wait_for_log(process, "SIGUSR1")
        write_line(process, "one")
        assert [next_line(process), next_line(process)] == ["reloaded one", "reloading"]
        write_line(process, "two")
        assert next_line(process) == "reloaded two"
        wait_for_log(process, "reloaded")
        wait_for_log(process, "reloaded")
        process.send_signal(SIGTERM)
        status, log = end_of(process)
    assert status == 0
    assert [record["message"] for record in log] == ["SIGTERM: stopping, within 30 s"]


def test_a_reload_that_raises_changes_nothing() -> None:
    """S33: the error is logged once, with its traceback, and the tree serves on."""
    with service("asked.py", "serve", "fail") as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGHUP)
        failed = wait_for_log(process, "the reload failed after ")
        assert failed["level"] == "ERROR"
        assert re.match(
            r"the reload failed after \d\.\d s, and the tree goes on as before: "
            r"ValueError: line 3 is wrong\nTraceback \(most recent call last\):\n",
            failed["message"],
        )
        assert "in fail\n" in failed["message"]
        send_second(process, SIGHUP)
        wait_for_log(process, "the reload failed after ")
        process.send_signal(SIGTERM)
        status, log = end_of(process)
    assert (status, len(log)) == (0, 1)


def test_what_is_no_exception_leaves_the_tree() -> None:
    """S33, S11: a reload that raises SystemExit(7) ends the process with 7, and the log says so."""
    with service("asked.py", "serve", "leave") as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGHUP)
        status, log = end_of(process)
    assert status == 7
    assert [record["message"] for record in log] == [
        "SIGHUP: reloading",
        "the reload raised SystemExit: 7, which leaves the tree",
    ]


def test_a_stop_cancels_a_reload() -> None:
    """S33: it is cancelled with the stop, no other one follows, and the status is 0."""
    with service("asked.py", "serve", "wait_for_line") as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGHUP)
        assert next_line(process) == "reloading"
        process.send_signal(SIGHUP)
        process.send_signal(SIGTERM)
        assert next_line(process) == "cancelled"
        process.send_signal(SIGHUP)
        status, log = end_of(process)
    assert status == 0
    assert [re.sub(r"\d\.\d s", "T", record["message"]) for record in log] == [
        "SIGHUP: reloading",
        "SIGTERM: stopping, within 30 s",
        "the reload was cancelled after T",
    ]


def test_a_drain_lets_a_reload_go_on_and_begins_none() -> None:
    """S33: what is under way ends in the drain; a SIGHUP in the drain does nothing."""
    with service("asked.py", "serve", "wait_for_line", 3600) as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGHUP)
        assert next_line(process) == "reloading"
        process.send_signal(SIGTERM)
        wait_for_log(process, "SIGTERM: draining for 3600 s")
        process.send_signal(SIGHUP)
        write_line(process, "all")
        assert next_line(process) == "reloaded all"
        wait_for_log(process, "reloaded")
        process.send_signal(SIGHUP)
        send_second(process, SIGTERM)
        status, log = end_of(process)
    assert status == 3
    assert [record["message"] for record in log] == ["SIGTERM again: stopping at once"]


@pytest.mark.processes
def test_a_reload_that_ignores_its_cancellation_does_not_keep_the_process() -> None:
    """S33, S22: 5 s after the tree has ended the process ends without it, and says where it is."""
    with service("asked.py", "serve", "stay") as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGHUP)
        assert next_line(process) == "reloading"
        process.send_signal(SIGTERM)
        status, log = end_of(process)
    assert status == 3
    late, last = log[-2:]
    assert late["message"].startswith("the reload has not ended 5 s after it was cancelled; ")
    assert "in stay\n" in late["message"]
    assert last["message"] == "the process ends without these nodes"


def test_a_reload_ends_with_the_incarnation_that_it_is_for() -> None:
    """S33, S1: no call goes on for a root that has ended; the next incarnation can be reloaded."""
    seen: list[str] = []
    began = [trio.Event(), trio.Event()]

    async def reload() -> None:
        began[seen.count("root") - 1].set()
        if len(seen) == 1:
            try:
                await trio.sleep_forever()
            finally:
                seen.append("cancelled")

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        seen.append("root")
        signals.raise_signal(SIGHUP)
        await began[seen.count("root") - 1].wait()
        if seen.count("root") == 1:
            raise supervisor.RestartRequested("afresh")
        supervisor.signal(Signal.DONE)

    assert status_of(lambda: supervisor.main(root, reload=reload)) == 0
    assert sorted(seen) == ["cancelled", "root", "root"]


def test_there_is_nothing_to_reload_while_the_root_does_not_run() -> None:
    """S33: it reads everything anew when it starts again."""
    with service("asked.py", "die_for_long", "note") as process:
        wait_for_log(process, "root died")
        process.send_signal(SIGHUP)
        text = "SIGHUP: nothing to reload, since the root does not run and will start anew"
        assert wait_for_log(process, "SIGHUP")["message"] == text
        process.send_signal(SIGTERM)
        assert end_of(process)[0] == 0


def test_a_reload_that_can_not_be_called_is_refused() -> None:
    """S2, S33: the error names it and says what to pass, and a coroutine is closed."""
    with pytest.raises(TypeError, match=r"reload=5 is not callable: pass a function without"):
        supervisor.main(trio.sleep_forever, reload=5)  # type: ignore[arg-type]

    async def reload() -> None:
        """Be called too early."""

    with pytest.raises(TypeError, match=r"reload=<coroutine .* is not callable: "):
        supervisor.main(trio.sleep_forever, reload=reload())  # type: ignore[arg-type]

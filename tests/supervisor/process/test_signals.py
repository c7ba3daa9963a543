"""Signals to a process: which of them stop it, and what they change at its end (S22)."""

from __future__ import annotations

import gc
import os
import signal as signals
import threading
from typing import TYPE_CHECKING

import pytest
import trio

import supervisor
from supervisor import Signal

from ..helpers.internals import STOP_SIGNALS
from ..helpers.services import (
    SIGHUP,
    SIGINT,
    SIGTERM,
    end_of,
    keep_handlers,
    next_line,
    service,
    status_of,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Awaitable, Callable


def go_on(process: subprocess.Popen[str]) -> None:
    """Let a service go on that waits for a line."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.close()


def messages(log: list[dict[str, str]]) -> list[str]:
    return [record["message"] for record in log]


def test_a_hangup_stops_in_good_order() -> None:
    """S22: SIGHUP stops like SIGTERM: where a terminal is closed, nothing is left behind."""
    with service("stops.py", "clean_up", 0.0) as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGHUP)
        go_on(process)
        assert [next_line(process), next_line(process)] == ["stopping", "cleaned up"]
        status, log = end_of(process)
    assert status == 3  # no more time was allowed
    assert log[0]["message"] == "SIGHUP: stopping, within 0 s"


@pytest.mark.parametrize("twice", [(SIGTERM, SIGINT), (SIGINT, SIGHUP), (SIGTERM, SIGHUP)])
def test_two_signals_at_once_are_one(twice: tuple[signals.Signals, ...]) -> None:
    """S22: a terminal and a wrapper may send two of different kinds; the stop keeps its order."""
    with service("stops.py", "serve") as process:
        assert next_line(process) == "serving"
        process.send_signal(signals.SIGSTOP)
        for each in twice:
            process.send_signal(each)
        process.send_signal(signals.SIGCONT)
        status, log = end_of(process)
    assert status == 0
    assert messages(log) in [[f"{each.name}: stopping, within 30 s"] for each in twice]


def test_an_ignored_signal_stays_ignored() -> None:
    """S22: as with nohup: what was ignored when the process started does not stop it."""
    with service("stops.py", "serve:ignoring") as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGHUP)
        process.send_signal(SIGTERM)
        status, log = end_of(process)
    assert (status, messages(log)) == (0, ["SIGTERM: stopping, within 30 s"])


def test_a_runnable_may_handle_a_signal_itself() -> None:
    """S22: where a handler was set that is not main()'s, the signal is not main()'s either."""
    with service("stops.py", "handle_itself") as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGHUP)
        assert [next_line(process), next_line(process)] == ["reloaded", "no longer"]
        process.send_signal(SIGHUP)
        status, log = end_of(process)
    assert (status, messages(log)) == (0, ["SIGHUP: stopping, within 30 s"])


def test_a_signal_to_a_forked_child_is_the_childs() -> None:
    """S22: it ends the child, as it would without main(), and nothing else."""
    with service("stops.py", "fork") as process:
        os.kill(int(next_line(process)), SIGTERM)
        assert next_line(process) == str(-SIGTERM)
        process.send_signal(SIGTERM)
        status, log = end_of(process)
    assert (status, messages(log)) == (0, ["SIGTERM: stopping, within 30 s"])


# At the end of the tree


@pytest.mark.parametrize(("name", "status"), [("finish", 0), ("give_up", 1)])
def test_a_signal_in_the_last_step_changes_nothing(name: str, status: int) -> None:
    """S22: a tree that finishes or gives up in that step has done so; no error comes of it."""
    with service("stops.py", f"{name}_with_signal") as process:
        end, log = end_of(process)
    assert end == status
    asked = [each for each in messages(log) if each.startswith("SIGTERM")]
    assert asked in ([], ["SIGTERM: stopping, within 30 s"])
    others = [record["level"] for record in log if record["message"] not in asked]
    assert others == ([] if status == 0 else ["ERROR", "CRITICAL"])


@pytest.mark.parametrize(("name", "status"), [("finish", 0), ("give_up", 1)])
def test_signals_after_the_end_change_nothing(name: str, status: int) -> None:
    """S22: the status was decided; what the process still does goes on, however many come."""
    with service("stops.py", f"{name}:late") as process:
        assert next_line(process) == "ended"
        for each in (SIGTERM, SIGINT, SIGHUP, SIGTERM):
            process.send_signal(each)
        go_on(process)
        end, log = end_of(process)
    assert end == status
    assert not [record for record in log if "SIG" in record["message"]]


def test_signals_after_a_stop_change_nothing() -> None:
    """S22: neither do they when the tree was stopped by the first one."""
    with service("stops.py", "serve:late") as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGTERM)
        assert next_line(process) == "ended"
        process.send_signal(SIGTERM)
        process.send_signal(SIGINT)
        go_on(process)
        assert end_of(process)[0] == 0


# In this process


async def finish() -> None:
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


async def leave() -> None:
    raise SystemExit(7)


@pytest.mark.parametrize("root", [finish, leave])
def test_handlers_stay_as_long_as_the_process_is_on_its_way_out(
    root: Callable[[], Awaitable[None]],
) -> None:
    """S22: signals change nothing then; who drops what main() raises has the former handlers."""
    with keep_handlers():
        before = []
        for each in STOP_SIGNALS:
            signals.signal(each, signals.default_int_handler)
            before.append(signals.getsignal(each))
        try:
            supervisor.main(root)
        except SystemExit:
            for each in STOP_SIGNALS:
                signals.raise_signal(each)
        gc.collect()  # what leaves the tree is in a cycle with the frames that it has passed
        assert [signals.getsignal(each) for each in STOP_SIGNALS] == before
        # Nothing is written to a socket of main()'s any more, or Trio would warn.
        trio.run(trio.lowlevel.checkpoint)


# What main() raised first still has the socket of signals.
@pytest.mark.filterwarnings("ignore:It looks like Trio's signal handling code")
def test_what_is_dropped_late_takes_no_signals_from_others() -> None:
    """S22: what main() raised may be dropped while another tree runs, which gets its signals."""

    async def stopped_by_a_signal() -> None:
        supervisor.signal(Signal.HEALTHY)
        ends.clear()
        signals.raise_signal(SIGTERM)
        await trio.sleep_forever()

    with keep_handlers():
        signals.signal(SIGTERM, signals.SIG_DFL)
        ends: list[BaseException] = []
        try:
            supervisor.main(finish)
        except SystemExit as end:
            ends.append(end)
        assert status_of(lambda: supervisor.main(stopped_by_a_signal)) == 0


def test_what_is_dropped_in_another_thread_gives_the_signals_back() -> None:
    """S22: only the main thread sets handlers, so the next signal does."""
    with keep_handlers():
        signals.signal(SIGTERM, signals.default_int_handler)
        ends: list[BaseException] = []
        try:
            supervisor.main(finish)
        except SystemExit as end:
            ends.append(end)
        thread = threading.Thread(target=ends.clear)
        thread.start()
        thread.join()
        with pytest.raises(KeyboardInterrupt):
            signals.raise_signal(SIGTERM)
        assert signals.getsignal(SIGTERM) is signals.default_int_handler


@pytest.mark.parametrize("grace", [-1.0, float("nan")])
def test_handlers_come_back_if_nothing_has_run(grace: float) -> None:
    """S22: a wrong argument, or a call from within Trio, leaves the signals as they were."""
    before = [signals.getsignal(each) for each in STOP_SIGNALS]
    with keep_handlers(), pytest.raises(ValueError, match="grace"):
        supervisor.main(trio.sleep_forever, grace=grace)
    assert [signals.getsignal(each) for each in STOP_SIGNALS] == before


async def test_main_can_not_be_called_within_trio() -> None:
    """S22: the error is Trio's, and the run goes on with its signals."""
    before = [signals.getsignal(each) for each in STOP_SIGNALS]
    with pytest.raises(RuntimeError, match="from inside"):
        supervisor.main(trio.sleep_forever)
    assert [signals.getsignal(each) for each in STOP_SIGNALS] == before


def test_main_is_for_the_main_thread() -> None:
    """S22: another thread gets no signals; the error says so, and what to do."""
    errors: list[BaseException] = []

    def call() -> None:
        try:
            supervisor.main(trio.sleep_forever)
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=call, name="worker")
    thread.start()
    thread.join()
    (error,) = errors
    assert str(error).startswith("main() was called in the thread 'worker': call it in the main")

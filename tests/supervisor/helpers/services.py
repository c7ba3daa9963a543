"""Services that tests run as processes: to talk with them, and to see them end."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import signal as signals
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import supervisor

from .internals import DOUBLED, DUMP_SIGNAL, STOP_SIGNALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

SERVICES = Path(__file__).parents[2] / "services"
# Where this test's own supervisor comes from, wherever the service runs.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(supervisor.__file__).parent.parent)}

SIGTERM, SIGINT, SIGHUP = signals.SIGTERM, signals.SIGINT, signals.SIGHUP
assert DUMP_SIGNAL is not None  # tests run on POSIX
SIGUSR1 = DUMP_SIGNAL
CAUGHT = (*STOP_SIGNALS, SIGUSR1)
LIFE = re.compile(
    "the tree (?:is ready,|has finished|has stopped|has given up|has ended by|was cancelled)"
    "|.* is healthy again after "
    "|the inspector listens at |probes are answered at "
)
# Longer than any test may take: a test that waits for its end has failed.
LONG = 3600.0


@contextlib.contextmanager
def service(
    name: str, *arguments: object, stderr: int = subprocess.PIPE, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """Run a service; a test that fails leaves no process behind."""
    with keep_handlers():
        # What is ignored would stay so, as SIGINT does where these tests run in the background.
        for each in CAUGHT:
            signals.signal(each, signals.default_int_handler)
        process = subprocess.Popen(
            [sys.executable, SERVICES / name, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=ENVIRONMENT | environment,
            text=True,
        )
    with process:
        try:
            yield process
        finally:
            process.kill()


def end_of(process: subprocess.Popen[str]) -> tuple[int, list[dict[str, str]]]:
    """Wait for the end of a service; return its status and what it logged.

    What is told of the life of the tree (S34) is left out: it depends on how far that has come.
    """
    # Not communicate(), which knows nothing of what readline() has read ahead.
    assert process.stderr is not None
    log = process.stderr.readlines()
    records: list[dict[str, str]] = [json.loads(line) for line in log]
    return process.wait(), [each for each in records if not LIFE.match(each["message"])]


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def wait_for_log(process: subprocess.Popen[str], text: str) -> dict[str, str]:
    """Read the log up to a record whose message begins with ``text``, and return that."""
    assert process.stderr is not None
    while True:
        record: dict[str, str] = json.loads(process.stderr.readline())
        if record["message"].startswith(text):
            return record


def send_second(process: subprocess.Popen[str], signal: signals.Signals) -> None:
    """Send another signal than the first, which has been logged: one within 0.2 s is the same."""
    time.sleep(DOUBLED)
    process.send_signal(signal)


def insist(process: subprocess.Popen[str], signal: signals.Signals) -> None:
    """Send a signal until the process has ended, where nothing tells whether it has come."""
    while process.poll() is None:
        process.send_signal(signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(DOUBLED)


@contextlib.contextmanager
def keep_handlers() -> Iterator[None]:
    """Set the handlers of signals again, which main() leaves as they are at the end."""
    before = {signal: signals.getsignal(signal) for signal in CAUGHT}
    gc.disable()  # another thread may collect what main() raised, and must not set them
    try:
        yield
    finally:
        gc.enable()
        signals.set_wakeup_fd(-1)
        for signal, handler in before.items():
            signals.signal(signal, handler)


def status_of(call: Callable[[], NoReturn]) -> object:
    """Call main() in this process, and return the status that it exits with.

    What it raises is dropped before the test goes on. As long as that exists, the process is on its
    way out, and ends some seconds after a signal or a requested stop (S22). ``pytest.raises`` keeps
    it, in a cycle with the frame of the test.
    """
    with keep_handlers():
        try:
            call()
        except SystemExit as end:
            status = end.code
    return status

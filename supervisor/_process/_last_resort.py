"""The last resort: a thread that ends the process if nothing else does.

A stop is bounded: when its timeout has passed, everything is cancelled. What has not ended 5
seconds later is not waited for. Trio's loop can't bound this itself, because it may be blocked, by
a runnable or by a log that nobody reads. So a thread receives the signals, counts the seconds,
tells the loop what the signals request, and ends the process when no seconds are left.

- The thread counts the seconds from the cancellation. Until the loop has cancelled, it counts from
  when the loop should have. So clean-up has its time, although the loop was blocked before.
- It counts only the seconds in which the process runs, in steps of a quarter of a second. A process
  that was suspended has lost none of them.
- The last output may block as well: the pipe may be full, the lock of the stream may be held. So
  further threads do it, and each has one second.
- The exit status is decided once, by the main thread or by this one, whichever is first.
- The process exits by an exception. As long as the exception exists, the process may be about to
  exit, and this thread receives the signals. If the exception is dropped while Python code runs, a
  program has caught it, and the process goes on: its former signal handlers are set again, and this
  thread ends. When the interpreter has caught it, no Python code runs.

A thread can't run while a C function holds the interpreter's lock. Nothing in the process can.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import select
import signal as signals
import sys
import threading
import time
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, final

import trio

from ._countdown import Countdown, Request
from ._signals import CaughtSignals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from supervisor._tasks._blocking import LoopThread

TICK: Final = 0.25
"""At most this many seconds are counted at once."""

LAST_OUTPUT: Final = 1.0
"""Seconds that each part of the last output may take."""

CUT_SHORT: Final = 3
"""The exit status of a process whose stop was cut short."""

_logger = logging.getLogger("supervisor")


class Loop(Protocol):
    """What the last resort needs of the service that runs in Trio's loop."""

    token: trio.lowlevel.TrioToken
    thread: LoopThread

    def carry_out(self, request: Request, name: str) -> object:
        """Do what the signal ``name`` requests; called in the loop."""

    def report(self, done: threading.Event) -> object:
        """Report the nodes that have not ended, and set ``done``; called in the loop."""


@final
class LastResort:
    """Receives the signals of a process, and ends it if nothing else does (S22)."""

    def __init__(
        self, requests: Mapping[signals.Signals, Request], *, timeout: float, drain: float
    ) -> None:
        """Prepare for a stop that may take ``timeout`` seconds, after ``drain`` seconds.

        ``requests`` says what each signal asks for when it comes first.
        """
        self._meanings = requests
        self._signals = CaughtSignals(requests)
        self._lock = threading.Lock()
        # The exit status, if it is decided. The lock guards it.
        self._status: int | None = None
        self._loop: Loop | None = None
        # The thread of that loop, which may keep the process from its end.
        self._loop_thread: LoopThread | None = None
        # Tells when the exception by which the process exits is dropped.
        self._end_dropped: weakref.ref[_Attached] | None = None
        # Calls that the main thread has handed over.
        self._told: deque[Callable[[], object]] = deque()
        # Only the thread of the last resort uses the rest.
        self._countdown = Countdown(timeout, drain)
        self._requests: deque[tuple[Request, str]] = deque()
        # Seconds until the loop is known to be unable to carry out DUMP, and the signal's name.
        self._dump_left: float = math.inf
        self._dump_name = ""
        self._released = False

    # In the main thread

    def start(self) -> None:
        """Receive the signals from now on, until the process exits."""
        self._signals.catch()
        atexit.register(self._exit)
        threading.Thread(target=self._run, name="supervisor: signals", daemon=True).start()

    def release(self) -> None:
        """Set the former signal handlers again."""
        self._signals.release()
        atexit.unregister(self._exit)
        self._tell(self._release)

    def attach(self, loop: Loop) -> None:
        """Hand requests to ``loop`` from now on; called in its run of Trio."""
        self._loop, self._loop_thread = loop, loop.thread
        self._signals.listen()
        self._tell(self._deliver)

    @property
    def is_attached(self) -> bool:
        """Whether a tree was run."""
        return self._loop_thread is not None

    def detach(self) -> None:
        """Prepare for the end of Trio's run."""
        self._signals.unlisten()
        # The loop refers to the exception that leaves the tree, and would keep it alive.
        self._loop = None
        if self._loop_thread is not None:
            self._loop_thread.run_ends()

    def stop_begun(self) -> None:
        """Count from now: the stop was begun from within the tree."""
        self._tell(self._countdown.stop_begun)

    def cancelled(self) -> None:
        """Count from now on: everything was cancelled."""
        self._tell(self._countdown.cancelled)

    def sidecars_follow(self, status: int) -> None:
        """Decide the exit status at the end of the tree, whose sidecars have yet to end."""
        self._decide(status)
        self._tell(self._countdown.sidecars_follow)

    def dumped(self) -> None:
        """Expect nothing any more: the loop logs what the tree does."""
        self._tell(self._dumped)

    def decide(self, status: int) -> int:
        """Decide the exit status at the end of the tree; return the one that was decided first."""
        status = self._decide(status)
        self._tell(self._countdown.ended)
        self._signals.listen()
        return status

    def end_with(self, error: BaseException) -> None:
        """Receive the signals until ``error``, by which the process exits, is dropped."""
        attached = _Attached()
        error.__dict__["_supervisor_main"] = attached  # an exception has no weak references
        self._end_dropped = weakref.ref(attached, self._goes_on)

    def _goes_on(self, _: weakref.ref[_Attached]) -> None:
        if sys._getframe().f_back is None:
            return  # the interpreter has caught it, and exits
        if threading.current_thread() is threading.main_thread():
            self.release()
        else:  # the garbage collector runs in this thread, and only the main one sets handlers
            self._signals.release_later()
            self._tell(self._release)

    def _tell(self, call: Callable[[], object]) -> None:
        self._told.append(call)
        self._signals.wake()

    def _exit(self) -> None:
        # Python flushes, too, but later: the threads that do it here have stopped by then.
        _flush()
        self._signals.ignore()

    # In both threads

    def _decide(self, status: int) -> int:
        with self._lock:
            if self._status is None:
                self._status = status
            return self._status

    # In the thread of the last resort

    def _run(self) -> None:
        countdown = self._countdown
        while not self._released and countdown.left > 0:
            left = min(countdown.left, self._dump_left)
            limit = None if math.isinf(left) else min(left, TICK)
            began = time.monotonic()
            numbers = self._signals.receive(limit)
            now = time.monotonic()
            ran = min(now - began, TICK)
            countdown.ran(ran)
            self._dump_left -= ran
            while self._told:
                self._told.popleft()()
            for number in filter(self._signals.is_caught, numbers):
                self._take(signals.Signals(number), now)
            self._deliver()
            if self._dump_left <= 0:
                self._dump_left = math.inf
                _Attempt(partial(_log_or_write, logging.WARNING, self._describe_block()))
        if not self._released:
            self._end()

    def _take(self, signal: signals.Signals, now: float) -> None:
        """Take a signal that came now, and record what it asks for."""
        request: Request | None = self._meanings[signal]
        if request is Request.STOP:
            request = self._countdown.signalled(now)
        elif self._countdown.is_ended:
            request = None
        if request is not None:
            self._requests.append((request, signal.name))
        if request is Request.DUMP and self._loop is not None:
            self._dump_left, self._dump_name = LAST_OUTPUT, signal.name

    def _dumped(self) -> None:
        self._dump_left = math.inf

    def _release(self) -> None:
        self._released = True

    def _deliver(self) -> None:
        """Hand the requests to the loop, and wake it, so that Trio runs other signal handlers."""
        loop = self._loop
        if loop is None:
            return
        with contextlib.suppress(trio.RunFinishedError):
            while self._requests:
                loop.token.run_sync_soon(loop.carry_out, *self._requests.popleft())
            loop.token.run_sync_soon(_pass, idempotent=True)

    def _end(self) -> None:
        """End the process, and report what it does not wait for."""
        try:
            self._decide(CUT_SHORT)
            flush = _Attempt(_flush)
            if self._loop_reports():
                last = _Attempt(logging.shutdown)
            else:
                text = self._describe()
                last = _Attempt(partial(_log, text))
                if not last.succeeds():
                    last = _Attempt(partial(_write, text))
            last.succeeds()
            flush.succeeds()
        finally:
            os._exit(self._decide(CUT_SHORT))

    def _loop_reports(self) -> bool:
        """Let the loop report the nodes that have not ended; return whether it did."""
        loop, countdown = self._loop, self._countdown
        was_cancelled = countdown.is_cancelled or countdown.is_following
        if loop is None or countdown.is_ended or not was_cancelled:
            return False
        done = threading.Event()
        with contextlib.suppress(trio.RunFinishedError):
            loop.token.run_sync_soon(loop.report, done)
        return done.wait(LAST_OUTPUT)

    def _describe_block(self) -> str:
        """Say what keeps the loop from logging what the tree does."""
        assert self._loop_thread is not None  # nothing was expected before
        place = self._loop_thread.look()
        who = place.dn or "a task of no node"
        return f"{self._dump_name}: {who} blocks the event loop. It is here:\n{place.lines}"

    def _describe(self) -> str:
        """Return a text that says what the main thread does."""
        if self._loop_thread is None:
            return "the process ends before it has run a tree"
        place = self._loop_thread.look()
        if self._countdown.is_ended:
            rest = [
                t.name for t in threading.enumerate() if t.name != "MainThread" and not t.daemon
            ]
            waits = f" (there are other threads: {', '.join(rest)})" if rest else ""
            what = f"the tree has ended, but the process does not exit{waits}"
        else:
            what = f"{place.dn or 'a task of no node'} blocks the event loop"
        return f"{what}; the process ends without it. It is here:\n{place.lines}"


class _Attached:
    """Lives as long as the exception that it is attached to."""


def _pass() -> None:
    """Do nothing. Trio has woken for this call, and runs signal handlers."""


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, a pipe without a reader, or a substitute
            stream.flush()


def _log(text: str) -> None:
    _logger.critical("%s", text)
    logging.shutdown()


def _log_or_write(level: int, text: str) -> None:
    if not _Attempt(partial(_logger.log, level, "%s", text)).succeeds():
        _write(text)


def _write(text: str) -> None:
    """Write to standard error if it has room, without any buffer or lock."""
    file = sys.stderr.fileno()  # 2 may be another file, if standard error was closed
    _, writable, _ = select.select([], [file], [], 0)
    if writable:
        os.write(file, text.encode("utf-8", "backslashreplace")[: select.PIPE_BUF - 1] + b"\n")


@final
class _Attempt:
    """A call in a thread of its own, which may block for ever; it has one second."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._due = time.monotonic() + LAST_OUTPUT
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(BaseException):  # a stream or handler may raise anything
            self._call()

    def succeeds(self) -> bool:
        """Wait for the end of the call for the rest of its second; return whether it has ended."""
        self._thread.join(max(self._due - time.monotonic(), 0.0))
        return not self._thread.is_alive()

"""The last resort: a thread that ends the process if nothing else does.

A stop is bounded: when its time is over, all is cancelled, and what has not ended 5 seconds later
never will. The loop can't bound that itself, for it may be what is held up: by a runnable that
blocks, or by a log that nobody reads. So a thread of its own takes the signals, counts the seconds,
tells the loop what is asked of it, and ends the process when the seconds are over.

- It counts the seconds from the cancellation, as soon as the loop has cancelled; until then from
  when it should have. So clean-up has its time, although the loop was held up before.
- It counts only the seconds in which the process runs, in steps of a quarter of one. A process that
  was suspended goes on where it was.
- What it does at the end may block as well: to write to a pipe that nobody reads, to flush a
  stream whose lock is held. So that is done in further threads, to which it gives a second.
- The exit status is decided once, by the main thread or by this one, whichever is first.
- The process exits by an exception. As long as that exists, it may be on its way out, and signals
  stay with this thread. When it is dropped while Python code runs, somebody has caught it, and the
  process goes on: it gets its signals back, and is not ended. When the interpreter has caught it,
  no Python code runs.

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

from ._countdown import Countdown
from ._signals import StopSignals

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor._tasks._blocking import LoopThread

    from ._countdown import Request

TICK: Final = 0.25
"""At most so many seconds are counted at once."""

LAST_OUTPUT: Final = 1.0
"""Seconds that each part of what the process does at the end may take."""

CUT_SHORT: Final = 3
"""The exit status of a process whose stop was cut short."""

_logger = logging.getLogger("supervisor")


class Loop(Protocol):
    """What the last resort needs of the service that runs in Trio's loop."""

    token: trio.lowlevel.TrioToken
    thread: LoopThread

    def obey(self, request: Request, name: str) -> object:
        """Do what the signal of that name asks for; called in the loop."""

    def report(self, done: threading.Event) -> object:
        """Report what has not ended, and set ``done``; called in the loop."""


@final
class LastResort:
    """Takes the signals of a process, and ends it if nothing else does (S22)."""

    def __init__(self, timeout: float) -> None:
        """Prepare for a stop that may take ``timeout`` seconds."""
        self._signals = StopSignals()
        self._lock = threading.Lock()
        # What was decided, under the lock.
        self._status: int | None = None
        self._loop: Loop | None = None
        # The thread of that loop, as long as it may hold up the end of the process.
        self._loop_thread: LoopThread | None = None
        # Tells when what the process exits by is dropped.
        self._end_dropped: weakref.ref[_Attached] | None = None
        # What the main thread has told.
        self._told: deque[Callable[[], object]] = deque()
        # The rest is this thread's alone.
        self._countdown = Countdown(timeout)
        self._requests: deque[tuple[Request, str]] = deque()
        self._released = False

    # In the main thread

    def start(self) -> None:
        """Take the signals from now on, until the process exits."""
        self._signals.catch()
        atexit.register(self._exit)
        threading.Thread(target=self._run, name="supervisor: signals", daemon=True).start()

    def release(self) -> None:
        """Leave the signals as they were."""
        self._signals.release()
        atexit.unregister(self._exit)
        self._tell(self._release)

    def attach(self, loop: Loop) -> None:
        """Hand what is asked to ``loop``, from within whose run this is called."""
        self._loop, self._loop_thread = loop, loop.thread
        self._signals.listen()
        self._tell(self._deliver)

    @property
    def is_attached(self) -> bool:
        """A tree was run."""
        return self._loop_thread is not None

    def detach(self) -> None:
        """Let Trio's run end."""
        self._signals.unlisten()
        # Both refer to what leaves the tree, which would never be dropped.
        self._loop = None
        if self._loop_thread is not None:
            self._loop_thread.run_ends()

    def cancelled(self) -> None:
        """Count from now: everything was cancelled."""
        self._tell(self._countdown.cancelled)

    def decide(self, status: int) -> int:
        """Decide the exit status, the tree being over; return the one that was decided first."""
        status = self._decide(status)
        self._tell(self._countdown.ended)
        self._signals.listen()
        return status

    def end_with(self, error: BaseException) -> None:
        """Take the signals as long as ``error``, by which the process exits, is not dropped."""
        attached = _Attached()
        error.__dict__["_supervisor_main"] = attached  # an exception has no weak references
        self._end_dropped = weakref.ref(attached, self._goes_on)

    def _goes_on(self, _: weakref.ref[_Attached]) -> None:
        if sys._getframe().f_back is None:
            return  # the interpreter has it, and exits
        if threading.current_thread() is threading.main_thread():
            self.release()
        else:  # the garbage collector has found it here, and only the main thread sets handlers
            self._signals.release_later()
            self._tell(self._release)

    def _tell(self, call: Callable[[], object]) -> None:
        self._told.append(call)
        self._signals.wake()

    def _exit(self) -> None:
        # Python does it too, but after it has stopped all other threads.
        _flush()
        self._signals.ignore()

    # In either

    def _decide(self, status: int) -> int:
        with self._lock:
            if self._status is None:
                self._status = status
            return self._status

    # In the thread

    def _run(self) -> None:
        countdown = self._countdown
        while not self._released and countdown.left > 0:
            limit = None if math.isinf(countdown.left) else min(countdown.left, TICK)
            began = time.monotonic()
            numbers = self._signals.receive(limit)
            now = time.monotonic()
            countdown.ran(min(now - began, TICK))
            while self._told:
                self._told.popleft()()
            for number in filter(self._signals.is_caught, numbers):
                request = countdown.signalled(now)
                if request is not None:
                    self._requests.append((request, signals.Signals(number).name))
            self._deliver()
        if not self._released:
            self._end()

    def _release(self) -> None:
        self._released = True

    def _deliver(self) -> None:
        """Tell the loop what is asked of it, and wake it for signals that are others' to handle."""
        loop = self._loop
        if loop is None:
            return
        with contextlib.suppress(trio.RunFinishedError):
            while self._requests:
                loop.token.run_sync_soon(loop.obey, *self._requests.popleft())
            loop.token.run_sync_soon(_pass, idempotent=True)

    def _end(self) -> None:
        """End the process, and say what it does not wait for."""
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
        """Have the loop report the nodes that have not ended, if it can."""
        loop = self._loop
        if loop is None or self._countdown.is_ended or not self._countdown.is_cancelled:
            return False
        done = threading.Event()
        with contextlib.suppress(trio.RunFinishedError):
            loop.token.run_sync_soon(loop.report, done)
        return done.wait(LAST_OUTPUT)

    def _describe(self) -> str:
        """Say what holds up the main thread."""
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
    """Do nothing: Trio runs signal handlers when it is woken."""


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, a pipe without a reader, or a substitute
            stream.flush()


def _log(text: str) -> None:
    _logger.critical("%s", text)
    logging.shutdown()


def _write(text: str) -> None:
    """Write to standard error past all buffers and locks, if there is room in it."""
    file = sys.stderr.fileno()  # not simply 2, which may be another file where it was closed
    _, writable, _ = select.select([], [file], [], 0)
    if writable:
        os.write(file, text.encode("utf-8", "backslashreplace")[: select.PIPE_BUF - 1] + b"\n")


@final
class _Attempt:
    """A call that may block for ever, to which a second is given."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._due = time.monotonic() + LAST_OUTPUT
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(BaseException):  # a stream or handler may raise anything
            self._call()

    def succeeds(self) -> bool:
        """Wait for its end as long as it may take; return whether it came."""
        self._thread.join(max(self._due - time.monotonic(), 0.0))
        return not self._thread.is_alive()

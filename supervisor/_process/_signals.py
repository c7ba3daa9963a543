"""The signals to the process, seen even while its main thread is blocked.

The problem: Python runs the handler of a signal in the main thread, between two instructions. While
that thread is in a C function, or a task blocks the loop, a handler can't tell Trio's loop
anything. So neither the loop nor a handler can bound how long a stop takes.

The solution: the C function that CPython registers with the system runs at once, in any thread. It
writes the signal's number to the socket that ``signal.set_wakeup_fd()`` has set. A thread reads the
other end, and wakes Trio by its token. So handlers of other signals run as if the socket were
Trio's.

Trio sets its socket when a run starts, and resets it when the run ends. So this module sets its own
socket within the run, and again after it. Before, and in between, the handler in Python writes the
number. So a signal may be written twice. It counts once, because two within 0.2 s count once.

The handlers stay until the process exits. Then the signals are ignored, because CPython resets all
handlers before the process has ended. So the process always ends with the decided status.

Rejected: ``trio.open_signal_receiver``. When it is closed, it raises the signals again that it has
not handed out, and so kills a process whose tree has just ended. Rejected: to block the signals,
with a thread in ``sigwait()``. The processes that a service starts would inherit the mask, and
``SIGTERM`` would not stop them.
"""

from __future__ import annotations

import contextlib
import os
import signal as signals
import socket
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

STOP_SIGNALS: Final = tuple(
    signals.Signals[name]
    for name in ("SIGTERM", "SIGINT", "SIGHUP")
    if name in signals.Signals.__members__  # there is no SIGHUP on Windows
)
"""The signals that stop the process, unless they were ignored when ``main`` was called."""

RELOAD_SIGNAL: Final = signals.Signals.__members__.get("SIGHUP")
"""What reloads a service, where it has a function for that."""

DUMP_SIGNAL: Final = signals.Signals.__members__.get("SIGUSR1")
"""What has the tree logged, unless another one is chosen; there is none on Windows."""


@final
class CaughtSignals:
    """Catches signals, and hands them to the thread that calls :meth:`receive` (S22)."""

    def __init__(self, numbers: Iterable[signals.Signals]) -> None:
        """Catch nothing yet."""
        self._numbers = tuple(numbers)
        self._reader, self._writer = socket.socketpair()
        self._writer.settimeout(0)  # it does not block
        self._replaced: dict[signals.Signals, signals.Handlers] = {}
        # Whether the C part of the handler writes to the socket.
        self._is_direct = False
        # Whether the next signal sets the former handlers again.
        self._is_to_release = False

    # In the main thread

    def catch(self) -> None:
        """Catch the signals from now on, but for those that are ignored."""
        for number in self._numbers:
            before = signals.getsignal(number)
            if before is not signals.SIG_IGN:
                # None is a handler that was not set by Python. Python can't set it again.
                self._replaced[number] = before or signals.SIG_DFL  # type: ignore[assignment]  # or a function
                signals.signal(number, self._handle)
        if hasattr(os, "register_at_fork"):
            # A signal to a forked child must not stop its parent, with which it shares the socket.
            os.register_at_fork(after_in_child=self.release)

    def listen(self) -> None:
        """Let the C part of the handler write, also while the main thread is blocked."""
        signals.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._is_direct = True

    def unlisten(self) -> None:
        """Let the handler in Python write: the socket to which C writes is about to change."""
        self._is_direct = False

    def ignore(self) -> None:
        """Ignore the signals: the process exits."""
        for number in self._replaced:
            if self.is_caught(number):
                signals.signal(number, signals.SIG_IGN)

    def release(self) -> None:
        """Set the former handlers again."""
        if self._is_direct:
            current = signals.set_wakeup_fd(-1)
            if current != self._writer.fileno():  # another has been set since, as by a run of Trio
                signals.set_wakeup_fd(current, warn_on_full_buffer=False)
            self._is_direct = False
        for number, before in self._replaced.items():
            if self.is_caught(number):
                signals.signal(number, before)
        self._replaced.clear()

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._is_to_release:
            self.release()
            signals.raise_signal(number)
        elif not self._is_direct:
            self._write(number)

    # In any thread

    def release_later(self) -> None:
        """Let the next signal set the former handlers again, and be handled by them."""
        self._is_to_release = True

    def wake(self) -> None:
        """Let :meth:`receive` return."""
        self._write(0)

    def is_caught(self, number: int) -> bool:
        """Return whether ``number`` is a signal that is caught, with its handler still set."""
        return number in self._replaced and signals.getsignal(number) == self._handle

    def receive(self, seconds: float | None) -> bytes:
        """Wait for at most ``seconds``; return the numbers of the signals that came, and zeros."""
        self._reader.settimeout(seconds)
        try:
            return self._reader.recv(4096)
        except TimeoutError:
            return b""

    def _write(self, number: int) -> None:
        # If there is no room, hundreds of signals are there to be read.
        with contextlib.suppress(BlockingIOError):
            self._writer.send(bytes((number,)))

"""Tells that the event loop is blocked, while it is, and by which node (S18).

A task that never waits, or calls what blocks, keeps all other tasks from running: timers, stops and
probes, too. Nothing in the loop can tell of it before it is over. So a thread asks the loop to
answer, again and again. When an answer has not come for some time, the thread looks where the
loop's thread is, and logs that. It logs in a copy of the context of the task that blocks, so the
record has that node's DN, as if the node had logged.

The thread waits for the answer in steps of a quarter of a second, and counts no more for a step. So
a process that was suspended does not look as if it were blocked.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Final, final

import trio

from supervisor._observing._logging import log

if TYPE_CHECKING:
    from supervisor._tasks._blocking import LoopThread
    from supervisor._tasks._port import Port

TICK: Final = 0.25
"""At most this many seconds are counted at once."""

_logger = logging.getLogger("supervisor")


@final
class BlockedLoop:
    """Asks the loop for answers, from a thread of its own (S18)."""

    def __init__(
        self, after: float, port: Port, thread: LoopThread, token: trio.lowlevel.TrioToken
    ) -> None:
        """Ask nothing yet; report a loop that has not answered for ``after`` seconds."""
        self._after = after
        # Until it is stopped: the thread may end later, and must not keep the tree.
        self._port: Port | None = port
        self._loop_thread = thread
        self._token = token
        self._ends = threading.Event()

    def start(self) -> None:
        """Ask from now on."""
        threading.Thread(target=self._run, name="supervisor: blocked loop", daemon=True).start()

    def stop(self) -> None:
        """Ask no more. A record that is being logged may still come."""
        self._port = None
        self._ends.set()

    # In the thread

    def _run(self) -> None:
        with suppress(trio.RunFinishedError):
            while not self._ends.wait(self._after / 2):
                self._ask()

    def _ask(self) -> None:
        """Ask for an answer, and wait for it."""
        answered = threading.Event()
        self._token.run_sync_soon(answered.set)
        waited = 0.0
        context: Context | None = None
        while not self._ends.is_set():
            began = time.monotonic()
            if answered.wait(min(TICK, self._after)):
                break
            waited += min(time.monotonic() - began, TICK)
            if waited >= self._after and context is None:
                context = self._report()
        if context is not None and answered.is_set():
            text = "the event loop goes on, after %.1f s at least"
            context.run(log, self._abort, _logger, logging.WARNING, text, waited)

    def _report(self) -> Context:
        """Log what blocks the loop; return the context of the task that does."""
        place = self._loop_thread.look()
        context = Context() if place.context is None else place.context
        who = place.dn or "a task of no node"
        text = "%s has blocked the event loop for %g s; it is here:\n%s"
        args = (who, self._after, place.lines)
        context.run(log, self._abort, _logger, logging.WARNING, text, *args)
        return context

    def _abort(self, error: BaseException) -> None:
        port = self._port
        if port is not None:
            self._token.run_sync_soon(port.abort, error)

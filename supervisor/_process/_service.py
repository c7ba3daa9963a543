"""The tree of a process: signals have it stopped, cancelled, reloaded and shown (S22, S33).

Where the process has sidecars, they run around the life of the tree (S35).
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final, final

import trio

from supervisor._calls._supervisor import port_of, raise_all, run_tree
from supervisor._core._errors import GroupFailedError
from supervisor._observing._dump import describe_tree
from supervisor._observing._logging import log

from ._blocked import BlockedLoop
from ._countdown import FOLLOWING, LAST_RESORT, Request
from ._last_resort import CUT_SHORT
from ._reload import Reloads
from ._sidecars import Sidecars, check_sidecars

if TYPE_CHECKING:
    import threading
    from collections.abc import Awaitable, Callable, Mapping

    from supervisor._calls._supervisor import Supervisor
    from supervisor._tasks._blocking import LoopThread

    from ._last_resort import LastResort
    from ._sidecars import MakeSidecar

STOPPED: Final = 0
FAILED: Final = 1

_logger = logging.getLogger("supervisor")


def status_of(error: BaseException) -> int:
    """Return the status with which Python exits because of ``error``."""
    if not isinstance(error, SystemExit):
        return FAILED
    if error.code is None:
        return STOPPED
    return error.code & 0xFF if isinstance(error.code, int) else FAILED


@final
class Service:
    """Runs the tree of a process, and does what is asked of it. All of it is in Trio's loop."""

    def __init__(
        self,
        tree: Supervisor,
        *,
        drain: float,
        timeout: float,
        reload: Callable[[], object] | None,
        own_sidecars: Mapping[str, MakeSidecar],
        sidecars: Callable[[Supervisor], Mapping[str, Callable[[], Awaitable[object]]]] | None,
        blocked_after: float | None,
        last_resort: LastResort,
    ) -> None:
        """Take the requests to stop ``tree``, which is yet to run, and have its sidecars made."""
        self._tree = tree
        self._port = port_of(tree)
        self._reloads = Reloads(self._port, reload)
        self._drain = drain
        self._timeout = timeout
        self._last_resort = last_resort
        self._status = STOPPED
        self._is_stopping = False
        # The signal that has everything cancelled, if it has come.
        self._second = ""
        self._has_ended = False
        self.token: trio.lowlevel.TrioToken = trio.lowlevel.current_trio_token()
        self.thread: LoopThread = self._port.loop_thread()
        self._blocked_loop: BlockedLoop | None = None
        if blocked_after is not None:
            self._blocked_loop = BlockedLoop(blocked_after, self._port, self.thread, self.token)
        self._port.take_stop_requests(self._stop_requested)
        # Those of the process itself begin first and end last. No error of the others ends them.
        trees = [{name: make(tree) for name, make in own_sidecars.items()}]
        if sidecars is not None:
            trees.append(check_sidecars(sidecars(tree)))
        self._sidecars = [Sidecars(made, self._stop_requested) for made in trees if made]

    async def run(self) -> int:
        """Run the tree to its end; return the exit status, or raise what has left it."""
        if self._blocked_loop is None:
            return await self._run()
        self._blocked_loop.start()
        try:
            return await self._run()
        finally:
            self._blocked_loop.stop()

    async def _run(self) -> int:
        if not self._sidecars:
            await self._run_tree()
            return self._result()
        status = STOPPED
        left: BaseException | None = None
        async with trio.open_nursery() as nursery:
            for each in self._sidecars:
                await each.begin(nursery)
            await self._run_tree()
            try:
                status = self._result()
            except BaseException as error:  # noqa: BLE001  it leaves when the sidecars have ended
                left, status = error, status_of(error)
            self._last_resort.sidecars_follow(status)
            if self._second:
                self._cancel_sidecars(self._second)
            else:
                until = trio.current_time() + FOLLOWING
                for each in reversed(self._sidecars):
                    await each.stop(until)
        try:
            if left is not None:
                raise left
        finally:
            del left
        return status

    def _cancel_sidecars(self, name: str) -> None:
        for each in self._sidecars:
            each.cancel(f"a second {name}")

    async def _run_tree(self) -> None:
        async with trio.open_nursery() as nursery:
            self._reloads.open(nursery)
            await run_tree(self._tree)
            self._has_ended = True
            if self._reloads.is_running:
                self._reloads.cancel("the tree has ended")
                self._last_resort.cancelled()

    def _result(self) -> int:
        """Log how the tree has ended; return the exit status, or raise what has left it."""
        late = self._port.timeout_error
        if late is not None:
            self._status = CUT_SHORT
            self._log(logging.ERROR, "%s", late)
        errors = self._port.errors
        if len(errors) == 1 and isinstance(errors[0], GroupFailedError):
            self._log(logging.CRITICAL, "%s", errors[0])
            if len(errors) == 1:  # the log may have raised another one
                return FAILED
        raise_all(errors)
        return self._status

    # Called by the last resort

    def carry_out(self, request: Request, name: str) -> None:
        """Do what the signal of that name asks for, unless the tree has ended meanwhile."""
        if request is Request.DUMP:
            self._last_resort.dumped()
            self._log(logging.INFO, "%s: %s", name, self._describe())
        elif self._has_ended:
            if self._sidecars and request is Request.CANCEL:
                self._log(logging.WARNING, "%s again: the sidecars stop at once", name)
                self._cancel_sidecars(name)
        elif request is Request.STOP:
            self._begin_stop(f"{name}:")
        elif request is Request.CANCEL:
            self._log(logging.WARNING, "%s again: stopping at once", name)
            self._status = CUT_SHORT
            self._second = name
            self._port.cancel(f"a second {name}")
            self._reloads.cancel(f"a second {name}")
            self._last_resort.cancelled()
        elif not self._port.is_ending:
            self._reloads.request(name)

    def report(self, done: threading.Event) -> None:
        """Report what has not ended, and set ``done``."""
        when = f"{LAST_RESORT:g} s after it was cancelled"
        ports = [self._port]
        if self._has_ended and self._sidecars:
            ports = [each.port for each in self._sidecars]
        for port in ports:
            port.report_stuck(port.running(), when)
        self._reloads.report(when)
        self._log(logging.CRITICAL, "the process ends without these nodes")
        done.set()

    def _describe(self) -> str:
        trees = [describe_tree(each.port) for each in self._sidecars]
        return "\nand of the sidecars ".join([describe_tree(self._port), *trees])

    # Stopping

    def _stop_requested(self, reason: str) -> None:
        """Stop as at a signal: a runnable has requested it."""
        self._last_resort.stop_begun()
        self._begin_stop(f"stop requested: {reason};")

    def _begin_stop(self, why: str) -> None:
        """Drain the tree and stop it then, if that has not begun before."""
        if self._is_stopping:
            self._log(logging.INFO, "%s already stopping", why)
            return
        self._is_stopping = True
        self._reloads.close()
        reason = f"the process stops ({why[:-1]})"
        if not self._drain or self._port.is_ending:
            self._log(logging.INFO, "%s stopping, within %g s", why, self._timeout)
            self._stop(reason)
            return
        text = "%s draining for %g s, then stopping, within %g s"
        self._log(logging.INFO, text, why, self._drain, self._timeout)
        self._port.begin_drain(reason)
        self._port.call_later(self._drain, partial(self._drained, reason))

    def _drained(self, reason: str) -> None:
        if self._port.is_cancelled:
            return  # by a second signal, or an error: nothing is left to stop
        text = "drained for %g s: stopping, within %g s"
        self._log(logging.INFO, text, self._drain, self._timeout)
        self._stop(reason)

    def _stop(self, reason: str) -> None:
        self._port.stop(reason, self._timeout)
        # The stop was bounded first, so that it has cancelled everything when this is called.
        self._port.call_later(self._timeout, self._last_resort.cancelled)

    def _log(self, level: int, text: str, *args: object) -> None:
        log(self._port.abort, _logger, level, text, *args)

"""The function that a service reloads itself with, called one at a time (S33)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, final

import trio
from trio.lowlevel import disable_ki_protection, enable_ki_protection

from supervisor._observing._logging import log
from supervisor._text._crash import split_fatal
from supervisor._text._exceptions import format_error, one_line
from supervisor._text._stacks import format_stacks

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor._tasks._port import Port

_logger = logging.getLogger("supervisor")


@final
class Reloads:
    """Calls the function each time that a reload is requested; one call follows the other.

    Each call is a task beside the tree, in a copy of the context of the root's task, so the root is
    the caller. It is cancelled when the root is asked to stop, or has ended. What it raises is
    logged, and leaves the tree only if it is no ``Exception``.
    """

    def __init__(self, port: Port, function: Callable[[], object] | None) -> None:
        """Call nothing yet. Without a function nothing must be requested."""
        self._port = port
        self._function = function
        # Where the calls run, while the tree does.
        self._nursery: trio.Nursery | None = None
        self._is_closed = False
        # The signal that came while a call was under way.
        self._next: str | None = None
        self.is_running: bool = False
        """A call has not ended."""
        # That call, as soon as it has begun.
        self._scope: trio.CancelScope | None = None
        self._task: trio.lowlevel.Task | None = None

    def open(self, nursery: trio.Nursery) -> None:
        """Run the calls as tasks of ``nursery``."""
        self._nursery = nursery

    def request(self, name: str) -> None:
        """Call the function, or call it once more when the call that is under way has ended."""
        if self._is_closed or self._nursery is None:
            return
        if self.is_running:
            self._next = name
            return
        self.is_running = self._port.start_for_root(self._nursery, self._run)
        if self.is_running:
            self._log(logging.INFO, "%s: reloading", name)
        else:
            text = "%s: nothing to reload, since the root does not run and will start anew"
            self._log(logging.INFO, text, name)

    def close(self) -> None:
        """Begin no call any more."""
        self._is_closed = True
        self._next = None

    def cancel(self, reason: str) -> None:
        """Begin no call any more, and cancel the one that is under way."""
        self.close()
        if self._scope is not None:
            self._scope.cancel(reason)

    def report(self, when: str) -> None:
        """Report a call that has not ended, and where it waits."""
        if self._task is not None:
            text = "the reload has not ended %s; its tasks wait here:\n%s"
            self._log(logging.WARNING, text, when, format_stacks(self._task))

    @enable_ki_protection
    async def _run(self, scope: trio.CancelScope) -> None:
        self._scope, self._task = scope, trio.lowlevel.current_task()
        began = self._port.time()
        is_called = not (self._is_closed or scope.cancel_called)
        raised: BaseException | None = None
        try:
            if is_called:
                await self._call()
        except BaseException as error:  # noqa: BLE001  no exception crosses the nursery
            raised = error
        after = f"{self._port.time() - began:.1f} s"
        if is_called and raised is None:
            self._log(logging.INFO, "reloaded in %s", after)
        else:
            self._log_failure(raised, after)
        raised = None  # its traceback keeps alive what the function used
        self._scope = self._task = None
        self.is_running = False
        name, self._next = self._next, None
        if name is not None:
            self.request(name)

    @disable_ki_protection
    async def _call(self) -> None:
        assert self._function is not None
        result = self._function()
        if hasattr(result, "__await__"):
            await result

    def _log_failure(self, raised: BaseException | None, after: str) -> None:
        fatal, error = (None, None) if raised is None else split_fatal(raised)
        if error is not None:
            text = "the reload failed after %s, and the tree goes on as before: %s\n%s"
            self._log(logging.ERROR, text, after, one_line(error), format_error(error))
        if fatal is not None:
            text = "the reload raised %s, which leaves the tree"
            self._log(logging.ERROR, text, one_line(fatal))
            self._port.abort(fatal)
        elif error is None:
            self._log(logging.INFO, "the reload was cancelled after %s", after)

    def _log(self, level: int, text: str, *args: object) -> None:
        log(self._port.abort, _logger, level, text, *args)

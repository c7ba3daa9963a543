"""Tells systemd how the tree of the process is (S40).

One sidecar tells of the tree, and another one that the loop answers, so that a fault of the first
does not end the second: systemd would kill a service whose watchdog is silent. They are the first
of the sidecars, so they end last, and tell of the stop until then. No sidecar of the user's is in
their tree (S35).

- *What is to be told* follows from the tree as it is, and from what was sent. An event of the tree
  only wakes the task, unless that will look soon anyway. So nothing is queued, a notification that
  could not be sent is made anew, and a tree in which much happens is looked at once a second.
- *It never waits for systemd*. A datagram is sent or not. If it was not, the next try is a second
  later, with what is true by then.
- *The time of a stop* is extended a bit at a time, as long as the loop runs. A process that hangs
  is killed when ``TimeoutStopSec=`` is over, or the last extension.
"""

from __future__ import annotations

import math
import os
import re
from typing import TYPE_CHECKING, Final, final

import trio

from supervisor._calls._runnable import logger, signal
from supervisor._calls._supervisor import port_of
from supervisor._core._errors import GroupFailedError
from supervisor._core._states import RUNS, Signal
from supervisor._observing._census import Census
from supervisor._observing._life_log import how_ended
from supervisor._observing._reasons import brief_death, unready_line
from supervisor.systemd import send

if TYPE_CHECKING:
    from supervisor._calls._supervisor import Supervisor
    from supervisor._core._events import Event
    from supervisor._core._tree import Node
    from supervisor._tasks._port import Port

    from ._sidecars import MakeSidecar

QUIET: Final = 1.0
"""At least so many seconds are between two notifications with ``STATUS``."""

RETRY: Final = 1.0
"""After so many seconds is tried again what could not be sent."""

EXTEND_EVERY: Final = 5.0
"""A stop is extended every so many seconds."""

EXTENSION: Final = 20.0
"""By so many seconds, from then on.

After the last time, tasks of sidecars may clean up for 5 seconds, and the process exit in 5.
"""

MICROSECONDS: Final = 1_000_000

_TIME: Final = re.compile("0*[1-9][0-9]{0,17}")

READY: Final = "READY"
STATUS: Final = "STATUS"
STOPPING: Final = "STOPPING"
EXTEND: Final = "EXTEND_TIMEOUT_USEC"


def notifiers() -> dict[str, MakeSidecar]:
    """Return what makes the sidecars that tell systemd, by their names, if it wants to be told."""
    made: dict[str, MakeSidecar] = {}
    if os.environ.get("NOTIFY_SOCKET"):
        made["systemd"] = Notifier
        ours, time = str(os.getpid()), os.environ.get("WATCHDOG_USEC")
        if time is not None and os.environ.get("WATCHDOG_PID", ours) == ours:
            made["systemd_watchdog"] = lambda _: Watchdog(time)
    return made


def _path() -> str:
    return os.environ.get("NOTIFY_SOCKET", "")


@final
class Notifier:
    """Tells when a tree is ready, how it is, and when it stops: a runnable (S40)."""

    def __init__(self, tree: Supervisor) -> None:
        """Tell nothing yet."""
        self._path = _path()
        self._port = port_of(tree)
        self._census: Census
        self._noted = trio.Event()
        # The tree has been ready.
        self._was_ready = False
        # What was sent last of each field, and when.
        self._sent: dict[str, str | int] = {}
        self._times: dict[str, float] = {}
        # Something has happened since the status was made last; until when that changes with time.
        self._is_stale = True
        self._counts_until = -math.inf
        # When to try again, if nothing could be sent.
        self._next_try: float | None = None

    def __repr__(self) -> str:
        """Name it in reports."""
        return "<what tells systemd of the tree>"

    async def __call__(self) -> None:
        """Tell what there is to tell until this is cancelled, and then of the end."""
        self._census = Census(self._port)
        self._was_ready = self._was_ready or self._census.is_ready
        self._port.add_observer(self._observe)
        try:
            signal(Signal.HEALTHY)
            while True:
                self._noted = trio.Event()
                with trio.move_on_at(self._tell(trio.current_time())):
                    await self._noted.wait()
        finally:
            self._port.remove_observer(self._observe)
            if self._stops:
                news = self._news_of_stop()
                if self._port.has_ended:  # this is the last time, so the status can't wait
                    news |= self._news_of_status()
                self._send(news, trio.current_time())

    def _observe(self, event: Event) -> None:
        self._census.observe(event)
        self._was_ready = self._was_ready or self._census.is_ready
        # The task is not woken for what it will look at anyway.
        first = STOPPING if self._stops else READY if self._was_ready else STATUS
        is_new = not self._is_stale or first not in self._sent
        self._is_stale = True
        if is_new and self._next_try is None:
            self._noted.set()

    def _tell(self, now: float) -> float:
        """Send what is new, and return when to look again even if nothing happens."""
        news = self._news(now)
        error = self._send(news, now) if news else None
        if error is None:
            self._next_try = None
            return self._next_look(now)
        if self._next_try is None:
            why = "nobody reads" if isinstance(error, BlockingIOError) else error
            text = "can't send to NOTIFY_SOCKET=%s (%s): %s will be tried again every second"
            logger().warning(text, self._path, why, ", ".join(news))
        self._next_try = now + RETRY
        return self._next_try

    def _send(self, news: dict[str, str | int], now: float) -> OSError | None:
        error = send(news, self._path)
        if error is None:
            self._sent |= news
            self._times |= dict.fromkeys(news, now)
        return error

    # What is new

    @property
    def _stops(self) -> bool:
        return self._port.is_draining or self._port.is_ending

    def _news(self, now: float) -> dict[str, str | int]:
        news: dict[str, str | int] = {}
        if self._stops:
            if now >= self._due(EXTEND, EXTEND_EVERY):
                news = self._news_of_stop()
        elif self._was_ready and READY not in self._sent:
            news[READY] = 1
        if now >= self._due(STATUS, QUIET):
            news |= self._news_of_status()
        return news

    def _news_of_status(self) -> dict[str, str | int]:
        status = self._status()
        return {} if status == self._sent.get(STATUS) else {STATUS: status}

    def _news_of_stop(self) -> dict[str, str | int]:
        news: dict[str, str | int] = {} if STOPPING in self._sent else {STOPPING: 1}
        return news | {EXTEND: round(EXTENSION * MICROSECONDS)}

    def _due(self, field: str, every: float) -> float:
        """Return from when on a field may be sent again."""
        return self._times.get(field, -math.inf) + every

    def _next_look(self, now: float) -> float:
        look = math.inf
        if self._is_stale:
            look = self._due(STATUS, QUIET)
        elif now + QUIET < self._counts_until:  # when it is over, there is an event
            look = now + QUIET
        return min(look, self._due(EXTEND, EXTEND_EVERY) if self._stops else math.inf)

    def _status(self) -> str:
        self._is_stale = False
        self._counts_until = -math.inf
        if self._port.has_ended:
            return _end(self._port)
        if self._port.is_ending:
            left = next(filter(_is_being_stopped, self._port.nodes()), None)
            return "stopping" if left is None else f"stopping; {self._line(left)}"
        if self._port.is_draining:
            return "draining"
        total, unready = self._census.total, self._census.unready
        text = f"{total - len(unready)}/{total} ready"
        if not unready:
            return text
        # The first of those that died, or else that is not ready for the longest time.
        node = next(iter(self._census.died or unready))
        self._counts_until = node.group.deadline or -math.inf
        return f"{text}; {self._line(node)}"

    def _line(self, node: Node) -> str:
        return unready_line(node, self._port.time(), brief=True)


def _is_being_stopped(node: Node) -> bool:
    incarnation = node.incarnation
    return incarnation is not None and incarnation.phase in RUNS and incarnation.stop_requested


def _end(port: Port) -> str:
    """Say how a tree has ended, and where and of what the first node died of which it gave up."""
    how = f"the tree {how_ended(port)}"
    error = next((each for each in port.errors if isinstance(each, GroupFailedError)), None)
    if error is None:
        return how
    # One that a runnable made itself may have no causes.
    while isinstance(cause := error.__cause__, GroupFailedError) and cause.causes:
        error = cause
    return f"{how}: {brief_death(error.causes[-1])}"


@final
class Watchdog:
    """Tells that Trio's loop answers, twice in the time that systemd allows: a runnable (S40)."""

    def __init__(self, microseconds: str) -> None:
        """Take the time from ``WATCHDOG_USEC``."""
        self._path = _path()
        self._microseconds = microseconds

    def __repr__(self) -> str:
        """Name it in reports."""
        return "<what tells systemd that the loop answers>"

    async def __call__(self) -> None:
        """Tell it until this is cancelled."""
        signal(Signal.HEALTHY)
        text = self._microseconds
        if not _TIME.fullmatch(text):
            logger().warning("WATCHDOG_USEC=%r is no time, so no WATCHDOG=1 is sent", text)
            signal(Signal.DONE)
            return
        interval = int(text) / MICROSECONDS / 2
        while True:
            was_sent = send({"WATCHDOG": 1}, self._path) is None
            await trio.sleep(interval if was_sent else min(interval, RETRY))

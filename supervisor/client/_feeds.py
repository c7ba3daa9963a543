"""Threads that ask a service again and again, for one who can't wait (S43).

A feed has a thread and a connection of its own. What it is told waits in the feed until it is
taken. Only what comes when nothing waits wakes the one who takes, so a burst of events is one
wake-up. What waits is bounded: where nothing may be lost, the thread reads on only when there is
room, so the service sees a client that takes nothing, and drops it.

A feed that is closed hangs up. So its thread ends at once, wherever it waits, and the service has
one client less: it serves 32 of them.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, final

from ._connection import ConnectionFailedError, RefusalError, ServerEvent, Service, page_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ._connection import Json

PAUSE: Final = 1.0
"""A stream that has ended is asked for again after so many seconds."""

DETAILS: Final = 1.0
"""What is known of a node is asked for again after so many seconds."""

SHARE: Final = 20
"""At least so many times as long as the answer took: of a large tree that may be long, and the
service does nothing else meanwhile."""

WAITING: Final = 100
"""So many things wait at most, where none may be forgotten."""

TREE: Final = "/v1/stream"


class Begun(NamedTuple):
    """A stream begins."""


class Lost(NamedTuple):
    """There is no answer, or it has broken off, and why; or the service has refused it."""

    why: str
    is_refused: bool = False


class Details(NamedTuple):
    """What is known of a node, and where its tasks wait."""

    node: Json
    stack: str


Told = Begun | Lost | ServerEvent | Details


class Feed(ABC):
    """A thread that asks a service."""

    def __init__(self, path: Path, wake: Callable[[], object], *, kept: int | None = None) -> None:
        """Start the thread.

        Args:
            path: The socket of the service.
            wake: Called in the thread when there is something to take, and was nothing before.
            kept: So many things wait at most; older ones are forgotten. ``None``: the thread waits
                when there are ``WAITING``, and nothing is forgotten.
        """
        self._service = Service(path)
        self._wake = wake
        # Notified when there is room, or the feed is closed.
        self._room = threading.Condition()
        self._waiting: deque[Told] = deque(maxlen=kept)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor feed", daemon=True)
        self._thread.start()

    def take(self) -> list[Told]:
        """Take what has come, oldest first."""
        with self._room:
            taken = list(self._waiting)
            self._waiting.clear()
            self._room.notify()
        return taken

    def close(self) -> None:
        """Hang up, and wait for the end of the thread, which comes at once."""
        with self._room:
            self._over.set()
            self._room.notify()
        self._service.hang_up()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                pause = self._ask()
            except (ConnectionFailedError, RefusalError) as error:
                self._put(Lost(str(error), is_refused=isinstance(error, RefusalError)))
                pause = PAUSE
            self._over.wait(pause)

    def _put(self, told: Told) -> None:
        with self._room:
            self._room.wait_for(self._has_room)
            if self._over.is_set():
                return
            is_first = not self._waiting
            self._waiting.append(told)
        if is_first:
            self._wake()

    def _has_room(self) -> bool:
        return (
            self._waiting.maxlen is not None or len(self._waiting) < WAITING or self._over.is_set()
        )

    @abstractmethod
    def _ask(self) -> float:
        """Ask once; return for how many seconds to pause then."""


@final
class StreamFeed(Feed):
    """The events of a stream, over and over from where it has broken off."""

    def __init__(
        self, path: Path, wake: Callable[[], object], target: str, *, kept: int | None = None
    ) -> None:
        self._target = target
        self._last: str | None = None
        super().__init__(path, wake, kept=kept)

    def _ask(self) -> float:
        self._put(Begun())
        with self._service.events(self._target, self._last) as events:
            for event in events:
                if event.number is not None:
                    self._last = event.number
                self._put(event)
        self._put(Lost("the stream has ended"))
        return PAUSE


@final
class DetailsFeed(Feed):
    """What is known of a node, over and over."""

    def __init__(self, path: Path, wake: Callable[[], object], dn: str) -> None:
        self._dn = dn
        super().__init__(path, wake, kept=1)

    def _ask(self) -> float:
        begun = time.monotonic()
        node = self._service.get(page_of(self._dn), "why", "group")
        stack = self._service.get(page_of(self._dn, "/stack"), "stack")["stack"]
        self._put(Details(node, stack))
        return max(DETAILS, SHARE * (time.monotonic() - begun))

"""A channel of the entries that come into a buffer (S36).

Any thread may log, and with any lock held. So what an entry costs here is bounded and waits for
nothing: it is put into a queue, under the lock of the buffer, and Trio is woken only if the queue
was empty. If it was not, Trio was woken before, and the task of the follower has more to take.

A queue that is full loses its oldest entry. ``missed`` grows when the entry after the gap is
received, so that at each entry it says how many are missing up to there.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING, Final, final

import trio
from trio.lowlevel import enable_ki_protection

from ._entry import LogEntry

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

QUEUE_LENGTH: Final = 1000
"""A follower that is further behind loses the oldest entries."""


@final
class LogFollower(trio.abc.ReceiveChannel[LogEntry]):
    """The entries of a buffer from some point on, as :meth:`LogBuffer.follow` gives (S36)."""

    def __init__(
        self,
        lock: threading.RLock,
        wants: Callable[[LogEntry], bool],
        leave: Callable[[LogFollower], object],
    ) -> None:
        """Make a follower, which a buffer tells of its entries; users call :meth:`follow`."""
        self._lock: Final = lock
        self._wants: Final = wants
        self._leave: Final = leave
        self._token: Final = trio.lowlevel.current_trio_token()
        self._waiting: Final = trio.lowlevel.ParkingLot()
        # What was in the buffer at the start, which has no limit of its own, and what came since.
        self._backlog: Final = deque[LogEntry]()
        self._queue: Final = deque[LogEntry]()
        self._missed = 0
        # How many are missing before the first of the queue, and not counted as missed yet.
        self._lost = 0
        self._ended = False
        self._closed = False

    @property
    def missed(self) -> int:
        """How many entries are missing up to the one that was received last.

        A follower that resumes begins with the number of entries that have left the buffer since,
        which may include entries of other nodes.
        """
        return self._missed

    @enable_ki_protection
    async def receive(self) -> LogEntry:
        """Return the next entry; wait if there is none.

        Several tasks may wait. Each entry goes to one of them.

        Raises:
            EndOfChannel: if the buffer was closed, and all of its entries were received.
            ClosedResourceError: if the channel was closed.

        Checkpoints:
            Always, before anything is taken.

        Cancellation:
            Nothing is taken.
        """
        await trio.lowlevel.checkpoint()
        while (entry := self._take()) is None:
            await self._waiting.park()
        return entry

    async def aclose(self) -> None:
        """Close the channel, as leaving the ``with`` block does.

        Checkpoints:
            Always.

        Cancellation:
            It is closed all the same.
        """
        self.close()
        await trio.lowlevel.checkpoint()

    @enable_ki_protection
    def close(self) -> None:
        """Close the channel. Tasks that wait get ``ClosedResourceError``. Any thread may call.

        Checkpoints:
            Never.
        """
        with self._lock:
            self._closed = True
            self._backlog.clear()
            self._queue.clear()
            self._leave(self)
        self._wake()

    # Called by the buffer, under its lock.

    def begin(self, backlog: Sequence[LogEntry], missed: int) -> None:
        """Take what is in the buffer now, and how many are known to be missing before it."""
        self._backlog.extend(backlog)
        self._missed = missed

    def tell(self, entry: LogEntry) -> None:
        """Take an entry that has come, if it is wanted."""
        if not self._wants(entry):
            return
        queue = self._queue
        queue.append(entry)
        if len(queue) == 1:
            self._wake()
        elif len(queue) > QUEUE_LENGTH:
            queue.popleft()
            self._lost += 1

    def end(self) -> None:
        """Let no more entries come."""
        self._ended = True
        self._wake()

    def _take(self) -> LogEntry | None:
        with self._lock:
            if self._closed:
                raise trio.ClosedResourceError
            if self._backlog:
                return self._backlog.popleft()
            if self._queue:
                self._missed += self._lost
                self._lost = 0
                return self._queue.popleft()
            if self._ended:
                raise trio.EndOfChannel
            return None

    def _wake(self) -> None:
        # From any thread, and in the middle of anything. So it is Trio's loop that wakes tasks.
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._waiting.unpark_all, idempotent=True)

"""How one watches a value, once for all storages.

What a storage adds is how to know the version, how to read the newest value, whether there is an
end, and which lines to wait in: the abstract methods of :class:`Watcher`, whose names begin with an
underscore. All promises about seeing, waiting, cancelling and closing are kept here.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Final, Generic, Self, TypeVar, final

import attrs
import trio
from trio.lowlevel import checkpoint, enable_ki_protection

from ._errors import BacklogDone
from ._unset import UNSET, Unset
from ._waiting import Waiter, wait_in_lines

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from ._waiting import Line

T_co = TypeVar("T_co", covariant=True)


@final
@attrs.frozen
class Update(Generic[T_co]):
    """A value together with its place among the others; see :meth:`Watcher.get_update`."""

    value: T_co
    version: int
    missed: int
    """How many versions this watcher skipped between the last one it returned and this."""
    previous: T_co | Unset
    """What this watcher returned before; :data:`UNSET` the first time."""


class Watcher(trio.abc.ReceiveChannel[T_co]):
    """Follows a value, for one consumer.

    It is a :class:`trio.abc.ReceiveChannel`: whatever consumes a memory channel consumes a
    watcher, ``async for`` included. A watcher is for one task at a time.

    Example::

        with lease.watch() as watcher:
            async for current in watcher:
                print(current)
    """

    __slots__ = ("_last", "_seen", "_state")

    def __init__(self, seen: int = 0) -> None:
        """Make a watcher that has seen the versions up to ``seen``."""
        # The version that was returned last.
        self._seen = seen
        # What was returned last.
        self._last: T_co | Unset = UNSET
        # What the task that uses the watcher waits with, or BUSY, or CLOSED. If none uses it: the
        # version up to which the backlog reaches that is being read, or None.
        self._state: Waiter | int | None = None

    def __repr__(self) -> str:
        """Tell what the watcher is doing."""
        if self._state is CLOSED:
            return f"<{type(self).__name__} closed>"
        use = " in use," if isinstance(self._state, Waiter) else ""
        return f"<{type(self).__name__}{use} {self.lag} behind version {self._version()}>"

    # What a storage has to say. None of these blocks.

    @abstractmethod
    def _version(self) -> int:
        """Return the newest version; 0 if there is no data."""

    @abstractmethod
    def _read(self) -> T_co:
        """Return the newest value. It is called only where there is one."""

    @abstractmethod
    def _end(self) -> Exception | None:
        """Return a new exception to raise when all is seen, if the value has ended."""

    @abstractmethod
    def _lines(self) -> Sequence[Line]:
        """Return the lines that are called at each change of the version, and at the end."""

    # What a derived value says otherwise.

    def _position(self) -> int:
        """Return the version up to which all is seen."""
        return self._seen

    def _stamp(self) -> int:
        """Return a number that grows with each set of a value that this one is made of."""
        return self._version()

    def _pending(self) -> bool:
        """Return whether the newest version is unseen, but may not be taken yet."""
        return False

    def _deadline(self) -> float:
        """Return when to look again although no line was called, in seconds on Trio's clock.

        It goes by what ``_pending`` has found, which has to be asked before.
        """
        return math.inf

    def _take(self, predicate: Callable[[T_co], bool] | None) -> T_co | Unset:
        """Return the newest value, and mark it seen, if it is unseen and satisfies."""
        version = self._version()
        if version <= self._seen:
            return UNSET
        value = self._read()
        if predicate is not None and not predicate(value):
            return UNSET
        self._seen = version
        return value

    @property
    def changed(self) -> bool:
        """Whether there is a value that :meth:`get_nowait` would return.

        Nothing is seen by asking. What a function of a derived value raises is raised here.
        Composed values take what is due from a source that lets time pass (``throttle``,
        ``debounce``) when they are asked, be it by this, by :attr:`lag` or by ``repr``.
        """
        if self._pending():
            return False
        found = False

        def notice(_: object) -> bool:
            nonlocal found
            found = True
            return False

        self._take(notice)
        return found

    @property
    def lag(self) -> int:
        """How many versions this watcher is behind, of its own and its sources'."""
        return self._version() - self._position()

    async def get(
        self, *, predicate: Callable[[T_co], bool] | None = None, backlog_only: bool = False
    ) -> T_co:
        """Return the newest value that this watcher has not seen; wait if there is none.

        It is the value that is newest when the task runs. If two sets follow
        each other before it does, it gets the second, once.

        Args:
            predicate: Return only a value for which this is true. One that is
                rejected is not seen: a later ``get`` without the predicate returns it.
            backlog_only: Don't wait for more than was there at the first call with
                this argument, and raise :exc:`BacklogDone` after it. A call without it, or the
                exception, ends the backlog; the next call with it begins another.

        Returns:
            The value, which is now seen.

        Raises:
            BusyResourceError: if another task is using the watcher.
            ClosedResourceError: if the watcher is closed, or is closed meanwhile.
            EndOfChannel: if the value was closed and its last value is seen or rejected.
            BrokenResourceError: likewise, if the value has failed; from its error.
            BacklogDone: if the backlog is read.
            Exception: whatever the predicate raises; nothing is seen then.

        Checkpoints:
            Always, before anything is taken.

        Cancellation:
            Nothing is seen; the watcher works on.

        Example::

            big = await watcher.get(predicate=lambda size: size > 1000)
        """
        if backlog_only:
            return await self._get_backlog(predicate)
        self._claim(BUSY)
        try:
            stamp = self._stamp()
            if self._ready():
                await checkpoint()
            else:
                await self._wait(stamp)
            while True:
                if self._state is CLOSED:
                    raise closed_meanwhile()
                stamp = self._stamp()
                if not self._pending():
                    found = self._take(predicate)
                    if found is not UNSET:
                        self._last = found
                        return found
                    # What the predicate has set or closed comes before the end.
                    end = None if self._is_touched(stamp) else self._end()
                    if end is not None:
                        raise end
                await self._wait(stamp)
        finally:
            self._release()

    async def _get_backlog(self, predicate: Callable[[T_co], bool] | None) -> T_co:
        """Return the newest unseen value, if it belongs to the backlog."""
        barrier = self._claim(BUSY)
        try:
            if barrier is None:
                barrier = self._version()
            await checkpoint()
            while True:
                if self._state is CLOSED:
                    raise closed_meanwhile()
                if self._position() < barrier:
                    stamp = self._stamp()
                    if self._pending():
                        await self._wait(stamp)
                        continue
                    found = self._take(predicate)
                    if found is not UNSET:
                        self._last = found
                        return found
                    if self._state is CLOSED:
                        raise closed_meanwhile()
                barrier = None
                raise BacklogDone
        finally:
            self._release(barrier)

    async def get_update(self, *, predicate: Callable[[T_co], bool] | None = None) -> Update[T_co]:
        """Return the newest value that this watcher has not seen, and what there is to know of it.

        Args:
            predicate: As for :meth:`get`.

        Returns:
            The value with its version, the number of versions that were skipped, and what
            this watcher returned before.

        Raises:
            Exception: what :meth:`get` raises.

        Checkpoints:
            Always, before anything is taken.

        Cancellation:
            Nothing is seen; the watcher works on.

        Example::

            update = await watcher.get_update()
            if update.missed:
                log.info("skipped %d states", update.missed)
        """
        before, previous = self._seen, self._last
        value = await self.get(predicate=predicate)
        return Update(value, self._seen, self._seen - before - 1, previous)

    def get_nowait(self) -> T_co:
        """Return the newest value that this watcher has not seen.

        Returns:
            The value, which is now seen.

        Raises:
            WouldBlock: if there is none.
            BusyResourceError: if another task is using the watcher.
            ClosedResourceError: if the watcher is closed.
            EndOfChannel: if the value was closed and its last value is seen.
            BrokenResourceError: likewise, if the value has failed; from its error.

        Checkpoints:
            Never.
        """
        self._claim(BUSY)
        try:
            if self._pending():
                raise trio.WouldBlock
            found = self._take(None)
            if found is not UNSET:
                self._last = found
                return found
            raise self._end() or trio.WouldBlock
        finally:
            self._release()

    async def receive(self) -> T_co:
        """Return the newest value that this watcher has not seen; see :meth:`get`.

        Checkpoints:
            Always.

        Cancellation:
            Nothing is seen; the watcher works on.
        """
        return await self.get()

    @enable_ki_protection
    def close(self) -> None:
        """Let go of the value. A ``get`` that waits raises :exc:`trio.ClosedResourceError`.

        To close again does nothing.

        Checkpoints:
            Never.
        """
        state, self._state = self._state, CLOSED
        if isinstance(state, Waiter):
            state.wake()

    async def aclose(self) -> None:
        """Close, as ``async with`` does; :meth:`close` and ``with`` do it without waiting.

        Checkpoints:
            Always.

        Cancellation:
            The watcher is closed all the same.
        """
        self.close()
        await checkpoint()

    def __enter__(self) -> Self:
        """Return the watcher, which the end of the ``with`` will close."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _claim(self, waiter: Waiter) -> int | None:
        """Take the watcher for the calling task, which will wait with ``waiter``.

        Returns:
            How far the backlog reaches that is being read, if one is.
        """
        state = self._state
        if isinstance(state, Waiter):
            if state is CLOSED:
                msg = "this watcher is closed: get another one with watch()"
                raise trio.ClosedResourceError(msg)
            msg = "another task is using this watcher: give each task a watcher of its own"
            raise trio.BusyResourceError(msg)
        self._state = waiter
        return state

    @enable_ki_protection
    def _release(self, barrier: int | None = None) -> None:
        """Give the watcher back."""
        if self._state is not CLOSED:
            self._state = barrier

    def _unseen(self) -> bool:
        """Return whether the newest version is unseen."""
        return self._version() > self._position()

    def _ready(self) -> bool:
        """Return whether a get would find something to look at, or the end."""
        if self._unseen():
            return not self._pending()
        return self._end() is not None

    def _is_touched(self, stamp: int) -> bool:
        """Return whether the look that began at ``stamp`` has itself set or closed something.

        A predicate or a function may do that, while nobody is in a line to be called for it.
        """
        return self._state is CLOSED or self._stamp() != stamp

    def _wait(self, stamp: int) -> Awaitable[None]:
        """Wait until there is reason to look again after the look that began at ``stamp``."""
        if self._is_touched(stamp):
            return checkpoint()  # noqa: ASYNC105  the caller awaits it
        self._state = waiter = Waiter()
        return wait_in_lines(self._lines(), waiter, self._deadline())


# Waiters that nobody waits with: they say what a watcher is doing.
BUSY: Final = Waiter()
CLOSED: Final = Waiter()


def closed_meanwhile() -> trio.ClosedResourceError:
    """Make the error of a wait whose watcher was closed."""
    return trio.ClosedResourceError("this watcher was closed while a task was waiting for it")

"""The contract of Event Values: what holds for every value, wherever it is stored.

Why not just memory channels? A channel hands over every item, in order, to one
receiver. For state this is wrong three times. A consumer has to work through history
before it knows the present; a producer has to wait for the slowest consumer, or to guess
a buffer size; and a late consumer never learns what it missed. A value
has none of this: it holds the newest state, each consumer sees the newest one that it has not
seen, and the producer never waits.

Why not just ``trio.Event`` or ``trio.Condition``? They tell that something changed, not what,
and only those who wait at that moment. Who was busy has missed it.

Seen
    A watcher remembers which version of the value it returned last: that one,
    and all before it, are *seen*. A ``get`` returns the newest version if it is unseen, and else
    waits for the next. It follows that a watcher never returns a version
    twice, never goes back, and may skip versions that were replaced before it looked.

How one watches is in this module, once for all storages. What a storage adds is how to know the
version, how to read the newest value, and whether there is an end: the methods of
:class:`Watcher` whose names begin with an underscore.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, Generic, Literal, Self, TypeVar

import trio
from trio.lowlevel import checkpoint, enable_ki_protection

from ._errors import BacklogDone
from ._waiting import Waiter

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from ._waiting import Line

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Unset(enum.Enum):
    """The type of :data:`UNSET`."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        """Show the constant's name."""
        return "UNSET"


UNSET: Final[Literal[Unset.UNSET]] = Unset.UNSET
"""Stands for "no data yet". ``None`` is data."""


class ValueWatch(ABC, Generic[T_co]):
    """The read side of a value: what can be watched."""

    __slots__ = ()

    @abstractmethod
    def watch(self) -> Watcher[T_co]:
        """Return a new watcher, which has seen nothing.

        It costs nothing to anyone until it waits, and may be dropped without being
        closed.

        Checkpoints:
            Never.
        """


class Value(ValueWatch[T]):
    """A value that is set by this process."""

    __slots__ = ()

    @abstractmethod
    def set(self, value: T) -> int:
        """Replace the value, and let all watchers know.

        It never blocks, and costs the same however many watchers there are.
        Each set is an update, also of an equal value. The object is handed to
        the watchers as it is: don't change it afterwards.

        Returns:
            The new version. The first is 1, and each set adds 1.

        Raises:
            ClosedResourceError: if the value has ended.

        Checkpoints:
            Never.
        """

    @abstractmethod
    def close(self) -> None:
        """End the value in good order.

        Each watcher gets the last value, if it has not seen it, and then
        :exc:`trio.EndOfChannel`. To close again does nothing.

        Checkpoints:
            Never.
        """

    @abstractmethod
    def fail(self, error: BaseException) -> None:
        """End the value because of an error.

        Each watcher gets the last value, if it has not seen it, and then
        :exc:`trio.BrokenResourceError`, whose ``__cause__`` is ``error``.

        Raises:
            ClosedResourceError: if the value has ended already.

        Checkpoints:
            Never.
        """


class Watcher(trio.abc.ReceiveChannel[T_co]):
    """Follows a value, for one consumer.

    It is a :class:`trio.abc.ReceiveChannel`: whatever consumes a memory channel consumes a
    watcher, ``async for`` included. A watcher is for one task at a time.

    Example::

        with lease.watch() as watcher:
            async for current in watcher:
                print(current)
    """

    __slots__ = ("_barrier", "_seen", "_waiter")

    def __init__(self) -> None:
        """Make a watcher that has seen nothing."""
        # The version that was returned last.
        self._seen = 0
        # The version up to which the backlog reaches that is being read; None if none is.
        self._barrier: int | None = None
        # What the task that uses the watcher waits with; BUSY, CLOSED, or None if none uses it.
        self._waiter: Waiter | None = None

    def __repr__(self) -> str:
        """Tell what the watcher is doing."""
        match self._waiter:
            case None:
                state = f"has seen version {self._seen} of {self._version()}"
            case waiter if waiter is CLOSED:
                state = "closed"
            case _:
                state = f"in use, has seen version {self._seen} of {self._version()}"
        return f"<{type(self).__name__} {state}>"

    # What a storage has to say. None of these blocks, or has a side effect that shows.

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
    def _line(self) -> Line:
        """Return the line that is called at each change of the version, and at the end."""

    # What follows from it, for all storages alike.

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
        self._claim(BUSY)
        try:
            if not backlog_only:
                self._barrier = None
            elif self._barrier is None:
                self._barrier = self._version()
            if backlog_only or self._ready():
                await checkpoint()
            else:
                await self._wait()
            while True:
                if self._waiter is CLOSED:
                    raise closed_meanwhile()
                if backlog_only and self._seen >= (self._barrier or 0):
                    found: T_co | Unset = UNSET
                else:
                    found = self._take(predicate)
                if not isinstance(found, Unset):
                    return found
                if backlog_only:
                    self._barrier = None
                    raise BacklogDone
                end = self._end()
                if end is not None:
                    raise end
                await self._wait()
        finally:
            self._release()

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
            self._barrier = None
            found = self._take(None)
            if not isinstance(found, Unset):
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
        waiter, self._waiter = self._waiter, CLOSED
        if waiter is not None:
            waiter.wake()

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

    def _claim(self, waiter: Waiter) -> None:
        """Take the watcher for the calling task, which will wait with ``waiter``."""
        if self._waiter is not None:
            if self._waiter is CLOSED:
                msg = "this watcher is closed: get another one with watch()"
                raise trio.ClosedResourceError(msg)
            msg = "another task is using this watcher: give each task a watcher of its own"
            raise trio.BusyResourceError(msg)
        self._waiter = waiter

    def _release(self) -> None:
        """Give the watcher back."""
        if self._waiter is not CLOSED:
            self._waiter = None

    def _unseen(self) -> bool:
        """Return whether the newest version is unseen."""
        return self._version() > self._seen

    def _ready(self) -> bool:
        """Return whether there is something unseen, or the end."""
        return self._version() > self._seen or self._end() is not None

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

    async def _wait(self) -> None:
        """Wait until the line is called, or the watcher is closed."""
        line = self._line()
        waiter = self._waiter = Waiter()
        line.join(waiter)
        try:
            await waiter.park()
        finally:
            line.leave(waiter)


# Waiters that nobody waits with: they say what a watcher is doing.
BUSY: Final = Waiter()
CLOSED: Final = Waiter()


def closed_meanwhile() -> trio.ClosedResourceError:
    """Make the error of a wait whose watcher was closed."""
    return trio.ClosedResourceError("this watcher was closed while a task was waiting for it")

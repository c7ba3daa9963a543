"""Values kept in memory.

A value is its newest data, a version that counts the sets, and a line of the tasks that
wait for the next. It does not know its watchers: each of them compares
versions when it runs. So ``set`` costs the same with no watcher and with a hundred
thousand, a watcher needs no closing, and what a watcher returns is newest when it
runs, not when it was woken.
"""

from __future__ import annotations

import logging
from collections import deque
from threading import get_ident
from typing import TYPE_CHECKING, NoReturn, TypeVar, final

import trio
from trio.lowlevel import current_trio_token, enable_ki_protection

from ._errors import UnsetError
from ._memory_watcher import MemoryWatcher
from ._statistics import Statistics
from ._token import token_of_this_thread
from ._unset import UNSET, Unset, refuse_unset
from ._value import Value
from ._waiting import Line

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._watcher import Watcher

T = TypeVar("T")

_logger = logging.getLogger("trio_event")


@final
class MemoryValue(Value[T]):
    """A value in memory, for the tasks of one Trio run.

    It belongs to the thread that made it, or to the thread of the first Trio run that uses it.
    All methods but :meth:`set_from_thread` are for that thread. Values are handed out by
    reference: use immutable ones.

    Args:
        initial: The first data; without it the value is unset, and the first
            ``get`` of each watcher waits for the first ``set``.
        eq: A set of a value that this finds equal to the present one is no update. By
            default every set is one.

    Example::

        >>> async def main() -> None:
        ...     level = MemoryValue(3)
        ...     with level.watch() as watcher:
        ...         print(await watcher.get())
        ...         level.set(4)
        ...         level.set(5)
        ...         print(await watcher.get())
        >>> trio.run(main)
        3
        5
    """

    __slots__ = (
        "_data",
        "_eq",
        "_error",
        "_from_thread",
        "_later",
        "_line",
        "_open",
        "_previous",
        "_suppressed",
        "_thread",
        "_token",
        "_version",
    )

    def __init__(
        self, initial: T | Unset = UNSET, *, eq: Callable[[T, T], bool] | None = None
    ) -> None:
        """Make a value; see the class."""
        self._data = initial
        self._version = int(initial is not UNSET)
        # The version before the newest: a new watcher has not missed it.
        self._previous = 0
        self._eq = eq
        self._suppressed = 0
        # What was set by those who are being told of a set, to be set after it.
        self._later: deque[T] | None = None
        self._line = Line()
        self._open = True
        self._error: BaseException | None = None
        self._thread = get_ident()
        # The Trio run that uses the value, once one does.
        self._token: trio.lowlevel.TrioToken | None = None
        # What other threads have set and this one has not yet taken over.
        self._from_thread: deque[T] | None = None

    def __repr__(self) -> str:
        """Show the data and the version."""
        state = "" if self._open else " closed" if self._error is None else " failed"
        return f"<MemoryValue{state} {self._data!r} version {self._version}>"

    @enable_ki_protection
    def set(self, value: T) -> int:
        """Replace the value, and let all watchers know.

        It never blocks, and costs the same however many watchers there are and wait.

        Args:
            value: The new data. Don't change it afterwards.

        Returns:
            The version, one higher than before; or the present one, if ``eq`` finds the
            values equal.

        Raises:
            ClosedResourceError: if the value has ended.
            RuntimeError: if it is called in another thread than the value's.
            TypeError: if the value is :data:`UNSET`, which is no data.
            Exception: whatever ``eq`` raises; nothing is changed then.

        Checkpoints:
            Never.
        """
        if get_ident() != self._thread:
            self._move_to_this_thread("set")
        if not self._open:
            self._refuse("set")
        if value is UNSET:
            refuse_unset("set", self)
        if self._eq is not None:
            newest, version = self._with_later()
            if not isinstance(newest, Unset) and self._eq(newest, value):
                self._suppressed += 1
                return version
        line = self._line
        if line._listeners or line.calling or self._later:
            return self._update(value)
        # What _update() does if nobody listens.
        self._data = value
        self._previous = version = self._version
        self._version = version = version + 1
        if line._waiting:
            line.call()
        return version

    def update(self, function: Callable[[T], T]) -> int:
        """Set what ``function`` makes of the present value.

        Args:
            function: Gets the present value, and returns the new one.

        Returns:
            The new version, as :meth:`set` does.

        Raises:
            UnsetError: if there is no data.
            Exception: whatever ``function`` raises, or :meth:`set`; nothing is changed then.

        Checkpoints:
            Never.

        Example::

            counter.update(lambda number: number + 1)
        """
        self._check_open("update")
        newest, _ = self._with_later()
        if isinstance(newest, Unset):
            msg = f"update() was called on {self!r}, which has no data: set() it before"
            raise UnsetError(msg)
        return self.set(function(newest))

    def compare_and_set(self, version: int, value: T) -> bool:
        """Set the value if it is still at ``version``.

        It is an update also if ``eq`` finds the values equal: of all who have made something of
        one version, a single one succeeds.

        Args:
            version: The version that the new value was made from; 0 if there was no data.
            value: The new data.

        Returns:
            Whether it was at that version, and the value is set.

        Raises:
            ClosedResourceError: if the value has ended.
            RuntimeError: if it is called in another thread than the value's.

        Checkpoints:
            Never.
        """
        self._check_open("compare_and_set")
        if value is UNSET:
            refuse_unset("compare_and_set", self)
        if self._with_later()[1] != version:
            return False
        self._update(value)
        return True

    def statistics(self) -> Statistics:
        """Return figures about the value at this instant.

        Checkpoints:
            Never.
        """
        return Statistics(
            version=self._version,
            sets=self._version + self._suppressed,
            suppressed=self._suppressed,
            tasks_waiting=len(self._line),
        )

    def set_from_thread(
        self, value: T, *, trio_token: trio.lowlevel.TrioToken | None = None
    ) -> None:
        """Set the value from another thread, without waiting until it is done.

        However fast a thread sets, one entry waits in Trio's queue: when it is
        the turn of that, the newest value is set, in one update.

        Args:
            value: The new data. Don't change it afterwards.
            trio_token: The Trio run to do it in; by default the one that has watched
                the value, or the one that started this thread.

        Raises:
            ClosedResourceError: if the value has ended. If it ends before the
                value is taken over, the value is dropped.
            RuntimeError: if it is not known which Trio run is meant, or ``trio_token`` is of
                another one than the value's.
            RunFinishedError: if that run is over.

        Checkpoints:
            Never.
        """
        if not self._open:
            self._refuse("set_from_thread")
        if value is UNSET:
            refuse_unset("set_from_thread", self)
        if trio_token not in {None, self._token} and self._is_in_use():
            msg = (
                f"trio_token is of another Trio run than the one that {self!r} belongs to: "
                "call set_from_thread() without it"
            )
            raise RuntimeError(msg)
        token = trio_token or self._token or token_of_this_thread()
        if self._from_thread is None:
            # If two threads do this at once, one of the two is the last set anyway.
            self._from_thread = deque(maxlen=1)
        self._from_thread.append(value)
        token.run_sync_soon(self._take_over, idempotent=True)

    @enable_ki_protection
    def close(self) -> None:
        """End the value in good order; see :meth:`Value.close`.

        Raises:
            RuntimeError: if it is called in another thread than the value's.

        Checkpoints:
            Never.
        """
        if get_ident() != self._thread:
            self._move_to_this_thread("close")
        if self._open:
            self._open = False
            self._line.call()

    @enable_ki_protection
    def fail(self, error: BaseException) -> None:
        """End the value because of an error; see :meth:`Value.fail`.

        Raises:
            ClosedResourceError: if the value has ended already.
            RuntimeError: if it is called in another thread than the value's.

        Checkpoints:
            Never.
        """
        self._check_open("fail")
        self._error = error
        self.close()

    def watch(self) -> Watcher[T]:
        """Return a new watcher, which has seen nothing.

        Checkpoints:
            Never.
        """
        return MemoryWatcher(self)

    @property
    def version(self) -> int:
        """The newest version; 0 if there is no data yet."""
        return self._version

    def _newest(self) -> T | Unset:
        return self._data

    def _ending(self) -> Exception:
        """Make the exception that tells a watcher of the end."""
        if self._error is None:
            return trio.EndOfChannel()
        broken = trio.BrokenResourceError(f"the value has failed: {self._error!r}")
        broken.__cause__ = self._error
        return broken

    def _with_later(self) -> tuple[T | Unset, int]:
        """Return the newest data and version, with what is yet to be set in this very step."""
        if self._later:
            return self._later[-1], self._version + len(self._later)
        return self._data, self._version

    def _update(self, value: T) -> int:
        if self._line.calling or self._later:
            # Somebody who is being told of a set sets the value. All the others are to see the
            # first one before they see the second, and those before this one.
            if self._later is None:
                self._later = deque()
            self._later.append(value)
            self._line.after = self._set_later
            return self._version + len(self._later)
        version = self._advance(value)
        if self._later:
            self._set_later()
        return version

    @enable_ki_protection
    def _set_later(self) -> None:
        """Set what was set by those who were being told of a set, one after the other."""
        self._line.after = None
        while self._later:
            self._advance(self._later.popleft())

    @enable_ki_protection
    def _advance(self, value: T) -> int:
        self._data = value
        self._previous = self._version
        self._version = version = self._version + 1
        self._line.call()
        return version

    def _take_over(self) -> None:
        """Set what other threads have set. It runs in Trio's queue, and so must not raise."""
        if not self._from_thread:
            return  # an earlier entry took it
        if self._token is not current_trio_token() and self._is_in_use():
            return  # another run has begun to use the value meanwhile, and takes this over
        self._belong()
        value = self._from_thread.popleft()
        if not self._open:
            return
        try:
            self.set(value)
        except Exception:
            # Nobody is there to catch it; an update too many is better than one too few.
            _logger.exception("eq of %r failed: the value was set all the same", self)
            self._update(value)

    def _is_in_use(self) -> bool:
        """Return whether there is a run that the value belongs to, which then takes over."""
        if self._token is None:
            return False
        try:
            self._token.run_sync_soon(self._take_over, idempotent=True)
        except trio.RunFinishedError:
            return False
        return True

    def _belong(self) -> None:
        """Take note of the Trio run in which the value is used."""
        token = current_trio_token()
        if self._token is not token:
            if len(self._line):
                msg = f"{self!r} is watched in another Trio run: give each run a value of its own"
                raise RuntimeError(msg)
            self._token = token
            self._thread = get_ident()

    def _check_open(self, method: str) -> None:
        """Raise unless ``method`` may change the value here and now."""
        if get_ident() != self._thread:
            self._move_to_this_thread(method)
        if not self._open:
            self._refuse(method)

    def _move_to_this_thread(self, method: str) -> None:
        """Let a Trio run in another thread have the value, if none has it yet."""
        if self._token is not None or not trio.lowlevel.in_trio_run():
            msg = (
                f"{method}() was called in another thread than the one that {self!r} belongs to: "
                "call set_from_thread() there"
            )
            raise RuntimeError(msg)
        self._belong()

    def _refuse(self, method: str) -> NoReturn:
        msg = f"{method}() was called on {self!r}, which has ended: make a new value"
        raise trio.ClosedResourceError(msg)

"""Values kept in memory.

A value is its newest data, a version that counts the sets, and a queue of the tasks that
wait for the next. It does not know its watchers: each of them compares
versions when it runs. So ``set`` costs the same with no watcher and with a hundred
thousand, a watcher needs no closing, and what a watcher returns is newest when it
runs, not when it was woken.
"""

from __future__ import annotations

import logging
from collections import deque
from threading import get_ident
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, final

import attrs
import trio
from trio.lowlevel import current_trio_token, enable_ki_protection

from .._arguments import check_error, check_function, check_token, check_version
from .._unset import UNSET, Unset, UnsetError, refuse_unset
from .._value import Value
from .._watcher import SourceWatcher
from ._state import MemoryState, token_of_this_thread
from ._watcher import MemoryWatcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._graph import Source, Stage
    from .._watcher import Watcher

T = TypeVar("T")

_logger = logging.getLogger("trio_event")


@final
@attrs.frozen(kw_only=True)
class Statistics:
    """Figures about a :class:`MemoryValue`."""

    version: int
    """The newest version."""
    sets: int
    """How often it was set, the initial data and the suppressed sets included."""
    suppressed: int
    """How many sets were no updates because ``eq`` found them equal."""
    tasks_waiting: int
    """How many waits, of tasks in ``get``, ``select`` or ``wait_for``, are for this value.

    A ``follow`` with ``latest=True`` in its call and a pipe that is sending count as well.
    """


@final
class MemoryValue(MemoryState[T], Value[T]):
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

    __slots__ = ("_deferred", "_eq", "_from_thread", "_suppressed")

    def __init__(
        self, initial: T | Unset = UNSET, *, eq: Callable[[T, T], bool] | None = None
    ) -> None:
        """Make a value; see the class."""
        if eq is not None:
            check_function("MemoryValue", "eq", eq)
        super().__init__(initial)
        self._eq = eq
        self._suppressed = 0
        # What callbacks of a set have set, to be set after it.
        self._deferred: deque[T] | None = None
        # What other threads have set, until it is set in the value's own thread.
        self._from_thread: deque[T] | None = None

    def __repr__(self) -> str:
        """Show the data and the version."""
        state = "" if self._is_open else " closed" if self._error is None else " failed"
        return f"<MemoryValue{state} {self._data!r} version {self._version}>"

    @enable_ki_protection
    def set(self, value: T) -> int:
        """Replace the value, and let all watchers know.

        It never blocks, and costs the same however many watchers there are and wait (V1).

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
        if not self._is_open:
            self._refuse("set")
        if value is UNSET:
            refuse_unset("set", self)
        if self._eq is not None:
            newest, version = self._with_deferred()
            if not isinstance(newest, Unset) and self._eq(newest, value):
                self._suppressed += 1
                return version
        queue = self._queue
        if queue._callbacks or queue.notifying or self._deferred:
            return self._update(value)
        # What _update() does if there is no callback to call.
        self._data = value
        self._previous = version = self._version
        self._version = version = version + 1
        if queue._waiting:
            queue.notify()
        return version

    def update(self, function: Callable[[T], T]) -> int:
        """Set what ``function`` makes of the present value (V19).

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
        check_function("update", "function", function)
        self._check_open("update")
        newest, _ = self._with_deferred()
        if isinstance(newest, Unset):
            msg = f"update() was called on {self!r}, which has no data: set() it before"
            raise UnsetError(msg)
        return self.set(function(newest))

    def compare_and_set(self, version: int, value: T) -> bool:
        """Set the value if it is still at ``version``.

        It is an update also if ``eq`` finds the values equal. Of several tasks that have made a new
        value from the same version, one succeeds (V19).

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
        check_version("compare_and_set", version)
        self._check_open("compare_and_set")
        if value is UNSET:
            refuse_unset("compare_and_set", self)
        if self._with_deferred()[1] != version:
            return False
        self._update(value)
        return True

    def statistics(self) -> Statistics:
        """Return figures about the value at this instant (V21).

        Checkpoints:
            Never.
        """
        return Statistics(
            version=self._version,
            sets=self._version + self._suppressed,
            suppressed=self._suppressed,
            tasks_waiting=len(self._queue),
        )

    def set_from_thread(
        self, value: T, *, trio_token: trio.lowlevel.TrioToken | None = None
    ) -> None:
        """Set the value from another thread, without waiting until it is done.

        However fast a thread sets, one entry waits in Trio's queue. When Trio runs it, the newest
        value is set, in one update (V11).

        Args:
            value: The new data. Don't change it afterwards.
            trio_token: The Trio run to do it in; by default the one that has watched
                the value, or the one that started this thread.

        Raises:
            ClosedResourceError: if the value has ended. If it ends before Trio runs the entry, what
                was set is dropped.
            RuntimeError: if it is not known which Trio run is meant, or ``trio_token`` is of
                another one than the value's.
            RunFinishedError: if that run is over.
            TypeError: if ``trio_token`` is no token.

        Checkpoints:
            Never.
        """
        if trio_token is not None:
            check_token("set_from_thread", trio_token)
        if not self._is_open:
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
        token.run_sync_soon(self._apply_from_thread, idempotent=True)

    @enable_ki_protection
    def close(self) -> None:
        """End the value in good order (V9); see :meth:`Value.close`.

        Raises:
            RuntimeError: if it is called in another thread than the value's.

        Checkpoints:
            Never.
        """
        if get_ident() != self._thread:
            self._move_to_this_thread("close")
        if self._is_open:
            self._is_open = False
            self._queue.notify()

    @enable_ki_protection
    def fail(self, error: BaseException) -> None:
        """End the value because of an error (V9); see :meth:`Value.fail`.

        Raises:
            ClosedResourceError: if the value has ended already.
            RuntimeError: if it is called in another thread than the value's.
            TypeError: if ``error`` is not an exception.

        Checkpoints:
            Never.
        """
        check_error(error)
        self._check_open("fail")
        self._error = error
        self.close()

    def watch(self) -> Watcher[T]:
        """Return a new watcher, which has seen nothing.

        Checkpoints:
            Never.
        """
        return MemoryWatcher(self)

    def _watch_through(self, stages: tuple[Stage, ...]) -> Watcher[Any]:
        return SourceWatcher(self, stages, self._previous)

    def _open_source(self) -> Source[T]:
        return self

    def _evaluate_now(self) -> T | Unset:
        return self._data

    @property
    def version(self) -> int:
        """The newest version; 0 if there is no data yet."""
        return self._version

    def _with_deferred(self) -> tuple[T | Unset, int]:
        """Return the newest data and version, with what is yet to be set in this very step."""
        if self._deferred:
            return self._deferred[-1], self._version + len(self._deferred)
        return self._data, self._version

    def _update(self, value: T) -> int:
        """Set the value, if ``eq`` is not to be asked.

        A set by a callback of a set is deferred: all callbacks see the first set before the
        second (V19).
        """
        if self._queue.notifying or self._deferred:
            if self._deferred is None:
                self._deferred = deque()
            self._deferred.append(value)
            self._queue.deferred = self._set_deferred
            return self._version + len(self._deferred)
        version = self._advance(value)
        if self._deferred:
            self._set_deferred()
        return version

    @enable_ki_protection
    def _set_deferred(self) -> None:
        """Set what callbacks of a set have set, one after the other."""
        self._queue.deferred = None
        while self._deferred:
            self._advance(self._deferred.popleft())

    @enable_ki_protection
    def _advance(self, value: T) -> int:
        self._data = value
        self._previous = self._version
        self._version = version = self._version + 1
        self._queue.notify()
        return version

    def _apply_from_thread(self) -> None:
        """Set what other threads have set. It runs in Trio's queue, and so must not raise."""
        if not self._from_thread:
            return  # an earlier entry has set it
        if self._token is not current_trio_token() and self._is_in_use():
            return  # another run uses the value now, and has been asked to set this
        self._bind_to_run()
        value = self._from_thread.popleft()
        if not self._is_open:
            return
        try:
            self.set(value)
        except BaseException:
            # No caller can catch it, and it would end the run, whatever it is; an update too many
            # is better than one too few.
            _logger.exception("eq of %r failed: the value was set all the same", self)
            self._update(value)

    def _is_in_use(self) -> bool:
        """Return whether the value belongs to a run that goes on; if so, ask that to set it."""
        if self._token is None:
            return False
        try:
            self._token.run_sync_soon(self._apply_from_thread, idempotent=True)
        except trio.RunFinishedError:
            return False
        return True

    def _check_open(self, method: str) -> None:
        """Raise unless ``method`` may change the value here and now."""
        if get_ident() != self._thread:
            self._move_to_this_thread(method)
        if not self._is_open:
            self._refuse(method)

    def _refuse(self, method: str) -> NoReturn:
        msg = f"{method}() was called on {self!r}, which has ended: make a new value"
        raise trio.ClosedResourceError(msg)

"""Values kept in memory.

A value is its newest data, a version that counts the sets, and a queue of the tasks that
wait for the next. It does not know its watchers: each of them compares
versions when it runs. So ``set`` costs the same with no watcher and with a hundred
thousand, a watcher needs no closing, and what a watcher returns is newest when it
runs, not when it was woken.
"""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections import deque
from threading import RLock, get_ident
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar, final

import attrs
import trio
from trio.lowlevel import enable_ki_protection

from .._arguments import (
    check_error,
    check_function,
    check_token,
    check_version,
    refuse_unset,
    shown,
)
from .._runs import NO_RUN, token_of_this_thread
from .._steps import current_block, make_step
from .._unset import UNSET, Unset, UnsetError
from .._value import Value
from ._readable import Readable

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._waiting import WaitQueue

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
class MemoryValue(Readable[T], Value[T]):
    """A value in memory, for the tasks of one Trio run.

    It belongs to the first Trio run that uses it, until that run is over; then to the next. Before,
    it belongs to the thread that made it. Changes and waits are for that run; reading is free for
    every thread, and :meth:`set_from_thread` is for all of them (V11). Values are handed out by
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

    __slots__ = ("__weakref__", "_deferred", "_eq", "_from_thread", "_suppressed")

    def __init__(
        self, initial: T | Unset = UNSET, *, eq: Callable[[T, T], bool] | None = None
    ) -> None:
        """Make a value; see the class."""
        if eq is not None:
            check_function("MemoryValue", "eq", eq)
        super().__init__(initial)
        self._eq = eq
        self._suppressed = 0
        # What was set in the middle of a step, to be set after it.
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
        queue = self._queue
        if get_ident() != queue.run.thread:
            self._check_here("set")
        if not self._is_open:
            self._refuse("set")
        if value is UNSET:
            refuse_unset("set", self)
        if self._eq is not None and self._is_equal(value, "set"):
            self._suppressed += 1
            return self._with_deferred()[1]
        if queue._callbacks or queue.is_calling or self._deferred:
            return self._update(value)
        # What _update() does if there is no callback to call.
        self._data = value
        self._previous = version = self._version
        self._version = version = version + 1
        if queue._waiting:
            queue.wake()
        return version

    def update(self, function: Callable[[T], T]) -> int:
        """Set what ``function`` makes of the present value (V19).

        Args:
            function: Gets the present value, and returns the new one.

        Returns:
            The new version, as :meth:`set` does.

        Raises:
            UnsetError: if there is no data.
            RuntimeError: if the function itself has set the value: what it has made of the value
                before would replace that.
            Exception: whatever ``function`` raises, or :meth:`set`; nothing is changed then.

        Checkpoints:
            Never.

        Example::

            counter.update(lambda number: number + 1)
        """
        check_function("update", "function", function)
        self._check_open("update")
        newest, version = self._with_deferred()
        if isinstance(newest, Unset):
            msg = f"update() was called on {shown(self)}, which has no data: set() it before"
            raise UnsetError(msg)
        value = function(newest)
        if value is UNSET:
            refuse_unset("update", self)
        is_equal = self._eq is not None and self._is_equal(value, "update")
        if self._with_deferred()[1] != version:
            msg = (
                f"update() of {shown(self)} would undo a set that its own function, or eq, has "
                "made meanwhile: let the function only return the new value"
            )
            raise RuntimeError(msg)
        self._check_open("update")
        if is_equal:
            self._suppressed += 1
            return version
        return self._update(value)

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
            trio_token: The Trio run to do it in. By default it is the value's, and if none has
                used the value yet, or that is over, the one that started this thread.

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
        run = self._queue.run
        if trio_token is not None and run.token not in {None, trio_token}:
            msg = (
                f"trio_token is of another Trio run than the one that {shown(self)} belongs to: "
                "call set_from_thread() without it"
            )
            raise RuntimeError(msg)
        token = trio_token or run.token or self._token_to_begin()
        with _handing_over:
            if self._from_thread is None:
                self._from_thread = deque(maxlen=1)
            self._from_thread.append(value)
            try:
                token.run_sync_soon(self._apply_from_thread, idempotent=True)
            except trio.RunFinishedError:
                self._from_thread.clear()  # nobody will come for it
                raise

    def _token_to_begin(self) -> trio.lowlevel.TrioToken:
        """Return the run that is to have the value, which no run has, by the calling thread."""
        token = token_of_this_thread()
        if token is not None:
            return token
        if self._queue.run is not NO_RUN:
            msg = f"the Trio run that {shown(self)} belonged to is over, and no other one is known"
            raise trio.RunFinishedError(msg)
        msg = (
            f"set_from_thread() does not know which Trio run {shown(self)} belongs to: "
            "pass trio_token=, from trio.lowlevel.current_trio_token()"
        )
        raise RuntimeError(msg)

    @enable_ki_protection
    def close(self) -> None:
        """End the value in good order (V9); see :meth:`Value.close`.

        Raises:
            RuntimeError: if it is called in another thread than the value's.

        Checkpoints:
            Never.
        """
        if get_ident() != self._queue.run.thread:
            self._check_here("close")
        if self._is_open:
            self._is_open = False
            self._queue.notify_here()

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
        self._is_open = False
        self._queue.notify_here()

    def _with_deferred(self) -> tuple[T | Unset, int]:
        """Return the newest data and version, with what is yet to be set in this very step."""
        if self._deferred:
            return self._deferred[-1], self._version + len(self._deferred)
        return self._data, self._version

    def _is_equal(self, value: T, method: str) -> bool:
        """Return whether ``eq`` finds a new value equal to the newest one."""
        assert self._eq is not None
        newest, version = self._with_deferred()
        if isinstance(newest, Unset):
            return False
        is_equal = bool(self._eq(newest, value))
        self._check_open(method)
        # What eq itself has set may be another one.
        return is_equal and self._with_deferred()[1] == version

    @enable_ki_protection
    def _update(self, value: T) -> int:
        """Make a step of a set; in the middle of another step, after that (V19)."""
        queue = self._queue
        run = queue.run
        block = current_block() if run.is_calling else None
        if block is None and not queue.is_calling and not self._deferred:
            version = self._advance(value)
            queue.notify_here()
            return version
        if self._deferred is None:
            self._deferred = deque()
        self._deferred.append(value)
        version = self._version + len(self._deferred)
        if block is not None:
            block.defer(run, self._set_deferred)
        elif run.is_calling:
            make_step(run, (self._set_deferred,), ())
        else:  # what waits is of a block that was abandoned: this must not wait for it
            make_step(run, (self._set_deferred,) * len(self._deferred), ())
        return version

    def _set_deferred(self) -> WaitQueue:
        """Set the oldest of what waits for the end of another step, if it is not set already."""
        if self._deferred:
            self._advance(self._deferred.popleft())
            if self._queue._waiting:
                self._queue.wake()
        return self._queue

    def _advance(self, value: T) -> int:
        self._data = value
        self._previous = self._version
        self._version += 1
        return self._version

    @enable_ki_protection
    def _apply_from_thread(self) -> None:
        """Set what other threads have set. It runs in Trio's queue, and so must not raise."""
        if self._queue.use() is NO_RUN:
            # Another run has begun to use the value meanwhile: it is to set this.
            self._queue.run.call_soon(self._apply_from_thread)
            return
        with _handing_over:
            if not self._from_thread:
                return  # an earlier entry has set it
            value = self._from_thread.popleft()
        if not self._is_open:
            return
        try:
            self.set(value)
        except BaseException as error:  # noqa: BLE001  it is logged
            # No caller can catch it, and it would end the run, whatever it is; an update too many
            # is better than one too few.
            if self._is_open:  # else it is eq that has ended it
                self._update(value)
            self._report_failed_eq(error)

    def _report_failed_eq(self, error: BaseException) -> None:
        text = "eq of %s failed: the value was set all the same"
        try:
            _logger.error(text, shown(self), exc_info=error)
        except BaseException:  # noqa: BLE001  handlers are users' code as well
            with contextlib.suppress(BaseException):
                traceback.print_exc()  # of both

    def _check_here(self, method: str) -> None:
        """Raise unless the value may be changed by the caller, wherever that is."""
        if not self._is_here():
            msg = (
                f"{method}() was called in another thread than the one that {shown(self)} belongs "
                "to: call set_from_thread() there"
            )
            raise RuntimeError(msg)

    def _check_open(self, method: str) -> None:
        """Raise unless ``method`` may change the value here and now."""
        if get_ident() != self._queue.run.thread:
            self._check_here(method)
        if not self._is_open:
            self._refuse(method)

    def _refuse(self, method: str) -> NoReturn:
        msg = f"{method}() was called on {shown(self)}, which has ended: make a new value"
        raise trio.ClosedResourceError(msg)


# A thread puts a value down and asks a run to take it, as one action. It may be interrupted by a
# signal handler that does the same.
_handing_over: Final = RLock()

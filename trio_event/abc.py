"""What a storage outside of this package has to write.

A value in memory is a :class:`MemoryValue`. A value whose data come from somewhere else, or are
made only when they are read, is a subclass of :class:`StoredValue`. It says four things: its
version, its data, its end, and in which :class:`WaitQueue` tasks wait for it. All that is promised
of values and watchers follows from these: it can be watched, selected, followed, piped, derived
from and composed like any other.

Example::

    import trio
    from trio_event.abc import StoredValue, WaitQueue

    class Temperature(StoredValue[float]):  # what a sensor has measured last
        def __init__(self) -> None:
            self._queue = WaitQueue()
            self._version = 0
            self._line = b""
            self._closed = False

        def receive_line(self, line: bytes) -> None:
            self._line = line
            self._version += 1
            self._queue.notify()

        def close(self) -> None:
            self._closed = True
            self._queue.notify()

        @property
        def version(self) -> int:
            return self._version

        @property
        def wait_queue(self) -> WaitQueue:
            return self._queue

        def read(self) -> float:
            return float(self._line)

        def end(self) -> Exception | None:
            return trio.EndOfChannel() if self._closed else None

    async def main() -> None:
        temperature = Temperature()
        temperature.receive_line(b"21.5")
        print(await temperature.map(round).watch().get())

    trio.run(main)
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar, final

from ._graph import Source
from ._value import ValueWatch
from ._waiting import WaitQueue
from ._watcher import OWN_ERRORS, SourceWatcher, Watchable, error_of_user

if TYPE_CHECKING:
    from collections.abc import Collection

    from ._graph import Stage
    from ._watcher import Watcher

T_co = TypeVar("T_co", covariant=True)

__all__ = ("StoredValue", "WaitQueue", "Watchable")


class StoredValue(ValueWatch[T_co]):
    """A value whose storage is written by the subclass.

    All of it belongs to the thread of one Trio run. A storage that learns of changes in another
    thread hands them over, with :func:`trio.from_thread.run_sync` or
    :meth:`trio.lowlevel.TrioToken.run_sync_soon`. If this process sets the value, derive from
    :class:`Value` as well.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def version(self) -> int:
        """The newest version; 0 if there is no data yet.

        It grows with each update, by 1 if none was left out, and never falls.
        """

    @property
    @abstractmethod
    def wait_queue(self) -> WaitQueue:
        """The queue of the tasks that wait for this value; it is always the same one.

        The storage calls :meth:`WaitQueue.notify` after each change of :attr:`version`, and after
        the end.
        """

    @abstractmethod
    def read(self) -> T_co:
        """Return the newest data. It is called only where there is a version.

        It may be called any number of times for one version, also in the middle of ``notify()``.
        What it raises is raised in the ``get`` that would have returned the data; nothing is
        seen then.

        Checkpoints:
            Never.
        """

    @abstractmethod
    def end(self) -> Exception | None:
        """Return what a ``get`` that has seen all is to raise; None while there may be more.

        It is a new object each time: :exc:`trio.EndOfChannel` if the value was closed,
        :exc:`trio.BrokenResourceError`, with the error as its ``__cause__``, if it has failed.

        Checkpoints:
            Never.
        """

    def watch(self) -> Watcher[T_co]:
        """Return a new watcher, which has seen nothing.

        Checkpoints:
            Never.
        """
        return self._watch_through(())

    def _watch_through(self, stages: tuple[Stage, ...]) -> Watcher[Any]:
        # A watcher that is new has not missed what came before it, but for the newest.
        return SourceWatcher(_Storage(self), stages, max(self.version - 1, 0))

    def _open_source(self) -> Source[T_co]:
        return _Storage(self)


@final
class _Storage(Source[T_co]):
    """A stored value as a source.

    It is an object of its own, so that a storage may call its attributes what it likes.
    """

    __slots__ = ("_value",)

    def __init__(self, value: StoredValue[T_co]) -> None:
        self._value = value

    @property
    def _version(self) -> int:
        return self._value.version

    def _read(self) -> T_co:
        try:
            return self._value.read()
        except OWN_ERRORS as error:
            raise error_of_user(f"read() of {type(self._value).__name__}", error) from error

    def _end(self) -> Exception | None:
        return self._value.end()

    def _queues(self) -> Collection[WaitQueue]:
        return (self._value.wait_queue,)

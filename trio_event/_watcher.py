"""How a value is watched, whatever it is.

All ways to consume a value look, wait until there is reason to look again, and look again. A
*look* (:meth:`Watcher._look`) takes the newest unseen data, or says when to look again. A *glance*
(:meth:`Watcher._glance`) says whether there is something to look at; it computes next to nothing,
so it may come before the checkpoint. The wait is :meth:`Watcher._wait`.

A look does not walk through a chain of derived values: :class:`SourceWatcher` reads one source,
and passes the data through the stages of the chain in one loop. What the stages remember is
replaced when all of them, and the predicate, have accepted the data. So the stages agree on what
is seen, and to ask a watcher something is to look with a copy of it.
"""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeGuard, TypeVar, final, overload

import attrs
import trio
from trio.lowlevel import checkpoint, enable_ki_protection

from ._arguments import check_function, shown
from ._graph import GONE, NOTHING, SEEN, Later, Node, Source, Stage, TimedStage, apply_all
from ._runs import NO_RUN, Run
from ._unset import UNSET, Unset
from ._waiting import Waiter, wait

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from types import TracebackType

    from typing_extensions import TypeIs

    from ._waiting import WaitQueue

T = TypeVar("T")
U = TypeVar("U")
T_co = TypeVar("T_co", covariant=True)


@final
class BacklogDone(Exception):  # noqa: N818  it is an answer, like StopIteration, and no error
    """A ``get(backlog_only=True)`` has nothing more to give (V10)."""


# What a watcher raises to say something of itself.
OWN_ERRORS: Final = (
    BacklogDone,
    StopAsyncIteration,
    StopIteration,
    trio.BrokenResourceError,
    trio.BusyResourceError,
    trio.Cancelled,
    trio.ClosedResourceError,
    trio.EndOfChannel,
    trio.WouldBlock,
)


def error_of_user(what: str, error: BaseException) -> RuntimeError:
    """Make what leaves in place of one of :data:`OWN_ERRORS` that the user's code has raised (V6).

    Otherwise a function that looks at another watcher, which has ended, would end a ``follow`` of
    this one. Python does the same with a ``StopIteration`` that leaves a generator's body.
    """
    return RuntimeError(
        f"{what} raised {type(error).__name__}, which would be taken for the watcher's own: "
        "catch it there"
    )


def accepts(predicate: Callable[[T], bool], data: T, what: str = "the predicate") -> bool:
    """Return whether a predicate of the user's accepts the data."""
    try:
        answer: object = predicate(data)
        if answer is True or answer is False:
            return answer
        if inspect.iscoroutine(answer):
            answer.close()
            msg = f"{what} is async, and nothing would await it: pass a function that answers"
            raise TypeError(msg)
        return bool(answer)  # which is code of the user's as well
    except OWN_ERRORS as error:
        raise error_of_user(what, error) from error


@final
@attrs.frozen
class Update(Generic[T_co]):
    """A value together with its place among the others; see :meth:`Watcher.get_update`."""

    value: T_co
    version: int
    missed: int
    """How many versions this watcher skipped between the last one it returned and this."""
    previous: T_co | Unset
    """What this watcher returned before, by any method; :data:`UNSET` the first time.

    A watcher keeps that from its first ``get_update`` on, until then it is not known.
    """


@final
@attrs.frozen
class Backlog:
    """What was known at the first call of a ``get(backlog_only=True)`` (V10)."""

    version: int
    """The newest version then; 0 if there was no data."""
    parts: tuple[Backlog, ...] = ()
    """The backlogs of the parts of composed values that let time pass, and are counted apart."""


NOT_KEPT: Final = object()
"""Stands for what a watcher has returned and does not keep."""


@final
@attrs.define(eq=False)
class Memo:
    """What a watcher remembers between two calls, if it is more than its run."""

    run: Run
    backlog: Backlog | None = None
    """The backlog that is being read, if one is."""
    previous: object = NOT_KEPT
    """What was returned last, of a watcher that is asked for updates."""

    @property
    def thread(self) -> int | None:
        """As that of the run."""
        return self.run.thread


def remember(home: Run | Memo, returned: object) -> None:
    """Remember what a watcher returns now, if it is asked for that."""
    if isinstance(home, Memo) and home.previous is not NOT_KEPT:
        home.previous = returned


@enable_ki_protection
def idle(home: Run | Memo, backlog: Backlog | None) -> Run | Memo:
    """Return the state of a watcher that is no longer in use."""
    if isinstance(home, Run):
        return home if backlog is None else Memo(home, backlog)
    home.backlog = backlog
    return home.run if backlog is None and home.previous is NOT_KEPT else home


class Watcher(trio.abc.ReceiveChannel[T_co]):
    """Follows a value, for one consumer.

    It is a :class:`trio.abc.ReceiveChannel` (V12): whatever consumes a memory channel consumes a
    watcher, ``async for`` included. A watcher is for one task at a time.

    A watcher remembers which version it returned last. Its first ``get`` returns the current
    value; a later one waits for a newer version, and versions in between may be skipped (V3).

    Example::

        with lease.watch() as watcher:
            async for current in watcher:
                print(current)
    """

    __slots__ = ("__weakref__", "_seen", "_state")

    def __init__(self, seen: int) -> None:
        """Make a watcher that has seen the versions up to ``seen``."""
        # The version that was returned last.
        self._seen = seen
        # What the task that uses the watcher waits with, or BUSY, or CLOSED. If none uses it: the
        # run that has used it last, in a Memo if there is more to remember. That is NO_RUN if the
        # calling run has not what is watched, or there is none: then it can be closed anywhere.
        self._state: Waiter | Run | Memo = NO_RUN

    def __repr__(self) -> str:
        """Show what the watcher is doing."""
        if self._state is CLOSED:
            return f"<{type(self).__name__} closed>"
        use = " in use," if isinstance(self._state, Waiter) else ""
        return f"<{type(self).__name__}{use} {self.lag} behind version {self._version()}>"

    # What a kind of watcher says of what it looks at. None of these waits.

    @abstractmethod
    def _version(self) -> int:
        """Return the newest version; 0 if there is no data."""

    @abstractmethod
    def _glance(self) -> Later | None:
        """Return when to look; None if there is something to look at now, or the end."""

    @abstractmethod
    def _look(self, predicate: Callable[[T_co], bool] | None) -> T_co | Later:
        """Return the newest value and record that it is seen, if it is unseen and satisfies."""

    @abstractmethod
    def _peek(self) -> T_co | Unset:
        """Return the newest value, whatever is seen, and whatever the time.

        It is called only where there is a version.
        """

    @abstractmethod
    def _end(self) -> Exception | None:
        """Return a new exception to raise when all is seen, if the value has ended."""

    @abstractmethod
    def _queues(self) -> Collection[WaitQueue]:
        """Return the queues that each set, and the end, notifies."""

    @abstractmethod
    def _through(self, stages: tuple[Stage, ...]) -> Watcher[Any]:
        """Return a watcher that looks at the same through more stages."""

    @abstractmethod
    def _forget(self) -> None:
        """Let go of what is watched, because the watcher is closed (V8)."""

    def _use(self) -> Run:
        """Let the calling run have what is watched, unless another one has it; return it if so."""
        here = get_ident()
        # What use() does where the run has the queue already, as it mostly has.
        runs = [queue.run if queue.run.thread == here else queue.use() for queue in self._queues()]
        return next((run for run in runs if run is not NO_RUN), NO_RUN)

    def _is_elsewhere(self) -> bool:
        """Return whether another run than the caller's has some of what is watched."""
        return any(queue.is_elsewhere() for queue in self._queues())

    @property
    def _is_timed(self) -> bool:
        """Whether time has to pass before some data are taken."""
        return False

    @property
    def _is_incremental(self) -> bool:
        """Whether what is returned is the difference to what was returned before."""
        return False

    def _position(self) -> int:
        """Return the version up to which all is seen."""
        return self._seen

    def _epoch(self) -> int:
        """Return a number that grows with each set of a value that this one is made of."""
        return self._version()

    def _backlog(self) -> Backlog:
        """Return the backlog that begins now."""
        return Backlog(self._version())

    def _has_read(self, backlog: Backlog) -> bool:
        """Return whether all of a backlog is seen."""
        return self._position() >= backlog.version

    def _awaits(self, later: Later, backlog: Backlog) -> bool:  # noqa: ARG002  for compositions
        """Return whether ``later``, which a look has returned, is about something of a backlog."""
        return later.pending

    def _copy(self) -> Self:
        """Return a watcher to ask something of, whose looks change nothing in this one."""
        return self

    @property
    def changed(self) -> bool:
        """Whether there is a value that :meth:`get_nowait` would return (V15).

        Nothing is changed by asking, in whatever chain or composition. What a function of a derived
        value raises is raised here.
        """
        if self._state is CLOSED:
            return False
        found = False

        def notice(_: object) -> bool:
            nonlocal found
            found = True
            return False

        self._copy()._look(notice)
        return found

    @property
    def lag(self) -> int:
        """How many versions this watcher is behind, of its own and its sources' (V15)."""
        return max(self._version() - self._position(), 0)

    # The plain one comes first: it is meant where the method itself is handed over.
    @overload
    async def get(self, *, predicate: None = None, backlog_only: bool = False) -> T_co: ...

    @overload
    async def get(
        self, *, predicate: Callable[[T_co], TypeIs[U]], backlog_only: bool = False
    ) -> U: ...

    @overload
    async def get(
        self, *, predicate: Callable[[T_co], TypeGuard[U]], backlog_only: bool = False
    ) -> U: ...

    @overload
    async def get(
        self, *, predicate: Callable[[T_co], bool] | None, backlog_only: bool = False
    ) -> T_co: ...

    async def get(
        self, *, predicate: Callable[[T_co], bool] | None = None, backlog_only: bool = False
    ) -> Any:
        """Return the newest value that this watcher has not seen; wait if there is none (V3).

        It is the value that is newest when the task runs (V4). If two sets follow
        each other before it does, it gets the second, once.

        Args:
            predicate: Return only a value for which this is true. One that is
                rejected is not seen: a later ``get`` without the predicate returns it (V6). May be
                a type guard: then what is returned has the type that it guards.
            backlog_only: Don't wait for more than was there at the first call with
                this argument, and raise :exc:`BacklogDone` after it. A call without it, or the
                exception, ends the backlog; the next call with it begins another (V10).

        Returns:
            The value, which is now seen.

        Raises:
            BusyResourceError: if another task is using the watcher.
            ClosedResourceError: if the watcher is closed, or is closed meanwhile.
            EndOfChannel: if the value was closed and its last value is seen or rejected (V9).
            BrokenResourceError: likewise, if the value has failed; from its error.
            BacklogDone: if the backlog is read.
            Exception: whatever the predicate raises; nothing is seen then. What could be taken for
                one of the above, or for a cancellation, is the cause of a :exc:`RuntimeError`.

        Checkpoints:
            Always, before anything is taken (V5).

        Cancellation:
            Nothing is seen; the watcher works on.

        Example::

            big = await watcher.get(predicate=lambda size: size > 1000)
        """
        if predicate is not None:
            check_function("get", "predicate", predicate)
        backlog = None
        home = self._claim(BUSY)
        try:
            epoch = self._epoch()
            later = None
            if backlog_only:
                backlog = (isinstance(home, Memo) and home.backlog) or self._backlog()
            else:
                later = self._glance()
            await self._wait(later, epoch)
            while True:
                if self._state is CLOSED:
                    raise closed_meanwhile()
                if backlog is not None and self._has_read(backlog):
                    backlog = None
                    raise BacklogDone
                epoch = self._epoch()
                found = self._look(predicate)
                if not isinstance(found, Later):
                    remember(home, found)
                    return found
                if backlog is not None and not self._awaits(found, backlog):
                    if self._state is CLOSED:
                        raise closed_meanwhile()
                    backlog = None
                    raise BacklogDone
                # What the predicate has set or closed comes before the end.
                end = None if self._changed_since(epoch) else self._end()
                if end is not None:
                    raise end
                await self._wait(found, epoch)
        finally:
            if self._state is not CLOSED:
                self._state = idle(home, backlog)

    async def get_update(self, *, predicate: Callable[[T_co], bool] | None = None) -> Update[T_co]:
        """Return the newest value that this watcher has not seen, with its version (V15).

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
        if predicate is not None:
            check_function("get_update", "predicate", predicate)
        before, state = self._seen, self._state
        previous: Any = state.previous if isinstance(state, Memo) else NOT_KEPT
        value = await self.get(predicate=predicate)
        state = self._state
        if isinstance(state, Run):
            self._state = Memo(state, previous=value)
        elif isinstance(state, Memo):
            state.previous = value
        missed = self._seen - before - 1
        return Update(value, self._seen, missed, UNSET if previous is NOT_KEPT else previous)

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
        home = self._claim(BUSY)
        try:
            found = self._look(None)
            if isinstance(found, Later):
                raise self._end() or trio.WouldBlock
            remember(home, found)
            return found
        finally:
            if self._state is not CLOSED:
                self._state = idle(home, None)

    async def receive(self) -> T_co:
        """Return the newest value that this watcher has not seen, as :meth:`get` does (V12).

        Checkpoints:
            Always.

        Cancellation:
            Nothing is seen; the watcher works on.
        """
        return await self.get()

    @enable_ki_protection
    def close(self) -> None:
        """Stop watching (V7). A ``get`` that waits raises :exc:`trio.ClosedResourceError`.

        To close again does nothing.

        Raises:
            RuntimeError: if it is called in another thread than that of the Trio run that uses the
                watcher, and has not ended; nothing is touched then.

        Checkpoints:
            Never.
        """
        state = self._state
        if state is CLOSED:
            return
        if state.thread != get_ident():
            self._check_close()
        self._state = CLOSED
        self._forget()
        if isinstance(state, Waiter):
            state.wake()

    def _check_close(self) -> None:
        """Raise if the run that uses the watcher is another one than the caller's."""
        state = self._state
        if self._is_elsewhere() if isinstance(state, Waiter) else state.thread is not None:
            msg = (
                "close() was called in another thread than that of the Trio run that uses this "
                "watcher: call it there, by trio.from_thread.run_sync()"
            )
            raise RuntimeError(msg)

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

    def _claim(self, waiter: Waiter) -> Run | Memo:
        """Take the watcher for the calling task, which will wait with ``waiter`` (V7).

        Returns:
            The calling run, or what else the watcher remembers; to be put back.
        """
        state = self._state
        if state.thread != get_ident():
            if isinstance(state, Waiter):
                if state is CLOSED:
                    msg = "this watcher is closed: get another one with watch()"
                    raise trio.ClosedResourceError(msg)
                msg = "another task is using this watcher: give each task a watcher of its own"
                raise trio.BusyResourceError(msg)
            run = self._use()
            if isinstance(state, Memo):
                state.run = run
            else:
                state = run
        self._state = waiter
        return state

    def _changed_since(self, epoch: int) -> bool:
        """Return whether the look that began at ``epoch`` has itself set or closed something.

        A predicate or a function may do that, while the task is in no queue.
        """
        return self._state is CLOSED or self._epoch() != epoch

    def _wait(self, later: Later | None, epoch: int) -> Awaitable[None]:
        """Wait until there is reason to look again after the look that began at ``epoch``.

        There is reason when a queue is notified, and when the time has come that the look found;
        and at once if the look found something, or has itself set or closed something.
        """
        if later is None or self._changed_since(epoch):
            return checkpoint()  # noqa: ASYNC105  the caller awaits it
        self._state = waiter = Waiter()
        return wait(self._queues(), waiter, later.until)


# Waiters that no task waits with: they say what a watcher is doing.
BUSY: Final = Waiter()
CLOSED: Final = Waiter()


def closed_meanwhile() -> trio.ClosedResourceError:
    """Make the error of a wait whose watcher was closed."""
    return trio.ClosedResourceError("this watcher was closed while a task was waiting for it")


class SourceWatcher(Watcher[T_co]):
    """Watches any source, through the stages of a chain of derived values (V4).

    What a stage or the predicate rejects is seen by none of the stages (V6, V17). What is no news
    to a stage is seen by those before it, and by the watcher.
    """

    __slots__ = ("_looked", "_source", "_stages", "_states", "_timed")

    def __init__(self, source: Source[Any], stages: tuple[Stage, ...], seen: int) -> None:
        """Make a watcher that has seen the versions of ``source`` up to ``seen``."""
        super().__init__(seen)
        self._source = source
        self._state = self._use()
        self._stages = stages
        # The version up to which all is seen; that of what was returned last may be older.
        self._looked = seen
        # What each stage remembers, and those that let time pass, with their places.
        self._states = [stage.initial for stage in stages]
        self._timed = tuple(
            [(index, at) for index, at in enumerate(stages) if isinstance(at, TimedStage)]
        )

    @property
    def _is_timed(self) -> bool:
        """Whether time has to pass before some data are taken."""
        return bool(self._timed)

    @property
    def _is_incremental(self) -> bool:
        """Whether what is returned is the difference to what was returned before."""
        return self._source._is_incremental

    def _version(self) -> int:
        return self._source._version

    def _position(self) -> int:
        return self._looked

    def _epoch(self) -> int:
        return self._source._version

    def _glance(self) -> Later | None:
        source = self._source
        if source._version > self._looked:
            return self._pending() if self._timed else None
        return NOTHING if source._end() is None else None

    def _look(self, predicate: Callable[[T_co], bool] | None) -> T_co | Later:
        source = self._source
        version = source._version
        if version <= self._looked:
            return NOTHING
        if self._timed and (later := self._pending()) is not None:
            return later
        commit = None
        if source._is_incremental:
            data, commit = source._take()
        else:
            data = source._read()
        states = self._states
        if states:
            states = states.copy()
            for index, stage in enumerate(self._stages):
                if data is UNSET or data is SEEN:
                    break
                data = stage.take(data, states, index)
        if data is UNSET:
            return NOTHING
        if data is not SEEN and predicate is not None and not accepts(predicate, data):
            return NOTHING
        # Of SEEN, the stages before the one that says so remember it; the others, as before.
        self._looked = version
        if self._state is not CLOSED:  # a closed one remembers nothing
            self._states = states
        if commit is not None:
            commit(version)
        if data is SEEN:
            return NOTHING
        self._seen = version
        return data  # type: ignore[no-any-return]  # the methods that make a chain type it

    def _pending(self) -> Later | None:
        """Return when what is unseen may be taken; None if it may be now.

        Each stage that lets time pass has a condition, and all have to be met. When the source
        has ended, nothing is worth waiting for.
        """
        if self._source._end() is not None:
            return None
        until = math.inf
        for index, stage in self._timed:
            due = stage.due(self._states, index, self._news)
            if trio.current_time() < due < until:
                until = due
        return None if until == math.inf else Later(until, pending=True)

    def _news(self, end: int) -> int:
        """Return which version was the last to bring something new to the stage at ``end``."""
        news = self._source._version
        for index in range(end):
            news = self._stages[index].news(news, self._states, index, self._given)
        return news

    def _given(self, end: int) -> Any:  # noqa: ANN401  as Stage.apply()
        """Return what the stage at ``end`` is given."""
        return apply_all(self._stages[:end], self._source._read())

    def _peek(self) -> T_co | Unset:
        return apply_all(self._stages, self._source._whole())  # type: ignore[no-any-return]  # as above

    def _end(self) -> Exception | None:
        return self._source._end()

    def _queues(self) -> Collection[WaitQueue]:
        return self._source._queues()

    def _through(self, stages: tuple[Stage, ...]) -> Watcher[Any]:
        return SourceWatcher(self._source, self._stages + stages, self._seen)

    def _forget(self) -> None:
        """Let go of the source and the stages (V8)."""
        self._source, self._stages, self._states, self._timed = GONE, (), [], ()

    def _copy(self) -> Self:
        copy = type(self).__new__(type(self))
        copy._state = self._state
        copy._source, copy._stages, copy._timed = self._source._copy(), self._stages, self._timed
        copy._seen, copy._looked = self._seen, self._looked
        copy._states = self._states.copy()
        return copy


class Watchable(Node[T_co]):
    """What can be watched: all that ``follow`` and ``pipe`` ask of a value."""

    __slots__ = ()

    @abstractmethod
    def watch(self) -> Watcher[T_co]:
        """Return a new watcher, which has seen nothing.

        It costs nothing to anyone until it waits, and may be dropped without being
        closed (V8).

        Checkpoints:
            Never.
        """

    def _watch_through(self, stages: tuple[Stage, ...]) -> Watcher[Any]:
        """Return a new watcher that looks through some stages."""
        return self.watch()._through(stages)

    def _open_source(self) -> Source[T_co]:
        return _Opened(self.watch())


def check_value(argument: str, value: object, *, remedy: str = "") -> None:
    """Raise unless what was given for ``argument`` can be watched."""
    if isinstance(value, Watchable):
        return
    if isinstance(value, Watcher):
        remedy = "pass the value that it watches"
    msg = f"{argument}={shown(value)} is not a value: {remedy or 'pass a MemoryValue or the like'}"
    raise TypeError(msg)


@final
class _Opened(Source[T_co]):
    """A value that tells nothing but how it is watched, as a source.

    Nothing is taken from its watcher.
    """

    __slots__ = ("_watcher",)

    def __init__(self, watcher: Watcher[T_co]) -> None:
        self._watcher = watcher

    @property
    def _version(self) -> int:
        return self._watcher._version()

    def _read(self) -> T_co | Unset:
        return self._watcher._peek()

    def _end(self) -> Exception | None:
        return self._watcher._end()

    def _queues(self) -> Collection[WaitQueue]:
        return self._watcher._queues()

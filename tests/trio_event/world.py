"""A model of values and watchers, kept beside real ones and compared with them at each step.

The model says what the contract says, and nothing of how it is done: a value is its newest data,
a watcher is what it has seen. A call is judged in the very step in which it ends, when the state
of the model is what the library has found.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, final

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_event import BacklogDone, MemoryValue, Watcher, select

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator


@final
@attrs.frozen
class Datum:
    """What is set: the version, and whether a predicate is to accept it."""

    version: int
    good: bool


def is_good(datum: Datum) -> bool:
    return datum.good


def insist_on_good(datum: Datum) -> bool:
    if not datum.good:
        raise ValueError(datum)
    return True


def itself(datum: Datum) -> Datum:
    return datum


PREDICATES = (None, is_good, insist_on_good)

# What a call may raise that has begun.
ENDS = (
    BacklogDone,
    ValueError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.EndOfChannel,
)


@final
@attrs.define(eq=False)
class Source:
    """A value, how it is watched, and what is true of it."""

    derived: bool
    value: MemoryValue[Datum] = attrs.field(factory=MemoryValue)
    newest: Datum | None = None
    # What its watchers get when they have seen all.
    end: type[Exception] | None = None

    @property
    def version(self) -> int:
        return 0 if self.newest is None else self.newest.version

    def watch(self) -> Watcher[Datum]:
        """Watch it as it is, or by way of a derived value that is always equal."""
        return (self.value.map(itself) if self.derived else self.value).watch()


@final
@attrs.define(eq=False)
class Observer:
    """A watcher, and what is true of it."""

    source: Source
    watcher: Watcher[Datum]
    seen: int = 0
    # The version up to which the backlog reaches that is being read.
    barrier: int | None = None
    closed: bool = False
    busy: bool = False

    @property
    def unseen(self) -> bool:
        return self.source.version > self.seen

    @property
    def obstacle(self) -> type[Exception] | None:
        """What a call that begins now has to raise at once."""
        if self.closed:
            return trio.ClosedResourceError
        return trio.BusyResourceError if self.busy else None


@final
@attrs.define(eq=False)
class Wait:
    """A call under way: a get of one watcher, or a select of several."""

    observers: list[Observer]
    predicate: Callable[[Datum], bool] | None = None
    backlog: bool = False
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    def has(self, observer: Observer) -> bool:
        """Whether there is an unseen value that the call has to end with, of this watcher."""
        newest = observer.source.newest
        return (
            observer.unseen
            and not (newest and not newest.good and self.predicate is is_good)
            and not (self.backlog and observer.seen >= (observer.barrier or 0))
        )

    @property
    def may_go_on(self) -> bool:
        """Whether nothing has happened that the call has to end with."""
        return not self.backlog and not any(
            observer.closed or observer.source.end or self.has(observer)
            for observer in self.observers
        )

    def judge_result(self, observer: Observer, datum: Datum) -> None:
        """Check what the call has returned."""
        assert not observer.closed
        assert datum is observer.source.newest, "it is not the newest"
        assert self.has(observer), "it was seen before, or was not to be returned"
        assert datum.good or self.predicate is not insist_on_good
        observer.seen = datum.version

    def judge_error(self, error: Exception) -> None:
        """Check what the call has raised."""
        kind = type(error)
        if kind is trio.ClosedResourceError:
            assert any(observer.closed for observer in self.observers)
            return
        assert not any(observer.closed for observer in self.observers)
        if kind is ValueError:
            (observer,) = self.observers
            assert self.has(observer)
            assert error.args == (observer.source.newest,)
            return
        assert not any(self.has(observer) for observer in self.observers), "it had an update"
        if self.backlog:
            assert kind is BacklogDone
            (observer,) = self.observers
            observer.barrier = None
        else:
            assert kind in {observer.source.end for observer in self.observers}


@final
class World:
    """Values, watchers and calls, with an operation for whatever may happen to them.

    The two numbers that each operation takes choose what it happens to.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        # The watchers of values in memory have a get of their own; all others share one.
        self._sources = [Source(derived=False), Source(derived=True)]
        self._observers: list[Observer] = []
        self._waits: list[Wait] = []

    async def watch(self, which: int, _: int) -> None:
        source = self._sources[which % 2]
        self._observers.append(Observer(source, source.watch()))

    async def set(self, which: int, how: int) -> None:
        source = self._sources[which % 2]
        datum = Datum(source.version + 1, good=how % 2 == 0)
        if source.end is None:
            assert source.value.set(datum) == datum.version
            source.newest = datum
        else:
            with pytest.raises(trio.ClosedResourceError):
                source.value.set(datum)

    async def end(self, which: int, how: int) -> None:
        source = self._sources[which % 2]
        if how % 2:
            source.value.close()
            source.end = source.end or trio.EndOfChannel
        elif source.end is None:
            source.value.fail(OSError())
            source.end = trio.BrokenResourceError
        else:
            with pytest.raises(trio.ClosedResourceError):
                source.value.fail(OSError())

    async def close(self, which: int, _: int) -> None:
        for observer in self._observers[which : which + 1]:
            observer.watcher.close()
            observer.closed = True

    async def get_nowait(self, which: int, _: int) -> None:
        for observer in self._observers[which : which + 1]:
            error = observer.obstacle
            if error is None:
                observer.barrier = None
                error = None if observer.unseen else observer.source.end or trio.WouldBlock
            if error is None:
                assert observer.watcher.get_nowait() is observer.source.newest
                observer.seen = observer.source.version
            else:
                with pytest.raises(error):
                    observer.watcher.get_nowait()

    async def get(self, which: int, how: int) -> None:
        for observer in self._observers[which : which + 1]:
            self._start(Wait([observer], PREDICATES[how % 3]), self._get)

    async def get_backlog(self, which: int, how: int) -> None:
        for observer in self._observers[which : which + 1]:
            self._start(Wait([observer], PREDICATES[how % 3], backlog=True), self._get)

    async def select(self, first: int, step: int) -> None:
        observers = self._observers[first :: step + 1]
        if observers:
            self._start(Wait(observers), self._select)

    async def cancel(self, which: int, _: int) -> None:
        for wait in self._waits[which : which + 1]:
            wait.scope.cancel()

    async def step(self, _: int, __: int) -> None:
        await trio.lowlevel.checkpoint()

    async def rest(self, _: int = 0, __: int = 0) -> None:
        """Let all tasks run until they wait; nobody must wait who has something to return."""
        await wait_all_tasks_blocked()
        assert all(wait.may_go_on for wait in self._waits)
        for source in self._sources:
            waiting = [w for w in self._waits if any(o.source is source for o in w.observers)]
            assert len(source.value._line) == len(waiting)

    async def finish(self) -> None:
        """End all values, after which every call is over, and look at what is left."""
        await self.rest()
        for which in range(2):
            await self.end(which, 1)
        await self.rest()
        assert not self._waits
        for which in range(len(self._observers)):
            await self.get_nowait(which, 0)
            await self.get_nowait(which, 0)
        assert all(observer.closed or not observer.unseen for observer in self._observers)

    def _start(self, wait: Wait, async_fn: Callable[[Wait], Awaitable[object]]) -> None:
        self._waits.append(wait)
        self._nursery.start_soon(async_fn, wait)

    async def _get(self, wait: Wait) -> None:
        (observer,) = wait.observers
        with self._calling(wait):
            datum = await observer.watcher.get(predicate=wait.predicate, backlog_only=wait.backlog)
            wait.judge_result(observer, datum)

    async def _select(self, wait: Wait) -> None:
        with self._calling(wait):
            index, datum = await select(*(observer.watcher for observer in wait.observers))
            wait.judge_result(wait.observers[index], datum)

    @contextlib.contextmanager
    def _calling(self, wait: Wait) -> Iterator[None]:
        """Follow a call from its first step to its last."""
        obstacle = None
        for observer in wait.observers:
            obstacle = observer.obstacle
            if obstacle is not None:
                break
            if not wait.backlog:
                observer.barrier = None
            elif observer.barrier is None:
                observer.barrier = observer.source.version
        with wait.scope:
            if obstacle is None:
                for observer in wait.observers:
                    observer.busy = True
                try:
                    yield
                except ENDS as error:
                    wait.judge_error(error)
                finally:
                    for observer in wait.observers:
                        observer.busy = False
            else:
                with pytest.raises(obstacle):
                    yield
        self._waits.remove(wait)

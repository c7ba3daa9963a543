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

from trio_event import BacklogDone, MemoryValue, ValueWatch, Watcher, atomic, compose, select

from ..contract.subjects import anything, first, same, unlike

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


PREDICATES = (None, is_good, insist_on_good)

# Ways to make of a value one that looks like it.
WAYS: tuple[Callable[[ValueWatch[Datum]], ValueWatch[Datum]], ...] = (
    same,
    same,
    lambda source: source.map(same).filter(anything),
    lambda source: source.throttle(0).distinct(unlike).debounce(0),
    lambda source: compose(source, source.map(same)).map(first),
    lambda source: compose(source.throttle(0)).map(first),
)

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
    """A value, and what is true of it."""

    value: MemoryValue[Datum] = attrs.field(factory=MemoryValue)
    newest: Datum | None = None
    # What its watchers get when they have seen all.
    end: type[Exception] | None = None

    @property
    def version(self) -> int:
        return 0 if self.newest is None else self.newest.version


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
@attrs.define(eq=False)
class Hope:
    """A wait for the first good datum, and which that is, once it is there."""

    source: Source
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    begun: bool = False
    first: Datum | None = None

    def ask(self) -> None:
        newest = self.source.newest
        if self.begun and self.first is None and newest is not None and newest.good:
            self.first = newest

    @property
    def may_go_on(self) -> bool:
        return self.first is None and self.source.end is None

    def judge_error(self, error: Exception) -> None:
        assert self.first is None
        assert type(error) is self.source.end


@final
class World:
    """Values, watchers and calls, with an operation for whatever may happen to them.

    The two numbers that each operation takes choose what it happens to.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._sources = [Source(), Source()]
        self._observers: list[Observer] = []
        self._waits: list[Wait] = []
        self._hopes: list[Hope] = []

    async def watch(self, which: int, how: int) -> None:
        source = self._sources[which % 2]
        self._observers.append(Observer(source, WAYS[how % len(WAYS)](source.value).watch()))

    async def set(self, which: int, how: int) -> None:
        self._set(which, how)
        self._ask()

    async def set_at_once(self, which: int, how: int) -> None:
        with atomic():
            for number in range(3):
                self._set(which + number, how + number)
        self._ask()

    def _set(self, which: int, how: int) -> None:
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

    async def wait_for(self, which: int, _: int) -> None:
        self._hopes.append(Hope(self._sources[which % 2]))
        self._nursery.start_soon(self._wait_for, self._hopes[-1])

    async def cancel(self, which: int, how: int) -> None:
        calls = self._hopes if how % 4 == 0 else self._waits
        for call in calls[which : which + 1]:
            call.scope.cancel()

    async def step(self, _: int, __: int) -> None:
        await trio.lowlevel.checkpoint()

    async def rest(self, _: int = 0, __: int = 0) -> None:
        """Let all tasks run until they wait; nobody must wait who has something to return."""
        await wait_all_tasks_blocked()
        assert all(wait.may_go_on for wait in self._waits)
        assert all(hope.may_go_on for hope in self._hopes)
        for source in self._sources:
            waiting = [w for w in self._waits if any(o.source is source for o in w.observers)]
            hoping = [hope for hope in self._hopes if hope.source is source]
            assert len(source.value._line) == len(waiting) + len(hoping)

    async def finish(self) -> None:
        """End all values, after which every call is over, and look at what is left."""
        await self.rest()
        for which in range(2):
            await self.end(which, 1)
        await self.rest()
        assert not self._waits
        assert not self._hopes
        for which in range(len(self._observers)):
            await self.get_nowait(which, 0)
            await self.get_nowait(which, 0)
        assert all(observer.closed or not observer.unseen for observer in self._observers)

    def _ask(self) -> None:
        for hope in self._hopes:
            hope.ask()

    async def _wait_for(self, hope: Hope) -> None:
        hope.begun = True
        hope.ask()
        with hope.scope:
            try:
                assert await hope.source.value.wait_for(is_good) is hope.first
            except (trio.EndOfChannel, trio.BrokenResourceError) as error:
                hope.judge_error(error)
        self._hopes.remove(hope)

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

"""Values and watchers beside their model, compared at each step.

The model says what the contract says, and not how the library does it: a value is its newest data,
a watcher is what it has seen.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_event import atomic, select

from .pending import ENDS, PendingGet, PendingWaitFor
from .values import DERIVATIONS, PREDICATES, Datum, ModelValue, ModelWatcher, is_good

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator


@final
class Scenario:
    """Two values, their watchers, and the calls under way, with an operation for each event.

    The two numbers that an operation takes choose what it acts on.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._sources = [ModelValue(), ModelValue()]
        self._watchers: list[ModelWatcher] = []
        self._gets: list[PendingGet] = []
        self._waits: list[PendingWaitFor] = []

    async def watch(self, which: int, how: int) -> None:
        source = self._sources[which % 2]
        derive = DERIVATIONS[how % len(DERIVATIONS)]
        self._watchers.append(ModelWatcher(source, derive(source.value).watch()))

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
        for model in self._watchers[which : which + 1]:
            model.watcher.close()
            model.closed = True

    async def get_nowait(self, which: int, _: int) -> None:
        for model in self._watchers[which : which + 1]:
            error = model.obstacle
            if error is None:
                model.barrier = None
                error = None if model.unseen else model.source.end or trio.WouldBlock
            if error is None:
                assert model.watcher.get_nowait() is model.source.newest
                model.seen = model.source.version
            else:
                with pytest.raises(error):
                    model.watcher.get_nowait()

    async def get(self, which: int, how: int) -> None:
        for model in self._watchers[which : which + 1]:
            self._start(PendingGet([model], PREDICATES[how % 3]), self._get)

    async def get_backlog(self, which: int, how: int) -> None:
        for model in self._watchers[which : which + 1]:
            self._start(PendingGet([model], PREDICATES[how % 3], backlog=True), self._get)

    async def select(self, first: int, step: int) -> None:
        watchers = self._watchers[first :: step + 1]
        if watchers:
            self._start(PendingGet(watchers), self._select)

    async def wait_for(self, which: int, _: int) -> None:
        self._waits.append(PendingWaitFor(self._sources[which % 2]))
        self._nursery.start_soon(self._wait_for, self._waits[-1])

    async def cancel(self, which: int, how: int) -> None:
        calls = self._waits if how % 4 == 0 else self._gets
        for call in calls[which : which + 1]:
            call.scope.cancel()

    async def step(self, _: int, __: int) -> None:
        await trio.lowlevel.checkpoint()

    async def rest(self, _: int = 0, __: int = 0) -> None:
        """Let all tasks run until they wait; no call that has something to return may wait."""
        await wait_all_tasks_blocked()
        assert all(get.may_go_on for get in self._gets)
        assert all(wait.may_go_on for wait in self._waits)
        for source in self._sources:
            gets = [get for get in self._gets if any(w.source is source for w in get.watchers)]
            waits = [wait for wait in self._waits if wait.source is source]
            assert source.value.statistics().tasks_waiting == len(gets) + len(waits)

    async def finish(self) -> None:
        """End all values, which ends every call, and check what is left."""
        await self.rest()
        for which in range(2):
            await self.end(which, 1)
        await self.rest()
        assert not self._gets
        assert not self._waits
        for which in range(len(self._watchers)):
            await self.get_nowait(which, 0)
            await self.get_nowait(which, 0)
        assert all(model.closed or not model.unseen for model in self._watchers)

    def _ask(self) -> None:
        for wait in self._waits:
            wait.ask()

    async def _wait_for(self, wait: PendingWaitFor) -> None:
        wait.begun = True
        wait.ask()
        with wait.scope:
            try:
                assert await wait.source.value.wait_for(is_good) is wait.first
            except (trio.EndOfChannel, trio.BrokenResourceError) as error:
                wait.check_error(error)
        self._waits.remove(wait)

    def _start(self, get: PendingGet, async_fn: Callable[[PendingGet], Awaitable[object]]) -> None:
        self._gets.append(get)
        self._nursery.start_soon(async_fn, get)

    async def _get(self, get: PendingGet) -> None:
        (model,) = get.watchers
        with self._calling(get):
            datum = await model.watcher.get(predicate=get.predicate, backlog_only=get.backlog)
            get.check_result(model, datum)

    async def _select(self, get: PendingGet) -> None:
        with self._calling(get):
            index, datum = await select(*(model.watcher for model in get.watchers))
            get.check_result(get.watchers[index], datum)

    @contextlib.contextmanager
    def _calling(self, get: PendingGet) -> Iterator[None]:
        """Follow a call from its first step to its last."""
        obstacle = None
        for model in get.watchers:
            obstacle = model.obstacle
            if obstacle is not None:
                break
            if not get.backlog:
                model.barrier = None
            elif model.barrier is None:
                model.barrier = model.source.version
        with get.scope:
            if obstacle is None:
                for model in get.watchers:
                    model.busy = True
                try:
                    yield
                except ENDS as error:
                    get.check_error(error)
                finally:
                    for model in get.watchers:
                        model.busy = False
            else:
                with pytest.raises(obstacle):
                    yield
        self._gets.remove(get)

"""The model of calls under way: what may end them, and with what.

A call is checked in the step in which it ends, while the model is in the state that the library
has found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import attrs
import trio

from trio_event import BacklogDone

from .values import Datum, ModelValue, ModelWatcher, fail_on_bad, is_good

if TYPE_CHECKING:
    from collections.abc import Callable

# What a call that has begun may raise.
ENDS: Final = (
    BacklogDone,
    ValueError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.EndOfChannel,
)


@final
@attrs.define(eq=False)
class PendingGet:
    """A get of one watcher, or a select of several."""

    watchers: list[ModelWatcher]
    predicate: Callable[[Datum], bool] | None = None
    backlog: bool = False
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    def has(self, watcher: ModelWatcher) -> bool:
        """Whether this watcher has an unseen state that ends the call."""
        newest = watcher.source.newest
        return (
            watcher.unseen
            and not (newest and not newest.good and self.predicate is is_good)
            and not (self.backlog and watcher.seen >= (watcher.barrier or 0))
        )

    @property
    def may_go_on(self) -> bool:
        """Whether nothing has happened that ends the call."""
        return not self.backlog and not any(
            watcher.closed or watcher.source.end or self.has(watcher) for watcher in self.watchers
        )

    def check_result(self, watcher: ModelWatcher, datum: Datum) -> None:
        """Check what the call has returned."""
        assert not watcher.closed
        assert datum is watcher.source.newest, "it is not the newest"
        assert self.has(watcher), "it was seen before, or was not to be returned"
        assert datum.good or self.predicate is not fail_on_bad
        watcher.seen = datum.version

    def check_error(self, error: Exception) -> None:
        """Check what the call has raised."""
        kind = type(error)
        if kind is trio.ClosedResourceError:
            assert any(watcher.closed for watcher in self.watchers)
            return
        assert not any(watcher.closed for watcher in self.watchers)
        if kind is ValueError:
            (watcher,) = self.watchers
            assert self.has(watcher)
            assert error.args == (watcher.source.newest,)
            return
        assert not any(self.has(watcher) for watcher in self.watchers), "it had an update"
        if self.backlog:
            assert kind is BacklogDone
            (watcher,) = self.watchers
            watcher.barrier = None
        else:
            assert kind in {watcher.source.end for watcher in self.watchers}


@final
@attrs.define(eq=False)
class PendingWaitFor:
    """A wait_for of a good datum, and the first one since it began."""

    source: ModelValue
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    begun: bool = False
    first: Datum | None = None

    def ask(self) -> None:
        """Ask the predicate, as each set does."""
        newest = self.source.newest
        if self.begun and self.first is None and newest is not None and newest.good:
            self.first = newest

    @property
    def may_go_on(self) -> bool:
        """Whether nothing has happened that ends the call."""
        return self.first is None and self.source.end is None

    def check_error(self, error: Exception) -> None:
        """Check what the call has raised."""
        assert self.first is None
        assert type(error) is self.source.end

"""Calling a function with each newest value."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio

from .._arguments import check_callable, check_function, shown
from .._waiting import Subscription
from .._watcher import accepts, check_value

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .._watcher import Watchable, Watcher

T = TypeVar("T")


async def follow(
    value: Watchable[T],
    async_fn: Callable[[T], Awaitable[object]],
    *,
    predicate: Callable[[T], bool] | None = None,
    latest: bool = False,
) -> None:
    """Call a function with each newest value, until the value is closed (V22).

    One call follows the other. Values that are replaced during a call are skipped, but for the
    newest. Start it in a nursery, and the nursery bounds it: there is nothing to close.

    Args:
        value: What to follow.
        async_fn: What to call.
        predicate: Leave out values for which this is false.
        latest: Cancel the call under way as soon as there is a newer value. The next call
            begins when the cancelled one has ended. Kotlin calls it ``collectLatest``.

    Raises:
        BrokenResourceError: if the value has failed; from its error.
        ValueError: if with ``latest`` changes would be lost, of a :class:`ValueMap`.
        Exception: whatever ``async_fn`` raises, or the predicate, as in :meth:`Watcher.get`.

    Checkpoints:
        Always.

    Cancellation:
        The call under way is cancelled, and nothing is left behind.

    Example::

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, lease, write_hosts)
    """
    check_value("follow(): value", value)
    check_callable("follow", "async_fn", async_fn)
    if predicate is not None:
        check_function("follow", "predicate", predicate)
    with value.watch() as watcher:
        if latest and watcher._is_incremental:
            msg = (
                f"follow() with latest=True would lose changes of {shown(value)} with the calls "
                "that it cancels: call it without, or follow compose() of it, which is the whole"
            )
            raise ValueError(msg)
        while True:
            try:
                newest = await watcher.get(predicate=predicate)
            except trio.EndOfChannel:
                return  # noqa: ASYNC910  get() is a checkpoint however it ends
            if not latest:
                await async_fn(newest)
            elif watcher._is_timed:
                await _call_until_due(watcher, async_fn, newest, predicate)
            else:
                await _call_until_newer(watcher, async_fn, newest, predicate)
            del newest  # the next get may wait for long, and what was replaced may be large


async def _call_until_newer(
    watcher: Watcher[T],
    async_fn: Callable[[T], Awaitable[object]],
    newest: T,
    predicate: Callable[[T], bool] | None,
) -> None:
    """Call the function, and cancel the call when a newer value satisfies the predicate.

    The predicate is asked in the middle of ``set``, which must not raise its exception: that is
    raised here.
    """
    errors: list[BaseException] = []
    scope = trio.CancelScope()
    reject = _reject_all(scope, predicate)

    def check() -> None:
        if not errors:
            try:
                watcher._look(reject)
            except BaseException as error:  # noqa: BLE001  raised below
                errors.append(error)
                scope.cancel("the predicate failed")

    with Subscription(watcher._queues(), check), scope:
        check()  # the predicate may have set the value in the get, before the subscription
        try:
            await async_fn(newest)
        except trio.Cancelled:
            raise
        except BaseException as error:
            if errors:
                raise error from errors[0]
            raise
    if errors:
        raise errors[0]


async def _call_until_due(
    watcher: Watcher[T],
    async_fn: Callable[[T], Awaitable[object]],
    newest: T,
    predicate: Callable[[T], bool] | None,
) -> None:
    """Do the same for a value that lets time pass: only a task can tell when a newer one is due.

    What the function raises leaves the nursery as it is, in no group. That goes for a cancellation
    from outside as well: the nursery, which is cancelled when the call has ended, would keep it.
    """
    errors: list[BaseException] = []
    scope = trio.CancelScope()

    async def wait_newer() -> None:  # noqa: ASYNC910  get() is a checkpoint however it ends
        try:
            await watcher.get(predicate=_reject_all(scope, predicate))
        except (trio.EndOfChannel, trio.BrokenResourceError):
            pass  # the end is no newer value, and the next get meets it again
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001  raised below
            errors.append(error)
            scope.cancel("the predicate failed")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_newer)
        try:
            with scope:
                await async_fn(newest)
        except BaseException as error:  # noqa: BLE001  raised below
            errors.append(error)
        nursery.cancel_scope.cancel("the call has ended")
    if len(errors) > 1:
        raise errors[-1] from errors[0]
    if errors:
        raise errors[0]


def _reject_all(
    scope: trio.CancelScope, predicate: Callable[[T], bool] | None
) -> Callable[[T], bool]:
    """Make a predicate that rejects all, and cancels the scope if ``predicate`` accepts."""

    def reject(value: T) -> bool:
        if predicate is None or accepts(predicate, value):
            scope.cancel("there is a newer value")
        return False

    return reject

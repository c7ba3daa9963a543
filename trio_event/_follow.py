"""Calling a function with each newest value."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio

from ._waiting import Listening

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._value import ValueWatch
    from ._watcher import Watcher

T = TypeVar("T")


async def follow(
    value: ValueWatch[T],
    async_fn: Callable[[T], Awaitable[object]],
    *,
    predicate: Callable[[T], bool] | None = None,
    latest: bool = False,
) -> None:
    """Call a function with each newest value, until the value is closed.

    One call follows the other; values that are replaced while one is under way are skipped,
    but for the newest. Start it in a nursery, and the nursery bounds it: there is nothing
    to close.

    Args:
        value: What to follow.
        async_fn: What to call.
        predicate: Leave out values for which this is false.
        latest: Cancel the call under way as soon as there is a newer value. The next call
            begins when the cancelled one has ended. Kotlin calls it ``collectLatest``.

    Raises:
        BrokenResourceError: if the value has failed; from its error.
        ValueError: if with ``latest`` changes would be lost, of a :class:`ValueMap`.
        Exception: whatever ``async_fn`` or the predicate raises.

    Checkpoints:
        Always.

    Cancellation:
        The call under way is cancelled, and nothing is left behind.

    Example::

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, lease, write_hosts)
    """
    if latest and value._incremental():
        msg = (
            f"follow() with latest=True would lose changes of {value!r} with the calls that it "
            "cancels: call it without, or follow compose() of it, which is the whole"
        )
        raise ValueError(msg)
    with value.watch() as watcher:
        while True:
            try:
                newest = await watcher.get(predicate=predicate)
            except trio.EndOfChannel:
                return  # noqa: ASYNC910  get() is a checkpoint however it ends
            if not latest:
                await async_fn(newest)
            elif value._timed():
                await _call_until_due(watcher, async_fn, newest, predicate)
            else:
                await _call_until_newer(watcher, async_fn, newest, predicate)


async def _call_until_newer(
    watcher: Watcher[T],
    async_fn: Callable[[T], Awaitable[object]],
    newest: T,
    predicate: Callable[[T], bool] | None,
) -> None:
    """Call the function, and cancel the call when a newer value satisfies the predicate.

    The predicate is asked in the middle of ``set``, where nobody would expect its exception:
    it is carried over to here.
    """
    mistakes: list[BaseException] = []
    scope = trio.CancelScope()
    reject = _note(scope, predicate)

    def check() -> None:
        if not mistakes:
            try:
                watcher._take(reject)
            except BaseException as error:  # noqa: BLE001  raised below
                mistakes.append(error)
                scope.cancel("the predicate failed")

    with Listening(watcher._lines(), check), scope:
        check()  # the predicate may have set the value in the get, when nobody was told
        try:
            await async_fn(newest)
        except trio.Cancelled:
            raise
        except BaseException as error:
            if mistakes:
                raise error from mistakes[0]
            raise
    if mistakes:
        raise mistakes[0]


async def _call_until_due(
    watcher: Watcher[T],
    async_fn: Callable[[T], Awaitable[object]],
    newest: T,
    predicate: Callable[[T], bool] | None,
) -> None:
    """Do the same for a value that lets time pass: only a task can tell when a newer one is due.

    What the function raises leaves the nursery as it is, in no group.
    """
    errors: list[BaseException] = []
    scope = trio.CancelScope()

    async def wait() -> None:  # noqa: ASYNC910  get() is a checkpoint however it ends
        try:
            await watcher.get(predicate=_note(scope, predicate))
        except (trio.EndOfChannel, trio.BrokenResourceError):
            pass  # the end is no newer value, and the next get meets it again
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001  raised below
            errors.append(error)
            scope.cancel("the predicate failed")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        try:
            with scope:
                await async_fn(newest)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001  raised below
            errors.append(error)
        nursery.cancel_scope.cancel("the call is over")
    if len(errors) > 1:
        raise errors[-1] from errors[0]
    if errors:
        raise errors[0]


def _note(scope: trio.CancelScope, predicate: Callable[[T], bool] | None) -> Callable[[T], bool]:
    """Make a predicate that takes nothing, and cancels the scope if there is something to take."""

    def reject(value: T) -> bool:
        if predicate is None or predicate(value):
            scope.cancel("there is a newer value")
        return False

    return reject

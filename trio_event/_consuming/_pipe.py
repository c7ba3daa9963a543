"""Sending a value to a memory channel, as a supervised runnable."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, overload

import trio

from .._arguments import check_function, shown
from .._graph import NOTHING, Later
from .._waiting import Subscription
from .._watcher import OWN_ERRORS, check_value, error_of_user

try:
    from supervisor import Signal, signal
except ImportError:
    from ._clash import explain_clash

    raise explain_clash() from None

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .._watcher import Watchable, Watcher

T = TypeVar("T")
U = TypeVar("U")


@overload
def pipe(
    value: Watchable[T],
    send_channel: trio.MemorySendChannel[T],
    *,
    predicate: Callable[[T], bool] | None = None,
    transform: None = None,
) -> Callable[[], Awaitable[None]]: ...


@overload
def pipe(
    value: Watchable[T],
    send_channel: trio.MemorySendChannel[U],
    *,
    predicate: Callable[[T], bool] | None = None,
    transform: Callable[[T], U],
) -> Callable[[], Awaitable[None]]: ...


def pipe(
    value: Watchable[T],
    send_channel: trio.MemorySendChannel[T] | trio.MemorySendChannel[U],
    *,
    predicate: Callable[[T], bool] | None = None,
    transform: Callable[[T], U] | None = None,
) -> Callable[[], Awaitable[None]]:
    """Make a runnable that sends the newest value, now and after each set, to a channel (V13).

    It is for consumers that take what they work on from a channel. Run the two in one group,
    with a function that makes the channel, so that they restart together with a fresh one; a
    consumer that wants several values at once may rather :func:`select`. While the
    consumer is busy, the pipe holds the newest value, not the one it first tried to send; only a
    batch of a :class:`ValueMap` stays, and the next one has all that has changed since.
    Modelled on ``event.Pipe`` of Monogon's ``osbase/event``, which holds the first.

    The runnable signals ``HEALTHY`` at once. It does not close the channel. If the value is
    closed, it sends what is left, and is ``DONE``. It dies with
    :exc:`trio.BrokenResourceError` if the channel's other end is closed or if the
    value has failed, and of what the predicate or ``transform`` raises, whatever that is.

    Args:
        value: What to send, of any storage.
        send_channel: Where to; with buffer size 0 the consumer gets the newest value each time
            it receives, with a larger one also older ones.
        predicate: Leave out values for which this is false.
        transform: Send what this makes of a value.

    Returns:
        A runnable, for :func:`supervisor.run` or :func:`supervisor.run_group`.

    Raises:
        TypeError: if an argument is of the wrong kind.

    Checkpoints:
        Never. The runnable does, before each value it takes.

    Cancellation:
        Of the runnable: a value that it was sending is either sent or not. The
        next incarnation begins with the newest.

    Example::

        def group() -> dict[str, Callable[[], Awaitable[None]]]:
            send, receive = trio.open_memory_channel[Lease](0)
            return {"pipe": pipe(lease, send), "hosts": partial(write_hosts, receive)}

        supervisor.run_group(group)
    """
    check_value("pipe(): value", value)
    if not hasattr(send_channel, "send_nowait"):
        msg = (
            f"pipe(): send_channel={shown(send_channel)} is not a channel to send to: "
            "pass the first that trio.open_memory_channel() returns"
        )
        raise TypeError(msg)
    if predicate is not None:
        check_function("pipe", "predicate", predicate)
    if transform is not None:
        check_function("pipe", "transform", transform)

    async def run() -> None:
        signal(Signal.HEALTHY)
        # What is to be sent. It is here alone, so what was sent or replaced is kept by nothing.
        items: list[T | U] = []
        with value.watch() as watcher:
            while True:
                try:
                    items.append(make_item(await watcher.get(predicate=predicate)))
                except trio.EndOfChannel:
                    signal(Signal.DONE)
                    return  # noqa: ASYNC910  get() is a checkpoint however it ends
                if not send_at_once(items[0]):
                    await send_newest(items, watcher)
                items.clear()

    def make_item(newest: T) -> T | U:
        if transform is None:
            return newest
        try:
            return transform(newest)
        except OWN_ERRORS as error:
            raise error_of_user("transform", error) from error

    def send_at_once(item: T | U) -> bool:
        try:
            send_channel.send_nowait(item)  # type: ignore[arg-type]  # the overloads tie it
        except trio.WouldBlock:
            return False
        return True

    async def send_newest(items: list[T | U], watcher: Watcher[T]) -> None:
        """Send the item, or what is newest when the consumer receives it."""
        if watcher._is_incremental:
            # What has changed since is not instead of this.
            await send_channel.send(items[0])  # type: ignore[arg-type]  # as above
            return
        while True:
            epoch = watcher._epoch()
            later = look_for_newer(items, watcher)
            # What may not be taken yet takes over when it may.
            with (
                trio.CancelScope(deadline=later.until) as scope,
                Subscription(watcher._queues(), scope.cancel),
            ):
                if watcher._changed_since(epoch):
                    scope.cancel("transform or predicate has set the value in this look")
                await send_channel.send(items[0])  # type: ignore[arg-type]  # as above
                return

    def look_for_newer(items: list[T | U], watcher: Watcher[T]) -> Later:
        """Replace the item if there is a newer one; return when to look again."""
        found = watcher._look(predicate)
        if isinstance(found, Later):
            return found
        items[0] = make_item(found)
        return NOTHING

    return run

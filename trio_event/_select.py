"""Waiting on several watchers at once."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar, overload

from trio.lowlevel import checkpoint, enable_ki_protection

from ._unset import UNSET
from ._waiting import Waiter, wait_in_lines
from ._watcher import CLOSED, closed_meanwhile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._watcher import Watcher

T = TypeVar("T")


@overload
async def select(*watchers: Watcher[T]) -> tuple[int, T]: ...


@overload
async def select(**named_watchers: Watcher[T]) -> tuple[str, T]: ...


async def select(
    *watchers: Watcher[T], **named_watchers: Watcher[T]
) -> tuple[int, T] | tuple[str, T]:
    """Wait until one of several watchers has a value that it has not seen, and take that.

    It takes exactly one update and leaves all others unseen, also when it is cancelled. If
    several watchers have one, which of them is taken is left to chance, so that none starves. A
    watcher whose value has ended counts only when no other has an update.

    Args:
        *watchers: The watchers, of any kinds of values; or
        **named_watchers: the watchers by name.

    Returns:
        The watcher's index or name, and the value.

    Raises:
        TypeError: if there is no watcher, or some have names and others not.
        BusyResourceError: if another task is using one of them, or one is passed twice.
        ClosedResourceError: if one of them is closed, or is closed meanwhile.
        EndOfChannel: if one of the values was closed and its last value is seen, with a note
            that says which.
        BrokenResourceError: likewise, if the value has failed; from its error.

    Checkpoints:
        Always, before anything is taken. It takes one or two task steps, however
        many watchers there are.

    Cancellation:
        Nothing is seen; the watchers work on.

    Example::

        async def show(hosts: Watcher[Hosts], lease: Watcher[Lease]) -> None:
            while True:
                match await select(hosts=hosts, lease=lease):
                    case "hosts", Hosts() as new: ...
                    case "lease", Lease() as new: ...
    """
    if bool(watchers) == bool(named_watchers):
        msg = "select() needs one or more watchers, either all by position or all by name"
        raise TypeError(msg)
    if watchers:
        index, value = await _select(watchers)
        return index, value
    index, value = await _select(tuple(named_watchers.values()), tuple(named_watchers))
    return tuple(named_watchers)[index], value


async def _select(
    watchers: Sequence[Watcher[T]], names: Sequence[object] | None = None
) -> tuple[int, T]:
    waiter = Waiter()
    try:
        for watcher in watchers:
            # As _claim() does: a fifth of the time, if there are many, would be for its calls.
            if watcher._state is None:
                watcher._state = waiter
            else:
                watcher._claim(waiter)
        for watcher in watchers:
            if watcher._ready():
                await checkpoint()
                break
        else:
            await _wait(watchers, waiter)
        while True:
            looked: dict[int, int] = {}
            found = _take(watchers, names, looked)
            if found is not None:
                return found
            if _is_touched(watchers, looked):
                await checkpoint()
            else:
                await _wait(watchers, waiter)
    finally:
        _release(watchers, waiter)


@enable_ki_protection
def _release(watchers: Sequence[Watcher[T]], waiter: Waiter) -> None:
    """Give back the watchers that were claimed for ``waiter``, and are not closed."""
    for watcher in watchers:
        if watcher._state is waiter:
            watcher._state = None


def _take(
    watchers: Sequence[Watcher[T]], names: Sequence[object] | None, looked: dict[int, int]
) -> tuple[int, T] | None:
    """Take an update from one of the watchers; raise the end of one if none has any.

    Note in ``looked`` at which stamp each was looked at that gave nothing.
    """
    ready = []
    for index, watcher in enumerate(watchers):
        if watcher._state is CLOSED:
            raise _noted(closed_meanwhile(), index, names)
        if watcher._ready():
            ready.append(index)
    end = None
    while ready:
        # Each that is ready has the same chance, wherever it stands among the others.
        index = ready.pop(random.randrange(len(ready)))  # noqa: S311  fairness, not secrecy
        watcher = watchers[index]
        looked[index] = watcher._stamp()
        value = watcher._take(None)
        if value is not UNSET:
            watcher._last = value
            return index, value
        error = watcher._end()
        if error is not None:
            end = _noted(error, index, names)
    if end is not None and not _is_touched(watchers, looked):
        raise end
    return None


def _is_touched(watchers: Sequence[Watcher[T]], looked: dict[int, int]) -> bool:
    """Return whether the functions that were called in a look have set or closed something.

    Nobody was in a line to be called for it.
    """
    return bool(looked) and any(
        watcher._state is CLOSED or (watcher._ready() and looked.get(index) != watcher._stamp())
        for index, watcher in enumerate(watchers)
    )


def _noted(error: Exception, index: int, names: Sequence[object] | None) -> Exception:
    """Say in ``error`` which watcher it comes from."""
    error.add_note(f"this is watcher {index if names is None else names[index]!r} of select()")
    return error


async def _wait(watchers: Sequence[Watcher[T]], waiter: Waiter) -> None:
    """Wait until there is reason to look at one of the watchers again."""
    deadline = min(watcher._deadline() for watcher in watchers)
    lines = {line: None for watcher in watchers for line in watcher._lines()}
    await wait_in_lines(lines, waiter, deadline)

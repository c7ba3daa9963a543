"""Waiting on several watchers at once."""

from __future__ import annotations

import math
import random
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from trio.lowlevel import checkpoint, enable_ki_protection

from .._arguments import say_unpack, shown
from .._graph import NOTHING, Later
from .._runs import Run, current_run
from .._waiting import Waiter, wait
from .._watcher import CLOSED, Memo, Watchable, Watcher, closed_meanwhile, idle, remember

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")


@overload
async def select(first: Watcher[A], second: Watcher[B], /) -> tuple[int, A | B]: ...


@overload
async def select(
    first: Watcher[A], second: Watcher[B], third: Watcher[C], /
) -> tuple[int, A | B | C]: ...


@overload
async def select(
    first: Watcher[A], second: Watcher[B], third: Watcher[C], fourth: Watcher[D], /
) -> tuple[int, A | B | C | D]: ...


@overload
async def select(
    first: Watcher[A],
    second: Watcher[B],
    third: Watcher[C],
    fourth: Watcher[D],
    fifth: Watcher[E],
    /,
) -> tuple[int, A | B | C | D | E]: ...


@overload
async def select(
    first: Watcher[A],
    second: Watcher[B],
    third: Watcher[C],
    fourth: Watcher[D],
    fifth: Watcher[E],
    sixth: Watcher[F],
    /,
) -> tuple[int, A | B | C | D | E | F]: ...


@overload
async def select(*watchers: Watcher[T]) -> tuple[int, T]: ...


@overload
async def select(**named_watchers: Watcher[T]) -> tuple[str, T]: ...


async def select(
    *watchers: Watcher[Any], **named_watchers: Watcher[Any]
) -> tuple[int, Any] | tuple[str, Any]:
    """Wait until one of several watchers has a value that it has not seen; take it (V14).

    It takes exactly one update and leaves all others unseen, also when it is cancelled. If
    several watchers have one, which of them is taken is left to chance, so that none starves. A
    watcher whose value has ended counts only when no other has an update.

    Args:
        *watchers: The watchers, of any kinds of values; or
        **named_watchers: the watchers by name.

    Returns:
        The watcher's index or name, and the value.

    Raises:
        TypeError: if there is no watcher, or some have names and others not, or one is none.
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
    try:
        if watchers:
            index, value = await _select(watchers)
            return index, value
        index, value = await _select(tuple(named_watchers.values()), tuple(named_watchers))
        return tuple(named_watchers)[index], value
    except (AttributeError, TypeError):
        # To ask each of them before, by isinstance(), would double the cost of a select of many.
        _check_watchers(watchers, named_watchers)
        raise


async def _select(
    watchers: Sequence[Watcher[T]], names: Sequence[object] | None = None
) -> tuple[int, T]:
    waiter = Waiter()
    run = watchers[0]._state
    if not isinstance(run, Run) or run.thread != get_ident():
        run = current_run()
    # What those of the watchers remember that remember more than the run.
    memos: dict[Watcher[T], Memo] | None = None
    try:
        for watcher in watchers:
            # As _claim() does: a fifth of the time, if there are many, would be for its calls.
            if watcher._state is run:
                watcher._state = waiter
            elif isinstance(home := watcher._claim(waiter), Memo):
                memos = {} if memos is None else memos
                memos[watcher] = home
        await _wait_first(watchers, waiter)
        while True:
            found = _look(watchers, names)
            if not isinstance(found, Later):
                if memos is not None and (taken := watchers[found[0]]) in memos:
                    remember(memos[taken], found[1])
                return found
            if found is AT_ONCE:
                await checkpoint()
            else:
                await _wait(watchers, waiter, found.until)
    finally:
        _release(watchers, waiter, run, memos)


def _wait_first(watchers: Sequence[Watcher[T]], waiter: Waiter) -> Awaitable[None]:
    """Wait until there is reason to look at one of the watchers, which none has looked at yet."""
    until = math.inf
    for watcher in watchers:
        later = watcher._glance()
        if later is NOTHING:
            continue
        if later is None:
            return checkpoint()  # noqa: ASYNC105  the caller awaits it
        until = min(until, later.until)
    return _wait(watchers, waiter, until)


@enable_ki_protection
def _release(
    watchers: Sequence[Watcher[T]], waiter: Waiter, run: Run, memos: dict[Watcher[T], Memo] | None
) -> None:
    """Give back the watchers that were claimed for ``waiter``, and are not closed.

    What is no watcher comes behind all that were claimed.
    """
    if memos is not None:
        for watcher, memo in memos.items():
            if watcher._state is waiter:
                watcher._state = idle(memo, None)
    for watcher in watchers:
        if watcher._state is waiter:
            watcher._state = run


def _check_watchers(positional: Sequence[object], named: Mapping[str, object]) -> None:
    """Raise if one of those that were to be selected is no watcher."""
    for place, given in (*enumerate(positional), *named.items()):
        if isinstance(given, Watcher):
            continue
        remedy = say_unpack("select", given) if positional else ""
        if isinstance(given, Watchable):
            remedy = "pass a watcher of it, which watch() returns"
        msg = (
            f"select(): argument {place!r}={shown(given)} is not a watcher: "
            f"{remedy or 'pass what watch() of a value returns'}"
        )
        raise TypeError(msg) from None


# What a look has itself set or closed is to be looked at.
AT_ONCE: Final = Later(-math.inf)


def _look(watchers: Sequence[Watcher[T]], names: Sequence[object] | None) -> tuple[int, T] | Later:
    """Take an update from one of the watchers; raise the end of one if none has any.

    Otherwise return when to look again.
    """
    ready = []
    until = math.inf
    for index, watcher in enumerate(watchers):
        if watcher._state is CLOSED:
            raise _noted(closed_meanwhile(), index, names)
        later = watcher._glance()
        if later is NOTHING:
            continue
        if later is None:
            ready.append(index)
        else:
            until = min(until, later.until)
    end = None
    epochs: dict[int, int] = {}
    while ready:
        # Each that is ready has the same chance, wherever it stands among the others.
        index = ready.pop(random.randrange(len(ready)))  # noqa: S311  fairness, not secrecy
        watcher = watchers[index]
        epochs[index] = watcher._epoch()
        found = watcher._look(None)
        if not isinstance(found, Later):
            return index, found
        if found is not NOTHING:
            until = min(until, found.until)
        error = watcher._end()
        if error is not None:
            end = _noted(error, index, names)
    if epochs and _has_changed(watchers, epochs):
        return AT_ONCE
    if end is not None:
        raise end
    return Later(until)


def _has_changed(watchers: Sequence[Watcher[T]], epochs: dict[int, int]) -> bool:
    """Return whether the functions that were called in a look have set or closed something.

    No task was in a queue then. ``epochs`` has those of the watchers that were looked at.
    """
    return any(
        watcher._state is CLOSED
        or (watcher._glance() is None and epochs.get(index) != watcher._epoch())
        for index, watcher in enumerate(watchers)
    )


def _noted(error: Exception, index: int, names: Sequence[object] | None) -> Exception:
    """Say in ``error`` which watcher it comes from."""
    error.add_note(f"this is watcher {index if names is None else names[index]!r} of select()")
    return error


def _wait(watchers: Sequence[Watcher[T]], waiter: Waiter, until: float) -> Awaitable[None]:
    """Wait until there is reason to look at one of the watchers again."""
    queues = {queue: None for watcher in watchers for queue in watcher._queues()}
    return wait(queues, waiter, until)

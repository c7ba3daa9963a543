"""Functions of users that are told what happens in a tree (S34)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from supervisor._core._arguments import is_async, shown
from supervisor._core._events import Event

Observer = Callable[[Event], object]


def check_observers(observers: object) -> tuple[Observer, ...]:
    """Return ``observers`` as a tuple: the functions of a sequence, or nothing.

    Raises:
        TypeError: if it is no sequence of functions that can be called and are not async.
    """
    if observers is None:
        return ()
    if not isinstance(observers, Sequence) or isinstance(observers, (str, bytes)):
        msg = f"observers={shown(observers)} is no sequence of functions: pass one, such as [print]"
        raise TypeError(msg)
    several: Sequence[Any] = observers
    for each in several:
        check_observer(each)
    return tuple(several)


def check_observer(observer: object) -> Observer:
    """Return ``observer`` if it is a function that is not async.

    Raises:
        TypeError: if it is something else.
    """
    if not callable(observer):
        msg = f"the observer {shown(observer)} is no function: pass one that takes an event"
        raise TypeError(msg)
    if is_async(observer):
        msg = (
            f"the observer {shown(observer)} is async, and nothing would await it: pass a function "
            "that is not, which may hand the event to a task, as by send_nowait()"
        )
        raise TypeError(msg)
    return cast("Observer", observer)

"""Functions of users that are told what happens in a tree (S34)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, cast

from supervisor._core._arguments import shown
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
    if not callable(observer) or inspect.iscoroutinefunction(observer):
        msg = f"the observer {shown(observer)} is no function that takes an event and is not async"
        raise TypeError(msg)
    return cast("Observer", observer)

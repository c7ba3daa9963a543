"""What is checked of arguments, at the call, before anything has happened.

Each error names the call, the argument and what was given, and says what to give instead.
"""

from __future__ import annotations

import functools
import inspect
import math
import operator
from collections.abc import Iterable, Mapping
from numbers import Real
from types import FunctionType
from typing import Final, NoReturn

import trio

SHOWN: Final = 200
"""A message shows at most so many characters of a value."""

ASYNC: Final = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE | inspect.CO_ASYNC_GENERATOR
"""The flags of a function whose call returns what has to be awaited."""


def shown(value: object) -> str:
    """Return the ``repr`` of what a user has passed, which may fail, or be long."""
    try:
        text = str.__str__(repr(value))
    except Exception:  # noqa: BLE001  a foreign __repr__ may raise anything
        return f"<a {type(value).__name__} that has no repr>"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def check_callable(call: str, name: str, function: object) -> None:
    """Raise unless an argument can be called."""
    if not callable(function):
        msg = f"{call}(): {name}={shown(function)} is not callable: pass a function"
        raise TypeError(msg)


def check_function(call: str, name: str, function: object) -> None:
    """Raise unless an argument can be called, and answers at once as far as that is known."""
    check_callable(call, name, function)
    if _is_async(function):
        msg = (
            f"{call}(): {name}={shown(function)} is async, and nothing would await it: "
            "pass a function that returns what it makes"
        )
        raise TypeError(msg)


def _is_async(function: object) -> bool:
    if type(function) is FunctionType:
        return bool(function.__code__.co_flags & ASYNC)
    while isinstance(function, functools.partial):
        function = function.func
    return any(
        inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each)
        for each in (function, type(function).__call__)
    )


def check_seconds(call: str, name: str, seconds: object) -> None:
    """Raise unless an argument is a length of time that ends."""
    if not isinstance(seconds, Real):
        msg = f"{call}(): {name}={shown(seconds)} is not a number: pass seconds"
        raise TypeError(msg)
    try:
        is_right = 0 <= float(seconds) < math.inf
    except OverflowError:  # of a whole number of hundreds of digits
        is_right = False
    if not is_right:
        msg = f"{call}(): {name}={shown(seconds)} is not a finite number of at least 0"
        raise ValueError(msg)


def check_version(call: str, version: object) -> None:
    """Raise unless an argument can be a version."""
    remedy = "pass what set() returned, or the version of a value"
    check_whole(call, "version", version, remedy)


def check_whole(call: str, name: str, number: object, remedy: str) -> None:
    """Raise unless an argument is a whole number."""
    try:
        operator.index(number)  # type: ignore[arg-type]  # what is asked
    except TypeError:
        msg = f"{call}(): {name}={shown(number)} is not a whole number: {remedy}"
        raise TypeError(msg) from None


def check_mapping(call: str, name: str, mapping: object) -> None:
    """Raise unless an argument is a mapping."""
    if not isinstance(mapping, Mapping):
        msg = f"{call}(): {name}={shown(mapping)} is not a mapping: pass a dict"
        raise TypeError(msg)


def check_token(call: str, trio_token: object) -> None:
    """Raise unless an argument stands for a Trio run."""
    if not isinstance(trio_token, trio.lowlevel.TrioToken):
        msg = (
            f"{call}(): trio_token={shown(trio_token)} is not a token: "
            "pass what trio.lowlevel.current_trio_token() returns"
        )
        raise TypeError(msg)


def check_error(error: object) -> None:
    """Raise unless the argument of a ``fail()`` can be the cause of another exception."""
    if not isinstance(error, BaseException):
        msg = (
            f"fail(): error={shown(error)} is not an exception: "
            "pass one, such as RuntimeError('lost')"
        )
        raise TypeError(msg)


def refuse_unset(method: str, value: object) -> NoReturn:
    """Raise because ``method`` of ``value`` was given what is no data (V2)."""
    msg = f"{method}() of {shown(value)} was given UNSET, which is no data: none can't be set"
    raise TypeError(msg)


def say_unpack(call: str, given: object) -> str:
    """Return what to do with several in place of one; nothing if there is one."""
    if isinstance(given, Mapping):
        return f"unpack it, {call}(**...)"
    if isinstance(given, Iterable) and not isinstance(given, str | bytes):
        return f"unpack it, {call}(*...)"
    return ""

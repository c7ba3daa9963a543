"""What is checked of arguments, at the call, before anything has happened.

Each error names the call, the argument and what was given, and says what to give instead.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from numbers import Real

import trio


def check_function(call: str, name: str, function: object) -> None:
    """Raise unless an argument can be called."""
    if not callable(function):
        msg = f"{call}(): {name}={function!r} is not callable: pass a function"
        raise TypeError(msg)


def check_seconds(call: str, name: str, seconds: object) -> None:
    """Raise unless an argument is a length of time that ends."""
    if not isinstance(seconds, Real):
        msg = f"{call}(): {name}={seconds!r} is not a number: pass seconds"
        raise TypeError(msg)
    if not 0 <= float(seconds) < math.inf:
        msg = f"{call}(): {name}={seconds!r} is not a finite number of at least 0"
        raise ValueError(msg)


def check_version(call: str, version: object) -> None:
    """Raise unless an argument can be a version."""
    try:
        operator.index(version)  # type: ignore[arg-type]  # what is asked
    except TypeError:
        msg = (
            f"{call}(): version={version!r} is not a whole number: "
            "pass what set() returned, or the version of a value"
        )
        raise TypeError(msg) from None


def check_mapping(call: str, name: str, mapping: object) -> None:
    """Raise unless an argument is a mapping."""
    if not isinstance(mapping, Mapping):
        msg = f"{call}(): {name}={mapping!r} is not a mapping: pass a dict"
        raise TypeError(msg)


def check_token(call: str, trio_token: object) -> None:
    """Raise unless an argument stands for a Trio run."""
    if not isinstance(trio_token, trio.lowlevel.TrioToken):
        msg = (
            f"{call}(): trio_token={trio_token!r} is not a token: "
            "pass what trio.lowlevel.current_trio_token() returns"
        )
        raise TypeError(msg)


def check_error(error: object) -> None:
    """Raise unless the argument of a ``fail()`` can be the cause of another exception."""
    if not isinstance(error, BaseException):
        msg = f"fail(): error={error!r} is not an exception: pass one, such as RuntimeError('lost')"
        raise TypeError(msg)


def say_unpack(call: str, given: object) -> str:
    """Return what to do with several in place of one; nothing if there is one."""
    if isinstance(given, Mapping):
        return f"unpack it, {call}(**...)"
    if isinstance(given, Iterable) and not isinstance(given, str | bytes):
        return f"unpack it, {call}(*...)"
    return ""

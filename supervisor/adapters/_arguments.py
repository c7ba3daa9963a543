"""What users pass to adapters, checked at the call, before anything starts (S2, S24).

The checks are those of the core, which are not public: a wrong kind is a ``TypeError``, a number
out of its range a ``ValueError``, and the message names the argument, the value and the remedy.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
from numbers import Real
from types import CodeType
from typing import Any, Final

from supervisor import InvalidNameError

_NAME: Final = re.compile(r"[a-z0-9_]{1,64}")

LAST_PORT: Final = 65535

SHOWN: Final = 200
"""A message shows at most so many characters of a value."""


def shown(value: object) -> str:
    """Return the ``repr`` of what a user has passed, which may fail, or be long."""
    try:
        text = str.__str__(repr(value))
    except Exception:  # noqa: BLE001  a foreign __repr__ may raise anything
        return f"<a {type(value).__name__} that has no repr>"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def check_callable(adapter: str, what: object, wanted: str) -> None:
    """Raise :exc:`TypeError` unless ``what`` can be called.

    Args:
        adapter: The function that got it.
        what: What is checked. A coroutine is closed: nobody will await it.
        wanted: What it should be.
    """
    if callable(what):
        return
    got = f"{adapter}() got {shown(what)}"
    if inspect.iscoroutine(what):
        what.close()
        msg = f"{got}: pass {wanted} and its arguments, without calling it"
    else:
        msg = f"{got}, which is not {wanted}"
    raise TypeError(msg)


def check_async(adapter: str, what: object, wanted: str = "an async function") -> None:
    """Raise :exc:`TypeError` unless ``what`` may be an async function.

    A plain function may be one: what it returns is known when it is called.
    """
    check_callable(adapter, what, wanted)
    inner = _without_partial(what)
    if isinstance(inner, type):
        is_right = hasattr(inner, "__await__")
    else:
        code = getattr(inner, "__code__", None)
        flags = code.co_flags if isinstance(code, CodeType) else 0
        is_right = not flags & inspect.CO_ASYNC_GENERATOR and (
            not flags & inspect.CO_GENERATOR or bool(flags & inspect.CO_ITERABLE_COROUTINE)
        )
    if not is_right:
        msg = f"{adapter}() got {shown(what)}, which is not {wanted}"
        raise TypeError(msg)


def check_blocking(adapter: str, what: object, wanted: str) -> None:
    """Raise :exc:`TypeError` unless ``what`` can be called, and is not async."""
    check_callable(adapter, what, wanted)
    inner: Any = _without_partial(what)
    if any(
        inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each)
        for each in (inner, type(inner).__call__)
    ):
        msg = f"{adapter}() got {shown(what)}, which is async: pass {wanted}, which nothing awaits"
        raise TypeError(msg)


def _without_partial(what: object) -> object:
    while isinstance(what, functools.partial):
        what = what.func
    return what


def check_seconds(adapter: str, name: str, value: object, *, above_zero: bool = False) -> float:
    """Return a finite number of seconds as a ``float``."""
    seconds = _real(value)
    if math.isfinite(seconds) and (seconds > 0 if above_zero else seconds >= 0):
        return seconds
    least = "above 0" if above_zero else "of at least 0"
    msg = f"{adapter}(): {name}={shown(value)} is not a number of seconds {least}"
    raise _refusal(msg, value)


def check_grace(adapter: str, value: object) -> float:
    """Return a number of seconds, which may be infinite, as a ``float``."""
    grace = _real(value)
    if grace >= 0:
        return grace
    msg = f"{adapter}(): grace={shown(value)} is not a number of seconds of at least 0"
    raise _refusal(msg, value)


def check_port(adapter: str, name: str, value: object) -> int:
    """Return a TCP port."""
    message = f"{adapter}(): {name}={shown(value)} is not a port from 0 to {LAST_PORT}"
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(message)
    if not 0 <= value <= LAST_PORT:
        raise ValueError(message)
    return value


def check_count(adapter: str, name: str, value: object) -> int:
    """Return a whole number of at least 1."""
    message = f"{adapter}(): {name}={shown(value)} is not a whole number of at least 1"
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(message)
    if value < 1:
        raise ValueError(message)
    return value


def check_share(adapter: str, name: str, value: object) -> float:
    """Return a number from 0 to 1 as a ``float``."""
    share = _real(value)
    if 0 <= share <= 1:
        return share
    msg = f"{adapter}(): {name}={shown(value)} is not a number from 0 to 1"
    raise _refusal(msg, value)


def check_flag(adapter: str, name: str, value: object) -> None:
    """Raise :exc:`TypeError` unless ``value`` is ``True`` or ``False``."""
    if not isinstance(value, bool):
        msg = f"{adapter}(): {name}={shown(value)} is not a bool: pass {name}=True or {name}=False"
        raise TypeError(msg)


def check_name(name: object) -> str:
    """Return the name of a node as a plain string.

    Raises:
        InvalidNameError: if a node can't have it.
    """
    if isinstance(name, str) and _NAME.fullmatch(name) is not None:
        return str.__str__(name)
    msg = f"invalid name {shown(name)}: use 1 to 64 of the characters a-z, 0-9 and _"
    raise InvalidNameError(msg)


def _real(value: object) -> float:
    """Return a real number as a ``float``, and NaN for everything else."""
    if not _is_real(value):
        return math.nan
    try:
        return float(value)  # type: ignore[arg-type]  # _is_real() has looked
    except OverflowError:
        return math.nan


def _is_real(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _refusal(message: str, value: object) -> Exception:
    return ValueError(message) if _is_real(value) else TypeError(message)

"""What users pass, checked: each kind of argument in one place.

A check names the argument, shows the value, and says what is right. What is of a wrong kind is a
``TypeError``. A number out of its range is a ``ValueError``, and so is a name of a wrong form.
Every check comes before the first change, so that a wrong argument leaves everything as it was.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
import sys
from numbers import Real
from typing import TYPE_CHECKING, Final

from ._errors import InvalidNameError

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME: Final = re.compile(r"[a-z0-9_]{1,64}")

SHOWN: Final = 200
"""A message shows at most so many characters of a value."""


def shown(value: object) -> str:
    """Return the ``repr`` of what a user has passed, which may fail, or be long."""
    try:
        text = str.__str__(repr(value))
    except Exception:  # noqa: BLE001  a foreign __repr__ may raise anything
        return f"<a {type(value).__name__} that has no repr>"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def check_seconds(name: str, value: object, *, above_zero: bool = False) -> float:
    """Return a number of seconds, which may be infinite, as a ``float``."""
    seconds = real(value)
    if not (seconds > 0 if above_zero else seconds >= 0):
        least = "above 0" if above_zero else "of at least 0"
        raise _refusal(f"{name}={shown(value)} is not a number of seconds {least}", value)
    return seconds


def own_grace(name: object, runnable: object) -> float | None:
    """Return the attribute ``grace`` of a runnable, checked; ``None`` if it has none (S21).

    A :func:`functools.partial` that has no such attribute itself has that of its function.
    """
    grace = getattr(runnable, "grace", None)
    while grace is None and isinstance(runnable, functools.partial):
        runnable = runnable.func
        grace = getattr(runnable, "grace", None)
    return None if grace is None else check_seconds(f"the runnable {shown(name)}: grace", grace)


def check_number(
    name: str, value: object, *, least: float = 0.0, most: float = math.inf, above: bool = False
) -> float:
    """Return a finite number from ``least`` to ``most``, without ``least`` itself if ``above``."""
    number = real(value)
    if not (least <= number <= most and math.isfinite(number)) or (above and number == least):
        wanted = f"a finite number {'above' if above else 'of at least'} {least:g}"
        if math.isfinite(most):
            wanted = f"a number from {least:g} to {most:g}"
        raise _refusal(f"{name}={shown(value)} is not {wanted}", value)
    return number


def real(value: object) -> float:
    """Return a real number as a ``float``, and NaN for everything else."""
    if type(value) is float:
        return value
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


def check_count(name: str, value: object, *, least: int, of: str = "") -> int:
    """Return a whole number of at least ``least``; ``of`` says more of whose it is."""
    message = f"{name}={shown(value)}{of} is not a whole number of at least {least}"
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(message)
    if not least <= value < sys.maxsize:  # a deque has to take one more
        raise ValueError(message)
    return value


LAST_PORT: Final = 65535
"""The highest number of a TCP port."""

_ADDRESS: Final = re.compile(
    r"(?:([^][:/\s]+)|\[([0-9A-Fa-f.]*:[0-9A-Fa-f.:]*(?:%[^][:/\s]+)?)]):([0-9]{1,5})"
)


def check_address(name: str, value: object, example: str) -> tuple[str, int]:
    """Return the host and the port of ``HOST:PORT``, in which an IPv6 address has brackets."""
    message = (
        f"{name}={shown(value)} is not of the form HOST:PORT, such as {example!r}, or '[::1]:8080'"
    )
    text = plain(value)
    if text is None:
        raise TypeError(message)
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found[3]) > LAST_PORT:
        raise ValueError(message)
    return found[1] or found[2], int(found[3])


def check_host(name: str, value: object) -> str:
    """Return where to listen, which is looked up only then."""
    if not isinstance(value, str):
        msg = f"{name}={shown(value)} is not a str: pass one, such as '0.0.0.0'"
        raise TypeError(msg)
    if not value:
        msg = f"{name}='' is no host: pass one, such as '0.0.0.0'"
        raise ValueError(msg)
    return str.__str__(value)


def check_port(name: str, value: object) -> int:
    """Return the number of a TCP port; 0 is for any that is free."""
    message = f"{name}={shown(value)} is not the number of a port, from 0 to {LAST_PORT}"
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(message)
    if not 0 <= value <= LAST_PORT:
        raise ValueError(message)
    return value


def check_flag(name: str, value: object) -> None:
    """Raise :exc:`TypeError` unless ``value`` is ``True`` or ``False``."""
    if not isinstance(value, bool):
        msg = f"{name}={shown(value)} is not a bool: pass {name}=True or {name}=False"
        raise TypeError(msg)


def check_kind(
    name: str, value: object, kind: type, example: str, *, optional: bool = True
) -> None:
    """Raise :exc:`TypeError` unless ``value`` is of that class, as ``example`` is, or ``None``."""
    if not (isinstance(value, kind) or (value is None and optional)):
        msg = f"{name}={shown(value)} is not a {kind.__name__}: pass one, such as {example}"
        raise TypeError(msg)


def check_function(name: str, value: object, returns: str) -> None:
    """Raise :exc:`TypeError` unless ``value`` can be called, and is not async."""
    if not callable(value):
        msg = f"{name}={shown(value)} is not callable: pass a function that returns {returns}"
        raise TypeError(msg)
    if is_async(value):
        msg = f"{name}={shown(value)} is async: pass a function that returns {returns} at once"
        raise TypeError(msg)


def is_async(function: Callable[..., object]) -> bool:
    """Return whether it is known of a function that what it returns has to be awaited."""
    while isinstance(function, functools.partial):
        function = function.func
    return any(
        inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each)
        for each in (function, type(function).__call__)
    )


def plain(name: object) -> str | None:
    """Return the text of a string as a plain one; ``None`` if it is no string.

    A subclass may have a ``format()``, a hash or an equality of its own. So no string of such a
    class may come into the tree.
    """
    return str.__str__(name) if isinstance(name, str) else None


def name_of(passed: object) -> str | None:
    """Return what was passed as a name as a plain string; ``None`` if it can't be one (S2)."""
    if isinstance(passed, str) and _NAME.fullmatch(passed) is not None:
        return passed if type(passed) is str else str.__str__(passed)
    return None


def check_dn(dn: object, root: str) -> str:
    """Return a DN of a tree with that root as a plain string.

    Raises:
        InvalidNameError: if no node of the tree can ever have it.
    """
    text = plain(dn) or ""
    names = text.split(".")
    if names[0] != root or not all(map(name_of, names)):
        msg = (
            f"dn={shown(dn)} can be no node's: pass a dotted path from {root!r} on, "
            "of names with 1 to 64 of the characters a-z, 0-9 and _"
        )
        raise InvalidNameError(msg)
    return text

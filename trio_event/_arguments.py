"""What is checked of arguments, at the call, before anything has happened.

Each error names the call, the argument and what was given, and says what to give instead.
"""

from __future__ import annotations


def check_error(error: object) -> None:
    """Raise unless the argument of a ``fail()`` can be the cause of another exception."""
    if not isinstance(error, BaseException):
        msg = f"fail(): error={error!r} is not an exception: pass one, such as RuntimeError('lost')"
        raise TypeError(msg)

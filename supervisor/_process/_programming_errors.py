"""Which errors of a root are mistakes in its program, that no restart repairs (S27).

A name of a wrong form, a signal in a wrong state, an argument of a wrong kind: the package's own
checks refuse them, and will refuse them again in each incarnation. What they raise is a
``ValueError`` or ``TypeError``, as other libraries raise, or a ``SignalError``. So the class alone
does not tell, but the place does: the traceback of what a check has raised ends in a frame of this
package. The same classes raised elsewhere, as by ``int()`` in a runnable, may come of data, and are
retried.
"""

from __future__ import annotations

from typing import Final

from supervisor._core._errors import SignalError
from supervisor._text._exceptions import traceback_of, unwrap
from supervisor._text._frames import ends_in_package

_KINDS: Final = (ValueError, TypeError, SignalError)


def is_programming_error(error: Exception) -> bool:
    """Return whether a check of ours has raised ``error``, or the one in groups of one (S27)."""
    *_, single = unwrap(error)
    # As `except` does: the error's own __class__ is not asked.
    return issubclass(type(single), _KINDS) and ends_in_package(traceback_of(single))

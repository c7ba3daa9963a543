"""Durations as words."""

from __future__ import annotations

import math
from typing import Final

MINUTE: Final = 60

_UNITS: Final = ((MINUTE, "min"), (60, "h"), (24, "d"))
"""How many of a unit make the next larger one."""


def duration(seconds: float) -> str:
    """Return a duration by its two largest units, such as ``3 min 7 s``."""
    if seconds < MINUTE:
        return f"{max(0.0, seconds):.1f} s"
    minutes, rest = divmod(int(seconds), MINUTE)
    hours, minutes = divmod(minutes, MINUTE)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def rounded_up(seconds: float) -> str:
    """Return a duration by its largest unit, rounded up, such as ``4 min``."""
    number, unit = max(0, math.ceil(seconds)), "s"
    for factor, larger in _UNITS:
        if number < factor:
            break
        number, unit = math.ceil(number / factor), larger
    return f"{number} {unit}"

"""Durations as words."""

from __future__ import annotations

from typing import Final

MINUTE: Final = 60


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

"""The absence of data, which is not ``None``."""

from __future__ import annotations

import enum
from typing import Final, Literal


class Unset(enum.Enum):
    """The type of :data:`UNSET`."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        """Show the constant's name."""
        return "UNSET"


UNSET: Final[Literal[Unset.UNSET]] = Unset.UNSET
"""Stands for "no data yet". ``None`` is data."""

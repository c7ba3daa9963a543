"""The absence of data, which is not ``None``."""

from __future__ import annotations

import enum
from typing import Final, Literal, final


class Unset(enum.Enum):
    """The type of :data:`UNSET`, which a value without data has in place of data (V2)."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        """Show the constant's name."""
        return "UNSET"


UNSET: Final[Literal[Unset.UNSET]] = Unset.UNSET
"""Stands for "no data yet". ``None`` is data."""


@final
class UnsetError(LookupError):
    """A value that has no data yet was asked for it."""

"""The absence of a key, which is data."""

from __future__ import annotations

import enum
from typing import Final, Literal, TypeGuard, TypeVar

T = TypeVar("T")


class Absent(enum.Enum):
    """The type of :data:`ABSENT`, the data of a key that is not there (V23)."""

    ABSENT = "ABSENT"

    def __repr__(self) -> str:
        """Show the constant's name."""
        return "ABSENT"


ABSENT: Final[Literal[Absent.ABSENT]] = Absent.ABSENT
"""Stands for "the key is not there", which is known. ``UNSET`` is "nothing is known yet"."""


def is_present(data: T | Absent) -> TypeGuard[T]:
    """Return whether a key is there, by its data."""
    return data is not ABSENT

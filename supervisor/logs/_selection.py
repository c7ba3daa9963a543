"""Which entries of a buffer are wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from supervisor._core._arguments import check_count, check_dn

if TYPE_CHECKING:
    from ._entry import LogEntry

ROOT: Final = "root"
"""The DN to which all entries belong, those of no node included."""

SIDECARS: Final = "sidecars"
"""The root of each tree of sidecars that :func:`supervisor.main` runs."""

NO_NODE: Final = "-"
"""The DN of entries of no node."""


@final
class Selection:
    """The entries of a node, or of a subtree, from a level on."""

    __slots__ = ("_below", "_dn", "_level")

    def __init__(self, dn: str, level: int, *, children: bool = True) -> None:
        """Check a choice of users.

        Raises:
            InvalidNameError: if no entry of a node can have that DN.
            TypeError: if ``level`` is no whole number.
            ValueError: if it is negative.
        """
        self._dn: str = _checked(dn)
        self._level: int = check_count("level", level, least=0)
        # What the DNs below begin with; None if these are not wanted.
        self._below: str | None = None
        if children:
            self._below = "" if dn == ROOT else f"{dn}."

    @property
    def is_all(self) -> bool:
        """The entries of all DNs are wanted."""
        return self._below == ""

    def has(self, dn: str) -> bool:
        """Return whether entries with this DN are wanted."""
        return dn == self._dn or (self._below is not None and dn.startswith(self._below))

    def wants(self, entry: LogEntry) -> bool:
        """Return whether an entry is wanted."""
        return entry.level >= self._level and self.has(entry.dn)


def _checked(dn: object) -> str:
    if dn == NO_NODE:
        return NO_NODE
    is_sidecar = isinstance(dn, str) and dn.partition(".")[0] == SIDECARS
    return check_dn(dn, SIDECARS if is_sidecar else ROOT)

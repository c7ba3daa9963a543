"""Figures about a value."""

from __future__ import annotations

from typing import final

import attrs


@final
@attrs.frozen(kw_only=True)
class Statistics:
    """Figures about a :class:`MemoryValue`."""

    version: int
    """The newest version."""
    sets: int
    """How often it was set, the initial data and the suppressed sets included."""
    suppressed: int
    """How many sets were no updates because ``eq`` found them equal."""
    tasks_waiting: int
    """How many waits, of tasks in ``get``, ``select`` or ``wait_for``, are for this value.

    A ``follow`` with ``latest=True`` in its call and a pipe that is sending count as well.
    """

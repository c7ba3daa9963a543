"""All that tests take from private modules of the package: what nothing public shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor.__main__ import load, main, parse
from supervisor._core._plan import GiveUp, Retry
from supervisor._core._restart import RestartHistory
from supervisor._core._tree import Group, Incarnation, Node
from supervisor._process._log_format import JsonFormatter, TerminalFormatter, preset_logging
from supervisor._tasks._timers import Timer, Timers

if TYPE_CHECKING:
    from supervisor import Handle

__all__ = [
    "GiveUp",
    "Group",
    "Incarnation",
    "JsonFormatter",
    "Node",
    "RestartHistory",
    "Retry",
    "TerminalFormatter",
    "Timer",
    "Timers",
    "load",
    "main",
    "parse",
    "preset_logging",
    "waits_are_registered",
]


def waits_are_registered(handle: Handle) -> bool:
    """Return whether a group, or its nursery, knows of tasks that wait for the group."""
    group = handle._group
    return bool(group.changed) or bool(group.siblings.awaited)

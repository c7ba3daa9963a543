"""All that tests take from private modules of the package: what nothing public shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor import _crash
from supervisor.__main__ import load, main, parse
from supervisor._alarms import Alarm as Timer, Alarms as Timers
from supervisor._crash import MESSAGE_KEPT, TEXTS_KEPT, format_error
from supervisor._host import Host
from supervisor._log_format import JsonFormatter, TerminalFormatter, preset_logging
from supervisor._node import Group, Incarnation, Node, Terms
from supervisor._restart import GiveUp, Restart, Restarts
from supervisor._state import TRANSITIONS
from supervisor._tree import Tree, descendants

if TYPE_CHECKING:
    from supervisor import Handle, Supervisor

__all__ = [
    "KEPT_TEXTS",
    "MESSAGE_KEPT",
    "TEXTS_KEPT",
    "TRANSITIONS",
    "GiveUp",
    "Group",
    "Host",
    "JsonFormatter",
    "Node",
    "Restart",
    "Restarts",
    "TerminalFormatter",
    "Terms",
    "Timer",
    "Timers",
    "Tree",
    "descendants",
    "format_error",
    "load",
    "main",
    "parse",
    "preset_logging",
    "root_incarnation",
    "waits_are_registered",
]

KEPT_TEXTS = _crash._texts
"""The texts of crashes that are remembered."""


def root_incarnation(tree: Supervisor) -> Incarnation:
    """Return the incarnation of the root."""
    incarnation = tree._tree.root.members[0].incarnation
    assert incarnation is not None
    return incarnation


def waits_are_registered(handle: Handle) -> bool:
    """Return whether a group, or what runs it, knows of tasks that wait for the group."""
    group = handle._group
    return bool(group.changed) or bool(group.host.awaited)

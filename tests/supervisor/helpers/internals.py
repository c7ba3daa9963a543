"""All that tests take from private modules of the package: what nothing public shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor._core._events import DrainBegun, GroupMoved
from supervisor._core._plan import GiveUp, Retry
from supervisor._core._restart import RestartHistory
from supervisor._core._tree import Group, Incarnation, Node
from supervisor._observing._dump import NODES_SHOWN, describe_tree
from supervisor._process._command_line import _inspect as inspect_of, load, main, parse
from supervisor._process._countdown import DOUBLED, FOLLOWING, LAST_RESORT, Countdown, Request
from supervisor._process._inspection import inspection
from supervisor._process._last_resort import LastResort
from supervisor._process._logging_preset import preset_logging
from supervisor._process._main import _asked_for as asked_for
from supervisor._process._notifier import QUIET, Notifier, Watchdog, notifiers
from supervisor._process._probes import probes
from supervisor._process._service import Service
from supervisor._process._sidecars import OWN, Sidecars, check_sidecars
from supervisor._process._signals import DUMP_SIGNAL, STOP_SIGNALS
from supervisor._tasks._timers import Timer, Timers
from supervisor.logs import JSONFormatter, TextFormatter
from supervisor.logs._journal import JournalFormatter

if TYPE_CHECKING:
    from supervisor import Handle

__all__ = [
    "DOUBLED",
    "DUMP_SIGNAL",
    "FOLLOWING",
    "LAST_RESORT",
    "NODES_SHOWN",
    "OWN",
    "QUIET",
    "STOP_SIGNALS",
    "Countdown",
    "DrainBegun",
    "GiveUp",
    "Group",
    "GroupMoved",
    "Incarnation",
    "JSONFormatter",
    "JournalFormatter",
    "LastResort",
    "Node",
    "Notifier",
    "Request",
    "RestartHistory",
    "Retry",
    "Service",
    "Sidecars",
    "TextFormatter",
    "Timer",
    "Timers",
    "Watchdog",
    "asked_for",
    "check_sidecars",
    "describe_tree",
    "inspect_of",
    "inspection",
    "load",
    "main",
    "notifiers",
    "parse",
    "preset_logging",
    "probes",
    "waits_are_registered",
]


def waits_are_registered(handle: Handle) -> bool:
    """Return whether a group, or its nursery, knows of tasks that wait for the group."""
    group = handle._group
    return bool(group.changed) or bool(group.siblings.awaited)

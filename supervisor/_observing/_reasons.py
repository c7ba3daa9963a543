"""Why a node is not ready, as one short line (S25).

An inspector explains a node by the way to the culprit, in a sentence. A probe and a service
manager have a line: what the node is, when it starts again, and what it died of. All of it is the
record of the node and its group, so a line costs the same in any tree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from supervisor._core._states import (
    BACKOFF,
    DOWN,
    FAILED,
    HELD,
    RESTARTING,
    RUNS,
    STOPPED,
    STOPPING,
)
from supervisor._text._durations import duration, rounded_up
from supervisor._text._printable import cut

from ._logging import DN_LENGTH

if TYPE_CHECKING:
    from supervisor._core._records import Crash
    from supervisor._core._tree import Node

REASON_LENGTH: Final = 300
"""At most so many characters of an error, or of a reason that was given, are in the line."""

_FOLLOWS: Final = {
    RESTARTING: "restarts",
    HELD: "stopped until it is restarted",
    DOWN: "not restarted",
    FAILED: "not restarted",
    STOPPED: "stopped for good",
}
"""What becomes of the members of a group in these states."""


def unready_line(node: Node, now: float, *, brief: bool = False) -> str:
    """Say why a node is not ready.

    Args:
        node: A node that is not ready itself, whatever those below it are.
        now: The time in its tree.
        brief: Leave out the fractions of seconds, and what the error says.

    Returns:
        ``root.net.dhcp DEAD, restarts in 3.2 s: OSError: no lease``; if it is to be brief,
        ``root.net.dhcp DEAD, restarts in 4 s (OSError)``.
    """
    words = [_state(node)]
    follows = _follows(node, now, brief=brief)
    if follows:
        words.append(follows)
    line = f"{cut(node.dn, DN_LENGTH)} {', '.join(words)}"
    history = node.death_history
    if history is None or history.down_since is None or not history.crashes:
        return line  # it has not died since it was HEALTHY last
    crash = history.crashes[-1]
    return f"{line} ({_type_of(crash)})" if brief else f"{line}: {cut(crash.error, REASON_LENGTH)}"


def brief_death(crash: Crash) -> str:
    """Say which node has died, and of what type of error: ``root.net.dhcp died (OSError)``."""
    return f"{cut(crash.dn, DN_LENGTH)} died ({_type_of(crash)})"


def _type_of(crash: Crash) -> str:
    # The name of a type has no colon, and its message is behind one.
    return cut(crash.error.partition(":")[0], REASON_LENGTH)


def _state(node: Node) -> str:
    incarnation = node.incarnation
    if incarnation is None or not node.is_present:
        return "not started"
    run = f" in run {node.number}" if node.number > 1 and incarnation.phase in RUNS else ""
    return f"{incarnation.state.name}{run}"


def _follows(node: Node, now: float, *, brief: bool) -> str:
    """Say what becomes of a node, or what it waits for."""
    group, incarnation = node.group, node.incarnation
    phase = group.phase
    if phase is BACKOFF:
        left = group.backoff_end - now
        return f"restarts in {rounded_up(left) if brief else duration(left)}"
    if phase in _FOLLOWS:
        return _FOLLOWS[phase]
    if incarnation is not None and incarnation.phase in RUNS and incarnation.stop_requested:
        return "is being stopped"
    if phase is STOPPING or group.siblings.cancelled:
        return "its group is being stopped"
    if incarnation is not None and incarnation.unready_reason is not None:
        return f"not ready: {cut(incarnation.unready_reason, REASON_LENGTH)}"
    return "the tree will be stopped" if group.siblings.tree.is_draining else ""

"""Why a node is as it is, in one sentence, from the tree's own record (S37).

A node that died says so itself. One that ended because it was asked to is explained by what asked:
a member of its group that died, an operator, its parent's end, the stop of the tree. The way there
goes up the tree, since what is below a node ends with it. A node that works may still not be ready
because of a node below it; then that one is explained.

What follows is the plan of its group. While the group is being stopped, that waits for the members
that still run: so the sentence names one, and the line in which it waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from supervisor._core._plan import HOLD, RESTART
from supervisor._core._states import (
    BACKOFF,
    CANCELED,
    DEAD,
    DOWN,
    FAILED,
    HELD,
    NEW,
    RESTARTING,
    RUNNING,
    RUNS,
    STOPPED,
    STOPPING,
)
from supervisor._core._tree import subtree
from supervisor._text._durations import duration
from supervisor._text._printable import cut, single_line

if TYPE_CHECKING:
    from supervisor._core._tree import Group, Node
    from supervisor._tasks._port import Port

ERROR_LENGTH: Final = 300
"""At most so many characters of an error are in the sentence."""

_FOLLOWS: Final = {
    RESTARTING: "; the group restarts now",
    HELD: "; the group stays stopped until it is restarted",
    DOWN: "; the group is not restarted",
    FAILED: "; the group is not restarted",
    STOPPED: "; the group is stopped for good",
}
"""What becomes of a group in these states."""


def why(port: Port, node: Node, unready: Node | None) -> str:
    """Explain the state of a node.

    Args:
        port: The tree.
        node: What is asked for.
        unready: The first node of its subtree that is not ready.
    """
    return _Explanation(port, unready).of(node)


class _Explanation:
    def __init__(self, port: Port, unready: Node | None) -> None:
        self._port = port
        self._unready = unready
        self._now = port.time()

    def of(self, node: Node) -> str:
        """Explain one node."""
        incarnation, group = node.incarnation, node.group
        if incarnation is None or not node.is_present:
            return self._of_waiting(node)
        phase = incarnation.phase
        name = f"{node.dn} is {incarnation.state.name}"
        if phase is DEAD:
            return f"{node.dn} {self._death(node)}{self._what_follows(group)}"
        if phase is CANCELED:
            return f"{name} since {self._cause(node)}{self._what_follows(group)}"
        if incarnation.stop_requested or group.phase is STOPPING:
            return f"{name}, and is being stopped since {self._cause(node)}{self._remains(group)}"
        text = f"{name} for {self._ago(incarnation.since)}{self._run(node)}"
        if phase is NEW:
            place = self._port.waiting_place(incarnation)
            text += "" if place is None else f", and waits at {place}"
        elif incarnation.unready_reason is not None:
            text = f"{name}, and is not ready: {single_line(incarnation.unready_reason)}"
        elif self._port.is_draining:
            text = f"{name}, and nothing is ready any more: the tree will be stopped"
        elif self._unready not in {None, node}:
            below, self._unready = self._unready, None
            text = f"{name}, but below it, {self.of(below)}"
        return text

    def _of_waiting(self, node: Node) -> str:
        """Explain a node that has not started in this round."""
        group = node.group
        if group.phase is not RUNNING:
            return f"{node.dn} has not started{self._what_follows(group)}"
        for member in group.members:
            if member is not node and not member.is_ready:
                return f"{node.dn} waits for its turn, and {self.of(member)}"
        return f"{node.dn} is about to start"

    def _death(self, node: Node) -> str:
        """Say when a node died, and of what."""
        if not node.crashes:
            return "died"
        crash = node.crashes[-1]
        meanwhile = f", while {single_line(crash.meanwhile)}" if crash.meanwhile else ""
        error = single_line(cut(crash.error, ERROR_LENGTH))
        return f"died {self._ago(crash.time)} ago ({error}){cut(meanwhile, ERROR_LENGTH)}"

    def _cause(self, node: Node) -> str:
        """Say why a node was asked to stop."""
        each: Node | None = node
        while each is not None:
            group = each.group
            whose = "its group" if each is node else f"the group of {each.dn}"
            dead = [
                member
                for member in group.members
                if member.is_present
                and member.incarnation is not None
                and member.incarnation.phase is DEAD
            ]
            if dead:
                first = min(dead, key=lambda member: member.incarnation.since)  # type: ignore[union-attr]  # see above
                of = "its group's " if each is node else ""
                return f"{of}{first.dn} {self._death(first)}"
            if group.plan is HOLD:
                return f"{whose} was stopped on demand"
            if group.plan is RESTART or group.phase is RESTARTING:
                return f"{whose} was restarted on demand"
            parent = group.parent
            each = None if parent is None else parent.node
            if parent is not None and parent.failure is not None:
                error = single_line(cut(str(parent.failure), ERROR_LENGTH))
                return f"{parent.node.dn} dies of its children ({error})"
        if self._port.stop_began is not None:
            return f"the tree is being stopped, which began {self._ago(self._port.stop_began)} ago"
        return "the tree was cancelled"

    def _what_follows(self, group: Group) -> str:
        """Say what becomes of a group in which a member has ended."""
        phase = group.phase
        text = _FOLLOWS.get(phase, "")
        if phase is STOPPING or (phase is RUNNING and group.siblings.cancelled):
            return self._remains(group)
        if phase is BACKOFF:
            return f"; the group restarts in {max(0.0, group.backoff_end - self._now):.1f} s"
        if phase in {DOWN, FAILED} and group.reason:
            text += f": {single_line(cut(group.reason, ERROR_LENGTH))}"
        return text

    def _remains(self, group: Group) -> str:
        """Say which member of a group, or node below one, has not ended, and where it waits."""
        for member in group.members:
            for node in subtree(member):
                incarnation = node.incarnation
                if incarnation is None or incarnation.phase not in RUNS:
                    continue
                asked = self._port.asked_to_stop(node)
                after = "" if asked is None else f", {self._ago(asked)} after it was asked to stop"
                place = self._port.waiting_place(incarnation)
                where = "" if place is None else f", and waits at {place}"
                return f"; {node.dn} still runs{after}{where}"
        return ""

    def _run(self, node: Node) -> str:
        """Say which run it is, if it is not the first, and how the last death was."""
        if node.number == 1:
            return ""
        text = f" in run {node.number}"
        return f"{text}; it {self._death(node)}" if node.crashes else text

    def _ago(self, time: float) -> str:
        """Return how long ago a time was."""
        return duration(self._now - time)

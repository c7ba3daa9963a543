"""What was seen to happen in a tree, and what must not happen."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from typing import TYPE_CHECKING, Final, final

import trio

from supervisor import NodeState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from supervisor import Snapshot

# A second copy on purpose: the tree's own table may be wrong. None: there is no such node.
LEGAL: Final[dict[NodeState | None, frozenset[NodeState]]] = {
    None: frozenset({NodeState.NEW}),
    NodeState.NEW: frozenset({NodeState.HEALTHY, NodeState.DEAD, NodeState.CANCELED}),
    NodeState.HEALTHY: frozenset({NodeState.DONE, NodeState.DEAD, NodeState.CANCELED}),
    NodeState.DONE: frozenset({NodeState.DEAD, NodeState.NEW}),
    NodeState.DEAD: frozenset({NodeState.NEW}),
    NodeState.CANCELED: frozenset({NodeState.NEW}),
}

MOST_PRINTED: Final = 20
"""No more violations than this are printed: each may cause many others."""


@final
class Findings:
    """How often each thing has happened, and all violations of the guarantees."""

    def __init__(self, output: Callable[[str], object] = str) -> None:
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        # The whole soak runs in it, and ends at the first violation: what follows says little.
        self.scope = trio.CancelScope()
        self._output = output

    def add_violation(self, text: str) -> None:
        """Record that something is not as guaranteed, and end the soak."""
        self.violations.append(text)
        if len(self.violations) <= MOST_PRINTED:
            self._output(f"VIOLATED  {text}")
        self.scope.cancel(text)

    @contextlib.contextmanager
    def time_limit(self, seconds: float, what: str) -> Iterator[None]:
        """Check that something takes no longer than this."""
        with trio.move_on_after(seconds) as scope:
            yield
        if scope.cancelled_caught:
            self.add_violation(f"it hangs: {what} has not returned within {seconds:g} s")


@final
class GroupTasks:
    """The tasks of a group and of all groups below it, as its members count them."""

    def __init__(self, findings: Findings, name: str, parent: GroupTasks | None = None) -> None:
        self.name: str = name if parent is None else f"{parent.name}/{name}"
        self.alive = 0
        self.findings = findings
        self._parent = parent
        self._round: object = None
        self._started: set[str] = set()

    def add_start(self, member: str, round_: object = None) -> None:
        """Record the start of a member, before its task is counted.

        Without a ``round_``, a new round begins when a member starts again.
        """
        self.findings.counts["starts"] += 1
        again = member in self._started if round_ is None else round_ is not self._round
        if again:
            if self.alive:
                self.findings.add_violation(
                    f"S7: {member} of {self.name} starts, while {self.alive} tasks of the "
                    "previous incarnation are alive"
                )
            self._started.clear()
            self._round = round_
        elif member in self._started:
            self.findings.add_violation(f"S7: {member} of {self.name} starts twice in one round")
        self._started.add(member)

    @contextlib.contextmanager
    def count_task(self) -> Iterator[None]:
        """Count a task as alive, in this group and in all groups above."""
        groups = list(self._path())
        for group in groups:
            group.alive += 1
        try:
            yield
        finally:
            for group in groups:
                group.alive -= 1

    def _path(self) -> Iterator[GroupTasks]:
        group: GroupTasks | None = self
        while group is not None:
            yield group
            group = group._parent


@final
class Transitions:
    """Metrics that check each transition of a node."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._states: dict[str, NodeState] = {}
        # Other trees of this process may have left loggers behind.
        self._job_loggers_before = job_loggers()

    def __len__(self) -> int:
        return len(self._states)

    def notify_node_state(self, dn: str, state: NodeState) -> None:
        before = self._states.get(dn)
        if state not in LEGAL[before]:
            was = "not there" if before is None else before.name
            self._findings.add_violation(f"S3: {dn} became {state.name} when it was {was}")
        self._states[dn] = state
        self._findings.counts[state.name] += 1

    def notify_node_gone(self, dn: str) -> None:
        if self._states.pop(dn, None) is None:
            self._findings.add_violation(f"S16: {dn} vanished, and was not there")

    def compare(self, snapshot: Snapshot) -> None:
        """Check that the snapshot agrees with the transitions so far."""
        shown = {dn: node.state for dn, node in snapshot.nodes.items()}
        if shown != self._states:
            differing = sorted(dict(shown.items() ^ self._states.items()))
            self._findings.add_violation(
                f"S16: the snapshot differs from the transitions of {', '.join(differing[:10])}"
            )

    def check_loggers(self) -> None:
        """Check that logging keeps nothing of a pool's children that are gone."""
        left = job_loggers() - self._job_loggers_before - self._states.keys()
        if left:
            self._findings.add_violation(
                f"S23: there are loggers of {', '.join(sorted(left)[:10])}"
            )

    def check_end(self) -> None:
        """Check that no node is alive after the end of the tree."""
        living = {NodeState.NEW, NodeState.HEALTHY}
        left = [dn for dn, state in self._states.items() if state in living]
        if left:
            self._findings.add_violation(f"S12: the tree has ended, but not {', '.join(left[:10])}")


def job_loggers() -> set[str]:
    """Return the DNs of the children of pools for which logging keeps a logger."""
    known = logging.Logger.manager.loggerDict
    return {name.removeprefix("supervisor.node.") for name in known if ".pool." in name}

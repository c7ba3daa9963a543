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

# Written down once more, for the tree's own table may be wrong. None: there is no such node.
LEGAL: Final[dict[NodeState | None, frozenset[NodeState]]] = {
    None: frozenset({NodeState.NEW}),
    NodeState.NEW: frozenset({NodeState.HEALTHY, NodeState.DEAD, NodeState.CANCELED}),
    NodeState.HEALTHY: frozenset({NodeState.DONE, NodeState.DEAD, NodeState.CANCELED}),
    NodeState.DONE: frozenset({NodeState.DEAD, NodeState.NEW}),
    NodeState.DEAD: frozenset({NodeState.NEW}),
    NodeState.CANCELED: frozenset({NodeState.NEW}),
}

TOLD: Final = 20
"""So many violations are enough to tell of: each may have many others in its train."""


@final
class Ledger:
    """What happened, by number; and each violation of what is guaranteed."""

    def __init__(self, tell: Callable[[str], object] = str) -> None:
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        # Everything is in it, and ends at the first violation: what follows says little.
        self.scope = trio.CancelScope()
        self._tell = tell

    def violate(self, what: str) -> None:
        """Take note that something is not as guaranteed."""
        self.violations.append(what)
        if len(self.violations) <= TOLD:
            self._tell(f"VIOLATED  {what}")
        self.scope.cancel(what)

    @contextlib.contextmanager
    def patience(self, seconds: float, what: str) -> Iterator[None]:
        """Hold that something must not take longer than this."""
        with trio.move_on_after(seconds) as scope:
            yield
        if scope.cancelled_caught:
            self.violate(f"it hangs: {what} has not returned within {seconds:g} s")


@final
class Place:
    """A group, as its members see it: what is alive in it and below."""

    def __init__(self, ledger: Ledger, name: str, above: Place | None = None) -> None:
        self.name: str = name if above is None else f"{above.name}/{name}"
        self.alive = 0
        self.ledger = ledger
        self._above = above
        self._round: object = None
        self._started: set[str] = set()

    def start(self, member: str, round_: object = None) -> None:
        """Take note of a member's start, before it is counted.

        Its ``round_``, if it is not known, is another one as soon as a member starts again.
        """
        self.ledger.counts["starts"] += 1
        again = member in self._started if round_ is None else round_ is not self._round
        if again:
            if self.alive:
                self.ledger.violate(
                    f"S7: {member} of {self.name} starts, while {self.alive} tasks of the "
                    "previous incarnation are alive"
                )
            self._started.clear()
            self._round = round_
        elif member in self._started:
            self.ledger.violate(f"S7: {member} of {self.name} starts twice in one round")
        self._started.add(member)

    @contextlib.contextmanager
    def task(self) -> Iterator[None]:
        """Count a task as alive, here and in all groups around."""
        places = list(self._places())
        for place in places:
            place.alive += 1
        try:
            yield
        finally:
            for place in places:
                place.alive -= 1

    def _places(self) -> Iterator[Place]:
        place: Place | None = self
        while place is not None:
            yield place
            place = place._above


@final
class Transitions:
    """Metrics that know which transitions are legal."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._states: dict[str, NodeState] = {}
        # Of other trees in this process: what a tree ends with does not vanish.
        self._job_loggers_before = job_loggers()

    def __len__(self) -> int:
        return len(self._states)

    def notify_node_state(self, dn: str, state: NodeState) -> None:
        before = self._states.get(dn)
        if state not in LEGAL[before]:
            was = "not there" if before is None else before.name
            self._ledger.violate(f"S3: {dn} became {state.name} when it was {was}")
        self._states[dn] = state
        self._ledger.counts[state.name] += 1

    def notify_node_gone(self, dn: str) -> None:
        if self._states.pop(dn, None) is None:
            self._ledger.violate(f"S16: {dn} vanished, and was not there")

    def compare(self, snapshot: Snapshot) -> None:
        """Hold that the tree shows what it has told."""
        shown = {dn: node.state for dn, node in snapshot.nodes.items()}
        if shown != self._states:
            differing = sorted(dict(shown.items() ^ self._states.items()))
            self._ledger.violate(
                f"S16: the snapshot differs from what was told of {', '.join(differing[:10])}"
            )

    def check_loggers(self) -> None:
        """Hold that logging keeps nothing of a pool's children that are no more."""
        left = job_loggers() - self._job_loggers_before - self._states.keys()
        if left:
            self._ledger.violate(f"S23: there are loggers of {', '.join(sorted(left)[:10])}")

    def check_the_end(self) -> None:
        """Hold that nobody is left."""
        living = {NodeState.NEW, NodeState.HEALTHY}
        left = [dn for dn, state in self._states.items() if state in living]
        if left:
            self._ledger.violate(f"S12: the tree has ended, but not {', '.join(left[:10])}")


def job_loggers() -> set[str]:
    """Return the DNs of those children of pools for whom logging keeps a logger."""
    known = logging.Logger.manager.loggerDict
    return {name.removeprefix("supervisor.node.") for name in known if ".pool." in name}

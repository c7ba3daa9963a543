"""An observer of a tree, who knows what metrics and the runnables themselves say, and checks it.

Nothing here looks into the tree: what is true of it is told by ledgers, one for each group, and
compared with what the tree says of itself.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections import Counter
from typing import TYPE_CHECKING, Final, final

import trio

from supervisor import GroupState, NodeState

from .group_model import READY, Demand, Ledger
from .strategies import CLEAN_UP, GRACE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervisor import Snapshot, Supervisor

    from .strategies import GroupPlan

NEW, HEALTHY, DONE = NodeState.NEW, NodeState.HEALTHY, NodeState.DONE
DEAD, CANCELED = NodeState.DEAD, NodeState.CANCELED

LEGAL: Final = {
    None: {NEW},
    NEW: {HEALTHY, DEAD, CANCELED},
    HEALTHY: {DONE, DEAD, CANCELED},
    DONE: {DEAD, NEW},
    DEAD: {NEW},
    CANCELED: {NEW},
}
RUNNING: Final = {NEW, HEALTHY}
SERVING: Final = {GroupState.RUNNING, GroupState.FINISHED}


class FaultError(Exception):
    """What runnables raise."""


class FatalError(BaseException):
    """What leaves a tree."""


@final
class Records(logging.Handler):
    """Everything that is logged, as one text."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the records of all trees, and keep them to ourselves."""
        logger = logging.getLogger("supervisor")
        logger.addHandler(self)
        logger.propagate = False
        try:
            yield
        finally:
            logger.propagate = True
            logger.removeHandler(self)


@final
class Witness:
    """Metrics of a tree, and the confidant of its runnables."""

    def __init__(self, root: GroupPlan) -> None:
        self.states: dict[str, NodeState] = {}
        self.tasks: Counter[str] = Counter()
        """How many tasks of each runnable live."""
        self.runs: Counter[str] = Counter()
        """How often each was run in its parent's present incarnation."""
        self.ledgers: dict[str, list[Ledger]] = {}
        """The groups of each node, in order of start."""
        self.faults: list[str] = []
        self.fatal: list[FatalError] = []
        self.deaths = 0
        self.ended = False
        """Whether the tree has been asked to stop."""
        self.cancelled_from = math.inf
        """When everything is cancelled, in no order."""
        self.root = Ledger(root, ("root",))
        self._ledger: dict[str, Ledger] = {"root": self.root}
        self._vanished: list[str] = []
        self.violations: list[Exception] = []

    # What metrics say

    def notify_node_state(self, dn: str, state: NodeState) -> None:
        # What metrics raise is logged, and harms nobody: it has to wait for the next check.
        with self._violation_kept():
            before = self.states.get(dn)
            assert state in LEGAL[before], f"{dn} goes from {before} to {state}"
            now = trio.current_time()
            ledger = self._ledger[dn]
            if state is NEW:
                self._begin(dn)
                ledger.begin(dn, now)
            else:
                assert not self._vanished, f"nobody began above {self._vanished}"
                ledger.move(dn, state, now)
                ledger.unsure |= state is HEALTHY and any(map(self.escalated, ledger.dns))
            self.deaths += state is DEAD
            self.states[dn] = state
            self._touch(dn)

    def notify_node_gone(self, dn: str) -> None:
        with self._violation_kept():
            assert self.states.pop(dn) not in RUNNING, f"{dn} is gone before its end"
            assert not self.living(dn)
            parent = dn.rpartition(".")[0]
            if parent not in self.states:
                return  # it vanishes with its parent
            if self._ledger[parent].plan.pool and self.states[parent] is HEALTHY:
                self._close(dn)
                self.shut(self._ledger[dn])
            else:
                self._vanished.append(dn)

    def _begin(self, dn: str) -> None:
        ledger = self._ledger[dn]
        for member in ledger.dns if dn == ledger.dns[0] else (dn,):
            assert not self.living(member), f"{dn} starts while tasks of {member} live"
        assert all(gone.startswith(f"{dn}.") for gone in self._vanished)
        self._vanished.clear()
        assert not any(known.startswith(f"{dn}.") for known in self.states)
        parent = dn.rpartition(".")[0]
        if parent and not ledger.rounds:
            assert self.states[parent] is (HEALTHY if self._ledger[parent].plan.pool else NEW)
        self._close(dn)

    def _close(self, dn: str) -> None:
        """Forget the groups below a node."""
        for ledger in self.ledgers.pop(dn, ()):
            ledger.over = True
            for member in ledger.dns:
                del self._ledger[member]
                self.runs.pop(member, None)
                self._close(member)

    # What runnables say

    def open(self, parent: str, plan: GroupPlan, names: list[str]) -> Ledger:
        """Take note that a group is about to be started."""
        ledger = Ledger(plan, tuple(f"{parent}.{name}" for name in names))
        self.ledgers.setdefault(parent, []).append(ledger)
        self._ledger.update(dict.fromkeys(ledger.dns, ledger))
        return ledger

    def shut(self, ledger: Ledger) -> None:
        """Take note that it was not started after all, or has left its pool."""
        ledger.over = True
        parent = ledger.dns[0].rpartition(".")[0]
        self.ledgers[parent].remove(ledger)
        for dn in ledger.dns:
            del self._ledger[dn]

    @contextlib.contextmanager
    def task(self, dn: str) -> Iterator[None]:
        """Count a task of a runnable from its first to its last step."""
        self.tasks[dn] += 1
        try:
            yield
        finally:
            self.tasks[dn] -= 1
            self._touch(dn)

    def fault(self, dn: str) -> FaultError:
        """Make something to raise, and to be found in the log."""
        text = f"fault {len(self.faults)} of {dn}"
        self.faults.append(f"FaultError: {text}")
        return FaultError(text)

    def leave(self, dn: str) -> FatalError:
        """Make something to raise that leaves the tree."""
        self.fatal.append(FatalError(dn))
        self.end(trio.current_time())
        return self.fatal[-1]

    def end(self, cancelled_from: float | None) -> None:
        """Take note that the tree is asked to stop, and when everything is cancelled, if ever."""
        self.ended = self.root.over = True
        if cancelled_from is not None:
            self.cancelled_from = min(self.cancelled_from, cancelled_from)

    @property
    def cancelled(self) -> bool:
        return trio.current_time() >= self.cancelled_from

    @property
    def handled(self) -> list[Ledger]:
        """The groups that a handle is known of."""
        return [each for each in self._ledger.values() if each.handle is not None]

    def interrupted(self, dn: str) -> None:
        """Take note that a runnable sees a stop; check the order, where its parent has ended."""
        ledger = self._ledger[dn]
        own = self.cancelled or ledger.disturbed or len(ledger.dns) > 1
        parent = dn.rpartition(".")[0]
        if own or self.escalated(dn) or not parent:
            return
        with self._violation_kept():
            body = self.tasks[parent] or self.states[parent] is HEALTHY
            assert not body, f"{dn} is stopped before its parent"
            siblings = self.ledgers[parent]
            for later in siblings[siblings.index(ledger) + 1 :]:
                for member in later.dns:
                    assert not self.living(member), f"{dn} is stopped before {member}"
        ledger.over = True

    # What follows

    def living(self, dn: str) -> int:
        """Return how many tasks of a node, and of those below, are alive."""
        return sum(
            count
            for known, count in self.tasks.items()
            if known == dn or known.startswith(f"{dn}.")
        )

    def ready(self, dn: str, snapshot: Snapshot) -> bool:
        """Return whether a snapshot shows a subtree that is ready."""
        nodes = snapshot.nodes
        below = [name for name in nodes if name == dn or name.startswith(f"{dn}.")]
        return (
            bool(below)
            and all(nodes[name].group.state in SERVING for name in (*_above(dn), *below))
            and all(nodes[name].state in READY for name in below)
            and all(name in self._ledger[name].states for name in _above(dn))
            and all(
                ledger.begun == len(ledger.dns)
                for name in below
                for ledger in self.ledgers.get(name, ())
            )
        )

    def settled(self, snapshot: Snapshot) -> bool:
        """Return whether a snapshot shows a settled tree, if nobody can go on at once."""
        return not any(
            node.state is NEW or node.group.state is GroupState.STOPPING
            for node in snapshot.nodes.values()
        )

    def look(self, tree: Supervisor) -> None:
        """Check what is true at any instant."""
        if self.violations:
            raise self.violations[0]
        snapshot = tree.snapshot()
        assert {dn: node.state for dn, node in snapshot.nodes.items()} == self.states
        seen: set[str] = set()
        for dn, node in snapshot.nodes.items():
            parent = dn.rpartition(".")[0]
            assert not parent or parent in seen
            seen.add(dn)
            group = node.group
            assert (group.deadline is not None) == (group.state is GroupState.BACKOFF)
            if group.state is GroupState.RUNNING and not self.cancelled:
                assert node.state not in {DEAD, CANCELED} or self._ledger[dn].begun < len(
                    self._ledger[dn].dns
                )
            elif group.state is GroupState.FINISHED:
                assert node.state is DONE
            elif group.state not in {GroupState.RUNNING, GroupState.STOPPING}:
                assert node.state not in RUNNING
                assert not self.living(dn)
            if not self.cancelled:
                assert tree.ready(dn) == self.ready(dn, snapshot)

    def glance(self, tree: Supervisor) -> None:
        """Check the same for a runnable, which is not to die of what is found."""
        with self._violation_kept():
            self.look(tree)

    def rest(self, tree: Supervisor) -> None:
        """Check what is true when nobody can go on before time does."""
        self.look(tree)
        snapshot = tree.snapshot()
        now = trio.current_time()
        for dn, node in snapshot.nodes.items():
            ledger, group = self._ledger[dn], node.group
            if self.cancelled:
                break
            assert group.operator_restarts == ledger.operator_restarts
            if ledger.unsure and group.failures in {1, ledger.before + 1}:
                ledger.count(group.failures)
            # Of one that is stopped for good nobody will need the number.
            assert ledger.over or not self.undisturbed(dn) or group.failures == ledger.failures
            if any(self.living(member) for member in ledger.dns):
                assert group.state in {GroupState.RUNNING, GroupState.STOPPING}
            elif ledger.demand is Demand.STOP and not ledger.over:
                assert group.state is GroupState.STOPPED
            elif group.state is GroupState.FAILED:
                assert ledger.gives_up
            elif self.undisturbed(dn) and not ledger.over:
                assert (group.deadline, group.state is GroupState.BACKOFF) == (
                    ledger.due, ledger.failed and not ledger.gives_up,
                )  # fmt: skip
            assert group.deadline is None or group.deadline > now, f"{dn} is overdue"
            if self.escalated(dn) and node.state in RUNNING:
                failed = max(below.last for below in self.ledgers[dn] if below.gives_up)
                assert now <= failed + GRACE + CLEAN_UP, f"{dn} lives although a group gave up"
            parent = dn.rpartition(".")[0]
            if parent and self._ledger[parent].plan.pool and self.steady(parent):
                assert group.state is not GroupState.FINISHED, f"{dn} is done, and still there"
                assert group.state is not GroupState.STOPPED or not ledger.over

    def find(self, dn: str) -> Ledger | None:
        """Return the group of a node, if it is there."""
        return self._ledger.get(dn)

    def steady(self, dn: str) -> bool:
        """Return whether a node is ``HEALTHY``, and nothing is known that stops it."""
        ledger = self._ledger.get(dn)
        return (
            ledger is not None
            and self.states.get(dn) is HEALTHY
            and not ledger.disturbed
            and not self.escalated(dn)
            and self.undisturbed(dn)
        )

    @property
    def over(self) -> bool:
        """Whether the tree is asked to end, gives up, or has finished: no node starts any more."""
        return self.ended or self.root.gives_up or set(self.states.values()) == {DONE}

    def hopeless(self, ledger: Ledger) -> bool:
        """Return whether a group may be given up: it, or what is above it, is stopped or dead."""
        return self.ended or ledger.hopeless or not self.undisturbed(ledger.dns[0])

    def escalated(self, dn: str) -> bool:
        """Return whether a group of children has given up, of which the node has to die."""
        return any(
            ledger.gives_up
            and ledger.demand is None
            and not any(self.living(member) for member in ledger.dns)
            for ledger in self.ledgers.get(dn, ())
        )

    def ready_group(self, ledger: Ledger) -> bool:
        """Return whether all members of a group are ready, and are not about to be stopped."""
        return ledger.ready and not any(self.escalated(dn) for dn in ledger.dns)

    def undisturbed(self, dn: str) -> bool:
        """Return whether no ancestor of a group is being stopped, that one could know of."""
        return not self.cancelled and all(
            not self._ledger[name].disturbed
            and self.states[name] not in {DEAD, CANCELED}
            and not self.escalated(name)
            for name in _above(dn)[:-1]
        )

    def _touch(self, dn: str) -> None:
        now = trio.current_time()
        for name in _above(dn):
            self._ledger[name].last = now

    @contextlib.contextmanager
    def _violation_kept(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001  a fault of the witness is to be seen as well
            self.violations.append(error)


def _above(dn: str) -> list[str]:
    """Return the nodes from the root to ``dn``."""
    names = dn.split(".")
    return [".".join(names[: end + 1]) for end in range(len(names))]

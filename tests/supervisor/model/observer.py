"""An observer of a tree: it is told by metrics and by the runnables, and checks the tree.

Nothing here looks into the tree: models, one for each group, predict what is true of it, and that
is compared with what the tree shows.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections import Counter
from typing import TYPE_CHECKING, Final, final

import trio

from supervisor import GroupState, NodeState

from ..helpers.loggers import text_of
from ..helpers.transitions import CANCELED, DEAD, DONE, HEALTHY, LEGAL, NEW
from .group_model import READY, Demand, GroupModel
from .strategies import CLEAN_UP, GRACE, End

if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervisor import Snapshot, Supervisor

    from .strategies import GroupPlan

RUNNING: Final = {NEW, HEALTHY}
SERVING: Final = {GroupState.RUNNING, GroupState.FINISHED}


class FaultError(Exception):
    """What runnables raise."""


class DeadlyError(FaultError):
    """What runnables raise that is not retried."""


class FatalError(BaseException):
    """What runnables raise that leaves the tree."""


@final
class Records(logging.Handler):
    """The texts of all records."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(text_of(record))

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        """Record what all trees log, and show it nowhere else."""
        logger = logging.getLogger("supervisor")
        logger.addHandler(self)
        logger.propagate = False
        try:
            yield
        finally:
            logger.propagate = True
            logger.removeHandler(self)


@final
class Observer:
    """The metrics of a tree, which its runnables inform as well."""

    def __init__(self, root: GroupPlan) -> None:
        self.states: dict[str, NodeState] = {}
        self.tasks: Counter[str] = Counter()
        """How many tasks of each runnable live."""
        self.runs: Counter[str] = Counter()
        """How often each was run in its parent's present incarnation."""
        self.groups_below: dict[str, list[GroupModel]] = {}
        """The groups of each node, in order of start."""
        self.faults: list[str] = []
        self.fatal: list[FatalError] = []
        self.unready: set[str] = set()
        """The nodes that have withdrawn their readiness."""
        self.closed: set[str] = set()
        """The pools that take no more children."""
        self.deaths = 0
        self.ended = False
        """Whether the tree has been asked to stop."""
        self.cancelled_from = math.inf
        """When everything is cancelled, in no order."""
        self.root = GroupModel(root, ("root",))
        self._group_of: dict[str, GroupModel] = {"root": self.root}
        self._gone: list[str] = []
        self.violations: list[Exception] = []

    # What metrics say

    def notify_node_state(self, dn: str, state: NodeState) -> None:
        # What metrics raise is only logged, so the next check raises it.
        with self._recording_violations():
            before = self.states.get(dn)
            assert state in _following(before), f"{dn} goes from {before} to {state}"
            now = trio.current_time()
            model = self._group_of[dn]
            if state is NEW:
                self._begin(dn)
                model.begin(dn, now)
            else:
                assert not self._gone, f"no node began above {self._gone}"
                model.move(dn, state, now)
                model.unsure |= state is HEALTHY and any(map(self.must_die, model.dns))
            if state in {NEW, DONE}:
                self.unready.discard(dn)
            if state is NEW:
                self.closed.discard(dn)
            self.deaths += state is DEAD
            self.states[dn] = state
            self._record_time(dn)

    def notify_node_gone(self, dn: str) -> None:
        with self._recording_violations():
            assert self.states.pop(dn) not in RUNNING, f"{dn} is gone before its end"
            assert not self.tasks_below(dn)
            parent = dn.rpartition(".")[0]
            if parent not in self.states:
                return  # it is gone with its parent
            if self.is_pool(parent) and self.states[parent] is HEALTHY:
                self._close(dn)
                self.remove_group(self._group_of[dn])
            else:
                self._gone.append(dn)

    def _begin(self, dn: str) -> None:
        model = self._group_of[dn]
        for member in model.dns if dn == model.dns[0] else (dn,):
            assert not self.tasks_below(member), f"{dn} starts while tasks of {member} live"
        assert all(gone.startswith(f"{dn}.") for gone in self._gone)
        self._gone.clear()
        assert not any(known.startswith(f"{dn}.") for known in self.states)
        parent = dn.rpartition(".")[0]
        if parent and not model.rounds:
            assert self.states[parent] is (HEALTHY if self.is_pool(parent) else NEW)
        self._close(dn)

    def _close(self, dn: str) -> None:
        """Remove the groups below a node."""
        for model in self.groups_below.pop(dn, ()):
            model.over = True
            for member in model.dns:
                del self._group_of[member]
                self.runs.pop(member, None)
                self._close(member)

    # What runnables say

    def add_group(self, parent: str, plan: GroupPlan, names: list[str]) -> GroupModel:
        """Record that a group is about to be started."""
        model = GroupModel(plan, tuple(f"{parent}.{name}" for name in names))
        self.groups_below.setdefault(parent, []).append(model)
        self._group_of.update(dict.fromkeys(model.dns, model))
        return model

    def remove_group(self, model: GroupModel) -> None:
        """Record that a group was not started, or has left its pool."""
        model.over = True
        parent = model.dns[0].rpartition(".")[0]
        self.groups_below[parent].remove(model)
        for dn in model.dns:
            del self._group_of[dn]

    @contextlib.contextmanager
    def count_task(self, dn: str) -> Iterator[None]:
        """Count a task of a runnable from its first to its last step."""
        self.tasks[dn] += 1
        try:
            yield
        finally:
            self.tasks[dn] -= 1
            self._record_time(dn)

    def new_fault(self, dn: str, kind: type[FaultError] = FaultError) -> FaultError:
        """Return an exception that has to be found in the log."""
        text = f"fault {len(self.faults)} of {dn}"
        self.faults.append(f"{kind.__name__}: {text}")
        return kind(text)

    def new_fatal_error(self, dn: str) -> FatalError:
        """Return an exception that leaves the tree."""
        self.fatal.append(FatalError(dn))
        self.stop_requested(trio.current_time())
        return self.fatal[-1]

    def stop_requested(self, cancelled_from: float | None) -> None:
        """Record that the tree is asked to stop, and when everything is cancelled, if ever."""
        self.ended = self.root.over = True
        if cancelled_from is not None:
            self.cancelled_from = min(self.cancelled_from, cancelled_from)

    @property
    def cancelled(self) -> bool:
        return trio.current_time() >= self.cancelled_from

    @property
    def with_handles(self) -> list[GroupModel]:
        """The groups of which a handle is known."""
        return [each for each in self._group_of.values() if each.handle is not None]

    def scope_not_cancelled(self, dn: str, end: End) -> None:
        """Record that a runnable is cancelled in its ``stop_scope()``, and check that it may be."""
        if self.cancelled or end in {End.STOP_OWN, End.RESTART_OWN}:
            return  # it has no grace
        with self._recording_violations():
            assert not self._group_of[dn].plan.grace, f"{dn} was not told of its stop before"

    def stop_seen(self, dn: str) -> None:
        """Record that a runnable sees a stop; check the order if its parent has ended."""
        model = self._group_of[dn]
        own = self.cancelled or model.disturbed or len(model.dns) > 1
        parent = dn.rpartition(".")[0]
        if own or self.must_die(dn) or not parent:
            return
        with self._recording_violations():
            body = self.tasks[parent] or self.states[parent] is HEALTHY
            assert not body, f"{dn} is stopped before its parent"
            siblings = self.groups_below[parent]
            for later in siblings[siblings.index(model) + 1 :]:
                for member in later.dns:
                    assert not self.tasks_below(member), f"{dn} is stopped before {member}"
        model.over = True

    # What follows

    def tasks_below(self, dn: str) -> int:
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
            and not self.unready.intersection(below)
            and all(name in self._group_of[name].states for name in _above(dn))
            and all(
                model.begun == len(model.dns)
                for name in below
                for model in self.groups_below.get(name, ())
            )
        )

    def settled(self, snapshot: Snapshot) -> bool:
        """Return whether a snapshot shows a settled tree, when all tasks wait."""
        return not any(
            node.state is NEW or node.group.state is GroupState.STOPPING
            for node in snapshot.nodes.values()
        )

    def check(self, tree: Supervisor) -> None:
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
                assert node.state not in {DEAD, CANCELED} or self._group_of[dn].begun < len(
                    self._group_of[dn].dns
                )
            elif group.state is GroupState.FINISHED:
                assert node.state is DONE
            elif group.state not in {GroupState.RUNNING, GroupState.STOPPING}:
                assert node.state not in RUNNING
                assert not self.tasks_below(dn)
            if not self.cancelled:
                assert tree.ready(dn) == self.ready(dn, snapshot)

    def check_from_runnable(self, tree: Supervisor) -> None:
        """Check the same for a runnable, which must not die of what is found."""
        with self._recording_violations():
            self.check(tree)

    def check_when_blocked(self, tree: Supervisor) -> None:
        """Check what is true when all tasks wait."""
        self.check(tree)
        snapshot = tree.snapshot()
        now = trio.current_time()
        for dn, node in snapshot.nodes.items():
            model, group = self._group_of[dn], node.group
            if self.cancelled:
                break
            assert group.operator_restarts == model.operator_restarts
            if model.unsure and group.failures in {1, model.before + 1}:
                model.count(group.failures)
            # The number of one that is stopped for good does not matter.
            assert model.over or not self.undisturbed(dn) or group.failures == model.failures
            if any(self.tasks_below(member) for member in model.dns):
                assert group.state in {GroupState.RUNNING, GroupState.STOPPING}
            elif model.demand is Demand.STOP and not model.over:
                assert group.state is GroupState.STOPPED
            elif group.state is GroupState.FAILED:
                assert model.gives_up or model.is_down
            elif self.undisturbed(dn) and not model.over:
                assert (group.deadline, group.state is GroupState.BACKOFF) == (
                    model.due, model.failed and not (model.gives_up or model.is_down),
                )  # fmt: skip
            assert group.deadline is None or group.deadline > now, f"{dn} is overdue"
            missed = model.beats_due.get(dn, math.inf)
            asked = math.inf if model.demand is None or model.over else model.demanded_at
            if node.state in RUNNING:
                late = min(missed, asked) + GRACE + CLEAN_UP
                assert now <= late, f"{dn} lives although a beat is missing, or it was stopped"
            if self.must_die(dn) and node.state in RUNNING:
                failed = max(below.last for below in self.groups_below[dn] if below.gives_up)
                assert now <= failed + GRACE + CLEAN_UP, f"{dn} lives although a group gave up"
            parent = dn.rpartition(".")[0]
            if parent and self.is_pool(parent) and self.is_steady(parent):
                assert group.state is not GroupState.FINISHED, f"{dn} is done, and still there"
                assert group.state is not GroupState.STOPPED or not model.over
            if self.is_pool(dn):
                assert node.state is not DONE or dn in self.closed, f"{dn} is DONE, but open"
                done = dn in self.closed and self.is_steady(dn)
                assert not done or self.groups_below.get(dn), f"{dn} is empty, but not DONE"

    def find(self, dn: str) -> GroupModel | None:
        """Return the group of a node, if it is there."""
        return self._group_of.get(dn)

    def is_pool(self, dn: str) -> bool:
        """Return whether a node that is there is a pool."""
        model = self._group_of[dn]
        return model.plan.members[model.dns.index(dn)].pool

    def is_steady(self, dn: str) -> bool:
        """Return whether a node is ``HEALTHY``, and nothing known stops it."""
        model = self._group_of.get(dn)
        return (
            model is not None
            and self.states.get(dn) is HEALTHY
            and not model.disturbed
            and not self.must_die(dn)
            and self.undisturbed(dn)
        )

    @property
    def tree_is_over(self) -> bool:
        """Whether the tree is asked to end, gives up, or has finished: no node starts any more."""
        finished = all(
            state is DONE or any(self._group_of[name].is_down for name in _above(dn))
            for dn, state in self.states.items()
        )
        return self.ended or self.root.gives_up or finished

    def may_be_given_up(self, model: GroupModel) -> bool:
        """Return whether a group may be given up: it, or what is above it, is stopped or dead."""
        return self.ended or model.will_not_be_ready or not self.undisturbed(model.dns[0])

    def must_die(self, dn: str) -> bool:
        """Return whether a group of children has given up, so that the node has to die."""
        return any(
            model.gives_up
            and model.demand is None
            and not any(self.tasks_below(member) for member in model.dns)
            for model in self.groups_below.get(dn, ())
        )

    def ready_group(self, model: GroupModel) -> bool:
        """Return whether all members of a group are ready, and are not about to be stopped."""
        return model.ready and not any(self.must_die(dn) for dn in model.dns)

    def undisturbed(self, dn: str) -> bool:
        """Return whether no ancestor of a group is known to be stopped."""
        return not self.cancelled and all(
            not self._group_of[name].disturbed
            and self.states[name] not in {DEAD, CANCELED}
            and not self.must_die(name)
            for name in _above(dn)[:-1]
        )

    def _record_time(self, dn: str) -> None:
        now = trio.current_time()
        for name in _above(dn):
            self._group_of[name].last = now

    @contextlib.contextmanager
    def _recording_violations(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001  an error of the observer has to be seen as well
            self.violations.append(error)


def _following(state: NodeState | None) -> frozenset[NodeState]:
    """Return the states that may follow: an incarnation that is over is followed by the next."""
    if state is None:
        return frozenset({NEW})
    return LEGAL[state] | ({NEW} if state in {DONE, DEAD, CANCELED} else set())


def _above(dn: str) -> list[str]:
    """Return the nodes from the root to ``dn``."""
    names = dn.split(".")
    return [".".join(names[: end + 1]) for end in range(len(names))]

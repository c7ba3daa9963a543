"""The model under random events (S7, S16, S26), with a few lines in place of tasks."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from supervisor import (
    Backoff,
    Crash,
    GroupState,
    NodeState,
    RestartLimit,
    RestartPolicy,
    RestartRequested,
)
from supervisor._core import _steps as steps
from supervisor._core._events import (
    FactoryFailed,
    GroupGaveUp,
    GroupMoved,
    NodeDied,
    NodeMoved,
    NodeRecovered,
    NodeRemoved,
    RestartWasRequested,
)
from supervisor._core._plan import END, Begin, Fail, GiveUp, Restart, Retry
from supervisor._core._states import (
    ENDED,
    READY,
    RUNS,
    SIGNALLED_DONE,
    SIGNALLED_HEALTHY,
    Action,
    GroupPhase,
    NodeEvent,
    NodePhase,
)
from supervisor._core._tree import Group, GroupOptions, Incarnation, Node, Siblings, Tree

Step = Callable[[Group, float], Action | None]


async def nothing() -> None:
    """Stand for a runnable. No test of the model runs it."""


# Each failure in a row doubles the delay, so that a delay tells their number.
DOUBLING = Backoff(initial=1.0, factor=2.0, jitter=0.0, maximum=2.0**60, reset_after=1.0)


class Groups(RuleBasedStateMachine):
    """A parent, and groups below it whose members die, and that operators stop and restart."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.tree = Tree(DOUBLING, Incarnation)
        steps.observe(self.tree, moves=True, removals=True)
        root = Group(None, Siblings(self.tree, closed=True), GroupOptions())
        steps.set_root(self.tree, root)
        steps.add_only_member(root, Node("root", nothing, root))
        steps.start_round(root, self.now)
        parent = root.members[0].incarnation
        assert parent is not None
        self.siblings = Siblings(self.tree, closed=False)
        steps.add_siblings(parent, self.siblings)
        self.groups: list[Group] = []
        for number, names in enumerate(["a", "bc", "de", "fg"]):
            options = GroupOptions(
                limit=RestartLimit(2, within=3.0) if number == 2 else None,
                restart=RestartPolicy.NEVER if number == 3 else RestartPolicy.ON_FAILURE,
            )
            group = Group(parent, self.siblings, options)
            nodes = [Node(name, nothing, group) for name in names]
            calls = dict.fromkeys(names, nothing)
            steps.set_members(group, nodes, calls, dict.fromkeys(names, 0.0))
            steps.start_round(group, self.now)
            self.groups.append(group)
        # What an observer knows, and which groups wait for their backoff.
        self.nodes: dict[str, NodeState] = {}
        self.states: dict[str, GroupState] = {}
        self.waiting: set[Group] = set()
        # The failures in a row, and since when all members are ready, as the model has them.
        self.failures = dict.fromkeys(self.groups, 0)
        self.ready_since: dict[Group, float | None] = dict.fromkeys(self.groups)

    # The tasks' side

    def carry_out(self, group: Group, action: Action | None) -> None:
        if action is Action.STOP_MEMBERS:
            assert group.phase is GroupPhase.STOPPING
        elif action is Action.CUT_BACKOFF:
            self.waiting.discard(group)  # the wait may be over already
        elif action is Action.START_TASK:
            assert group.phase is GroupPhase.RESTARTING

    def runs(self, group: Group) -> list[Incarnation]:
        return [
            node.incarnation
            for node in group.members
            if node.incarnation is not None and node.incarnation.phase in RUNS
        ]

    def end_run(self, run: Incarnation, error: Exception | None, *, fatal: bool) -> None:
        group = run.node.group
        planned = isinstance(error, RestartRequested)
        outcome = steps.run_ended(run, error, error, self.now, fatal=False, planned=planned)
        if outcome is None:
            return
        if outcome.is_planned:
            assert run.phase in {NodePhase.HEALTHY, NodePhase.LEAVING}
            self.end_readiness(group)
            self.carry_out(group, steps.restart_requested(run, "planned", self.now))
            assert isinstance(group.plan, Restart)
        elif outcome.death is not None:
            self.end_readiness(group)
            if self.counts(group, fatal=fatal):
                self.failures[group] += 1
            crash = self.crash(run.node.dn)
            self.carry_out(group, steps.died(run, crash, outcome.death, 0.5, fatal=fatal))
            if fatal:
                assert group.plan == GiveUp((self.now,), is_fatal=True)

    def counts(self, group: Group, *, fatal: bool = False) -> bool:
        """Whether a failure makes the next delay longer: only where it is retried."""
        return not fatal and group.options.restart is RestartPolicy.ON_FAILURE

    def end_readiness(self, group: Group) -> None:
        since, self.ready_since[group] = self.ready_since[group], None
        if since is not None and self.now - since >= DOUBLING.reset_after:
            self.failures[group] = 0

    def crash(self, dn: str) -> Crash:
        return Crash(dn=dn, time=self.now, uptime=0.0, incarnation=1, error="E", traceback="")

    @property
    def joined(self) -> list[Group]:
        """The groups whose tasks are gone, and that wait for nothing."""
        return [
            group
            for group in self.groups
            if not group.is_idle and not self.runs(group) and group not in self.waiting
        ]

    # What happens

    @rule(
        data=st.data(),
        error=st.sampled_from([None, OSError(), RestartRequested()]),
        fatal=st.integers(0, 9).map(lambda drawn: not drawn),
    )
    def a_run_ends(self, data: st.DataObject, error: Exception | None, *, fatal: bool) -> None:
        runs = [run for group in self.groups for run in self.runs(group)]
        if runs:
            self.end_run(data.draw(st.sampled_from(runs)), error, fatal=fatal)

    @rule(data=st.data(), event=st.sampled_from([SIGNALLED_HEALTHY, SIGNALLED_DONE]))
    def a_run_signals(self, data: st.DataObject, event: NodeEvent) -> None:
        phases = {SIGNALLED_HEALTHY: NodePhase.NEW, SIGNALLED_DONE: NodePhase.HEALTHY}
        runs = [
            run for group in self.groups for run in self.runs(group) if run.phase is phases[event]
        ]
        if runs:
            run = data.draw(st.sampled_from(runs))
            steps.signal(run, event, self.now)
            group = run.node.group
            states = {node.incarnation and node.incarnation.state for node in group.members}
            is_ready = states <= {NodeState.HEALTHY, NodeState.DONE}
            if event is SIGNALLED_HEALTHY and is_ready and group.is_running:
                self.ready_since[group] = self.now

    @rule(seconds=st.sampled_from([0.5, 1.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.joined)
    @rule(data=st.data(), renewed=st.booleans())
    def a_round_is_finished(self, data: st.DataObject, *, renewed: bool) -> None:
        group = data.draw(st.sampled_from(self.joined))
        planned = group.plan
        plan = steps.finish_round(group, self.now)
        assert plan is (END if self.siblings.cancelled else planned)
        if isinstance(plan, Retry):
            self.waiting.add(group)
            assert plan.delay == 2.0 ** (self.failures[group] - 1)
            assert group.deadline == self.now + plan.delay
        elif isinstance(plan, GiveUp):
            assert "gave up" in str(steps.give_up(group, plan))
        elif isinstance(plan, Begin | Restart):
            if renewed:
                self.end_readiness(group)
                steps.start_round(group, self.now)
            else:
                self.end_readiness(group)
                if self.counts(group):
                    self.failures[group] += 1
                steps.factory_failed(group, self.crash(group.dn), OSError(), 0.5, fatal=False)
                assert isinstance(group.plan, Retry | GiveUp | Fail)
                assert isinstance(group.plan, Fail) != self.counts(group)

    @rule(data=st.data())
    def a_backoff_ends(self, data: st.DataObject) -> None:
        if self.waiting:
            group = data.draw(st.sampled_from(sorted(self.waiting, key=lambda each: each.dn)))
            assert group.deadline is not None
            self.now = max(self.now, group.deadline)
            self.waiting.discard(group)

    @rule(data=st.data(), step=st.sampled_from([steps.hold, steps.restart, steps.end]))
    def an_operator_demands(self, data: st.DataObject, step: Step) -> None:
        group = data.draw(st.sampled_from(self.groups))
        if step is steps.restart and group.is_final:
            return
        planned, was_idle = group.plan, group.is_idle
        if group.phase is GroupPhase.RUNNING and not (step is steps.hold and planned is END):
            self.end_readiness(group)
        self.carry_out(group, step(group, self.now))
        if planned is END:
            assert group.plan is END
        if step is steps.hold and was_idle:
            assert group.plan is planned

    @rule()
    def all_are_cancelled(self) -> None:
        if self.now > 5.0:
            steps.cancelled(self.siblings)
            self.waiting.clear()

    # What always holds

    @invariant()
    def what_is_under_way_is_counted(self) -> None:
        """S16: a tree is settled when no node is NEW and no group STOPPING."""
        groups = [self.tree.root, *self.groups]
        new = sum(run.state is NodeState.NEW for group in groups for run in self.runs(group))
        assert self.tree.unsettled == new + sum(g.phase is GroupPhase.STOPPING for g in groups)

    @invariant()
    def the_groups_that_are_left_are_counted(self) -> None:
        """S13: a parent waits for the groups that have not ended for good."""
        assert self.siblings.unended == sum(group.phase not in ENDED for group in self.groups)

    @invariant()
    def what_observers_are_told_is_so(self) -> None:
        """S16: an observer that applies all events knows each state."""
        while self.tree.events:
            event = self.tree.events.popleft()
            if isinstance(event, NodeMoved):
                self.nodes[event.node.dn] = event.state
            elif isinstance(event, GroupMoved):
                assert (event.deadline is not None) == (event.state is GroupState.BACKOFF)
                self.states[event.group.dn] = event.state
            else:
                assert isinstance(
                    event,
                    NodeDied | NodeRecovered | FactoryFailed | GroupGaveUp | RestartWasRequested,
                )
                assert not isinstance(event, NodeRemoved)
        for group in self.groups:
            assert self.states.get(group.dn, GroupState.RUNNING) is group.state
            for node in group.members:
                assert node.incarnation is not None
                assert self.nodes[node.dn] is node.incarnation.state

    @invariant()
    def no_member_runs_beside_one_of_the_last_round(self) -> None:
        """S7: all that run are of the present round."""
        for group in self.groups:
            assert all(run.round == group.rounds for run in self.runs(group))

    @invariant()
    def failures_in_a_row_are_counted(self) -> None:
        """S9: readiness for reset_after makes up for all failures before it."""
        for group in self.groups:
            assert group.ready_since == self.ready_since[group]
            assert group.failures == self.failures[group]

    @invariant()
    def readiness_is_counted(self) -> None:
        """S19: as many members are unready as are NEW."""
        ended = {NodePhase.DEAD, NodePhase.CANCELED}
        for group in self.groups:
            phases = [n.incarnation.phase for n in group.members if n.incarnation is not None]
            assert group.unready == phases.count(NodePhase.NEW)
            if group.ready_since is not None:
                assert set(phases) <= READY | ended


TestGroups = Groups.TestCase
TestGroups.settings = settings(
    deadline=None, max_examples=300, stateful_step_count=60, derandomize=True
)

"""The state of a tree against a model, without a loop (S3, S9, S16)."""

from __future__ import annotations

from contextvars import copy_context
from typing import cast

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from trio.lowlevel import TrioToken

from supervisor import Backoff, Crash, GroupState, NodeState

from ..helpers.internals import Group, Host, Node, Restart, Terms, Tree, descendants
from ..helpers.transitions import CANCELED, DONE, HEALTHY, LEGAL, NEW

RUNNING, STOPPING, BACKOFF = GroupState.RUNNING, GroupState.STOPPING, GroupState.BACKOFF

# Each failure in a row doubles the delay, so that a delay tells their number.
DOUBLING = Backoff(initial=1.0, factor=2.0, jitter=0.0, maximum=2.0**60, reset_after=1.0)


async def nothing() -> None:
    """A runnable that is never run."""


class TreeMachine(RuleBasedStateMachine):
    """A root with two groups of children, one of two members and one of one."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.told: dict[str, NodeState] = {}
        self.tree = Tree(
            backoff=DOUBLING,
            metrics=self,
            propagate=False,
            token=cast("TrioToken", None),
            on_settled=self.settle,
        )
        # What the model knows.
        self.states: dict[str, NodeState] = {}
        self.ready_since: dict[Group, float | None] = {}
        self.failures: dict[Group, int] = {}

    def settle(self) -> None:
        """Check that the tree has settled when it says so."""
        assert self.tree.settled

    def notify_node_state(self, dn: str, state: NodeState) -> None:
        self.told[dn] = state

    def notify_node_gone(self, dn: str) -> None:
        del self.told[dn]

    def new_group(self, parent: Node | None, names: str) -> Group:
        group = Group(
            None if parent is None else parent.incarnation,
            Host(self.tree, sealed=False),
            Terms(),
            copy_context(),
        )
        group.members = tuple(Node(name, nothing, group, 0.0) for name in names.split())
        self.failures[group] = 0
        return group

    @property
    def groups(self) -> list[Group]:
        root = self.tree.root.members[0].incarnation
        return [self.tree.root, *(root.groups() if root is not None else ())]

    @property
    def nodes(self) -> list[Node]:
        return [node for group in self.groups for node in group.members]

    def start(self, group: Group) -> None:
        group.end_readiness(self.now)
        group.unready = len(group.members)
        self.tree.shift(group, RUNNING)
        self.ready_since[group] = None
        for node in group.members:
            dn = node.dn
            self.states = {
                known: state
                for known, state in self.states.items()
                if not known.startswith(f"{dn}.")
            }
            self.tree.begin(node, self.now)
            self.states[dn] = NEW

    @initialize()
    def start_root(self) -> None:
        self.tree.root = self.new_group(None, "root")
        self.start(self.tree.root)

    @rule(seconds=st.integers(1, 4))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @precondition(lambda self: self.states["root"] is NEW)
    @rule(names=st.sampled_from(["a b", "c", "d e f"]))
    def start_children(self, names: str) -> None:
        (root,) = self.tree.root.members
        incarnation = root.incarnation
        assert incarnation is not None
        children = incarnation.children = incarnation.children or {}
        if names[0] not in children:
            group = self.new_group(root, names)
            children.update((node.name, node) for node in group.members)
            self.start(group)

    @rule(data=st.data(), state=st.sampled_from(NodeState))
    def move(self, data: st.DataObject, state: NodeState) -> None:
        node = data.draw(st.sampled_from(self.nodes))
        incarnation, dn = node.incarnation, node.dn
        assert incarnation is not None
        if state in LEGAL[self.states[dn]]:
            self.tree.move(incarnation, state, self.now)
            assert incarnation.since == self.now
            self.states[dn] = state
            members = {self.states[member.dn] for member in node.group.members}
            if state is HEALTHY and members <= {HEALTHY, DONE} and node.group.state is RUNNING:
                self.ready_since[node.group] = self.now
        else:
            since = incarnation.since
            with pytest.raises(AssertionError, match=f"{dn} can't go from {self.states[dn].name}"):
                self.tree.move(incarnation, state, self.now)
            assert incarnation.since == since

    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        group = data.draw(st.sampled_from(self.groups))
        if group.state is RUNNING:
            self.tree.shift(group, STOPPING)

    @rule(data=st.data())
    def restart(self, data: st.DataObject) -> None:
        group = data.draw(st.sampled_from(self.groups))
        if group.state is not STOPPING:
            return
        below = [*group.members]
        for member in group.members:
            assert member.incarnation is not None
            below += descendants(member.incarnation)
        for node in below:
            assert node.incarnation is not None
            if self.states[node.dn] in {NEW, HEALTHY}:
                self.tree.move(node.incarnation, CANCELED, self.now)
        since = self.ready_since[group]
        reset = since is not None and self.now - since >= DOUBLING.reset_after
        self.failures[group] = 1 if reset else self.failures[group] + 1
        error = OSError()
        crash = Crash(
            dn=group.dn, time=self.now, uptime=0.0, incarnation=1, error="OSError", traceback=""
        )
        group.failed(crash, error)
        assert group.verdict == Restart(2.0 ** (self.failures[group] - 1))
        self.tree.shift(group, BACKOFF)
        self.start(group)

    @invariant()
    def metrics_know_all_states(self) -> None:
        """S16: they are told of each transition and of all that vanishes."""
        assert self.told == self.states

    @invariant()
    def settled_when_nothing_is_under_way(self) -> None:
        """S16: a tree is settled if and only if no node is NEW and no group STOPPING."""
        if self.states:
            stopping = any(group.state is STOPPING for group in self.groups)
            assert self.tree.settled == (NEW not in self.states.values() and not stopping)


TestTreeState = TreeMachine.TestCase
TestTreeState.settings = settings(
    deadline=None, max_examples=100, stateful_step_count=40, derandomize=True
)

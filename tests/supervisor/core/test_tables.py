"""The tables of the model (S3, S26): each pair of phase and event, and which plan prevails."""

from __future__ import annotations

import ast
from collections import deque
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import supervisor
from supervisor import Backoff, GroupState, NodeState
from supervisor._core import _steps as steps
from supervisor._core._events import GroupMoved, NodeMoved
from supervisor._core._plan import (
    BEGIN,
    END,
    FAIL,
    FINISH,
    HOLD,
    RESTART,
    Consequence,
    Demand,
    GiveUp,
    Plan,
    Retry,
    prevailing,
)
from supervisor._core._states import (
    GROUP_TABLE,
    NODE_TABLE,
    Action,
    GroupEvent,
    GroupPhase,
    IllegalEventError,
    NodeEvent,
    NodePhase,
)
from supervisor._core._tree import (
    DEFAULT_OPTIONS,
    DeathHistory,
    Group,
    Incarnation,
    Node,
    Siblings,
    Tree,
)

from ..helpers.transitions import LEGAL

if TYPE_CHECKING:
    from collections.abc import Iterator

# The contract, written down a second time: phase, event, phase.
NODE_LINES = """
    NEW      SIGNALLED_HEALTHY HEALTHY
    HEALTHY  SIGNALLED_DONE    LEAVING
    LEAVING  RETURNED          DONE
    NEW      DIED              DEAD
    HEALTHY  DIED              DEAD
    LEAVING  DIED              DEAD
    DONE     DIED              DEAD
    NEW      STOPPED           CANCELED
    HEALTHY  STOPPED           CANCELED
    LEAVING  STOPPED           CANCELED
"""
NODE_CONTRACT = {
    (NodePhase[before], NodeEvent[event]): NodePhase[after]
    for before, event, after in map(str.split, NODE_LINES.strip().splitlines())
}

# Phase, event, phase, action.
GROUP_LINES = """
    RUNNING    MEMBER_DIED      STOPPING   STOP_MEMBERS
    RUNNING    HOLD_DEMANDED    STOPPING   STOP_MEMBERS
    RUNNING    RESTART_DEMANDED STOPPING   STOP_MEMBERS
    RUNNING    END_DEMANDED     STOPPING   STOP_MEMBERS
    RUNNING    ALL_DONE         FINISHED   -
    RUNNING    CLOSED           STOPPED    -
    STOPPING   MEMBER_DIED      STOPPING   -
    STOPPING   HOLD_DEMANDED    STOPPING   -
    STOPPING   RESTART_DEMANDED STOPPING   -
    STOPPING   END_DEMANDED     STOPPING   -
    STOPPING   ROUND_BEGUN      RUNNING    -
    STOPPING   BACKOFF_BEGUN    BACKOFF    -
    STOPPING   GAVE_UP          FAILED     -
    STOPPING   LEFT_DOWN        DOWN       -
    STOPPING   PUT_ON_HOLD      HELD       -
    STOPPING   CLOSED           STOPPED    -
    BACKOFF    HOLD_DEMANDED    BACKOFF    CUT_BACKOFF
    BACKOFF    RESTART_DEMANDED BACKOFF    CUT_BACKOFF
    BACKOFF    END_DEMANDED     BACKOFF    CUT_BACKOFF
    BACKOFF    ROUND_BEGUN      RUNNING    -
    BACKOFF    BACKOFF_BEGUN    BACKOFF    -
    BACKOFF    GAVE_UP          FAILED     -
    BACKOFF    LEFT_DOWN        DOWN       -
    BACKOFF    PUT_ON_HOLD      HELD       -
    BACKOFF    CLOSED           STOPPED    -
    RESTARTING HOLD_DEMANDED    RESTARTING -
    RESTARTING RESTART_DEMANDED RESTARTING -
    RESTARTING END_DEMANDED     RESTARTING -
    RESTARTING ROUND_BEGUN      RUNNING    -
    RESTARTING BACKOFF_BEGUN    BACKOFF    -
    RESTARTING GAVE_UP          FAILED     -
    RESTARTING LEFT_DOWN        DOWN       -
    RESTARTING PUT_ON_HOLD      HELD       -
    RESTARTING CLOSED           STOPPED    -
    HELD       RESTART_DEMANDED RESTARTING START_TASK
    HELD       END_DEMANDED     STOPPED    -
    FINISHED   RESTART_DEMANDED RESTARTING START_TASK
    FINISHED   END_DEMANDED     FINISHED   -
    FAILED     END_DEMANDED     FAILED     -
    DOWN       RESTART_DEMANDED RESTARTING START_TASK
    DOWN       END_DEMANDED     DOWN       -
    STOPPED    END_DEMANDED     STOPPED    -
"""
GROUP_CONTRACT = {
    (GroupPhase[before], GroupEvent[event]): (
        GroupPhase[after],
        None if action == "-" else Action[action],
    )
    for before, event, after, action in map(str.split, GROUP_LINES.strip().splitlines())
}


async def nothing() -> None:
    """Stand for a runnable. No test of the model runs it."""


def new_group() -> Group:
    """Return the group of a root that has begun."""
    tree = Tree(Backoff(), Incarnation)
    group = Group(None, Siblings(tree, closed=True), DEFAULT_OPTIONS)
    steps.set_root(tree, group)
    steps.observe(tree, moves=True, removals=True)
    steps.add_only_member(group, Node("root", nothing, group))
    steps.start_round(group, 0.0)
    tree.events.clear()
    return group


@pytest.mark.parametrize(("phase", "event"), list(product(NodePhase, NodeEvent)))
def test_every_event_of_a_node_is_as_in_the_contract(phase: NodePhase, event: NodeEvent) -> None:
    """S3, S4: an event leads where the contract says, or is refused and changes nothing."""
    group = new_group()
    incarnation = group.members[0].incarnation
    assert incarnation is not None
    incarnation.phase = phase
    expected = NODE_CONTRACT.get((phase, event))
    if expected is None:
        with pytest.raises(IllegalEventError, match=rf"root .* when {phase.name}"):
            steps._set_node_state(incarnation, event, 1.0)
    else:
        steps._set_node_state(incarnation, event, 1.0)
    shown = expected not in {None, NodePhase.LEAVING}
    assert incarnation.phase is (expected or phase)
    assert incarnation.since == (1.0 if shown else 0.0)
    moved = [NodeMoved(group.members[0], incarnation.state)] if shown else []
    assert list(group.siblings.tree.events) == moved


@pytest.mark.parametrize(("phase", "event"), list(product(GroupPhase, GroupEvent)))
def test_every_event_of_a_group_is_as_in_the_contract(phase: GroupPhase, event: GroupEvent) -> None:
    """S3, S13, S16: it leads where the contract says, with its counts; or changes nothing."""
    group = new_group()
    tree, siblings = group.siblings.tree, group.siblings
    group.phase = phase
    before = tree.unsettled, siblings.unended
    if (phase, event) not in GROUP_CONTRACT:
        with pytest.raises(IllegalEventError, match=f"root, when {phase.name}: {event.value}"):
            steps._set_group_state(group, event)
        assert (group.phase, tree.unsettled, siblings.unended) == (phase, *before)
        assert not tree.events
        return
    expected, action = GROUP_CONTRACT[phase, event]
    assert steps._set_group_state(group, event) is action
    ended = {GroupPhase.FINISHED, GroupPhase.FAILED, GroupPhase.DOWN, GroupPhase.STOPPED}
    stopping = GroupPhase.STOPPING
    assert group.phase is expected
    assert tree.unsettled - before[0] == (expected is stopping) - (phase is stopping)
    assert siblings.unended - before[1] == (phase in ended) - (expected in ended)
    moved = expected.shown is not phase.shown
    assert list(tree.events) == ([GroupMoved(group, expected.shown, group.deadline)] * moved)


def test_every_phase_is_reached_and_only_ends_are_kept() -> None:
    """S3: each phase can be reached, and each but the last ones can be left."""
    nodes = {after for row in NODE_TABLE.values() for after in row.values()} | {NodePhase.NEW}
    groups = {after for row in GROUP_TABLE.values() for after, _ in row.values()}
    assert nodes == set(NodePhase)
    assert groups == set(GroupPhase)
    assert {p for p, row in NODE_TABLE.items() if not row} == {NodePhase.DEAD, NodePhase.CANCELED}
    kept = {p for p, row in GROUP_TABLE.items() if all(after is p for after, _ in row.values())}
    assert kept == {GroupPhase.FAILED, GroupPhase.STOPPED}


def test_users_see_the_legal_transitions_and_no_other() -> None:
    """S3: NEW to HEALTHY, DEAD, CANCELED; HEALTHY to DONE, DEAD, CANCELED; DONE to DEAD."""
    shown: dict[NodeState, set[NodeState]] = {state: set() for state in NodeState}
    for phase, row in NODE_TABLE.items():
        shown[phase.shown] |= {after.shown for after in row.values() if after.shown != phase.shown}
    assert shown == LEGAL


def test_every_state_is_shown_by_a_phase() -> None:
    """S3: users can see each state that is documented."""
    assert {phase.shown for phase in NodePhase} == set(NodeState)
    assert {phase.shown for phase in GroupPhase} == set(GroupState)


PROPOSED: list[Consequence | Demand] = [
    Retry(1.0),
    Retry(2.0),
    GiveUp((0.0,)),
    FAIL,
    HOLD,
    RESTART,
    END,
]
PRESENT: list[Plan] = [*PROPOSED, FINISH, BEGIN]
RANKS = [1, 1, 1, 1, 2, 2, 3, 0, 0]


@pytest.mark.parametrize(("present", "proposed"), list(product(PRESENT, PROPOSED)))
def test_the_stronger_plan_prevails(present: Plan, proposed: Consequence | Demand) -> None:
    """S9, S19, S26: the first failure counts, and of an operator's demands the last."""
    old, new = RANKS[PRESENT.index(present)], RANKS[PRESENT.index(proposed)]
    expected = proposed if new > old or new == old == 2 else present
    assert prevailing(present, proposed) is expected


MODEL: tuple[Any, ...] = (Tree, Siblings, Node, Incarnation, Group)
MUTATING = {
    name for kind in (dict, set, list, deque) for name in vars(kind) if not name.startswith("_")
} - {*vars(tuple), *vars(frozenset), "get", "items", "keys", "values"}


def test_only_the_steps_write_to_the_model() -> None:
    """S3: nothing else assigns to, deletes or mutates an attribute of what a tree is made of."""
    names = {name for kind in (*MODEL, DeathHistory) for name in kind.__slots__}
    package = Path(supervisor.__file__).parent
    model = {package / "_core" / "_steps.py", package / "_core" / "_tree.py"}
    found = [
        f"{path.relative_to(package)}:{written.lineno} {ast.unparse(written)}"
        for path in sorted(set(package.rglob("*.py")) - model)
        for written in _written(ast.parse(path.read_text()))
        if written.attr in names and not _is_of_self(written)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("line", "is_write"),
    [
        ("node.x = 1", True),
        ("node.x += 1", True),
        ("del node.x", True),
        ("node.x[0] = 1", True),
        ("node.x[0] += 1", True),
        ("del node.x[0]", True),
        ("node.x, y = 1, 2", True),
        ("for node.x in y: pass", True),
        ("node.x.append(1)", True),
        ("node.x.popleft()", True),
        ("node.x.setdefault(1, 2)", True),
        ("setattr(node, 'x', 1)", True),
        ("y = node.x[0]", False),
        ("y = node.x.get(0)", False),
        ("node.x.index(1)", False),
        ("y[node.x] = 1", False),
    ],
)
def test_a_write_is_found_in_whatever_form(line: str, is_write: bool) -> None:  # noqa: FBT001
    assert ("x" in [written.attr for written in _written(ast.parse(line))]) == is_write


def _written(source: ast.AST) -> Iterator[ast.Attribute]:
    """Return the attributes that are assigned to, deleted, or mutated in place."""
    for each in ast.walk(source):
        match each:
            case ast.Attribute(ctx=ast.Store() | ast.Del()):
                yield each
            case ast.Subscript(value=ast.Attribute() as of, ctx=ast.Store() | ast.Del()):
                yield of
            case ast.Call(func=ast.Attribute(value=ast.Attribute() as of, attr=name)) if (
                name in MUTATING
            ):
                yield of
            case ast.Call(
                func=ast.Name(id="setattr" | "delattr"),
                args=[of_what, ast.Constant(value=str(name)), *_],
            ):
                yield ast.Attribute(of_what, name, ast.Store(), lineno=each.lineno)


def _is_of_self(written: ast.Attribute) -> bool:
    return isinstance(written.value, ast.Name) and written.value.id == "self"


def test_the_tasks_have_slots_of_their_own() -> None:
    """S3: no class of the tasks' side has a slot of the model's, so the class tells the writer."""
    from supervisor._tasks import _tree as tasks  # noqa: PLC0415  beside what it is compared with

    kinds: tuple[Any, ...] = (
        tasks.Tree,
        tasks.ChildNursery,
        tasks.Node,
        tasks.Incarnation,
        tasks.Group,
    )
    for model, own in zip(MODEL, kinds, strict=True):
        assert issubclass(own, model)
        assert not set(model.__slots__) & set(own.__slots__)
        own_writes = _written_by_self(Path(tasks.__file__), own.__name__)
        assert own_writes <= set(own.__slots__)


def _written_by_self(path: Path, name: str) -> set[str]:
    """Return the attributes of ``self`` that the methods of a class write."""
    (kind,) = (
        each
        for each in ast.walk(ast.parse(path.read_text()))
        if isinstance(each, ast.ClassDef) and each.name == name
    )
    return {written.attr for written in _written(kind) if _is_of_self(written)}

"""The steps of a tree: from what happened to what has become of it, and what has to be done.

The tasks' side tells what has happened by calling a *step*. A step changes the state by the tables
of ``_states``, and returns what has to be done: an ``Action``, an ``Outcome`` to record, the
``Plan`` of a group; ``None`` if there is nothing. Nothing else writes to what is in ``_tree``.

What observers are told of a step is left in ``Tree.events``, to be delivered when the step is
complete. So no code of a user's runs in the middle of one.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from ._errors import (
    FatalDeathError,
    GroupFailedError,
    RestartLimitExceeded,
    UnexpectedReturnError,
)
from ._events import (
    DrainBegun,
    FactoryFailed,
    FatalErrorRaised,
    GraceMissing,
    GroupGaveUp,
    GroupMoved,
    NodeDied,
    NodeMoved,
    NodeRecovered,
    NodeRemoved,
    NodesStillNew,
    NodesStuck,
    ReadinessSet,
    RestartWasRequested,
    StopErrorRaised,
)
from ._plan import (
    BEGIN,
    END,
    FAIL,
    FINISH,
    HOLD,
    RESTART,
    Begin,
    End,
    Fail,
    Finish,
    GiveUp,
    Hold,
    Restart,
    Retry,
    prevailing,
)
from ._restart import NEVER, RestartHistory
from ._states import (
    ALL_DONE,
    BACKOFF_BEGUN,
    CLOSED,
    DEAD,
    DIED,
    DONE,
    DOWN,
    END_DEMANDED,
    ENDED,
    GAVE_UP,
    GROUP_TABLE,
    HEALTHY,
    HOLD_DEMANDED,
    LEAVING,
    LEFT_DOWN,
    MEMBER_DIED,
    NEW,
    NODE_STOPPED,
    NODE_TABLE,
    PUT_ON_HOLD,
    RESTART_DEMANDED,
    RETURNED,
    ROUND_BEGUN,
    RUNNING,
    SIGNALLED_HEALTHY,
    STOP_CHILDREN,
    STOPPING,
    Action,
    GroupEvent,
    IllegalEventError,
    NodeEvent,
    NodeState,
)
from ._tree import DeathHistory, descendants, subtree

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from ._plan import Consequence, Demand, Plan
    from ._records import Crash
    from ._tree import Group, Incarnation, Node, Siblings, Tree

CRASHES_KEPT: Final = 5

MEANWHILE_LENGTH: Final = 2000
"""A death's record names no further members when it has this many characters of them."""


# The two readers of the tables


def _set_node_state(incarnation: Incarnation, event: NodeEvent, now: float) -> None:
    """Make the transition of a node that the table has for ``event`` (S3)."""
    before = incarnation.phase
    try:
        phase = NODE_TABLE[before][event]
    except KeyError:
        msg = f"{incarnation.node.dn} {event.value} when {before.name}"
        raise IllegalEventError(msg) from None
    incarnation.phase = phase
    if phase is LEAVING:
        return  # users don't see it
    incarnation.since = now
    group = incarnation.node.group
    tree = group.siblings.tree
    if before is NEW:
        if incarnation.siblings is not None:
            incarnation.siblings.closed = True
        group.unready -= 1
        tree.unsettled -= 1
        if incarnation in tree.starting:
            del tree.starting[incarnation]
        else:
            del tree.overdue[incarnation]
        # One that becomes HEALTHY within its grace joins others that have died.
        if phase is HEALTHY and not group.unready and group.is_running:
            group.ready_since = now
    if phase is not HEALTHY and incarnation.siblings is not None:
        incarnation.siblings.parent_has_ended = True
    if tree.observes_moves:
        tree.events.append(NodeMoved(incarnation.node, phase.shown))


def _set_group_state(group: Group, event: GroupEvent) -> Action | None:
    """Make the transition of a group that the table has for ``event`` (S3)."""
    before = group.phase
    try:
        phase, action = GROUP_TABLE[before][event]
    except KeyError:
        msg = f"{group.dn}, when {before.name}: {event.value}"
        raise IllegalEventError(msg) from None
    if phase is not before:
        group.phase = phase
        siblings = group.siblings
        tree = siblings.tree
        if phase is STOPPING:
            tree.unsettled += 1
        elif before is STOPPING:
            tree.unsettled -= 1
        if phase in ENDED:
            siblings.unended -= 1
            siblings.down += phase is DOWN
        elif before in ENDED:
            siblings.unended += 1
            siblings.down -= before is DOWN
        if tree.observes_moves and phase.shown is not before.shown:
            tree.events.append(GroupMoved(group, phase.shown, group.deadline))
    return action


# The life of a group


def set_root(tree: Tree, group: Group) -> None:
    """Make ``group`` the root's."""
    tree.root = group


def start_round(group: Group, now: float) -> None:
    """Begin new incarnations of its members: of all, or of the first if it is ordered (S7, S20)."""
    if group.rounds:
        _set_group_state(group, ROUND_BEGUN)
    else:
        group.siblings.unended += 1  # it is RUNNING already
    group.rounds += 1
    group.plan = FINISH
    group.unready = len(group.members)
    if group.ready_since is not None:
        _end_readiness(group, now)
    if group.options.ordered and len(group.members) > 1:
        group.siblings.tree.unsettled += 1  # until all_started
        start_member(group.members[0], now)
    else:
        for node in group.members:
            start_member(node, now)


def start_member(node: Node, now: float) -> None:
    """Begin a new incarnation; the last one's descendants are removed."""
    tree, last = node.group.siblings.tree, node.incarnation
    if last is not None and last.children:
        _report_removed(tree, descendants(last), for_good=False)
    node.number += 1
    node.incarnation = incarnation = tree.make_incarnation(node, now)
    tree.starting[incarnation] = None
    tree.unsettled += 1
    if tree.observes_moves:
        tree.events.append(NodeMoved(node, NodeState.NEW))


def all_started(group: Group) -> None:
    """Record that the last member of an ordered group has begun, or will not (S20)."""
    group.siblings.tree.unsettled -= 1


def finish_round(group: Group, now: float) -> Plan:
    """Decide how a group goes on whose tasks are all gone, those of a round or of a wait (S7, S13).

    After ``Begin`` and ``Restart`` comes :func:`start_round`, or :func:`factory_failed` and this
    again; after ``Retry``, when the time is over, this again.
    """
    plan = group.plan = END if group.siblings.cancelled else group.plan
    match plan:
        case End():
            _set_group_state(group, CLOSED)
        case Retry():
            group.plan = BEGIN
            group.backoff_end = now + plan.delay
            _set_group_state(group, BACKOFF_BEGUN)
        case Begin():
            pass
        case Finish():
            _set_group_state(group, ALL_DONE)
        case Restart():
            group.plan = BEGIN
            group.operator_restarts += 1
        case Hold():
            _set_group_state(group, PUT_ON_HOLD)
        case GiveUp():
            _set_group_state(group, GAVE_UP)
        case Fail():
            _set_group_state(group, LEFT_DOWN)
    if not isinstance(plan, GiveUp):
        group.error = None
    return plan


def give_up(group: Group, plan: GiveUp) -> GroupFailedError:
    """Make the error of a group that may not restart again, of which its parent dies (S10, S26)."""
    limit, dn = group.options.limit, group.dn
    assert group.causes is not None
    causes = tuple(group.causes)[-len(plan.times) :]
    death = f"{causes[-1].dn}: {causes[-1].error}{_meanwhile(causes[-1])}"
    failure: GroupFailedError
    if plan.is_fatal:
        failure = FatalDeathError(
            f"{dn} gave up: it died of what is fatal ({death})", dn=dn, causes=causes
        )
    else:
        assert limit is not None
        failure = RestartLimitExceeded(
            f"{dn} gave up: {limit.restarts} restarts within {limit.within:g} s are allowed, "
            f"and one more was needed ({death})",
            dn=dn,
            causes=causes,
            times=plan.times,
        )
    failure.__cause__, group.error = group.error, None
    group.reason = str(failure)
    group.siblings.tree.events.append(GroupGaveUp(group, failure))
    return failure


def _meanwhile(crash: Crash) -> str:
    return f", while {crash.meanwhile}" if crash.meanwhile else ""


def factory_failed(
    group: Group, crash: Crash, error: Exception, share: float, *, fatal: bool
) -> None:
    """Record that there are no runnables for the next round: a failure of the group (S8, S14)."""
    for node in group.members:
        _add_crash(node, crash)
    _record_failure(group, crash, error, share, fatal=fatal)
    group.siblings.tree.events.append(FactoryFailed(group, crash, group.plan, error))


def _record_failure(
    group: Group, crash: Crash, error: Exception, share: float, *, fatal: bool
) -> None:
    """Decide what follows from a failure of the group (S9, S10, S26)."""
    limit = group.options.limit
    if group.history is None:
        group.history = RestartHistory(group.backoff, limit)
    if group.causes is None and (fatal or limit is not None):
        group.causes = deque(maxlen=1 if limit is None else limit.restarts + 1)
    if group.causes is not None:
        group.causes.append(crash)
    group.error = error
    _end_readiness(group, crash.time)
    consequence: Consequence
    if fatal:
        consequence = GiveUp((crash.time,), is_fatal=True)
    elif group.options.restart is NEVER:
        consequence = FAIL
        group.reason = f"{crash.dn} died, and its policy is not to restart ({crash.error})"
    else:
        consequence = group.history.add_failure(crash.time, share)
    group.plan = prevailing(group.plan, consequence)


def hold(group: Group, now: float) -> Action | None:
    """Stop it on an operator's demand; one that is idle, or ends, stays as it is (S19)."""
    if group.is_idle or group.plan is END:
        return None
    return _demand(group, HOLD_DEMANDED, HOLD, now)


def restart(group: Group, now: float) -> Action | None:
    """Restart it on an operator's demand; it must not have ended for good (S19)."""
    return _demand(group, RESTART_DEMANDED, RESTART, now)


def end(group: Group, now: float) -> Action | None:
    """Stop it for good: its parent ends, or a pool removes it (S21, S23)."""
    return _demand(group, END_DEMANDED, END, now)


def _demand(group: Group, event: GroupEvent, demand: Demand, now: float) -> Action | None:
    if group.phase is RUNNING:
        _end_readiness(group, now)  # from now on it is not ready
    action = _set_group_state(group, event)
    group.plan = prevailing(group.plan, demand)
    return action


def _end_readiness(group: Group, now: float) -> None:
    """Record that the members are no longer ready: time in readiness makes up for failures (S9)."""
    if group.ready_since is not None and group.history is not None:
        group.history.add_readiness(now - group.ready_since)
    group.ready_since = None


# The life of an incarnation


def signal(incarnation: Incarnation, event: NodeEvent, now: float) -> bool:
    """Record a signal (S4).

    Returns:
        Whether those who wait for the group have something to look at.

    Raises:
        IllegalEventError: if the signal is not legal now.
    """
    _set_node_state(incarnation, event, now)
    node, group = incarnation.node, incarnation.node.group
    history = node.death_history
    if event is SIGNALLED_HEALTHY and history is not None and history.down_since is not None:
        group.siblings.tree.events.append(NodeRecovered(node, now - history.down_since))
        history.down_since = None
    return event is SIGNALLED_HEALTHY and (not group.unready or group.options.ordered)


class Outcome(NamedTuple):
    """What has to be recorded of an end."""

    death: Exception | None
    """What the node dies of: make a ``Crash`` of it, and call :func:`died`."""
    stop_error: Exception | None
    """What a runnable raised that had been asked to stop: call :func:`stop_error_raised`."""
    is_planned: bool = False
    """The runnable has asked for a restart of its group: call :func:`restart_requested`."""


def run_ended(
    incarnation: Incarnation,
    raised: BaseException | None,
    error: Exception | None,
    now: float,
    *,
    fatal: bool,
    planned: bool = False,
) -> Outcome | None:
    """Decide how the run of a runnable ended: by whether it was asked to stop (S5, S11, S26).

    (Upstream asks whether the error is that of the cancelled context; a runnable that returns
    politely when it is stopped is then dead, and what one raises while it is stopped is lost.)

    Args:
        incarnation: Whose run it was.
        raised: What it ended with, if it did not return.
        error: What of that the node can die of: no cancellation, and nothing that is fatal.
        now: The time.
        fatal: Something of that leaves the tree. Call this before the tree is cancelled for it.
        planned: All that it ended with is a ``RestartRequested``.
    """
    stop_error = None if planned else error
    if incarnation.failure is not None:
        return Outcome(incarnation.failure, stop_error)
    if incarnation.stop_requested:
        _set_node_state(incarnation, NODE_STOPPED, now)
        return None if stop_error is None else Outcome(None, stop_error)
    if error is not None:
        is_planned = planned and incarnation.phase is not NEW and not fatal
        return Outcome(None if is_planned else error, None, is_planned)
    if fatal:
        _set_node_state(incarnation, DIED, now)
        return None
    if raised is None and RETURNED in NODE_TABLE[incarnation.phase]:
        _set_node_state(incarnation, RETURNED, now)
        incarnation.unready_reason = None  # it has done its work, and can't take it back any more
        return None
    return Outcome(_unexpected_return(incarnation, raised), None)


def _unexpected_return(
    incarnation: Incarnation, raised: BaseException | None
) -> UnexpectedReturnError:
    how = "returned" if raised is None else "ended by a Cancelled that nobody asked for"
    remedy = "call signal(Signal.DONE) before"
    if incarnation.phase is NEW:
        remedy = "call signal(Signal.HEALTHY) and signal(Signal.DONE) before"
    return UnexpectedReturnError(
        f"{incarnation.node.dn} {how} when {incarnation.state.name}; "
        f"a runnable whose work is over has to {remedy}"
    )


def restart_requested(incarnation: Incarnation, reason: str, now: float) -> Action | None:
    """Record that a runnable ended to have its group restarted, which is no failure (S26)."""
    node, group = incarnation.node, incarnation.node.group
    action = restart(group, now)
    _set_node_state(incarnation, NODE_STOPPED, now)
    group.siblings.tree.events.append(RestartWasRequested(node, reason))
    return action if len(group.members) > 1 else None  # as for died()


def died(
    incarnation: Incarnation, crash: Crash, error: Exception, share: float, *, fatal: bool = False
) -> Action | None:
    """Record a death, and decide what follows for its group (S7, S14, S26).

    Args:
        incarnation: It is dead.
        crash: The death as text.
        error: The death itself.
        share: Drawn at random from 0 to 1: see :class:`RestartHistory`.
        fatal: It is not retried.
    """
    node, group = incarnation.node, incarnation.node.group
    _set_node_state(incarnation, DIED, crash.time)
    history = _add_crash(node, crash)
    if history.down_since is None:
        history.down_since = crash.time
    incarnation.failure = None  # its traceback keeps what the children used alive
    _record_failure(group, crash, error, share, fatal=fatal)
    action = _set_group_state(group, MEMBER_DIED)
    group.siblings.tree.events.append(NodeDied(node, crash, group.plan, error))
    return action if len(group.members) > 1 else None  # no other member has to be stopped


def _add_crash(node: Node, crash: Crash) -> DeathHistory:
    """Keep the newest few crashes of a node, and count those that are the same in a row (S14)."""
    history = node.death_history
    if history is None:
        history = node.death_history = DeathHistory()
    last = history.crashes[-1] if history.crashes else None
    same = last is not None and (last.error, last.traceback) == (crash.error, crash.traceback)
    history.repeats = history.repeats + 1 if same else 0
    history.crashes = (*history.crashes, crash)[-CRASHES_KEPT:]
    history.deaths += 1
    return history


def stop_error_raised(
    incarnation: Incarnation, crash: Crash, error: Exception, *, was_handled: bool
) -> None:
    """Record what it raised when it had been asked to stop, or was handling then (S5, S14).

    Its error may be why another member of its group ended, which was taken for the first to die. So
    the record of that death names it.
    """
    node, group = incarnation.node, incarnation.node.group
    node.stop_error = crash
    group.siblings.tree.events.append(StopErrorRaised(node, crash, was_handled, error))
    text = f"{crash.dn} raised {crash.error} while it stopped"
    if was_handled:
        text = f"{crash.dn} was failing with {crash.error}"
    for other in group.members:
        run, history = other.incarnation, other.death_history
        if history is None or run is None:
            continue
        if run.round == group.rounds and run.phase is DEAD:
            death = history.crashes[-1]
            if len(death.meanwhile) >= MEANWHILE_LENGTH:
                continue
            meanwhile = f"{death.meanwhile}; {text}" if death.meanwhile else text
            named = attrs.evolve(death, meanwhile=meanwhile)
            history.crashes = (*history.crashes[:-1], named)
            if group.causes and group.causes[-1] is death:
                group.causes[-1] = named


def fatal_error_raised(incarnation: Incarnation, error: BaseException) -> None:
    """Record that it raised what leaves the tree, which is no death (S11)."""
    incarnation.node.group.siblings.tree.events.append(FatalErrorRaised(incarnation.node, error))


def stuck(tree: Tree, incarnations: Iterable[Incarnation], when: str) -> None:
    """Tell that these have not ended (S18)."""
    tree.events.append(NodesStuck(tuple(each.node for each in incarnations), when))


def still_new(tree: Tree, again: Mapping[Incarnation, float], late: Iterable[Incarnation]) -> None:
    """Tell that ``late`` have been ``NEW`` for long, and record when to look again (S34)."""
    tree.overdue.update(again)
    for each in again:
        tree.starting.pop(each, None)
    nodes = tuple(each.node for each in late)
    if nodes:
        tree.events.append(NodesStillNew(nodes))


def fail(incarnation: Incarnation, failure: Exception) -> Action | None:
    """Let it die of what its runnable did not raise: of its children or its start (S10, S20)."""
    if incarnation.failure is not None or incarnation.stop_requested or incarnation.finished:
        return None
    incarnation.failure = failure
    if incarnation.phase is DONE:
        return STOP_CHILDREN  # it dies when they are gone
    return _set_group_state(incarnation.node.group, MEMBER_DIED)


def children_ended(incarnation: Incarnation) -> Outcome | None:
    """Record that all tasks below it are gone; it may have failed since its runnable returned."""
    failure = incarnation.failure
    if failure is None or incarnation.phase is not DONE:
        return None
    if not incarnation.stop_requested:
        return Outcome(failure, None)
    incarnation.failure = None  # as died() does
    return Outcome(None, failure)


def incarnation_ended(incarnation: Incarnation) -> None:
    """Record that nothing of it is left."""
    incarnation.ended = True


# Children


def set_readiness(incarnation: Incarnation, reason: str | None) -> bool:
    """Record why it is not ready although it is healthy, or that it is ready again (S30).

    Returns:
        Whether that is new.
    """
    if incarnation.unready_reason == reason:
        return False
    incarnation.unready_reason = reason
    incarnation.node.group.siblings.tree.events.append(ReadinessSet(incarnation.node, reason))
    return True


def waits_without_grace(incarnation: Incarnation) -> None:
    """Tell that it waits for its stop request, which comes when it is cancelled (S32)."""
    incarnation.node.group.siblings.tree.events.append(GraceMissing(incarnation.node))


def add_siblings(incarnation: Incarnation, siblings: Siblings) -> None:
    """Give it the place of its groups of children."""
    incarnation.siblings = siblings


def reserve_name(incarnation: Incarnation, name: str) -> None:
    """Give a sub-logger the name, which no child can have from now on (S2)."""
    if incarnation.loggers is None:
        incarnation.loggers = set()
    incarnation.loggers.add(name)


def add_only_member(group: Group, node: Node) -> None:
    """Give a new group its only member: most groups have one, so this is short."""
    group.members = (node,)
    parent = group.parent
    if parent is None:
        return
    if parent.children is None:
        parent.children = {node.name: node}
    else:
        parent.children[node.name] = node


def set_members(
    group: Group,
    nodes: Sequence[Node],
    calls: Mapping[str, Callable[[], Awaitable[object]]],
    grace_periods: Mapping[str, float],
) -> None:
    """Give a group these members from now on, in their order, with these runnables (S8).

    A member that stays is the node that it was; one that is missing now is removed.
    """
    before = group.members
    kept = set(map(id, nodes))
    for node in before:
        if id(node) not in kept:
            _report_removed(group.siblings.tree, subtree(node), for_good=True)
    for node in nodes:
        node.call = calls[node.name]
        node.grace = grace_periods[node.name]
    group.members = tuple(nodes)
    parent = group.parent
    if parent is not None and group.members != before:
        parent.children = _placed(parent.children or {}, before, nodes)


def _placed(
    children: dict[str, Node], before: Sequence[Node], members: Sequence[Node]
) -> dict[str, Node]:
    """Return ``children`` with ``members`` where those that were before are, or at the end.

    The order is that in which groups were started, and they are stopped in the reverse.
    """
    named = {node.name: node for node in members}
    if not before:
        children.update(named)
        return children
    old = {node.name for node in before}
    placed: dict[str, Node] = {}
    for name, node in children.items():
        if name == before[0].name:
            placed |= named
        elif name not in old:
            placed[name] = node
    return placed


def set_factory(group: Group, factory: Callable[[], object]) -> None:
    """Give a group the function that makes its runnables anew for each round (S8)."""
    group.factory = factory


def become_pool(incarnation: Incarnation, on_child_end: Callable[[Group], object]) -> None:
    """Let it start children from now on as long as it is ``HEALTHY`` (S23, S29)."""
    incarnation.on_child_end = on_child_end


def remove_pool_child(group: Group) -> bool:
    """Remove a pool's child that has ended for good, unless the pool itself ends (S23).

    Returns:
        Whether it is removed: its name is free.
    """
    parent = group.parent
    assert parent is not None
    if parent.stop_requested or parent.finished:
        return False
    assert parent.children is not None
    group.plan = END  # a handle must not bring it back: its name may be another's
    for node in group.members:
        del parent.children[node.name]
        _report_removed(group.siblings.tree, subtree(node), for_good=True)
    return True


def find_siblings(group: Group) -> None:
    """Place a new group beside those that its parent has started meanwhile."""
    assert group.parent is not None
    group.siblings = group.parent.siblings or group.siblings


def close(siblings: Siblings) -> None:
    """Record that no more groups will come."""
    siblings.closed = True


def cancelled(siblings: Siblings) -> None:
    """Record that all groups were cancelled at once (S12)."""
    siblings.cancelled = True


def set_final(siblings: Siblings) -> None:
    """Record that no group can start any more."""
    siblings.final = True


def tasks_ended(siblings: Siblings) -> None:
    """Record that all tasks of all groups are gone."""
    siblings.ended = True


# The tree


def begin_drain(tree: Tree, reason: str) -> None:
    """Record that the tree will be stopped soon: from now on nothing is ready (S25)."""
    tree.is_draining = True
    tree.events.append(DrainBegun(reason))


# Observing


def observe(tree: Tree, *, moves: bool, removals: bool) -> None:
    """Queue these events from now on, or no longer (S16)."""
    tree.observes_moves = moves
    tree.observes_removals = removals


def next_event(tree: Tree) -> tuple[object, ...]:
    """Take the event of which observers are told next."""
    return tree.events.popleft()


def forget_dn(tree: Tree) -> None:
    """Let go of the last answer of ``dn_of``, which may hold a node that is gone."""
    tree.last_dn = None


def _report_removed(tree: Tree, nodes: Iterable[Node], *, for_good: bool) -> None:
    forget_dn(tree)
    if tree.observes_removals:
        for node in nodes:
            parent = node.group.parent
            is_gone = for_good or (parent is not None and parent.is_pool)
            tree.events.append(NodeRemoved(node, is_gone))

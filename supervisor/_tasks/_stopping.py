"""Stopping the members of a group: asked first, then cancelled.

A stop concerns the members of one group, side by side. What is below a member is stopped by the
member's own task, when its runnable has ended (``_incarnation.stop_children``): one group after the
other, in reverse order of start. So a stop goes down the tree by itself, each level after the one
above it. Only a cancellation from outside, or an error that leaves the tree, reaches everybody at
once.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, final

import trio

from supervisor._core import _steps as steps
from supervisor._core._errors import HeartbeatError, StartTimeoutError, StopTimeoutError
from supervisor._core._states import (
    CUT_BACKOFF,
    HEALTHY,
    HELD,
    NEW,
    RUNS,
    STOP_CHILDREN,
    STOP_MEMBERS,
)
from supervisor._text._crash import add_note
from supervisor._text._stacks import format_stacks

from ._current import current
from ._heartbeat import Heartbeat
from ._tree import CutShort
from ._watchdog import running

if TYPE_CHECKING:
    from types import TracebackType

    from supervisor._core._states import Action

    from ._stop_waiters import StopWaiters
    from ._tree import Group, Incarnation, Tree


def stop_tree(tree: Tree, reason: str, timeout: float | None) -> None:
    """Begin to stop a tree, unless it is ending, and bound that (S21)."""
    if tree.end_time is not None:
        return
    if tree.stop_began is None:
        tree.stop_began = trio.current_time()
    if timeout is not None:
        tree.timers.set(timeout, partial(_cut_short, tree, timeout))
    if not tree.root.is_ended:
        end_group(tree.root, reason)


def _cut_short(tree: Tree, seconds: float) -> None:
    """Cancel a tree that has not stopped within the time for that (S21)."""
    if tree.cut_short is not None:
        return  # another stop's time was shorter
    late = tuple(running(tree.root, below=True))
    tree.cut_short = CutShort(seconds, tuple(incarnation.node.dn for incarnation in late))
    steps.stuck(tree, late, f"within the {seconds:g} s that the stop of the tree may take")
    tree.publish()
    tree.root.siblings.cancel(f"the {seconds:g} s for the stop of the tree are over")


def stop_timeout(tree: Tree) -> StopTimeoutError | None:
    """Return what a stop raises whose time was over before the tree had stopped (S21)."""
    if tree.cut_short is None or not tree.cut_short.dns:
        return None
    seconds, dns = tree.cut_short
    msg = (
        f"the tree had not stopped after {seconds:g} s and was cancelled; "
        f"these nodes were running: {', '.join(dns)}"
    )
    return StopTimeoutError(msg, dns=dns)


def end_group(group: Group, reason: str) -> None:
    """Stop a group for good (S21)."""
    was_held = group.phase is HELD
    carry_out(group, steps.end(group, trio.current_time()), reason)
    if was_held:  # it was kept for a restart that will not come
        group.ended()


def hold_group(group: Group, reason: str) -> None:
    """Stop a group until an operator restarts it (S19)."""
    carry_out(group, steps.hold(group, trio.current_time()), reason)


def carry_out(group: Group, action: Action | None, reason: str) -> None:
    """Do what a step on a group has decided, and tell of the step."""
    if action is STOP_MEMBERS:
        stop_members(group, reason)
    elif action is CUT_BACKOFF and group.scope is not None:
        group.scope.cancel(reason)
    group.publish()


def stop_members(group: Group, reason: str) -> None:
    """Ask all members of a group to stop, and cancel each after its grace (S21)."""
    tree = group.siblings.tree
    tree.watch(group)
    for node in group.members:
        incarnation = node.incarnation
        if incarnation is None or incarnation.ended:
            continue
        waiters = incarnation.stop_waiters
        if waiters is not None:
            waiters.wake(reason)
        if incarnation.timer is not None:
            incarnation.timer.cancel()  # what timed its start
        if incarnation.heartbeat is not None:
            incarnation.heartbeat.stop()
        scope = incarnation.scope
        if scope is None:
            continue
        has_grace = node.grace and (waiters is None or not waiters.own_stops)
        if has_grace and incarnation.task is not None and incarnation.phase in RUNS:
            incarnation.timer = tree.timers.set(node.grace, partial(scope.cancel, reason))
        else:
            scope.cancel(reason)
    if group.scope is not None:  # no member has a grace
        group.scope.cancel(reason)


def fail_incarnation(incarnation: Incarnation, failure: Exception, reason: str) -> None:
    """Let an incarnation die of something that its runnable did not raise (S10, S20)."""
    action = steps.fail(incarnation, failure)
    if action is STOP_CHILDREN:
        assert incarnation.siblings is not None  # they are what has failed
        incarnation.siblings.notify()
    elif action is not None:
        carry_out(incarnation.node.group, action, reason)


def start_timed_out(incarnation: Incarnation) -> None:
    """Let a member die that is ``NEW`` for too long (S20)."""
    if incarnation.phase is NEW:
        dn, seconds = incarnation.node.dn, incarnation.node.group.options.start_timeout
        message = f"{dn} is still NEW after its start_timeout of {seconds:g} s"
        fail_incarnation(incarnation, StartTimeoutError(message), message)


def start_heartbeat(incarnation: Incarnation) -> None:
    """Expect beats of a runnable that has become ``HEALTHY``, if it has to beat (S31)."""
    node = incarnation.node
    seconds = node.group.options.heartbeat_of(node.name)
    if seconds is not None and not incarnation.is_pool:
        missed = partial(beat_missed, incarnation)
        incarnation.heartbeat = Heartbeat(seconds, node.group.siblings.tree.timers, missed)


def beat_missed(incarnation: Incarnation) -> None:
    """Let a member die that is ``HEALTHY`` and has not beaten in time (S31)."""
    heartbeat = incarnation.heartbeat
    if heartbeat is None or incarnation.phase is not HEALTHY or incarnation.stop_requested:
        return
    passed = trio.current_time() - heartbeat.last
    last = f"its last beat() was {passed:.1f} s ago"
    if not heartbeat.has_beaten:
        last = f"it has not called beat() since it became HEALTHY {passed:.1f} s ago"
    dn, seconds = incarnation.node.dn, heartbeat.seconds
    error = HeartbeatError(f"{dn} does not beat within its heartbeat of {seconds:g} s: {last}")
    if incarnation.task is not None:
        add_note(error, f"its tasks wait here:\n{format_stacks(incarnation.task)}")
    fail_incarnation(incarnation, error, str(error))


@final
class OwnStop(AbstractContextManager[None, None]):
    """Around a wait for the stop of a group, which may hold the runnable that waits (S32).

    Such a wait can't succeed. So the runnable gets no grace while it waits: it would be lost.
    """

    __slots__ = ("_scope", "_waiters")

    def __init__(self, group: Group) -> None:
        incarnation = current.get(None)
        is_within = incarnation is not None and _is_within(incarnation, group)
        self._waiters: StopWaiters | None = None
        self._scope: trio.CancelScope | None = None
        if is_within and incarnation is not None:
            self._waiters = incarnation.waiters()
            if self._waiters.event.is_set():
                self._scope = incarnation.scope

    def __enter__(self) -> None:
        if self._waiters is not None:
            self._waiters.own_stops += 1
            if self._scope is not None:  # it was asked before
                self._scope.cancel("the runnable waits for its own end")

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._waiters is not None:
            self._waiters.own_stops -= 1


def _is_within(incarnation: Incarnation, group: Group) -> bool:
    """Return whether ``incarnation`` is a run of a member of ``group``, or of a node below one."""
    each: Incarnation | None = incarnation
    while each is not None:
        if each.node.group is group:
            return True
        each = each.node.group.parent
    return False

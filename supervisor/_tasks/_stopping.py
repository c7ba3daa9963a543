"""Stopping the members of a group: asked first, then cancelled.

A stop concerns the members of one group, side by side. What is below a member is stopped by the
member's own task, when its runnable has ended (``_incarnation.stop_children``): one group after the
other, in reverse order of start. So a stop goes down the tree by itself, each level after the one
above it. Only a cancellation from outside, or an error that leaves the tree, reaches everybody at
once.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from supervisor._core import _steps as steps
from supervisor._core._errors import StartTimeoutError
from supervisor._core._states import CUT_BACKOFF, HELD, NEW, RUNS, STOP_CHILDREN, STOP_MEMBERS

if TYPE_CHECKING:
    from supervisor._core._states import Action

    from ._tree import Group, Incarnation


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
        if incarnation.stop_event is not None:
            incarnation.stop_event.set()
        if incarnation.timer is not None:
            incarnation.timer.cancel()  # what timed its start
        scope = incarnation.scope
        if scope is None:
            continue
        if node.grace and incarnation.task is not None and incarnation.phase in RUNS:
            incarnation.timer = tree.timers.set(node.grace, partial(scope.cancel, reason))
        else:
            scope.cancel(reason)
    if group.scope is not None and not group.options.grace_periods:
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

"""How parts of a tree are stopped: asked first, then cancelled, in an order.

``stop`` concerns the members of one group, side by side. What is below a member is stopped by the
member's own task, when its runnable has ended (``_engine.stop_children``). Only a
cancellation from outside, or an error that leaves the tree, reaches everybody at once.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from ._errors import StartTimeoutError
from ._logging import forget_loggers
from ._node import Wish
from ._state import GroupState, NodeState
from ._stuck import watch

if TYPE_CHECKING:
    from ._node import Group, Incarnation

_RUNNABLE_RUNS: Final = frozenset({NodeState.NEW, NodeState.HEALTHY})


def stop(group: Group, reason: str) -> None:
    """Ask all members of a running group to stop, and see to it that they do."""
    if group.state is not GroupState.RUNNING:
        return
    tree = group.host.tree
    tree.shift(group, GroupState.STOPPING)
    watch(group)
    for node in group.members:
        incarnation = node.incarnation
        if incarnation is None or incarnation.ended:
            continue
        if incarnation.stop_requested is not None:
            incarnation.stop_requested.set()
        if incarnation.alarm is not None:
            incarnation.alarm.cancel()  # what timed its start
        scope = incarnation.scope
        if scope is None:
            continue
        if node.grace and incarnation.task is not None and incarnation.state in _RUNNABLE_RUNS:
            incarnation.alarm = tree.alarms.set(node.grace, partial(scope.cancel, reason))
        else:
            scope.cancel(reason)
    if group.scope is not None and not group.terms.graces:
        group.scope.cancel(reason)


def end(group: Group, reason: str) -> None:
    """Stop a group for good."""
    if group.wish is Wish.HOLD and group.at_rest:
        # It was kept for a restart that will not come.
        forget(group)
        group.host.leave()
    group.wish = Wish.END
    group.tell()
    interrupt(group, reason)


def interrupt(group: Group, reason: str) -> None:
    """Cut short what the group is at, so that its wish comes true."""
    if group.state is GroupState.RUNNING:
        group.end_readiness(trio.current_time())  # the time that it will rest is none of health
        stop(group, reason)
    elif group.state is GroupState.BACKOFF:
        assert group.scope is not None
        group.scope.cancel(reason)


async def wait_at_rest(group: Group) -> None:
    """Wait until nothing of the group runs, and nothing will by itself."""
    while not group.at_rest:
        await wait_changed(group)


async def wait_changed(group: Group) -> None:
    """Wait until the group's state or readiness changes, or all is cancelled."""
    changed, host = group.changed, group.host
    if changed is None:
        changed = group.changed = trio.lowlevel.ParkingLot()
    if host.awaited is None:
        host.awaited = set()
    host.awaited.add(group)
    try:
        await changed.park()
    finally:
        if not changed:
            host.awaited.discard(group)


def fail(incarnation: Incarnation, failure: Exception, reason: str) -> None:
    """Let an incarnation die of something that its runnable did not raise."""
    if incarnation.failure is None and not incarnation.asked and not incarnation.stale:
        incarnation.failure = failure
        if incarnation.state is NodeState.DONE:
            assert incarnation.host is not None  # its children are what has failed
            incarnation.host.tell()
        else:
            stop(incarnation.node.group, reason)


def start_timed_out(incarnation: Incarnation) -> None:
    """Let a member die that is ``NEW`` for too long."""
    if incarnation.state is NodeState.NEW:
        dn, seconds = incarnation.node.dn, incarnation.node.group.terms.start_timeout
        message = f"{dn} is still NEW after its start_timeout of {seconds:g} s"
        fail(incarnation, StartTimeoutError(message), message)


def forget(group: Group) -> None:
    """Let the children of a pool vanish when they are done or thrown out."""
    parent = group.parent
    if parent is not None and parent.node.is_pool and not parent.asked and not parent.stale:
        assert parent.children is not None
        group.wish = Wish.END  # a handle must not bring it back: its name may be another's
        for node in group.members:
            del parent.children[node.name]
            forget_loggers(node)
            group.host.tree.vanish(node)

"""One run of a node: the runnable, how it ended, and the end of its children.

:func:`run_incarnation` is the whole task of a member. Whether its end was a death is decided by the
model (``steps.run_ended``). This module makes the crash record, tells of it, and has the other
members stopped. When all tasks of the group are gone, ``_rounds.finish_round`` goes on.

Runnables run without protection from ``KeyboardInterrupt``, this module's code with it, so that
Ctrl-C can't fall between two lines of bookkeeping.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

import trio
from trio.lowlevel import current_task, disable_ki_protection, enable_ki_protection

from supervisor._core import _steps as steps
from supervisor._core._errors import RestartRequested
from supervisor._core._plan import Fail, Retry
from supervisor._core._states import DONE, HELD
from supervisor._text._crash import add_note, consists_of, handled_error, make_crash, split_fatal
from supervisor._text._exceptions import drop_tracebacks, one_line

from ._current import current
from ._members import discard
from ._rounds import finish_round
from ._scopes import CAN_CLOSE, close_left_open
from ._stopping import carry_out, end_group

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from supervisor._core._records import Crash

    from ._tree import ChildNursery, Incarnation

# Where no member has a grace, the scope of the group's nursery is enough for all.
_GROUPS_SCOPE: Final = nullcontext()


@enable_ki_protection
async def run_incarnation(incarnation: Incarnation) -> None:
    """Run one incarnation: the runnable, then its children to their end (S5, S12).

    It is the whole task of a member. Each coroutine more would cost every node a few hundred bytes.
    """
    node = incarnation.node
    group = node.group
    current.set(incarnation)  # in this task's own context, and so in that of all it starts
    alone = len(group.members) == 1
    with trio.CancelScope() if group.scope is None else _GROUPS_SCOPE as incarnation.scope:
        if incarnation.stop_requested:
            record_outcome(incarnation, None)  # it has not begun; it may have failed
        else:
            incarnation.task = current_task()
            raised = None
            try:
                await _unprotected(node.call)
            except BaseException as error:  # noqa: BLE001  the model judges all of it
                raised = error
            # Not in the handler: Python would take the error for the context of each Cancelled that
            # is made for another task here.
            if has_left_open(incarnation.task, incarnation.scope):
                raised = await close_left_open(incarnation, raised)
            record_outcome(incarnation, raised)
            raised = None  # its traceback keeps this frame, and what the runnable used, alive
            if incarnation.siblings is not None and incarnation.phase is DONE:
                await wait_children(incarnation, incarnation.siblings)
    # Trio keeps the reason of a cancellation with its scope; in a deep tree that is a long DN.
    incarnation.scope = None
    if incarnation.heartbeat is not None:
        incarnation.heartbeat.stop()
    if incarnation.timer is not None:
        incarnation.timer.cancel()
        incarnation.timer = None
    if incarnation.siblings is not None:
        await join_children(incarnation, incarnation.siblings)
    incarnation.task = None
    steps.incarnation_ended(incarnation)
    if incarnation.stop_waiters is not None:
        incarnation.stop_waiters.wake("the runnable has ended")  # a task may have escaped
    if incarnation.is_pool and not alone:
        group.publish()  # to those who wait for the end of the pool; other members may go on
    if alone:
        await finish_round(group)


@disable_ki_protection
async def _unprotected(call: Callable[[], Awaitable[object]]) -> None:
    # Ctrl-C can't come between these two. A handler around the await would cost each cancellation.
    await _call(call)


def _call(call: Callable[[], Awaitable[object]]) -> Awaitable[object]:
    awaitable = None
    try:
        awaitable = call()
        if hasattr(awaitable, "__await__"):
            return awaitable
    except KeyboardInterrupt:
        discard(awaitable)  # nobody will await it
        raise
    msg = f"{call!r} is not an async function: it returned {awaitable!r}"
    raise TypeError(msg)


def has_left_open(task: trio.lowlevel.Task, scope: trio.CancelScope | None) -> bool:
    """Return whether the runnable of ``task`` has ended with a cancel scope or nursery open (S12).

    Args:
        task: The task, which has no nursery of its own.
        scope: The innermost scope that the task has around the runnable; ``None`` if that is its
            nursery's.
    """
    around: trio.CancelScope | trio.Nursery | None = scope or task.parent_nursery
    assert around is not None
    # Trio has no public name for this: see _scopes.
    return CAN_CLOSE and (
        task._cancel_status is not around._cancel_status or bool(task.child_nurseries)
    )


def record_outcome(incarnation: Incarnation, raised: BaseException | None) -> None:
    """Record how the run of a runnable ended (S5)."""
    fatal, error = None, None
    if raised is not None and type(raised) is not trio.Cancelled:
        fatal, error = split_fatal(raised)
    planned = error is not None and consists_of(error, RestartRequested)
    outcome = steps.run_ended(
        incarnation,
        raised,
        error,
        trio.current_time(),
        fatal=fatal is not None,
        planned=planned,
    )
    if fatal is not None:
        steps.fatal_error_raised(incarnation, fatal)
        incarnation.node.group.siblings.tree.abort(fatal)
    elif outcome is not None and outcome.is_planned:
        assert error is not None
        request_restart(incarnation, error)
        return
    elif error is None and raised is not None and incarnation.stop_requested:
        # Cancellation may have replaced an error that was on its way out, which is in no other
        # record then: a runnable's own clean-up may let another member end first.
        is_plain = type(raised) is trio.Cancelled and raised.__context__ is None
        handled = None if is_plain else handled_error(raised)
        if handled is not None:
            crash = _crash_of(incarnation, handled)
            steps.stop_error_raised(incarnation, crash, handled, was_handled=True)
    if outcome is None:
        incarnation.node.group.publish()
    else:
        record_errors(incarnation, outcome)


def request_restart(incarnation: Incarnation, request: Exception) -> None:
    """Restart the group of a runnable that has ended to have it restarted (S26)."""
    group = incarnation.node.group
    reason = one_line(request)
    action = steps.restart_requested(incarnation, reason, trio.current_time())
    carry_out(group, action, f"{incarnation.node.dn} asked for a restart: {reason}")
    drop_tracebacks(request)  # they keep what the run used


def _crash_of(incarnation: Incarnation, error: BaseException) -> Crash:
    node = incarnation.node
    return make_crash(error, node.dn, node.number, incarnation.started)


def record_errors(incarnation: Incarnation, outcome: steps.Outcome) -> None:
    """Record a death, an error that was raised after a stop request, or both (S14, S15)."""
    group, stop_error = incarnation.node.group, outcome.stop_error
    if stop_error is not None:
        crash = _crash_of(incarnation, stop_error)
        steps.stop_error_raised(incarnation, crash, stop_error, was_handled=False)
    if outcome.death is None:
        group.publish()
    else:
        _record_death(incarnation, outcome.death)
    if stop_error is not None and not group.siblings.tree.errors:
        drop_tracebacks(stop_error)  # observers were told; these keep what the run used


def _record_death(incarnation: Incarnation, error: Exception) -> None:
    node = incarnation.node
    group = node.group
    tree = group.siblings.tree
    crash = _crash_of(incarnation, error)
    action = steps.died(
        incarnation, crash, error, group.draw_share(), fatal=group.options.is_fatal(error)
    )
    if tree.propagate:
        add_note(error, f"raised by the runnable {node.dn}")
        tree.abort(error)
    reason = ""  # where no other member has to be stopped, nobody reads it
    if action is not None:
        follows = "restarts" if isinstance(group.plan, Retry) else "is stopped"
        reason = f"group {group.dn} {follows}: {node.dn} died: {crash.error}"
    carry_out(group, action, reason)
    if isinstance(group.plan, (Retry, Fail)) and not tree.errors:
        drop_tracebacks(error)  # it goes no further, and they keep what the run used


async def wait_children(incarnation: Incarnation, nursery: ChildNursery) -> None:
    """Wait until the children of a ``DONE`` node have ended by themselves, or are to be stopped."""
    nursery.close_if_idle()  # the runnable, which has ended, may have kept it open
    try:
        while not nursery.ended and incarnation.failure is None:
            await nursery.wait_changed()
    except trio.Cancelled:
        pass  # join_children stops them


async def join_children(incarnation: Incarnation, nursery: ChildNursery) -> None:
    """Stop the children that are left, and wait until all are gone."""
    if not nursery.ended:
        # Bounded by the children's grace periods and their own clean-up. A cancellation from
        # outside reaches them without us.
        with trio.CancelScope(shield=True):
            await stop_children(incarnation, nursery)
    if incarnation.is_pool and nursery.cancelled:
        for group in incarnation.groups():
            if group.phase is HELD:  # nothing of it was running that could have been cancelled
                end_group(group, "")
    outcome = steps.children_ended(incarnation)
    if outcome is not None:
        record_errors(incarnation, outcome)


async def stop_children(incarnation: Incarnation, nursery: ChildNursery) -> None:
    """Stop the groups of children, the last started first, each after the one before (S21)."""
    nursery.close()
    for group in reversed(incarnation.groups()):
        if nursery.cancelled:
            break  # all of them are ending already
        end_group(group, f"{incarnation.node.dn} has ended")
        await group.wait_idle()
    while not nursery.ended:
        await nursery.wait_changed()

"""How a tree runs: its tasks, and the rounds of its groups.

The problem: tens of thousands of runnables, thousands of levels deep, each of
which may die at any moment, take its siblings down with it, and must not be
started again before all that it left behind is gone. Trio's nurseries give the
last part. What must be added is a layout that stays cheap, that
survives depth, and that can be stopped in an order.

The layout:

- A leaf in a group of its own is one task under a cancel scope (``run_incarnation``). A
  group of several is one task that owns a nursery, with a task in it for each
  member (``run_together``). Either is one *round*: one joint life of the members.
  The scope costs as much as all else that a leaf has beside its task, but
  Trio cancels nothing smaller, and a leaf alone can be stopped alone.
- A node that starts children gets a ``ChildNursery``, a task that owns the nursery in which the
  children's rounds run. Most nodes are leaves, and pay for no nursery. It runs
  in the nursery of the parent's own siblings, so a runnable's cancel scope never contains its
  children: they outlive it when it is ``DONE``, and are stopped after it, in order, when it is
  stopped.
- A round's task does not loop. It ends when its members have ended, waits for the
  backoff, and starts the next round as a new task, in a fresh copy of the context in
  which the group was started. So no context variable leaks from one incarnation
  into the next.

The invariants:

1. *No exception crosses a nursery* (S12). A task records how it ended and returns. Trio
   describes the exceptions in nested nurseries recursively; 330 levels that let
   ``Cancelled`` pass end in a RecursionError that takes the whole run with it.
2. *A stop is known before any task runs*, by state: ``STOPPING`` of the group, or
   ``cancelled`` of the siblings, which is set synchronously wherever a cancellation comes from. A
   runnable that has not begun does not begin, one that is ending is judged rightly, and
   nothing new is started.
3. *A group's next round starts in the last step of the one before* (S7), when
   the nursery that held its tasks is closed and each member's child nursery has ended.
4. *State changes are complete between two awaits.* What ``snapshot()`` sees is always
   a state that the tree was in.

Rejected: a task per group that loops (its context would be shared by all
incarnations); one nursery per node (twice the cost, and quadratic when it is
cancelled); a central task that owns all restarts (every death would wait its turn);
a cancel scope for each member of every group of several (needed only where there are
grace periods).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import enable_ki_protection

from supervisor._core import _steps as steps
from supervisor._core._plan import BEGIN, Begin, Fail, GiveUp, Restart, Retry
from supervisor._core._states import READY, START_TASK
from supervisor._text._crash import make_crash
from supervisor._text._exceptions import drop_tracebacks

from ._members import make_members
from ._stopping import carry_out, fail_incarnation, start_timed_out

if TYPE_CHECKING:
    from supervisor._core._plan import Plan

    from ._tree import Group, Node


# Starting


def start_round(group: Group) -> None:
    """Start a round of ``group``, with new incarnations of its members (S7)."""
    members, options, nursery = group.members, group.options, group.siblings
    steps.start_round(group, trio.current_time())
    first = members[0]
    if options.start_timeout is not None:
        for node in (first,) if options.ordered else members:
            _set_start_timeout(node)
    if len(members) == 1:
        assert first.incarnation is not None
        nursery.start_soon(group.context, nursery.tree.run_member, first.incarnation, first.name)
    else:
        nursery.start_soon(group.context, run_together, group, f"group of {first.name}")
    group.publish()


def _set_start_timeout(node: Node) -> None:
    group, incarnation = node.group, node.incarnation
    assert group.options.start_timeout is not None
    assert incarnation is not None
    incarnation.timer = group.siblings.tree.timers.set(
        group.options.start_timeout, partial(start_timed_out, incarnation)
    )


@enable_ki_protection
async def run_together(group: Group) -> None:
    """Run a round of a group that has several members (S20)."""
    ordered, run_member = group.options.ordered, group.siblings.tree.run_member
    async with trio.open_nursery() as nursery:
        if not any(node.grace for node in group.members):
            group.scope = nursery.cancel_scope
        previous = None
        for node in group.members:
            if ordered and previous is not None:
                if not await wait_ready(previous):
                    break
                steps.start_member(node, trio.current_time())
                if group.options.start_timeout is not None:
                    _set_start_timeout(node)
                group.publish()
            assert node.incarnation is not None
            # This task's context is the group's, of which each member gets a copy.
            nursery.start_soon(run_member, node.incarnation, name=node.name)
            previous = node
        if ordered:
            steps.all_started(group)
            group.publish()
    await finish_round(group)


async def wait_ready(node: Node) -> bool:
    """Wait until a member is ``HEALTHY`` or ``DONE``; return ``False`` if its group is stopped."""
    group = node.group
    try:
        while group.is_running:
            assert node.incarnation is not None
            if node.incarnation.phase in READY:
                return True
            await group.wait_changed()
    except trio.Cancelled:
        pass  # the members see it too
    return False


# Going on


def restart_group(group: Group, reason: str) -> None:
    """Restart a group on an operator's demand (S19)."""
    action = steps.restart(group, trio.current_time())
    if action is START_TASK:
        group.siblings.start_soon(group.context, finish_round, group, f"restart {group.dn}")
    carry_out(group, action, reason)


@enable_ki_protection
async def finish_round(group: Group) -> None:
    """Carry out what the model decides, all tasks of a round being gone (S7)."""
    group.scope = None
    group.siblings.tree.reports.pop(group, None)
    plan: Plan = steps.finish_round(group, trio.current_time())
    while True:
        if isinstance(plan, Retry):
            group.publish()
            if group.plan is BEGIN:  # unless an observer has demanded something else just now
                await wait_backoff(group, plan.delay)
        elif isinstance(plan, (Begin, Restart)):
            if renew_members(group):
                start_round(group)
                return
        else:
            break
        plan = steps.finish_round(group, trio.current_time())
    if isinstance(plan, GiveUp):
        hand_to_parent(group, plan)
    group.publish()
    if group.is_ended:
        group.ended()


async def wait_backoff(group: Group, delay: float) -> None:
    """Wait for the backoff, unless it is cut short (S9)."""
    try:
        with trio.CancelScope() as group.scope:
            await trio.sleep(delay)
    except trio.Cancelled:
        # The cancellation is for all siblings, and may come here before it comes to the nursery.
        steps.cancelled(group.siblings)
    group.scope = None


def renew_members(group: Group) -> bool:
    """Get fresh runnables for the next round from the group's function, if it has one (S8, S11)."""
    if group.factory is None:
        return True
    try:
        # In the parent's context, as at first: not in that of a member which has ended.
        runnables = group.context.copy().run(group.factory)
        make_members(group, runnables)
    except Exception as error:  # noqa: BLE001  a failure of the group, as a death is
        crash = make_crash(error, group.dn, group.members[0].number + 1)
        fatal = group.options.is_fatal(error)
        steps.factory_failed(group, crash, error, group.draw_share(), fatal=fatal)
        group.publish()
        if isinstance(group.plan, (Retry, Fail)) and not group.siblings.tree.errors:
            drop_tracebacks(error)  # it goes no further, and they keep what the function used
        return False
    except BaseException as error:  # noqa: BLE001  it leaves, as a runnable's does
        group.siblings.tree.abort(error)
        return False
    return True


def hand_to_parent(group: Group, plan: GiveUp) -> None:
    """Hand the failure of a group to its parent, which dies of it (S10)."""
    failure = steps.give_up(group, plan)
    if group.parent is None:
        group.siblings.tree.abort(failure)
    else:
        fail_incarnation(group.parent, failure, f"{group.dn} gave up")

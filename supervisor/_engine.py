"""How a tree runs: its tasks, and what each of them does next.

The problem: tens of thousands of runnables, thousands of levels deep, each of
which may die at any moment, take its siblings down with it, and must not be
started again before all that it left behind is gone. Trio's nurseries give the
last part for nothing. What must be added is a layout that stays cheap, that
survives depth, and that can be stopped in an order.

The layout:

- A leaf in a group of its own is one task under a cancel scope (``live``). A
  group of several is one task that owns a nursery, with a task in it for each
  member (``run_together``). Either is one *round*: one joint life of the members.
  The scope costs as much as all else that a leaf has beside its task, but
  Trio cancels nothing smaller, and a leaf alone can be stopped alone.
- A node that starts children gets a ``Host``, a task that owns the nursery in which the
  children's rounds run. Most nodes are leaves, and pay for no nursery. The host runs
  in the nursery of the parent's own host, so a runnable's cancel scope never contains its children:
  they outlive it when it is ``DONE``, and are stopped after it, in order, when it is stopped.
- A round's task does not loop. It ends when its members have ended, waits for the
  backoff, and starts the next round as a new task, in a fresh copy of the context in
  which the group was started. So no context variable leaks from one incarnation
  into the next.

The way of a death: ``live`` (runs the runnable, joins its children) → ``_judging.judge``
(what was it?) → ``die`` (record, verdict, stop the group) → ``conclude`` (all gone: wait,
restart, or hand the failure to the parent).

The way of a stop: ``stop`` asks the members of one group, side by side; the task of each cancels
its runnable (at once, or after its grace) and then, in ``stop_children``, stops its groups one
after the other, the last started first. So a stop goes down the tree by itself, each
level after the one above it.

The invariants:

1. *No exception crosses a nursery.* A task notes how it ended and returns. Trio
   describes the exceptions in nested nurseries recursively; 330 levels that let
   ``Cancelled`` pass end in a RecursionError that takes the whole run with it.
2. *A stop is known before any task runs*, by a flag: ``STOPPING`` of the group, or
   ``cancelled`` of the host, which is set synchronously wherever a cancellation comes from. A
   runnable that has not begun does not begin, one that is ending is judged rightly, and
   nothing new is started.
3. *A group's next round starts in the last step of the one before*, when
   the nursery that held its tasks is closed and each member's host has ended.
4. *State changes are complete between two awaits.* What ``snapshot()`` sees is always
   a state that the tree was in.

Rejected: a task per group that loops (its context would be shared by all
incarnations); one nursery per node (twice the cost, and quadratic when it is
cancelled); a central task that owns all restarts (every death would wait its turn);
a cancel scope for each member of every group of several (needed only where there are graces).

Runnables run without protection from ``KeyboardInterrupt``, this module's code with it, so that
Ctrl-C can't fall between two lines of bookkeeping.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Final

import trio
from trio.lowlevel import current_task, disable_ki_protection, enable_ki_protection

from ._crash import Crash, format_error, one_line
from ._current import current
from ._errors import RestartLimitExceeded
from ._judging import die, judge, keep_stop_error
from ._logging import forget_pools, log_factory_error
from ._members import make_members
from ._node import Wish
from ._restart import GiveUp
from ._state import GroupState, NodeState
from ._stopping import (
    end,
    fail,
    forget,
    start_timed_out,
    wait_at_rest,
    wait_changed,
)
from ._stuck import unwatch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._host import Host
    from ._node import Group, Incarnation, Node


# Starting


def add(group: Group) -> None:
    """Start a group that is new."""
    group.host.enter()
    begin(group)


def begin(group: Group) -> None:
    """Start a round of ``group``, with new incarnations of its members."""
    now = trio.current_time()
    members, ordered = group.members, group.terms.ordered
    group.rounds += 1
    group.wish = None
    group.unready = len(members)
    group.end_readiness(now)
    if group.rounds > 1:  # a new group is RUNNING already
        group.host.tree.shift(group, GroupState.RUNNING)
    first = members[0]
    for node in (first,) if ordered else members:
        begin_node(node, now)
    if len(members) == 1:
        group.host.start_soon(group.context, live, first, first.name)
    else:
        if ordered:
            group.host.tree.stir()  # until all have been started
        group.host.start_soon(group.context, run_together, group, f"group of {first.name}")


def begin_node(node: Node, now: float) -> None:
    """Begin a node's next incarnation."""
    group = node.group
    forget_pools(node)
    group.host.tree.begin(node, now)
    seconds = group.terms.start_timeout
    if seconds is not None:
        incarnation = node.incarnation
        assert incarnation is not None
        incarnation.alarm = group.host.tree.alarms.set(
            seconds, partial(start_timed_out, incarnation)
        )


@enable_ki_protection
async def run_together(group: Group) -> None:
    """Run a round of a group that has several members."""
    ordered = group.terms.ordered
    async with trio.open_nursery() as nursery:
        group.scope = nursery.cancel_scope
        previous = None
        for node in group.members:
            if ordered and previous is not None:
                if not await is_ready(previous):
                    break
                begin_node(node, trio.current_time())
            # This task's context is the group's, of which each member gets a copy.
            nursery.start_soon(live, node, name=node.name)
            previous = node
        if ordered:
            group.host.tree.calm()
    await conclude(group)


async def is_ready(node: Node) -> bool:
    """Wait until a member is ``HEALTHY`` or ``DONE``; return ``False`` if its group is stopped."""
    group = node.group
    try:
        while group.state is GroupState.RUNNING and not group.host.cancelled:
            assert node.incarnation is not None
            if node.incarnation.state in _READY:
                return True
            await wait_changed(group)
    except trio.Cancelled:
        pass  # the members see it too
    return False


_READY: Final = frozenset({NodeState.HEALTHY, NodeState.DONE})


# Living and dying


@enable_ki_protection
async def live(node: Node) -> None:
    """Run one incarnation: the runnable, then its children to their end.

    It is the whole task of a member. Each coroutine more would cost every node a few hundred bytes.
    """
    group, incarnation = node.group, node.incarnation
    assert incarnation is not None
    current.set(incarnation)  # in this task's own context, and so in that of all it starts
    alone = len(group.members) == 1
    with trio.CancelScope() if alone or group.terms.graces else _GROUPS_SCOPE as incarnation.scope:
        if incarnation.asked:
            judge(incarnation, None)  # it has not begun, and may yet have failed to in time
        else:
            incarnation.task = current_task()
            try:
                await _unprotected(node.call)
            except BaseException as error:  # noqa: BLE001  all of it is judged
                judge(incarnation, error)
            else:
                judge(incarnation, None)
            if incarnation.host is not None and incarnation.state is NodeState.DONE:
                await outlive(incarnation, incarnation.host)
    # Trio keeps the reason of a cancellation with its scope; in a deep tree that is a long DN.
    incarnation.scope = None
    if incarnation.alarm is not None:
        incarnation.alarm.cancel()
        incarnation.alarm = None
    if incarnation.host is not None:
        await join_children(incarnation, incarnation.host)
    incarnation.task = None
    incarnation.ended = True
    if alone:
        await conclude(group)


# Where no member has a grace, the scope of the group's nursery is enough for all.
_GROUPS_SCOPE: Final = nullcontext()


@disable_ki_protection
async def _unprotected(call: Callable[[], Awaitable[object]]) -> None:
    awaitable = call()
    if not hasattr(awaitable, "__await__"):
        msg = f"{call!r} is not an async function: it returned {awaitable!r}"
        raise TypeError(msg)
    await awaitable


async def outlive(incarnation: Incarnation, host: Host) -> None:
    """Wait until the children of a ``DONE`` node have ended by themselves, or are to be stopped."""
    try:
        while not host.ended and incarnation.failure is None:
            await host.wait_changed()
    except trio.Cancelled:
        pass  # they are asked to stop in join_children


async def join_children(incarnation: Incarnation, host: Host) -> None:
    """Stop the children that are left, and wait until all are gone."""
    if not host.ended:
        # Bounded by the children's graces and their own clean-up. A cancellation from outside
        # reaches them without us.
        with trio.CancelScope(shield=True):
            await stop_children(incarnation, host)
    failure = incarnation.failure
    if failure is not None and incarnation.state is NodeState.DONE:
        if incarnation.asked:
            keep_stop_error(incarnation, failure)
            incarnation.failure = None  # as die() does
        else:
            die(incarnation, failure)


async def stop_children(incarnation: Incarnation, host: Host) -> None:
    """Stop the groups of children, the last started first, each after the one before."""
    host.seal()
    for group in reversed(incarnation.groups()):
        if host.cancelled:
            break  # all of them are ending already
        end(group, f"{incarnation.node.dn} has ended")
        await wait_at_rest(group)
    while not host.ended:
        await host.wait_changed()


# Going on


@enable_ki_protection
async def conclude(group: Group) -> None:
    """Decide, all tasks of a round being gone, what becomes of the group."""
    host, group.scope, group.waking = group.host, None, False
    tree = host.tree
    unwatch(group)
    while True:
        verdict, group.verdict = group.verdict, None
        death, group.death = group.death, None
        if host.cancelled or group.wish is Wish.END:
            break
        if group.wish is Wish.HOLD:
            tree.shift(group, GroupState.STOPPED)
            return
        if group.wish is Wish.RESTART:
            group.wish = None
            group.operator_restarts += 1
        elif verdict is None:
            tree.shift(group, GroupState.FINISHED)
            forget(group)
            host.leave()
            return
        elif isinstance(verdict, GiveUp):
            assert death is not None
            give_up(group, verdict, *death)
            tree.shift(group, GroupState.FAILED)
            host.leave()
            return
        else:
            death = None  # its traceback keeps what the members used alive
            try:
                if await backed_off(group, verdict.delay):
                    continue
            except trio.Cancelled:
                break
        if renew(group):
            begin(group)
            return
    tree.shift(group, GroupState.STOPPED)
    forget(group)
    host.leave()


async def backed_off(group: Group, delay: float) -> bool:
    """Wait for the backoff; return whether somebody has cut it short."""
    group.deadline = trio.current_time() + delay
    group.scope = trio.CancelScope()
    with group.scope:
        group.host.tree.shift(group, GroupState.BACKOFF)
        try:
            await trio.sleep(delay)
        finally:
            group.deadline = group.scope = None
    return group.wish is not None or group.host.cancelled


def renew(group: Group) -> bool:
    """Get fresh runnables for the next round from the group's function, if it has one."""
    if group.factory is None:
        return True
    try:
        # In the parent's context, as at first: not in that of a member which has ended.
        runnables = group.context.copy().run(group.factory)
        make_members(group, runnables)
    except Exception as error:  # noqa: BLE001  a failure of the group, as a death is
        now = trio.current_time()
        crash = Crash(
            dn=group.dn,
            time=now,
            uptime=0.0,
            incarnation=group.members[0].number + 1,
            error=one_line(error),
            traceback=format_error(error),
        )
        group.failed(crash, error)
        log_factory_error(group, crash)
        return False
    except BaseException as error:  # noqa: BLE001  it leaves, as a runnable's does
        group.host.tree.leave(error)
        return False
    return True


def give_up(group: Group, verdict: GiveUp, crash: Crash, error: Exception) -> None:
    """Hand the failure of a group to its parent, which dies of it."""
    limit, causes = group.terms.limit, group.causes
    assert limit is not None
    assert causes is not None
    dn = group.dn
    failure = RestartLimitExceeded(
        f"{dn} gave up: {limit.restarts} restarts within {limit.within:g} s are allowed, "
        f"and one more was needed ({crash.dn}: {crash.error})",
        dn=dn,
        causes=tuple(causes)[-len(verdict.times) :],
        times=verdict.times,
    )
    group.obituary = str(failure)
    failure.__cause__ = error
    if group.parent is None:
        group.host.tree.leave(failure)
    else:
        fail(group.parent, failure, f"{dn} gave up")

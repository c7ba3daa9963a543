"""Reports of nodes that do not get on: that were asked to stop and have not ended, or stay ``NEW``.

Trio can't kill a task. One that shields itself, or that waits for a thread, holds up
its group's restart, and nothing short of the end of the process will change
that. What can be done is to say which node it is, and where it waits.

The groups that are being stopped are plain state of the tree. One timer serves all of them.

A node that stays ``NEW`` holds up what waits for it: an ordered group, or a readiness probe. It may
wait for its own child, which waits for it. So it is reported too. The model has the incarnations
that are ``NEW``, and one timer serves all of them. Those that were not reported yet are due in the
order of their start, so a look reads no further than to the first that is not due. It reads all
that were reported before, and so looks are some time apart.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from supervisor._core import _steps as steps
from supervisor._core._states import RUNS
from supervisor._core._tree import subtree
from supervisor._text._stacks import format_stacks, waiting_place

from ._tree import FIRST_REPORT, LOOKS, Incarnation, Report

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from supervisor._core import _tree as core

    from ._tree import Group, Tree


_SAME_TIME: Final = 0.001


def report_due(tree: Tree) -> None:
    """Report what is due, and set the timer of the next report (S18).

    The first report comes after 5 seconds, each further one after twice as long as the last.
    """
    now = trio.current_time()
    for group, report in tuple(tree.reports.items()):
        # The timer's time is a sum of its own, which may be the smallest step before this one.
        if report.due - now < _SAME_TIME:
            tree.reports[group] = Report(report.asked, 2 * now - report.asked + FIRST_REPORT)
            _report(group, f"{now - report.asked:.0f} s after it was asked to stop")
    tree.next_report = min((report.due for report in tree.reports.values()), default=math.inf)
    if tree.reports:
        tree.timers.set(tree.next_report - now, partial(report_due, tree))


def _report(group: Group, when: str) -> None:
    tree = group.siblings.tree
    # When everything is cancelled, the root's report is about everything.
    all_at_once = group.siblings.cancelled
    if all_at_once and group.parent is not None:
        return
    late = tuple(running(group, below=all_at_once))
    if late:
        steps.stuck(tree, late, when)
        tree.publish()


def report_starts(tree: Tree) -> None:
    """Report the nodes that are ``NEW`` for too long, and set the timer of the next look (S34).

    The first report of a node comes ``report_after`` seconds after its start, each further one
    after twice as long as the last.
    """
    now = trio.current_time()
    after = tree.report_after
    assert after is not None
    tree.next_start_report = math.inf
    again: dict[core.Incarnation, float] = {}
    late: list[Incarnation] = []
    next_due = math.inf
    for incarnation, due in _due_first(tree, after):
        if due - now < _SAME_TIME:
            due = again[incarnation] = 2 * now - incarnation.started + after  # noqa: PLW2901
            assert isinstance(incarnation, Incarnation)
            # One that is asked to stop has reports of its own (S18).
            if incarnation.task is not None and not incarnation.stop_requested:
                late.append(incarnation)
        next_due = min(next_due, due)
    if next_due < math.inf:
        tree.watch_starts(max(next_due, now + after / LOOKS))
    steps.still_new(tree, again, late)
    tree.publish()


def _due_first(tree: Tree, after: float) -> Iterator[tuple[core.Incarnation, float]]:
    """Walk through what may be due, and when it is: all that is overdue, and what started first."""
    yield from tree.overdue.items()
    now = trio.current_time()
    for incarnation in tree.starting:
        due = incarnation.started + after
        yield incarnation, due
        if due - now >= _SAME_TIME:
            break  # all others have started later


def running(group: Group, *, below: bool = False) -> Iterator[Incarnation]:
    """Walk through the incarnations in ``group``, and below, whose runnables have not ended."""
    for member in group.members:
        for node in subtree(member) if below else (member,):
            each = node.incarnation
            if isinstance(each, Incarnation) and each.task is not None and each.phase in RUNS:
                yield each


def stacks_of(incarnation: core.Incarnation) -> str:
    """Format where the tasks of a runnable wait, its own first (S18)."""
    assert isinstance(incarnation, Incarnation)
    return "" if incarnation.task is None else format_stacks(incarnation.task)


def waiting_place_of(incarnation: core.Incarnation) -> str | None:
    """Return the line in which a runnable waits, if it is known (S37)."""
    assert isinstance(incarnation, Incarnation)
    return None if incarnation.task is None else waiting_place(incarnation.task)


def stacks_of_all(incarnations: Iterable[core.Incarnation]) -> str:
    """Format where the tasks of several runnables wait, each called by its DN (S33)."""
    tasks: dict[trio.lowlevel.Task, str] = {}
    for incarnation in incarnations:
        assert isinstance(incarnation, Incarnation)
        if incarnation.task is not None:
            tasks[incarnation.task] = incarnation.node.dn
    return format_stacks(*tasks, names=tuple(tasks.values()))

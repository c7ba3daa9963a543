"""Reports of nodes that were asked to stop and have not ended.

Trio can't kill a task. One that shields itself, or that waits for a thread, holds up
its group's restart, and nothing short of the end of the process will change
that; what can be done is to say who it is, and where it waits.
"""

from __future__ import annotations

import functools
import logging
import traceback
from typing import TYPE_CHECKING, Final

from ._crash import is_machinery
from ._logging import node_logger
from ._report import log
from ._state import NodeState
from ._tree import descendants

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ._node import Group, Incarnation

_logger = logging.getLogger("supervisor")

PATIENCE: Final = 5.0
"""Seconds until the first report; each further one takes twice as long as the last."""

NODES_REPORTED: Final = 20
"""A report names at most so many nodes of one stop, and counts the rest."""


def watch(group: Group, passed: float = 0.0, interval: float = PATIENCE) -> None:
    """Report what of ``group`` has not ended, again and again, until ``unwatch``."""
    unwatch(group)
    group.alarm = group.host.tree.alarms.set(
        interval, functools.partial(_look, group, passed + interval, 2 * interval)
    )


def unwatch(group: Group) -> None:
    """Take note that the group's tasks are gone."""
    if group.alarm is not None:
        group.alarm.cancel()
        group.alarm = None


def _look(group: Group, passed: float, interval: float) -> None:
    # When everything is cancelled, the root's report is about everything.
    if group.parent is None and group.host.cancelled:
        report(running(group, below=True), f"{passed:.0f} s after it was asked to stop")
    elif not group.host.cancelled:
        report(running(group), f"{passed:.0f} s after it was asked to stop")
    watch(group, passed, interval)


def report(late: Iterable[Incarnation], when: str) -> None:
    """Log that these have not ended, and where they wait."""
    late = list(late)
    for incarnation in late[:NODES_REPORTED]:
        dn = incarnation.node.dn
        log(
            incarnation.node.group.host.tree.leave,
            node_logger(dn),
            logging.WARNING,
            "%s has not ended %s; its tasks wait here:\n%s",
            dn,
            when,
            "\n".join(await_stacks(incarnation)),
        )
    if len(late) > NODES_REPORTED:
        more = len(late) - NODES_REPORTED
        leave = late[0].node.group.host.tree.leave
        log(leave, _logger, logging.WARNING, "%d more nodes have not ended %s", more, when)


def running(group: Group, *, below: bool = False) -> Iterator[Incarnation]:
    """Walk through the incarnations in ``group``, and below, whose runnables have not ended."""
    for member in group.members:
        top = member.incarnation
        if top is not None:
            for node in (member, *descendants(top)) if below else (member,):
                if node.incarnation is not None and _is_running(node.incarnation):
                    yield node.incarnation


def _is_running(incarnation: Incarnation) -> bool:
    return incarnation.task is not None and incarnation.state in _RUNNING


_RUNNING: Final = frozenset({NodeState.NEW, NodeState.HEALTHY})


def await_stacks(incarnation: Incarnation) -> Iterator[str]:
    """Format where each task of a runnable waits, the runnable's own first."""
    tasks = [] if incarnation.task is None else [incarnation.task]
    while tasks:
        task = tasks.pop()
        frames = traceback.StackSummary.extract(task.iter_await_frames())
        own = [frame for frame in frames if not is_machinery(frame.filename)]
        # What the users' code waits for is one frame further.
        if own:
            own += frames[frames.index(own[-1]) + 1 :][:1]
        lines = "".join(traceback.StackSummary.from_list(own or frames).format()).rstrip()
        yield f"task {task.name}:\n{lines}"
        for nursery in task.child_nurseries:
            tasks += nursery.child_tasks

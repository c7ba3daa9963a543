"""Who is calling: the incarnation that a task belongs to, and the run of Trio that it is in.

A context variable holds the incarnation. Trio copies the context of the task that starts a task or
a thread, so the tasks that a runnable starts, in whatever nursery, and the
workers of ``trio.to_thread`` all find the runnable they come from. What they
find is the incarnation and not the node: a task that escaped from one
incarnation must not speak for the next.

A tree lives in one run of Trio. What changes it, or waits for it, has to be called there: Trio's
queues are not safe to touch from elsewhere, and break the run that they belong to.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

import trio

from supervisor._core._errors import NotSupervisedError, StaleRunnableError

if TYPE_CHECKING:
    from ._tree import Group, Incarnation, Node, Tree

current: ContextVar[Incarnation] = ContextVar("supervisor.current")


def calling_incarnation(function: str) -> Incarnation:
    """Return the caller's incarnation (S1).

    Raises:
        NotSupervisedError: if there is none.
        StaleRunnableError: if it has ended.
    """
    incarnation = current.get(None)
    if incarnation is None:
        msg = (
            f"supervisor.{function}() was called outside of a runnable: call it from a function "
            "that supervise(), run() or run_group() has started"
        )
        raise NotSupervisedError(msg)
    if incarnation.finished:
        msg = (
            f"supervisor.{function}() was called by a task of incarnation "
            f"{incarnation.node.number} of {incarnation.node.dn}, which has ended: "
            "keep the tasks of a runnable in nurseries that it opens itself"
        )
        if incarnation.node.incarnation is not incarnation:
            msg = (
                f"supervisor.{function}() was called by a task of an earlier incarnation of "
                f"{incarnation.node.dn}: keep the tasks of a runnable in nurseries that it "
                "opens itself"
            )
        raise StaleRunnableError(msg)
    return incarnation


def acting_incarnation(function: str, *, waits: bool = False) -> Incarnation:
    """Return the caller's incarnation, for a function that changes the tree or waits (S1).

    Raises:
        NotSupervisedError: if there is none, or the caller is in another
            thread than the tree, or in another run of Trio.
        StaleRunnableError: if it has ended.
    """
    incarnation = calling_incarnation(function)
    node = incarnation.node
    check_run(node.group.siblings.tree, node, "supervisor", function, waits=waits)
    return incarnation


def calling_run() -> trio.lowlevel.TrioToken | None:
    """Return the token of the caller's run of Trio; ``None`` if it is in none."""
    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:
        return None


def check_run(tree: Tree, of: Node | Group, what: str, function: str, *, waits: bool) -> None:
    """Refuse a call from outside of the run of Trio in which ``tree`` lives (S1).

    Args:
        tree: The tree.
        of: What of it is used.
        what: What has the function: ``handle``, ``pool``, ``tree``; or the module ``supervisor``.
        function: Its name.
        waits: It is an async function.

    Raises:
        NotSupervisedError: if the caller is in another thread, or in another run of Trio.
    """
    if calling_run() is tree.token:
        return
    call = f"{what}.{function}"
    name = f"{call}()" if what == "supervisor" else f"{function}() of the {what} {of.dn}"
    if tree.end_time is not None:
        msg = (
            f"{name} was called outside of the run of Trio in which the tree of {of.dn} was, and "
            "that tree has ended: it can only be looked at, as by snapshot()"
        )
    else:
        how = "run" if waits else "run_sync"
        msg = (
            f"{name} was called in another thread than that of {of.dn}: "
            f"call trio.from_thread.{how}({call}, ...)"
        )
    raise NotSupervisedError(msg)

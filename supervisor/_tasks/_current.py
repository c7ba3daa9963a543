"""Who is calling: the incarnation that a task belongs to.

A context variable holds it. Trio copies the context of the task that starts a task or
a thread, so the tasks that a runnable starts, in whatever nursery, and the
workers of ``trio.to_thread`` all find the runnable they come from. What they
find is the incarnation and not the node: a task that escaped from one
incarnation must not speak for the next.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

import trio

from supervisor._core._errors import NotSupervisedError, StaleRunnableError

if TYPE_CHECKING:
    from ._tree import Incarnation

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


def acting_incarnation(function: str) -> Incarnation:
    """Return the caller's incarnation, for a function that changes the tree (S1).

    Raises:
        NotSupervisedError: if there is none, or the caller is in another
            thread than the tree.
        StaleRunnableError: if it has ended.
    """
    incarnation = calling_incarnation(function)
    try:
        here = trio.lowlevel.current_trio_token()
    except RuntimeError:
        here = None
    if here is not incarnation.node.group.siblings.tree.token:
        msg = (
            f"supervisor.{function}() was called in another thread than that of "
            f"{incarnation.node.dn}: call trio.from_thread.run_sync(supervisor.{function}, ...)"
        )
        raise NotSupervisedError(msg)
    return incarnation

"""Cancel scopes and nurseries that a runnable has left open.

The problem: an async generator with a timeout in it, which is not closed, leaves its cancel scope
on the stack of the task that it ran in. It is the best known mistake in Trio programs. A
nursery stays open in the same way, and so does a scope that was entered by hand, or that a child
task has closed. The task of a runnable is the task of its node, which goes on: it records the end,
waits for the children, starts the next round. In a scope that was left open, these would be
cancelled when the scope's timeout is over. The scopes around would not close. And Trio makes a task
that ends in such a state fail into the nursery around it, in which all siblings run.

So when a runnable has ended, its task is put back into the scope in which it began. The nurseries
that were left open are cancelled and waited for first, as at the end of an ``async with``: no task
of the runnable is left when its node restarts (S7). Then the node dies of an
:exc:`UnclosedScopeError`.

Trio has no public names for this. ``_cancel_status`` of tasks and what it points to,
``Task._child_nurseries`` and ``Nursery._nested_child_finished`` are private. They have been the
same for years, and all but the first are used only when a runnable has made this mistake. In a Trio
that has no ``_cancel_status`` nothing is done, and Trio does what it does.

Rejected:

- A nursery for each runnable, which would fail alone. It would cost every node as much as all else
  that it has.
- The error that the scope around raises when it is closed. Members of groups without
  grace periods have no scope of their own, and a task whose scope was closed by its child
  stays cancelled although the scope around has raised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from supervisor._core._errors import UnclosedScopeError
from supervisor._text._crash import unwrapped

if TYPE_CHECKING:
    from trio._core._run import CancelStatus
    from trio.lowlevel import Task

    from ._tree import Incarnation

CAN_CLOSE: Final = hasattr(trio.lowlevel.Task, "_cancel_status")
"""Trio is as this module knows it."""


async def close_left_open(incarnation: Incarnation, raised: BaseException | None) -> BaseException:
    """Close what a runnable has left open in the calling task (S12).

    It waits until all tasks in nurseries of the runnable are gone, whatever is cancelled meanwhile.

    Returns:
        What the run of the runnable has ended with: an :exc:`UnclosedScopeError`, in a group
        with what it ``raised`` and with what came from the nurseries.
    """
    task, dn = incarnation.task, incarnation.node.dn
    assert task is not None
    around = incarnation.scope or task.parent_nursery
    assert around is not None
    began = around._cancel_status
    assert began is not None
    errors = [] if raised is None else [raised]
    nurseries = _open_nurseries(task, began)
    for nursery in reversed(nurseries):
        nursery.cancel_scope.cancel(f"{dn} has ended, and left this nursery open")
        error = await _close(nursery, task)
        if error is not None:
            errors.append(error)
    task._activate_cancel_status(began)
    msg = (
        f"{dn} ended, and a {'nursery' if nurseries else 'cancel scope'} that it had opened was "
        "still open: close each in the task that opened it, in the reverse order, and async "
        "generators that open one with contextlib.aclosing()"
    )
    errors.append(UnclosedScopeError(msg))
    ended = BaseExceptionGroup(f"what {dn} ended with", errors)
    try:
        _, rest = ended.split(trio.Cancelled)
    except Exception:  # noqa: BLE001  too deep, or a foreign derive(): what can't be taken apart
        return ended
    assert rest is not None
    return unwrapped(rest)


def _open_nurseries(task: Task, began: CancelStatus) -> list[trio.Nursery]:
    """Return the nurseries that ``task`` has open, the outermost first."""
    found = list(task.child_nurseries)
    # One that was left before those inside it is not on the list any more, but has its tasks.
    scopes = [began]
    for scope in scopes:
        scopes += scope.children
        for each in scope.tasks:
            nursery = each.parent_nursery
            if nursery is not None and nursery.parent_task is task and nursery not in found:
                found.append(nursery)
    return found


async def _close(nursery: trio.Nursery, task: Task) -> BaseException | None:
    """Wait for the tasks in ``nursery`` as the end of its ``async with`` would."""
    stack = task._child_nurseries
    if nursery in stack:
        stack.remove(nursery)
    stack.append(nursery)  # Trio takes the last one away
    return await nursery._nested_child_finished(None)

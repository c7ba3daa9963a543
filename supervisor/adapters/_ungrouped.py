"""What an adapter's nurseries raise, without the groups that are theirs (S24).

An adapter runs one thing of the user's, and beside it tasks of its own: to wait for a stop request,
to watch files. These need a nursery, and a nursery puts even one exception into a group. The
node is to die of the exception itself: that is what ``except``, a crash record's one line and
``fatal=`` look at.

A ``try`` with ``raise error`` in its ``except`` would make the group the context of the error, in
the place of its own. So it is raised when the group is handled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, TypeVarTuple, Unpack

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ArgsT = TypeVarTuple("ArgsT")
T = TypeVar("T")


async def ungrouped(async_fn: Callable[[Unpack[ArgsT]], Awaitable[T]], *args: *ArgsT) -> T:
    """Await a call; if it raises groups around one exception only, raise that one.

    Args:
        async_fn: What to call.
        *args: Its arguments.

    Returns:
        What it returns.
    """
    try:
        return await async_fn(*args)
    except BaseExceptionGroup as group:
        alone = _alone_in(group)
        if alone is group:
            raise
    try:
        raise alone
    finally:
        del alone  # which refers to this frame


def _alone_in(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error

"""Which task has the loop, asked from another thread: one that never waits blocks all others."""

from __future__ import annotations

import sys
import threading
import traceback
from typing import TYPE_CHECKING, Final, NamedTuple, final

import trio

from supervisor._text._frames import is_machinery

from ._current import current

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextvars import Context
    from types import FrameType


FRAMES_SHOWN: Final = 20
"""Of a deep stack, so many innermost frames are shown."""


class Place(NamedTuple):
    """Where the thread of Trio's loop is."""

    dn: str | None
    """The node whose task runs, if it is a node's."""
    lines: str
    """The lines of the users' code, as in a traceback."""
    context: Context | None
    """A copy of the context of that task."""


@final
class LoopThread:
    """The thread in which Trio's loop runs, and where it is."""

    __slots__ = ("_ident", "_root")

    def __init__(self) -> None:
        """Take the present thread."""
        self._ident: int = threading.get_ident()
        self._root: trio.lowlevel.Task | None = trio.lowlevel.current_root_task()

    def run_ends(self) -> None:
        """Let go of the tasks: the run of Trio ends."""
        self._root = None

    def look(self) -> Place:
        """Return where the thread is now; call it from another one."""
        innermost = sys._current_frames().get(self._ident)
        frames = [frame for frame, _ in traceback.walk_stack(innermost)] if innermost else []
        for task in self._tasks():
            frame = getattr(task.coro, "cr_frame", None)
            if frame in frames:
                incarnation = task.context.get(current)
                # What is further out is Trio's loop, and what has called it.
                inner = frames[: frames.index(frame) + 1]
                dn = None if incarnation is None else incarnation.node.dn
                return Place(dn, _format(inner), task.context.copy())
        return Place(None, _format(frames), None)

    def _tasks(self) -> Iterator[trio.lowlevel.Task]:
        root = self._root
        rest = [] if root is None else [root]
        while rest:
            task = rest.pop()
            yield task
            for nursery in task.child_nurseries:
                rest.extend(nursery.child_tasks)


def _format(frames: list[FrameType]) -> str:
    """Format frames, of which the first is the innermost, without the machinery outside."""
    while frames and is_machinery(frames[-1].f_code.co_filename):
        del frames[-1]
    inner = ((frame, frame.f_lineno) for frame in reversed(frames[:FRAMES_SHOWN]))
    return "".join(traceback.StackSummary.extract(inner).format()).rstrip()

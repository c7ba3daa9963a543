"""Which worker thread a task waits for in ``trio.to_thread.run_sync``, and where that is (S34).

Trio has no public name for it. The thread's own frames tell: the one in which Trio's thread runs
its job has the function that hands the result over, and that holds the task. Where Trio is made in
another way, nothing is found, and a report shows no thread.
"""

from __future__ import annotations

import sys
import threading
import traceback
from types import FunctionType
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from types import FrameType


def worker_frames() -> dict[trio.lowlevel.Task, list[tuple[FrameType, int]]]:
    """Return where the worker threads of tasks are: their frames with lines, outermost first."""
    found: dict[trio.lowlevel.Task, list[tuple[FrameType, int]]] = {}
    if threading.active_count() == 1:
        return found
    for innermost in sys._current_frames().values():
        frames: list[tuple[FrameType, int]] = []
        for frame, line in traceback.walk_stack(innermost):
            if frame.f_code.co_name == "_handle_job" and "deliver" in frame.f_code.co_varnames:
                task = _task_of(frame.f_locals.get("deliver"))
                if task is not None:
                    found[task] = frames[::-1]
                break
            frames.append((frame, line))
    return found


def _task_of(deliver: object) -> trio.lowlevel.Task | None:
    """Return the task to which a worker thread hands its result over."""
    for function in (deliver, *_held_by(deliver)):
        for register in _held_by(function):
            if isinstance(register, list) and len(register) == 1:
                task = register[0]  # None if it does not wait any more
                return task if isinstance(task, trio.lowlevel.Task) else None
    return None


def _held_by(function: object) -> list[object]:
    """Return what a function refers to of the function in which it was made."""
    if not isinstance(function, FunctionType):
        return []
    try:
        return [cell.cell_contents for cell in function.__closure__ or ()]
    except ValueError:  # it is not there yet
        return []

"""Shows as text where the tasks of a runnable wait.

A server may have twenty thousand connections, and nearly all of them wait in the same line. So
equal stacks are shown once and counted. The number of tasks and frames that are read is limited,
because a report is made during a stop, and blocks the loop meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import attrs
from trio.lowlevel import enable_ki_protection

from ._frames import is_machinery, stack_text, waiting
from ._printable import label, type_name
from ._worker_threads import worker_frames

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    import trio

    from ._frames import Frame

STACKS_SHOWN: Final = 50
"""At most this many different stacks are shown."""

STACKS_LENGTH: Final = 48 * 1024
"""No further stack is shown after this many characters."""

TASKS_READ: Final = 1000
FRAMES_READ: Final = 20_000
"""After this many tasks, or frames of tasks, the other tasks are only counted."""

NAME_LENGTH: Final = 200
"""The name of a task has at most this many characters."""


@final
@attrs.define
class _Kind:
    """Tasks that wait in the same lines."""

    name: str
    frames: list[tuple[FrameType, int]]
    """The frames that are shown, outermost first, each with its line."""
    trouble: str
    """Why further frames could not be found, if so."""
    thread: list[tuple[FrameType, int]]
    """The frames of the worker thread that it waits for, if it waits for one."""
    count: int = 0


@enable_ki_protection
def format_stacks(*of: trio.lowlevel.Task, names: Sequence[str] = ()) -> str:
    """Show where tasks wait, and those in their nurseries.

    Args:
        *of: The tasks.
        names: What each of them is called, if not by its own name.
    """
    kinds: dict[object, _Kind] = {}
    todo = list(reversed(of))
    called = dict(zip(of, names, strict=False))
    workers = worker_frames()
    tasks = frames = 0
    while todo and tasks < TASKS_READ and frames < FRAMES_READ:
        each = todo.pop()
        name = called.pop(each, each.name)
        below = _children(each)
        if names:
            called.update((child, f"{child.name}, of {name}") for child in below)
        todo += below
        waits, trouble = _stack(each)
        thread = workers.get(each, [])
        key = (trouble, *((id(frame.f_code), line) for frame, line in (*waits, *thread)))
        kind = kinds.get(key)
        if kind is None:
            kind = kinds[key] = _Kind(name, _shown(waits), trouble, _shown(thread))
        kind.count += 1
        tasks += 1
        frames += len(waits)
    known: dict[tuple[int, int], Frame] = {}
    texts: list[str] = []
    length = 0
    for kind in kinds.values():
        if len(texts) == STACKS_SHOWN or length >= STACKS_LENGTH:
            break
        texts.append(_text(kind, known))
        length += len(texts[-1])
        tasks -= kind.count
    while todo:  # what was not looked at
        tasks += 1
        todo += _children(todo.pop())
    if tasks:
        texts.append(f"and {tasks} more task{'s' if tasks > 1 else ''}")
    return "\n".join(texts)


def waiting_place(task: trio.lowlevel.Task) -> str | None:
    """Return the line of users' code in which a task waits, if there is one."""
    waits, _ = _stack(task)
    for frame, line in reversed(waits):
        code = frame.f_code
        if not is_machinery(code.co_filename):
            return label(f"{code.co_filename}:{line} in {code.co_qualname}", NAME_LENGTH)
    return None


def _text(kind: _Kind, known: dict[tuple[int, int], Frame]) -> str:
    """Return the text of a kind; ``known`` has the frames that were formatted before."""
    stack = _formatted(kind.frames, known)
    name = label(kind.name, NAME_LENGTH)
    more = kind.count - 1
    also = f" and {more} more task{'s' if more > 1 else ''}" if more else ""
    text = f"task {name}{also}:\n{stack_text(stack)}{kind.trouble}".rstrip()
    if kind.thread:
        text += f"\n  in its worker thread:\n{stack_text(_formatted(kind.thread, known))}".rstrip()
    return text


def _formatted(
    frames: list[tuple[FrameType, int]], known: dict[tuple[int, int], Frame]
) -> list[Frame]:
    found: list[Frame] = []
    for frame, line in frames:
        key = id(frame.f_code), line
        if key not in known:
            known[key] = waiting(frame, line)
        found.append(known[key])
    return found


def _children(task: trio.lowlevel.Task) -> list[trio.lowlevel.Task]:
    return [child for nursery in task.child_nurseries for child in nursery.child_tasks]


def _stack(task: trio.lowlevel.Task) -> tuple[list[tuple[FrameType, int]], str]:
    """Return the frames that can be found of a task, and why there are no more."""
    frames: list[tuple[FrameType, int]] = []
    trouble = ""
    try:
        frames.extend(task.iter_await_frames())
    except BaseException as broken:  # noqa: BLE001  it asks what is awaited for its attributes
        trouble = f"  <what it awaits raised {type_name(broken)}>"
    return frames, trouble


def _shown(frames: list[tuple[FrameType, int]]) -> list[tuple[FrameType, int]]:
    """Return the frames of users' code, and the one that the last of them waits for."""
    own = [
        index
        for index, (frame, _) in enumerate(frames)
        if not is_machinery(frame.f_code.co_filename)
    ]
    if not own:
        return frames
    return [frames[index] for index in own] + frames[own[-1] + 1 : own[-1] + 2]

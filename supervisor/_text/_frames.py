"""Frames as text, each formatted once.

Many nodes may die of one fault at the same time, in the same lines, and again at each restart. To
find a line of source and the part of it that is under way takes as long as all the rest of a
restart. That depends on the frame's code and instruction alone, so it is remembered by these. What
may vary (messages, causes, notes) is put together each time.

The lines of a frame are looked up when it is first shown, after asking whether the file has changed
since it was last read, as :mod:`traceback` does. Later changes of the file don't change what is
remembered: the code that runs is that of the earlier file as well.

Nothing is remembered but text and code objects, which keep alive nothing that a function uses.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, final

import outcome
import trio

from ._printable import cut

if TYPE_CHECKING:
    from types import CodeType, FrameType, TracebackType

FRAMES_KEPT: Final = 1000
"""So many frames are remembered, then they are forgotten together."""

FRAME_LENGTH: Final = 2000
"""The text of a frame is cut to so many characters; it has long names or generated source."""

SOURCE_LENGTH: Final = 500
"""A longer line of source is cut, and has no marks below it."""

ENTRIES_READ: Final = 20_000
"""Of a longer traceback the rest is counted only. Recursion to the usual limit has 1000 entries."""

ROWS_FIRST: Final = 20
ROWS_LAST: Final = 40
"""Of more rows, so many are shown from the start and from the end, which is where it happened."""

_REPEATED: Final = 3  # as in traceback, of rows that are the same

# Frames of the machinery say nothing about a runnable's fault.
_MACHINERY: Final = tuple(
    f"{Path(file).parent}{os.sep}"
    for file in (sys.modules[__name__.partition(".")[0]].__file__, trio.__file__, outcome.__file__)
    if file is not None
)


@final
class Frame(NamedTuple):
    """What is shown of a frame."""

    text: str
    """Lines as :mod:`traceback` writes them: where it is, the source, and marks below that."""
    place: tuple[str, int | None, str]
    """File, line and function: by these, frames are the same."""
    is_machinery: bool
    code: CodeType
    """Keeps the id that it is remembered by from being another's."""

    def unmarked(self) -> str:
        """Return the text without the marks below the source."""
        return "".join(self.text.splitlines(keepends=True)[:2])


# By the ids of code objects, since the hash of one is that of all its code; and by instruction.
_known: dict[tuple[int, int], Frame] = {}


def is_machinery(filename: str) -> bool:
    """Return whether a frame is of Trio or of this package, and not a user's."""
    return filename.startswith(_MACHINERY)


def frames_of(start: TracebackType | None, *, machinery: bool) -> list[Frame]:
    """Return the frames of a traceback, with those of the machinery or without."""
    frames: list[Frame] = []
    step = start
    read = 0
    while step is not None and read < ENTRIES_READ:
        read += 1
        frame = _known.get((id(step.tb_frame.f_code), step.tb_lasti)) or _look_up(step)
        if machinery or not frame.is_machinery:
            frames.append(frame)
        step = step.tb_next
    more = 0
    while step is not None:
        more += 1
        step = step.tb_next
    if more:
        frames.append(remark(f"{more} frames left out"))
    return frames


def ends_in_start(outer: TracebackType | None, inner: TracebackType | None) -> bool:
    """Return whether the last of the users' frames in ``outer`` is the first of ``inner``."""
    while inner is not None and is_machinery(inner.tb_frame.f_code.co_filename):
        inner = inner.tb_next
    last = None
    while outer is not None:
        if not is_machinery(outer.tb_frame.f_code.co_filename):
            last = outer.tb_frame
        outer = outer.tb_next
    return last is not None and inner is not None and inner.tb_frame is last


def remark(text: str) -> Frame:
    """Return a line of text that has its place among frames."""
    text = f"  [{text}]\n"
    return Frame(text, place=("", None, text), is_machinery=False, code=remark.__code__)


def _look_up(step: TracebackType) -> Frame:
    code = step.tb_frame.f_code
    source: str | None = ""
    try:
        (summary,) = stack = traceback.extract_tb(step, limit=1)
        place = summary.filename, summary.lineno, summary.name
        source = summary.line
        if source and len(source) > SOURCE_LENGTH:
            text = f"{_bare(place)}    {cut(source, SOURCE_LENGTH)}\n"
        else:
            (text,) = stack.format()
    except BaseException:  # noqa: BLE001  a module's loader, which is asked, is users' code
        place = code.co_filename, step.tb_lineno, code.co_name
        text = _bare(place)
    frame = Frame(cut(text, FRAME_LENGTH), place, is_machinery(code.co_filename), code)
    # A file that could not be read may be next time: there may have been too many open.
    if step.tb_lasti >= 0 and (source or code.co_filename.startswith("<")):
        if len(_known) >= FRAMES_KEPT:
            _known.clear()
        _known[id(code), step.tb_lasti] = frame
    return frame


def waiting(frame: FrameType, line: int) -> Frame:
    """Return what is shown of a frame that waits at ``line``."""
    code = frame.f_code
    place = code.co_filename, line, code.co_name
    try:
        (summary,) = traceback.StackSummary.extract([(frame, line)])
        text = _bare(place)
        if summary.line:
            text += f"    {cut(summary.line, SOURCE_LENGTH)}\n"
    except BaseException:  # noqa: BLE001  as above
        text = _bare(place)
    return Frame(cut(text, FRAME_LENGTH), place, is_machinery(code.co_filename), code)


def _bare(place: tuple[str, int | None, str]) -> str:
    return '  File "{}", line {}, in {}\n'.format(*place)


def stack_text(frames: list[Frame]) -> str:
    """Return the lines of ``frames``: those that repeat are counted after three, as Python does."""
    rows: list[str] = []
    last = None
    count = 0
    for frame in frames:
        if frame.place != last:
            if count > _REPEATED:
                rows.append(_repeated(count - _REPEATED))
            last = frame.place
            count = 0
        count += 1
        if count <= _REPEATED:
            rows.append(frame.text)
    if count > _REPEATED:
        rows.append(_repeated(count - _REPEATED))
    more = len(rows) - ROWS_FIRST - ROWS_LAST
    if more > 0:
        rows[ROWS_FIRST:-ROWS_LAST] = [f"  [{more} frames left out]\n"]
    return "".join(rows)


def _repeated(more: int) -> str:
    return f"  [Previous line repeated {more} more time{'s' if more > 1 else ''}]\n"

"""Frames as text, each formatted once.

Many nodes may die of one bug at the same time, in the same lines, and again at each restart. The
search for a line of source, and for the part of it that was running, takes as long as all the rest
of a restart. The result depends on the frame's code and instruction only. So it is remembered by
these two. Messages, causes and notes may differ, and are formatted each time.

The source of a frame is read when the frame is first shown. As in :mod:`traceback`, a file that has
changed since it was last read is read again. Later changes of the file do not change what is
remembered: the code that runs comes from the earlier file, too.

Only text and code objects are remembered. They keep nothing alive that a function uses.
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
"""When this many frames are remembered, all are forgotten together."""

FRAME_LENGTH: Final = 2000
"""The text of a frame has at most this many characters: names can be long."""

SOURCE_LENGTH: Final = 500
"""A line of source with more characters is cut, and has no marks below it."""

ENTRIES_READ: Final = 20_000
"""At most this many entries of a traceback are read; the others are counted.

A recursion up to Python's default limit has 1000 entries.
"""

ROWS_FIRST: Final = 20
ROWS_LAST: Final = 40
"""Of more rows, this many are shown from the start, and from the end, where the error happened."""

_REPEATED: Final = 3  # as in traceback, of rows that are the same

# Frames of the machinery do not show what is wrong in a runnable.
_MACHINERY: Final = tuple(
    f"{Path(file).parent}{os.sep}"
    for file in (sys.modules[__name__.partition(".")[0]].__file__, trio.__file__, outcome.__file__)
    if file is not None
)
_PACKAGE: Final = _MACHINERY[0]


@final
class Frame(NamedTuple):
    """What is shown of a frame."""

    text: str
    """Lines as :mod:`traceback` writes them: where it is, the source, and marks below that."""
    place: tuple[str, int | None, str]
    """File, line and function: by these, frames are the same."""
    is_machinery: bool
    code: CodeType
    """Keeps the code object alive, so that no other object gets its id."""

    def unmarked(self) -> str:
        """Return the text without the marks below the source."""
        return "".join(self.text.splitlines(keepends=True)[:2])


# By the id of the code object, as its hash would read all of its code, and by the instruction.
_known: dict[tuple[int, int], Frame] = {}


def is_machinery(filename: str) -> bool:
    """Return whether a frame in this file is one of Trio or of this package."""
    return filename.startswith(_MACHINERY)


def ends_in_package(start: TracebackType | None) -> bool:
    """Return whether what has this traceback was raised by a function of this package."""
    if start is None:
        return False
    while start.tb_next is not None:
        start = start.tb_next
    return start.tb_frame.f_code.co_filename.startswith(_PACKAGE)


def without_machinery_before(start: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback from the first frame of users' code on."""
    while start is not None and is_machinery(start.tb_frame.f_code.co_filename):
        start = start.tb_next
    return start


def frames_of(start: TracebackType | None, *, machinery: bool) -> list[Frame]:
    """Return the frames of a traceback, with or without those of the machinery."""
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
    """Return whether the last frame of users' code in ``outer`` is the first one in ``inner``."""
    while inner is not None and is_machinery(inner.tb_frame.f_code.co_filename):
        inner = inner.tb_next
    last = None
    while outer is not None:
        if not is_machinery(outer.tb_frame.f_code.co_filename):
            last = outer.tb_frame
        outer = outer.tb_next
    return last is not None and inner is not None and inner.tb_frame is last


def remark(text: str) -> Frame:
    """Return a line of text that can stand between frames."""
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
    except BaseException:  # noqa: BLE001  it calls the module's loader, which may be users' code
        place = code.co_filename, step.tb_lineno, code.co_name
        text = _bare(place)
    frame = Frame(cut(text, FRAME_LENGTH), place, is_machinery(code.co_filename), code)
    # A file that could not be read, as when too many are open, is tried again next time.
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
    """Return the lines of ``frames``; after three that are the same, the rest is counted."""
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

"""Makes foreign text printable, and limits its length.

Messages of exceptions, names of tasks and records of foreign loggers come from users' code, and
often quote what came from outside. A message may have fifty megabytes, characters that a terminal
executes, and characters that hide what follows.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable


NAME_LENGTH: Final = 500
"""The name of a type or a module has at most this many characters."""

_qualname: Callable[[type], str] = type.__dict__["__qualname__"].__get__


def type_name(error: BaseException) -> str:
    """Return the name of the type of ``error``; its metaclass is not asked."""
    return cut(_qualname(type(error)), NAME_LENGTH)


def cut(text: str, limit: int) -> str:
    """Leave out the middle of a text that is longer than ``limit``, and say how much that is.

    The end is kept, because a long message often has its reason there. The time depends on the
    limit only, not on the length of the text.
    """
    if type(text) is str and len(text) <= limit:
        return text
    # A __str__ may return an instance of a subclass, with methods of its own.
    excess = str.__len__(text) - limit
    if excess <= 0:
        return str.__str__(text)
    tail = limit * 2 // 5
    start = str.__getitem__(text, slice(limit - tail))
    end = str.__getitem__(text, slice(limit - tail + excess, None))
    return f"{start} [... {excess} characters left out ...] {end}"


def single_line(text: str) -> str:
    """Make ``text`` one line of printable characters."""
    return printable(" ".join(text.split()))


def label(text: str, limit: int) -> str:
    """Cut a name to ``limit``, and escape line feeds and tabs in it as well."""
    return printable(cut(text, limit)).replace("\n", "\\n").replace("\t", "\\t")


def printable(text: str) -> str:
    """Replace what a terminal would execute, or not display, by its escape sequence in Python.

    Line feeds and tabs stay. Joiners and other marks that the writing of a language needs, and that
    move nothing, stay as well.
    """
    return text if text.isprintable() else _CONTROLS.sub(_escaped, text)


_CONTROLS: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0, DEL and C1
    r"\u2028\u2029"  # separators of lines and paragraphs
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f"  # the direction of writing
    r"\ufff9-\ufffb\U000e0000-\U000e007f"  # annotations and tags, which are not displayed
    r"\ud800-\udfff]"  # lone surrogates, which most encodings refuse
)


def _escaped(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]

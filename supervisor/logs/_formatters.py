"""Two ways to write log records: for a person at a terminal, and for a program.

What is in a record comes from anywhere: a message may quote what a client sent, and the name of a
logger what a plug-in is called. None of it can add a line that looks like another record, or keep
its own record from being written:

- In JSON, a record is one line of ASCII, so no encoding of the stream can refuse it.
- In text, only the first line of a record begins with a time. Further ones begin with a mark, and
  characters that a terminal obeys, or does not show, are written as Python would escape them.
- A record that can't be put into words, since its arguments don't fit or can't be shown, is
  written as far as possible.
- Messages have a limit. What is cut is counted.
"""

from __future__ import annotations

import json
import logging
import time
from types import TracebackType
from typing import Final, final

from supervisor._core._records import Crash
from supervisor._text._exceptions import format_error, one_line
from supervisor._text._printable import cut, label, printable, type_name

_COLOURS: Final = {
    logging.DEBUG: "2",
    logging.WARNING: "33",
    logging.ERROR: "31",
    logging.CRITICAL: "1;31",
}

MESSAGE_LENGTH: Final = 64 * 1024
"""A message, a traceback or a stack is cut to so many characters: as many as a raw line has."""

NAME_LENGTH: Final = 200
"""In text, a DN or the name of a logger is cut to so many."""

CONTINUED: Final = "  | "
"""The mark of a line that is not the first of its record."""


@final
class TextFormatter(logging.Formatter):
    """One line to a record, the DNs below each other, coloured by level if wanted (S22).

    What has more lines, such as a traceback, goes on below, with a mark. What a terminal would obey
    is escaped.
    """

    def __init__(self, *, colour: bool = False) -> None:
        """Make a formatter, with colours or without."""
        super().__init__()
        self._colour = colour
        self._width = 12

    def format(self, record: logging.LogRecord) -> str:
        """Format time, level, DN and message; what has more lines goes on below, with a mark."""
        name = label(source(record), NAME_LENGTH)
        # The column grows with the names that come, so that it is as narrow as it can be.
        self._width = max(self._width, min(len(name), 40))
        clock = time.strftime("%H:%M:%S", self.converter(created(record)))
        level = label(_text(record.levelname)[:1], NAME_LENGTH)
        said = printable(message(record)).expandtabs(4).replace("\n", f"\n{CONTINUED}")
        line = f"{clock} {level} {name:{self._width}}  {said}"
        colour = _COLOURS.get(record.levelno)
        return f"\033[{colour}m{line}\033[0m" if self._colour and colour else line


@final
class JSONFormatter(logging.Formatter):
    """One JSON object to a record, on one line of ASCII (S22).

    Its keys are ``time`` (UTC), ``level``, ``dn``, ``logger`` and ``message``. Where the record has
    such, there are ``incarnation``, ``event`` (the name of the event in a tree that it tells of, as
    in :mod:`supervisor.tree_events`), ``error`` (type and message in a line) and ``traceback``; and
    each field that ``extra=`` gave. A field with one of these names is called ``extra_…``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        seconds, fraction = divmod(created(record), 1)
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        found: dict[str, object] = {
            "time": f"{clock}.{int(fraction * 1000):03}Z",
            "level": _text(record.levelname),
            "dn": origin(record),
            "incarnation": getattr(record, "incarnation", None),
            "event": getattr(record, "event", None),
            "logger": _text(record.name),
            "message": _message(record),
            "error": _error(record),
            "traceback": _details(record),
        }
        own = set(found)
        for key in ("incarnation", "event"):
            if found[key] is not None:
                found[key] = _field(found[key])
        found = {key: value for key, value in found.items() if value is not None}
        for key, value in record.__dict__.items():
            if key not in _ATTRIBUTES and not (key == "dn" and "runnable_dn" not in vars(record)):
                name = _text(key)
                found[f"extra_{name}" if name in own else name] = _field(value)
        return json.dumps(found)


_ATTRIBUTES: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    # What logging's own formatters add, and what later Pythons have.
    "asctime",
    "message",
    "taskName",
    # What this package adds, which has keys of its own.
    "crash",
    "event",
    "incarnation",
    "runnable_dn",
}


def origin(record: logging.LogRecord) -> str:
    """Return the DN that a record comes from or is about, or ``-``."""
    name = _text(record.name)
    dn = name.removeprefix("supervisor.node.")
    if dn != name:
        return dn
    # The first is there where the second is somebody else's.
    return _text(getattr(record, "runnable_dn", None) or getattr(record, "dn", "-"))


def source(record: logging.LogRecord) -> str:
    """Return the DN that a record comes from or is about, or else the name of the logger."""
    dn = origin(record)
    return _text(record.name) if dn == "-" else dn


def message(record: logging.LogRecord) -> str:
    """Return the message with the traceback and the stack that belong to it."""
    details = _details(record)
    return _message(record) if details is None else f"{_message(record)}\n{details}"


def _details(record: logging.LogRecord) -> str | None:
    """Return the traceback and the stack of a record."""
    parts = []
    if record.exc_text:
        parts.append(_text(record.exc_text))
    elif record.exc_info and (found := _error_of(record.exc_info)) is not None:
        parts.append(format_error(*found, machinery=True))
    if record.stack_info:
        parts.append(_text(record.stack_info))
    return "\n".join(parts) if parts else None


def _error(record: logging.LogRecord) -> str | None:
    """Return the error of a record in one line."""
    crash = getattr(record, "crash", None)
    if isinstance(crash, Crash):
        return crash.error
    found = _error_of(record.exc_info) if record.exc_info else None
    return None if found is None else one_line(found[0])


def _message(record: logging.LogRecord) -> str:
    try:
        return cut(record.getMessage(), MESSAGE_LENGTH)
    except Exception as broken:  # noqa: BLE001  arguments and their __str__ are users'
        pair = f"{_text(record.msg)!r} with {_text(record.args)}"
        return f"{pair} (it can't be formatted: {one_line(broken)})"


def _error_of(exc_info: object) -> tuple[BaseException, TracebackType | None] | None:
    """Take what :mod:`logging` has of an exception; in a record made by hand, it is anything."""
    match exc_info:
        case (_, BaseException() as error, TracebackType() as start):
            return error, start
        case (_, BaseException() as error, _) | (BaseException() as error):
            return error, None
    return None


def _field(value: object) -> object:
    """Return what ``extra=`` gave as plain JSON can have it, within the limit."""
    if isinstance(value, str):
        return _text(value)
    try:
        text = json.dumps(value, allow_nan=False, default=_text)
        return json.loads(text) if len(text) <= MESSAGE_LENGTH else cut(text, MESSAGE_LENGTH)
    except Exception:  # noqa: BLE001  it refers to itself, or its methods are users'
        return _text(value)


def _text(what: object) -> str:
    """Return what should be a text as one."""
    try:
        return cut(what if isinstance(what, str) else str(what), MESSAGE_LENGTH)
    except Exception as broken:  # noqa: BLE001  as above
        return f"<its __str__ raised {type_name(broken)}>"


def created(record: logging.LogRecord) -> float:
    """Return when a record was made, or now if it was made by hand and does not say."""
    when: object = record.created
    if isinstance(when, (int, float)) and 0 <= when < _YEAR_10000:
        return when
    return time.time()


_YEAR_10000: Final = 253_402_300_800

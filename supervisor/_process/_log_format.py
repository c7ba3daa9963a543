"""Two ways to write log records: for a person at a terminal, and for a program."""

from __future__ import annotations

import json
import logging
import os
import time
from typing import IO, Final, final

_COLOURS: Final = {
    logging.DEBUG: "2",
    logging.WARNING: "33",
    logging.ERROR: "31",
    logging.CRITICAL: "1;31",
}


@final
class TerminalFormatter(logging.Formatter):
    """One line to a record, the DNs below each other, coloured by level if wanted."""

    def __init__(self, *, colour: bool) -> None:
        """Make a formatter, with colours or without."""
        super().__init__()
        self._colour = colour
        self._width = 12

    def format(self, record: logging.LogRecord) -> str:
        """Format time, level, DN and message; a traceback follows on lines of its own."""
        source = origin(record)
        if source == "-":
            source = record.name
        # The column grows with the names that come, so that it is as narrow as it can be.
        self._width = max(self._width, min(len(source), 40))
        clock = time.strftime("%H:%M:%S", self.converter(record.created))
        level = record.levelname[0]
        line = f"{clock} {level} {source:{self._width}}  {message(self, record)}"
        colour = _COLOURS.get(record.levelno)
        return f"\033[{colour}m{line}\033[0m" if self._colour and colour else line


@final
class JsonFormatter(logging.Formatter):
    """One JSON object to a record, on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format time (UTC), level, DN, logger and message, with any traceback in it."""
        seconds, fraction = divmod(record.created, 1)
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        return json.dumps(
            {
                "time": f"{clock}.{int(fraction * 1000):03}Z",
                "level": record.levelname,
                "dn": origin(record),
                "logger": record.name,
                "message": message(self, record),
            },
            ensure_ascii=False,
        )


def origin(record: logging.LogRecord) -> str:
    """Return the DN that a record comes from or is about, or ``-``."""
    dn = record.name.removeprefix("supervisor.node.")
    return dn if dn != record.name else str(getattr(record, "dn", "-"))


def message(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """Return the message with the traceback and the stack that belong to it."""
    parts = [record.getMessage()]
    if record.exc_info:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)


def preset_logging(stream: IO[str]) -> None:
    """Log records from ``INFO`` on to ``stream``, unless logging is set up already (S22).

    A terminal gets text, with colours unless ``NO_COLOR`` is set; anything else gets JSON.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler(stream)
    if stream.isatty():
        handler.setFormatter(TerminalFormatter(colour="NO_COLOR" not in os.environ))
    else:
        handler.setFormatter(JsonFormatter())
    root.addHandler(handler)
    root.setLevel(logging.INFO)

"""Log records for the journal of systemd, which reads the standard error of a service."""

from __future__ import annotations

import logging
from typing import Final, final

from supervisor._text._printable import label, printable

from ._formatters import CONTINUED, NAME_LENGTH, message, source

_PRIORITIES: Final = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
)
"""The priority in syslog of records of at least this level; the first that fits counts."""

_DEBUG: Final = 7


@final
class JournalFormatter(logging.Formatter):
    """A priority such as ``<4>`` before each line, then DN and message (S22).

    The journal has the time itself. It takes each line as an entry of its own, so each line has the
    priority.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; what has more lines goes on below, with a mark."""
        priority = f"<{_priority(record.levelno)}>"
        said = printable(message(record)).expandtabs(4)
        text = f"{label(source(record), NAME_LENGTH)}: {said}"
        return priority + text.replace("\n", f"\n{priority}{CONTINUED}")


def _priority(level: int) -> int:
    for least, priority in _PRIORITIES:
        if level >= least:
            return priority
    return _DEBUG

"""What is kept of a log record."""

from __future__ import annotations

from typing import final

import attrs


@final
@attrs.frozen(kw_only=True)
class LogEntry:
    """A log record, as text.

    It refers to nothing that the record was made of: no arguments, exceptions or frames.
    """

    seq: int
    """Its number in its buffer: the first is 1, and each record has the next."""
    time: float
    """When the record was made, in seconds since 1970."""
    level: int
    """As in :mod:`logging`."""
    dn: str
    """The node that the record comes from or is about, or ``-``: as the formatters show it."""
    logger: str
    """The name of the logger."""
    text: str
    """The message, with the traceback and the stack that belong to it."""
    stream: str | None
    """Of a line that came as text: ``stdout`` or ``stderr`` of a command, or ``raw`` for
    :func:`raw_logger`. Of any other record: ``None``."""

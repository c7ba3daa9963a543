"""Buffers of log records, filled by hand."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from supervisor.logs import LogBuffer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from supervisor.logs import LogEntry


def put(
    buffer: LogBuffer,
    dn: str,
    message: str,
    *args: object,
    level: int = logging.INFO,
    created: float | None = None,
) -> None:
    """Put a record of a node's logger into ``buffer``, or of no node if the DN is ``-``."""
    name = "supervisor" if dn == "-" else f"supervisor.node.{dn}"
    record = logging.LogRecord(name, level, __file__, 1, message, args, None)
    record.dn = "-"
    if created is not None:
        record.created = created
    buffer.handle(record)


@contextlib.contextmanager
def attached(logger: logging.Logger, buffer: LogBuffer | None = None) -> Iterator[LogBuffer]:
    """Have a buffer get the records of ``logger`` for a while."""
    buffer = LogBuffer() if buffer is None else buffer
    logger.addHandler(buffer)
    try:
        yield buffer
    finally:
        logger.removeHandler(buffer)
        buffer.close()


def texts(entries: Iterable[LogEntry]) -> list[str]:
    """Return the texts of entries."""
    return [entry.text for entry in entries]

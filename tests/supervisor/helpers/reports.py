"""Reports on the log of nodes that do not get on."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, final

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator


@final
class Reports(logging.Handler):
    """Records when a node was reported, its logger, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[float, str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING:
            self.seen.append((trio.current_time(), record.name, record.getMessage()))

    @property
    def times(self) -> list[tuple[float, str]]:
        return [(time, name.removeprefix("supervisor.node.")) for time, name, _ in self.seen]


@contextlib.contextmanager
def recorded() -> Iterator[Reports]:
    """Record the reports on all trees."""
    handler = Reports()
    logger = logging.getLogger("supervisor")
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)

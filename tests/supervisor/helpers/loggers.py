"""What the package logs, and the loggers that standard logging keeps of nodes.

Loggers are the process's, and so are those of other tests' trees: a test asks for its own names.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import supervisor

from .runnables import finish

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest


def dns_with_loggers(prefix: str) -> set[str]:
    """Return the DNs that begin with ``prefix`` and have a logger."""
    start = f"supervisor.node.{prefix}"
    known = logging.Logger.manager.loggerDict
    return {name.removeprefix("supervisor.node.") for name in known if name.startswith(start)}


def of_package(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return the records that the package and its nodes have logged."""
    return [record for record in caplog.records if record.name.startswith("supervisor")]


def text_of(record: logging.LogRecord) -> str:
    """Return what any formatter shows of a record: the message, and the text of the error."""
    return logging.Formatter().format(record)


async def run_to_the_end(child: Callable[[], Awaitable[object]]) -> None:
    """Run ``child`` under a root of its own, until it is DONE."""

    async def root() -> None:
        supervisor.run("child", child)
        await finish()

    await supervisor.supervise(root, propagate=True)

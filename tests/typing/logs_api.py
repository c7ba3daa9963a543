"""How the types of ``supervisor.logs`` look from outside: for type checkers, never run."""

from __future__ import annotations

import logging
from typing import assert_type

import structlog
import trio

from supervisor.logs import (
    JSONFormatter,
    LogBuffer,
    LogEntry,
    LogFollower,
    TextFormatter,
    add_dn,
    current_buffer,
    parse_klog,
)


def handler() -> logging.Handler:
    return LogBuffer(per_node=10, total=1000)


def formatters() -> list[logging.Formatter]:
    return [TextFormatter(colour=True), JSONFormatter()]


def others() -> None:
    structlog.configure(processors=[add_dn, structlog.processors.JSONRenderer()])
    assert_type(parse_klog("I0412 09:13:29 1 a.go:7] x"), tuple[int, str] | None)


async def follow() -> None:
    buffer = assert_type(current_buffer(), LogBuffer)
    assert_type(buffer.read(), list[LogEntry])
    buffer.read("root.net", n=None, level=logging.WARNING, children=False, raw=True)
    with buffer.follow("root.net", n=None, level=logging.WARNING, after=7) as entries:
        assert_type(entries, LogFollower)
        assert_type(await entries.receive(), LogEntry)
        assert_type(entries.missed, int)
        channel: trio.abc.ReceiveChannel[LogEntry] = entries
        async for entry in channel:
            seq, time, level = entry.seq, entry.time, entry.level
            assert_type((seq, time, level), tuple[int, float, int])
            assert_type((entry.dn, entry.logger, entry.text), tuple[str, str, str])
            assert_type(entry.stream, str | None)
            entry.seq = 1  # type: ignore[misc]  # it is frozen

"""The cost of a log record that a :class:`~supervisor.logs.LogBuffer` keeps."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from supervisor.logs import LogBuffer

from . import goals
from .harness import Comparison, clock, number, plain, ratio
from .memory_cases import traced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .harness import Figures, Scale

# As many entries as a buffer has by default, of as many nodes as fill it.
ENTRIES: Final = 20_000
NODES: Final = 100


def comparisons(scale: Scale) -> Iterator[Comparison]:
    """Return the comparisons of this module."""
    yield records(scale)
    yield entries(min(ENTRIES, scale.limit))


def records(scale: Scale) -> Comparison:
    """Compare a record that is kept with one that is dropped."""
    return Comparison(
        "log",
        {
            "dropped": partial(time_records, logging.NullHandler(), scale.times()),
            "kept": partial(time_records, LogBuffer(), scale.times()),
        },
        [
            ratio(
                "log record, kept in a buffer, against one that no handler keeps",
                "kept: record",
                "dropped: record",
                goals.LOG_RECORD,
            ),
            plain("log record, kept in a buffer", "kept: record", "µs"),
        ],
    )


def entries(size: int) -> Comparison:
    """Count the bytes of what a buffer keeps."""
    return Comparison(
        "bytes of a log buffer",
        {"full": partial(count_entries, size)},
        [
            plain(
                f"log buffer with {number(size)} entries of {NODES} nodes",
                "full: bytes",
                "MB",
                goals.LOG_BUFFER,
            )
        ],
        rounds=2,
    )


def time_records(handler: logging.Handler, times: int) -> Figures:
    """Time a record with an argument."""
    logger = logging.Logger("benchmarks.log", logging.INFO)  # noqa: LOG001  no other handler hears of it
    logger.addHandler(handler)
    begin = clock()
    for turn in range(times):
        logger.info("renewed the lease of %s", turn)
    return {"record": (clock() - begin) / times}


def count_entries(size: int) -> Figures:
    """Count the bytes of a buffer that is full."""
    before = traced()
    buffer = LogBuffer(total=size)
    for turn in range(size):
        dn = f"root.pool.{turn % NODES}"
        record = {"name": dn, "dn": dn, "msg": "renewed the lease of %s", "args": (turn,)}
        buffer.handle(logging.makeLogRecord(record))
    return {"bytes": float(traced(before) - before)}

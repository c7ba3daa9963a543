"""Raw text that becomes log records, line by line (S17)."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

import supervisor

from ..helpers.loggers import of_package, run_to_the_end
from ..helpers.runnables import finish


async def lines_of(
    write: Callable[[supervisor.RawLogger], object], caplog: pytest.LogCaptureFixture
) -> list[str]:
    """Return the messages that ``write`` logs in the node root.child."""
    caplog.set_level(logging.INFO, logger="supervisor.node.root.child")
    streams: list[supervisor.RawLogger] = []

    async def child() -> None:
        streams.append(supervisor.raw_logger())
        write(streams[0])
        await finish()

    await run_to_the_end(child)
    records = of_package(caplog)
    assert {(record.name, record.levelname) for record in records} <= {
        ("supervisor.node.root.child", "INFO")
    }
    messages = [record.getMessage() for record in records]
    streams[0].close()  # else it is closed when it is collected, in another test
    return messages


LONGEST = "x" * 65_536  # the longest line that is kept in one piece


@pytest.mark.parametrize(
    ("texts", "lines"),
    [
        (["one\n"], ["one"]),
        (["one\ntwo\n"], ["one", "two"]),
        (["o", "n", "e\ntw", "o\n"], ["one", "two"]),
        (["one\nunfinished"], ["one"]),
        (["\n\n"], ["", ""]),
        (["one\r\ntwo\r", "\n"], ["one", "two"]),
        (["100 %s %d\n"], ["100 %s %d"]),
        ([""], []),
        ([LONGEST], []),
        ([LONGEST, "y"], [LONGEST]),
        ([LONGEST + LONGEST + "y", "z\n"], [LONGEST, LONGEST, "yz"]),
    ],
)
async def test_each_complete_line_is_a_record(
    texts: list[str], lines: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """S17: raw_logger() takes text in any pieces, and bounds what it keeps of a long line."""

    def write(stream: supervisor.RawLogger) -> None:
        for text in texts:
            assert stream.write(text) == len(text)
        stream.flush()

    assert await lines_of(write, caplog) == lines


async def test_closing_logs_what_is_left(caplog: pytest.LogCaptureFixture) -> None:
    """S17: once; then the stream takes no more text."""

    def write(stream: supervisor.RawLogger) -> None:
        assert stream.writable()
        with stream:
            print("one\ntwo", end="", file=stream)
        stream.close()
        with pytest.raises(ValueError, match="closed raw logger"):
            stream.write("three\n")

    assert await lines_of(write, caplog) == ["one", "two"]

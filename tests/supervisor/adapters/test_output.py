"""How what a program writes is cut into lines (S24)."""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
import random
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisor.adapters._output import BATCH, LINE_LENGTH, Lines, Output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio.testing import MockClock


def cut(*parts: bytes) -> list[tuple[str, bool]]:
    """Return the lines that these parts make."""
    lines = Lines()
    found = [each for part in parts for each in lines.add(part)]
    return [*found, *lines.end()]


def texts(*parts: bytes) -> list[str]:
    return [text for text, _ in cut(*parts)]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([], []),
        ([b"one\ntwo\n"], ["one", "two"]),
        ([b"one\ntwo"], ["one", "two"]),
        ([b"one\r\ntw", b"o\r", b"\n\n"], ["one", "two", ""]),
        ([b"10 %\r20 %\r\n"], ["10 %\r20 %"]),
        ([b"one\r"], ["one"]),
        ([b"\xc3", b"\xa4\n"], ["ä"]),
        ([b"\xff\xc3\n\xc3"], ["\\xff\\xc3", "\\xc3"]),
        ([b"\0\x1b[0m\n"], ["\0\x1b[0m"]),
    ],
)
def test_bytes_become_lines(parts: list[bytes], expected: list[str]) -> None:
    """S24: a carriage return before the end belongs to it, and the last line needs no end."""
    assert texts(*parts) == expected


@pytest.mark.parametrize("size", [1, 7, 1000, 65536, 200_000])
def test_a_line_that_is_too_long_comes_in_pieces(size: int) -> None:
    """S24: however it is read; a piece is told from a line."""
    long = "ä" * LINE_LENGTH + "b" * LINE_LENGTH + "c"
    data = f"one\n{long}\ntwo\n{long}".encode()
    found = cut(*(data[at : at + size] for at in range(0, len(data), size)))
    pieces = [("ä" * LINE_LENGTH, False), ("b" * LINE_LENGTH, False), ("c", False)]
    assert found == [("one", True), *pieces, ("two", True), *pieces]


def test_a_line_of_the_most_characters_is_whole() -> None:
    """S24: and the next line is no piece of it."""
    line = b"x" * LINE_LENGTH
    assert cut(line, b"\n", b"two\n") == [(line.decode(), True), ("two", True)]
    assert [text for text, _ in cut(line + b"y", b"\n", b"two\n")] == [line.decode(), "y", "two"]


def test_lines_do_not_depend_on_how_they_are_read() -> None:
    """S24: any text, cut anywhere, is what splitlines would make of all of it."""
    for seed in range(200):
        draw = random.Random(seed)  # noqa: S311  it is a test
        data = bytes(draw.choices(b"a\xc3\xa4\xff\r\n", k=60))
        at = sorted(draw.choices(range(61), k=5))
        parts = [data[start:end] for start, end in zip([0, *at], [*at, 60], strict=True)]
        whole = data.decode("utf-8", "backslashreplace").split("\n")
        expected = [line.removesuffix("\r") for line in whole]
        assert texts(*parts) == (expected if whole[-1] else expected[:-1])


# Reading


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextmanager
def reading(records: Records, pattern: str | None = None) -> Iterator[tuple[Output, int, int]]:
    """Yield an output and the other ends of its pipes, which the test may close."""
    logger = logging.Logger("program", logging.INFO)  # noqa: LOG001  of this test alone
    logger.addHandler(records)
    pipes = [os.pipe(), os.pipe()]
    stdout, stderr = [trio.lowlevel.FdStream(read) for read, _ in pipes]
    compiled = None if pattern is None else re.compile(pattern)
    try:
        output = Output(stdout, stderr, 1, logger, parse=None, pattern=compiled)
        yield output, pipes[0][1], pipes[1][1]
    finally:
        stdout.close()
        stderr.close()


@pytest.fixture
def records() -> Records:
    return Records()


async def test_others_run_after_each_batch(records: Records) -> None:
    """S24: a task that is ready is never kept waiting by more than 64 records."""
    seen: list[int] = []
    with reading(records) as (output, out, err):
        os.write(out, b"x\n" * 10_000)
        os.close(out)
        os.close(err)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(output.read)
            while len(records.texts) < 10_000:
                seen.append(len(records.texts))
                await trio.lowlevel.checkpoint()
    # Trio may run the reader last in one turn, and first in the next.
    most = max(after - before for before, after in itertools.pairwise(seen))
    assert most <= 2 * BATCH


async def test_a_reader_that_is_cancelled_loses_nothing(records: Records) -> None:
    """S24: cancelled here, at each wait; another one goes on."""
    with reading(records) as (output, out, err):
        os.write(out, b"".join(b"%d\n" % number for number in range(1000)) + b"part")
        for cancelled_at in range(30):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(output.read)
                    for _ in range(cancelled_at % 5):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()
        os.write(out, b"ial\n")
        os.close(out)
        os.close(err)
        await output.read_to_end()
    assert records.texts == [*map(str, range(1000)), "partial"]
    assert [*output.last_lines] == records.texts[-20:]


async def test_a_full_pipe_at_its_end_is_read_to_it(
    records: Records, mock_clock: MockClock
) -> None:
    """S24: that the time was over is no reason to say that somebody holds it."""
    with reading(records) as (output, out, err):
        size = fcntl.fcntl(out, fcntl.F_GETPIPE_SZ)
        os.write(out, b"x" * (size - 1) + b"\n")
        os.close(out)
        os.close(err)
        mock_clock.jump(10.0)
        with trio.CancelScope(deadline=0.0) as past:
            await output.read()
        assert past.cancelled_caught
        assert records.texts == []
        await output.read_to_end()
    assert records.texts == ["x" * (size - 1)]


async def test_what_is_in_a_pipe_that_is_held_is_the_rest(
    records: Records, autojump_clock: MockClock
) -> None:
    """S24: after a second; one who goes on writing is not waited for."""
    with reading(records) as (output, out, err):
        os.write(out, b"one\npart")
        os.close(err)
        await output.read_to_end()
        assert autojump_clock.current_time() == 1.0
        os.close(out)
    assert records.texts == [
        "one",
        "part",
        "stdout of process 1 is closed: a process that has left its group holds it",
    ]


async def test_a_pattern_matches_in_any_line(records: Records) -> None:
    """S24: once is enough."""
    with reading(records, "rea.y") as (output, out, err):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(output.read)
            os.write(err, b"starting\n")
            await wait_all_tasks_blocked()
            assert not output.matched.is_set()
            os.write(err, b"I am ready\n")
            await output.matched.wait()
            os.close(out)
            os.close(err)
    assert records.texts == ["starting", "I am ready"]

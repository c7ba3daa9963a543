"""Raw text as log records: what it costs, and how it ends (S17)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from supervisor import RawLogger

if TYPE_CHECKING:
    from collections.abc import Iterator

LINE = 65_536
"""The longest line that is one record."""


class Lines(logging.Handler):
    """Keeps messages, and refuses one if it is told so."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.refused: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text == self.refused:
            raise OSError("no space left")
        self.seen.append(text)


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What the logger of :func:`stream` gets."""
    handler = Lines()
    logger = logging.getLogger("test_raw_logger")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
def stream(lines: Lines) -> Iterator[RawLogger]:  # noqa: ARG001  it is to be there
    """A stream that is closed in the end, since it would be when it is collected."""
    with RawLogger(logging.getLogger("test_raw_logger")) as stream:
        yield stream


def test_a_line_in_many_pieces_is_put_together_once(stream: RawLogger, lines: Lines) -> None:
    """S17: the pieces of an unfinished line are kept apart until the line is complete."""
    for _ in range(LINE):
        stream.write("x")
    assert len(stream._pieces) == LINE
    assert lines.seen == []
    stream.write("x")
    assert lines.seen == ["x" * LINE]
    assert stream._pieces == ["x"]
    stream.write("\n")
    assert lines.seen == ["x" * LINE, "x"]
    assert stream._pieces == []


@pytest.mark.parametrize("size", [LINE, LINE + 1, 2 * LINE, 2 * LINE + 1, 100 * LINE - 1])
def test_a_text_without_an_end_is_logged_as_it_fills_records(
    size: int, stream: RawLogger, lines: Lines
) -> None:
    """S17: in full records; what remains is at least a character, and waits for its end."""
    stream.write("x" * size)
    assert set(lines.seen) <= {"x" * LINE}
    assert len(lines.seen) == (size - 1) // LINE
    stream.write("y\n")
    assert "".join(lines.seen) == "x" * size + "y"


@pytest.mark.parametrize(
    ("texts", "left"),
    [
        ([], []),
        ([""], []),
        (["one\n"], []),
        (["one\n", ""], []),
        (["one\n", "two"], ["two"]),
        (["one\n", "\n"], []),
        (["\r"], [""]),
        (["two", "\r"], ["two"]),
    ],
)
def test_closing_logs_an_unfinished_line_if_there_is_one(
    texts: list[str], left: list[str], stream: RawLogger, lines: Lines
) -> None:
    """S17: after a complete line, or nothing, there is nothing to log; nor is it logged twice."""
    for text in texts:
        stream.write(text)
    lines.seen.clear()
    stream.close()
    stream.close()
    assert lines.seen == left
    assert stream.closed
    with pytest.raises(ValueError, match="closed raw logger"):
        stream.write("")


def test_a_stream_whose_last_line_is_refused_is_closed(stream: RawLogger, lines: Lines) -> None:
    """S17: what the handler raises is the caller's, once."""
    stream.write("no")
    lines.refused = "no"
    with pytest.raises(OSError, match="no space left"):
        stream.close()
    assert stream.closed
    stream.close()


def test_a_line_that_is_refused_is_not_logged_again(stream: RawLogger, lines: Lines) -> None:
    """S17: what comes after it waits for its end as ever."""
    lines.refused = "no"
    with pytest.raises(OSError, match="no space left"):
        stream.write("no\nthe rest")
    stream.write(" of it\n")
    assert lines.seen == ["the rest of it"]


@pytest.mark.parametrize("wrong", [b"bytes", 5, None, ["x"]])
def test_what_is_no_text_is_refused_at_once(
    wrong: Any,  # noqa: ANN401  that is the point
    stream: RawLogger,
    lines: Lines,
) -> None:
    """S17: and harms no line that is under way."""
    stream.write("on")
    with pytest.raises((TypeError, AttributeError)):
        stream.write(wrong)
    stream.write("e\n")
    assert lines.seen == ["one"]

"""How the preset writes log records: as text for a person, as JSON for a program (S22)."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import time
from typing import TYPE_CHECKING

import pytest

from ..helpers.internals import JSONFormatter, TextFormatter, preset_logging

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_700_000_000.25
"""In UTC, 2023-11-14 22:13:20 and a quarter."""


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def a_record(
    message: str = "hello",
    *args: object,
    name: str = "supervisor.node.root.net",
    level: int = logging.INFO,
    dn: str | None = "-",
    error: BaseException | None = None,
) -> logging.LogRecord:
    """Make a record as a logger would; without a ``dn``, it is older than the tree."""
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord(name, level, "module.py", 1, message, args, exc_info)
    record.__dict__.pop("dn", None)
    if dn is not None:
        record.dn = dn
    record.created = NOW
    return record


def an_error() -> OSError:
    try:
        raise OSError("the disk is full")  # noqa: TRY301  a traceback is what is wanted
    except OSError as error:
        return error


def in_utc(formatter: TextFormatter) -> TextFormatter:
    """Make the clock of a formatter independent of where the test runs."""
    formatter.converter = time.gmtime
    return formatter


@contextlib.contextmanager
def bare_logging() -> Iterator[logging.Logger]:
    """Take the root logger's handlers away, which pytest has put there, for a while."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    root.handlers = []
    try:
        yield root
    finally:
        root.handlers = handlers
        root.setLevel(level)


# JSON


def test_json_has_five_fields_on_one_line() -> None:
    """S22: time in UTC to the millisecond, level, DN, logger, and message with its arguments."""
    text = JSONFormatter().format(a_record("%s of\n%d", "two", 2, level=logging.WARNING))
    assert "\n" not in text
    assert list(json.loads(text).items()) == [
        ("time", "2023-11-14T22:13:20.250Z"),
        ("level", "WARNING"),
        ("dn", "root.net"),
        ("logger", "supervisor.node.root.net"),
        ("message", "two of\n2"),
    ]


@pytest.mark.parametrize(
    "message", ['a "quoted" \\ one', "tabs\t and \x00 \x1b[31m", "Grüße 👋\u2028", "a lone \udc80"]
)
def test_json_keeps_every_character(message: str) -> None:
    """S22: a message of any characters is one line, and parsing returns it."""
    text = JSONFormatter().format(a_record("%s", message))
    assert "\n" not in text
    assert json.loads(text)["message"] == message


def test_json_has_the_traceback_in_the_message() -> None:
    """S22: the record of an exception is one line too."""
    text = JSONFormatter().format(a_record("no room", error=an_error()))
    assert "\n" not in text
    message = json.loads(text)["message"]
    assert re.match(r"(?s)no room\nTraceback \(most recent call last\):\n.*an_error\n", message)
    assert message.endswith("\nOSError: the disk is full")


@pytest.mark.parametrize("formatter", [JSONFormatter(), TextFormatter(colour=False)])
def test_a_stack_is_shown_after_the_message(formatter: logging.Formatter) -> None:
    """S22: the stack that stack_info=True asks for is shown."""
    record = a_record("here")
    record.stack_info = "Stack (most recent call last):\n  a frame"
    text = formatter.format(record).replace("\\n", "\n").replace("\n  | ", "\n")
    assert "here\nStack (most recent call last):\n  a frame" in text


# Where a record comes from


@pytest.mark.parametrize(
    ("name", "dn", "shown"),
    [
        ("supervisor.node.root.net", "-", "root.net"),
        # The supervisor's record about a node, made by the task that stopped it.
        ("supervisor.node.root.net", "root.other", "root.net"),
        ("supervisor.node.root.net.dns", "root.net", "root.net.dns"),
        ("httpx", "root.net", "root.net"),
        ("httpx", "-", "-"),
        ("httpx", None, "-"),
    ],
)
def test_the_dn_is_that_of_the_logger_or_of_the_runnable(
    name: str, dn: str | None, shown: str
) -> None:
    """S22, S17: a node's logger names the node; any other logger, the runnable that uses it."""
    record = a_record(name=name, dn=dn)
    assert json.loads(JSONFormatter().format(record))["dn"] == shown


@pytest.mark.parametrize("dn", ["-", None])
def test_a_terminal_shows_the_logger_where_there_is_no_dn(dn: str | None) -> None:
    """S22: outside of all runnables, the logger's name says more than a dash."""
    formatter = in_utc(TextFormatter(colour=False))
    text = formatter.format(a_record(name="supervisor", dn=dn))
    assert text == "22:13:20 I supervisor    hello"


# On a terminal


@pytest.mark.parametrize(
    ("level", "letter", "colour"),
    [
        (logging.DEBUG, "D", "2"),
        (logging.INFO, "I", None),
        (logging.WARNING, "W", "33"),
        (logging.ERROR, "E", "31"),
        (logging.CRITICAL, "C", "1;31"),
    ],
)
def test_the_colour_tells_the_level(level: int, letter: str, colour: str | None) -> None:
    """S22: a letter for the level, and a colour for each but INFO, if colours are wanted."""
    plain = f"22:13:20 {letter} root.net      hello"
    record = a_record(level=level)
    assert in_utc(TextFormatter(colour=False)).format(record) == plain
    coloured = plain if colour is None else f"\033[{colour}m{plain}\033[0m"
    assert in_utc(TextFormatter(colour=True)).format(record) == coloured


def test_messages_are_aligned_as_names_grow() -> None:
    """S22: the column of DNs is as wide as the widest so far, but at most 40."""
    formatter = TextFormatter(colour=False)
    names = ["r", "r" * 20, "r", "r" * 60, "r"]
    lines = [formatter.format(a_record(name=f"supervisor.node.{name}")) for name in names]
    column = len("hh:mm:ss I ")
    starts = [line.index("hello") - column - 2 for line in lines]
    assert starts == [12, 20, 20, 60, 40]


def test_a_terminal_shows_the_traceback_below() -> None:
    """S22: a traceback follows on lines of its own, in the colour of its record."""
    formatter = TextFormatter(colour=True)
    text = formatter.format(a_record("no room", level=logging.ERROR, error=an_error()))
    first, second, *_, last = text.splitlines()
    assert first.endswith("  no room")
    assert second == "  | Traceback (most recent call last):"
    assert last == "  | OSError: the disk is full\033[0m"


# The preset


def test_the_preset_logs_from_info_on() -> None:
    """S22: one handler, for INFO and above, in JSON where there is no terminal."""
    stream = io.StringIO()
    with bare_logging() as root:
        preset_logging(stream)
        logging.getLogger("some.library").debug("nobody is to see this")
        logging.getLogger("some.library").info("seen")
        assert len(root.handlers) == 1
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["message"] == "seen"


@pytest.mark.parametrize(
    ("no_color", "pattern"),
    [
        (None, r"\033\[33m\d\d:\d\d:\d\d W root          careful\033\[0m\n"),
        ("1", r"\d\d:\d\d:\d\d W root          careful\n"),
    ],
)
def test_the_preset_is_text_on_a_terminal(
    no_color: str | None, pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S22: with colours, unless NO_COLOR is in the environment."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    stream = Terminal()
    with bare_logging() as root:
        preset_logging(stream)
        root.warning("careful")
    assert re.fullmatch(pattern, stream.getvalue())


def test_the_preset_changes_no_logging_that_is_set_up() -> None:
    """S22: where there is a handler, nothing changes, and a second preset does nothing."""
    with bare_logging() as root:
        preset_logging(io.StringIO())
        before = root.handlers.copy()
        root.setLevel(logging.ERROR)
        preset_logging(io.StringIO())
        assert (root.handlers, root.level) == (before, logging.ERROR)

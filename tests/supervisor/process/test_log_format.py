"""How the preset writes log records: as text for a person, as JSON for a program (S22)."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from trio.testing import wait_all_tasks_blocked

import supervisor

from ..helpers.backoffs import AT_ONCE
from ..helpers.internals import JournalFormatter, JSONFormatter, TextFormatter, preset_logging
from ..helpers.runnables import idle

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


def test_json_has_error_and_traceback_apart_from_the_message() -> None:
    """S22: the record of an exception is one line too."""
    text = JSONFormatter().format(a_record("no room", error=an_error()))
    assert "\n" not in text
    found = json.loads(text)
    assert (found["message"], found["error"]) == ("no room", "OSError: the disk is full")
    traceback = found["traceback"]
    assert re.match(r"(?s)Traceback \(most recent call last\):\n.*an_error\n", traceback)
    assert traceback.endswith("\nOSError: the disk is full")


def test_a_stack_is_shown_after_the_message() -> None:
    """S22: the stack that stack_info=True asks for is shown, in JSON as the traceback."""
    record = a_record("here")
    record.stack_info = "Stack (most recent call last):\n  a frame"
    text = TextFormatter().format(record).replace("\n  | ", "\n")
    assert "here\nStack (most recent call last):\n  a frame" in text
    assert json.loads(JSONFormatter().format(record))["traceback"] == record.stack_info


async def test_json_says_what_a_record_of_the_tree_tells() -> None:
    """S22, S17: the event, and the incarnation of the node that it is about; no crash record."""
    lines: list[dict[str, object]] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(JSONFormatter().format(record)))

    deaths = 0

    async def child() -> None:
        nonlocal deaths
        deaths += 1
        logging.getLogger("some.library").error("started")
        if deaths < 3:
            raise OSError("the disk is full")
        await idle()

    async def root() -> None:
        supervisor.run("child", child, backoff=AT_ONCE)
        await idle()

    handler = Kept()
    logging.getLogger().addHandler(handler)
    try:
        async with supervisor.open_supervisor(root) as tree:
            await tree.wait_settled()
            await wait_all_tasks_blocked()
    finally:
        logging.getLogger().removeHandler(handler)
    shown = [
        [line.get(key) for key in ("dn", "incarnation", "event", "error", "logger")]
        for line in lines
    ]
    node = "supervisor.node.root.child"
    died = ["NodeDied", "OSError: the disk is full", node]
    assert shown == [
        ["root.child", 1, None, None, "some.library"],
        ["root.child", 1, *died],
        ["root.child", 2, None, None, "some.library"],
        ["root.child", 2, *died],
        ["root.child", 3, None, None, "some.library"],
    ]
    assert ["traceback" in line for line in lines] == [False, True, False, False, False]
    assert not any("crash" in line for line in lines)


class Refusing:
    """Can be shown in no way."""

    def __repr__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"peer": "192.0.2.1:80", "size": 3, "ratio": 0.5, "ok": True, "of": None}, ...),
        ({"labels": {"a": [1, 2]}}, ...),
        (
            {"path": Path("/var/lib"), "when": {"a": Path("x")}},
            {"path": "/var/lib", "when": {"a": "x"}},
        ),
        (
            {"level": 3, "error": "x", "time": 1},
            {"extra_level": 3, "extra_error": "x", "extra_time": 1},
        ),
        ({"dn": "cn=x"}, {"extra_dn": "cn=x"}),
        ({"ratio": float("nan"), "most": float("inf")}, {"ratio": "nan", "most": "inf"}),
        ({"keys": {(1, 2): 3}}, {"keys": "{(1, 2): 3}"}),
        ({"event": "Started", "incarnation": 7}, ...),
        ({"stream": "raw"}, ...),
    ],
    ids=str,
)
def test_json_has_the_fields_that_extra_gave(given: dict[str, object], expected: object) -> None:
    """S22: as JSON has them, or as text; a name that the formatter uses gets a prefix."""
    logger = logging.getLogger("tests.extra")
    record = logger.makeRecord("tests.extra", logging.INFO, "m.py", 1, "m", (), None, extra=given)
    found = json.loads(JSONFormatter().format(record))
    for key in ("time", "level", "dn", "logger", "message"):
        del found[key]
    assert found == (given if expected is ... else expected)


def test_a_field_that_refers_to_itself_or_is_long_is_text() -> None:
    """S22: it can't break the line, nor make it longer than the limit."""
    circle: list[object] = []
    circle.append(circle)
    record = a_record()
    vars(record).update(circle=circle, many=list(range(100_000)), long="x" * 100_000)
    vars(record).update(refusing=Refusing())
    text = JSONFormatter().format(record)
    found = json.loads(text)
    assert found["circle"] == "[[...]]"
    assert found["refusing"] == "<its __str__ raised ValueError>"
    assert "characters left out" in found["many"]
    assert "characters left out" in found["long"]
    assert len(text) < 3 * 64 * 1024


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
        assert preset_logging(io.StringIO())
        before = root.handlers.copy()
        root.setLevel(logging.ERROR)
        assert not preset_logging(io.StringIO())
        assert (root.handlers, root.level) == (before, logging.ERROR)


@pytest.mark.parametrize(
    ("log_format", "pattern"),
    [
        ("text", r"\d\d:\d\d:\d\d D root          seen\n"),
        ("json", r'\{"time": .*"message": "seen"\}\n'),
        ("journal", r"<7>root: seen\n"),
        ("auto", r'\{"time": .*"message": "seen"\}\n'),
    ],
)
def test_level_and_format_can_be_chosen(log_format: str, pattern: str) -> None:
    """S22: where there is no terminal, text has no colours."""
    stream = io.StringIO()
    with bare_logging() as root:
        preset_logging(stream, logging.DEBUG, log_format)
        root.debug("seen")
    assert re.fullmatch(pattern, stream.getvalue())


# The journal


def test_each_line_for_the_journal_has_its_priority() -> None:
    """S22: DN and message; further lines have a mark as well, and no control character is left."""
    record = a_record("two\n%s", "\x1b[31mlines", level=logging.WARNING)
    assert JournalFormatter().format(record) == "<4>root.net: two\n<4>  | \\x1b[31mlines"


@pytest.mark.parametrize(
    ("level", "priority"),
    [
        (logging.NOTSET, 7),
        (logging.DEBUG, 7),
        (logging.INFO, 6),
        (25, 6),
        (logging.WARNING, 4),
        (logging.ERROR, 3),
        (logging.CRITICAL, 2),
        (90, 2),
    ],
)
def test_the_priority_is_syslogs(level: int, priority: int) -> None:
    """S22: as sd-daemon(3) has them."""
    text = JournalFormatter().format(a_record(level=level, name="library", dn="-"))
    assert text == f"<{priority}>library: hello"


@pytest.mark.parametrize("ours", [True, False])
def test_the_journal_is_known_by_device_and_inode(
    *, ours: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S22: a program inherits JOURNAL_STREAM also where its standard error goes elsewhere."""
    path = tmp_path / "stderr"
    with path.open("w") as stream, bare_logging() as root:
        status = os.fstat(stream.fileno())
        inode = status.st_ino if ours else status.st_ino + 1
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{inode}")
        preset_logging(stream)
        root.info("seen")
    assert (path.read_text() == "<6>root: seen\n") is ours

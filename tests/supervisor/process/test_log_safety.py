"""Logs can't be forged or broken, and each record knows the runnable it is from (S17, S22)."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import logging.handlers
import pickle
import queue
import sys
import threading
import time
from functools import partial
from typing import IO, TYPE_CHECKING, Any, NoReturn

import pytest
import trio

import supervisor
from supervisor import Backoff, Signal
from supervisor._process._logging_preset import preset_logging
from supervisor.logs._formatters import (
    CONTINUED,
    MESSAGE_LENGTH,
    NAME_LENGTH,
    JSONFormatter,
    TextFormatter,
)
from supervisor.testing import open_harness

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

PATIENT = Backoff(initial=1e6, maximum=1e6, jitter=0.0)
FORGED = "12:00:00 I root.auth     admin logged in"

# What a terminal obeys, or does not show: C0, DEL, C1, separators, directions, surrogates, tags.
CONTROLS = [
    *map(chr, [*range(9), *range(11, 32), *range(0x7F, 0xA0)]),
    *"\u2028\u2029\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
    *"\ud800\udc80\udfff\ufff9\ufffb\U000e0001\U000e0041",
]


def a_record(msg: object = "hello", *args: object, **fields: object) -> logging.LogRecord:
    record = logging.LogRecord("library", logging.ERROR, "module.py", 1, msg, args, None)
    vars(record).update(fields)
    return record


def text_of(record: logging.LogRecord) -> str:
    return TextFormatter(colour=False).format(record)


def json_of(record: logging.LogRecord) -> dict[str, str]:
    line = JSONFormatter().format(record)
    assert line.isascii()
    assert line.splitlines() == [line]
    parsed = json.loads(line)
    assert isinstance(parsed, dict)
    return parsed


def an_error(message: str) -> OSError:
    try:
        raise OSError(message)  # noqa: TRY301  a traceback is what is wanted
    except OSError as error:
        return error


# Text for terminals


@pytest.mark.parametrize("where", ["msg", "name", "dn", "levelname", "exc_text", "stack_info"])
def test_what_a_terminal_obeys_is_shown_escaped(where: str) -> None:
    """S22: in whatever part of a record it comes."""
    for control in CONTROLS:
        text = text_of(a_record(**{where: f"{control}b"}))
        assert control not in text
        assert ascii(control)[1:-1] in text


def test_names_are_one_line() -> None:
    """S22: line feeds and tabs in them are escaped as well."""
    text = text_of(a_record(name="a\n\tb"))
    assert text.partition(" E ")[2].startswith("a\\n\\tb ")


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028"])
@pytest.mark.parametrize("where", ["message", "name", "dn", "error", "note", "exc_text", "stack"])
def test_no_part_of_a_record_makes_a_line_that_looks_like_a_record(
    separator: str, where: str
) -> None:
    """S22: a line that is not the first begins with a mark."""
    forged = f"x{separator}{FORGED}"
    record = a_record()
    error = an_error(forged if where == "error" else "x")
    if where == "message":
        record.msg = forged
    elif where in {"error", "note"}:
        error.add_note(forged)
        record.exc_info = (type(error), error, error.__traceback__)
    else:
        setattr(record, "stack_info" if where == "stack" else where, forged)
    first, *rest = text_of(record).splitlines()
    assert not first.startswith("12:00:00")
    assert all(line.startswith(CONTINUED) for line in rest)
    assert "admin logged in" in "".join((first, *rest))


def test_a_traceback_in_a_message_is_readable() -> None:
    """S17, S22: each of its lines follows a mark; tabs are spaces, other writing is as it is."""
    text = text_of(a_record("died\nTraceback:\n  File „Größe 👩‍💻.py“\n\tgo.go:12"))
    assert text.split("\n")[1:] == [
        "  | Traceback:",
        "  |   File „Größe 👩‍💻.py“",
        "  |     go.go:12",
    ]


def test_names_of_any_length_are_cut_in_text() -> None:
    """S22: a DN in a chain of thousands of nodes has no line of its own."""
    text = text_of(a_record(dn="root" + ".name" * 10_000))
    assert len(text) < 2 * NAME_LENGTH
    assert text.startswith(time.strftime("%H:"))
    assert ".name.name  hello" in text


# JSON


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "cp1252", "utf-16", "koi8-r"])
@pytest.mark.parametrize("control", ["\n", "\r", "\u2028", "\udc80", "\0", "\x85", "👋", '"\\'])
def test_a_record_in_json_is_one_line_in_any_encoding(encoding: str, control: str) -> None:
    """S22: and parsing gives back what was logged."""
    raw = io.BytesIO()
    handler = logging.StreamHandler(io.TextIOWrapper(raw, encoding=encoding))
    handler.setFormatter(JSONFormatter())
    said = f"a{control}b"
    handler.handle(a_record("%s", said, name=said, dn=said, levelname=said))
    (line,) = raw.getvalue().decode(encoding).splitlines()
    found = json.loads(line)
    assert [found[key] for key in ("message", "logger", "dn", "level")] == [said] * 4


class Silent:
    """Can't be shown."""

    def __str__(self) -> str:
        raise ValueError("no words")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"msg": "%d of", "args": ("x",)},
            "'%d of' with ('x',) (it can't be formatted: TypeError: ",
        ),
        ({"msg": "%s", "args": (Silent(),)}, "(it can't be formatted: ValueError: no words)"),
        ({"msg": Silent()}, "<its __str__ raised ValueError>"),
        ({"msg": {"a": 1}}, "{'a': 1}"),
        ({"exc_info": True}, "hello"),
        ({"exc_info": (None, None, None)}, "hello"),
        ({"exc_info": (OSError, OSError("why"), None)}, "hello\nOSError: why"),
        ({"exc_info": OSError("why")}, "hello\nOSError: why"),
        ({"exc_text": "its text", "exc_info": (OSError, OSError("why"), None)}, "hello\nits text"),
        ({"exc_text": Silent()}, "hello\n<its __str__ raised ValueError>"),
        ({"stack_info": Silent()}, "hello\n<its __str__ raised ValueError>"),
        ({"name": None}, "hello"),
        ({"dn": Silent()}, "hello"),
        ({"levelname": 5}, "hello"),
        ({"created": float("nan")}, "hello"),
        ({"created": float("inf")}, "hello"),
        ({"created": None}, "hello"),
        ({"created": -1e300}, "hello"),
    ],
)
def test_a_record_of_any_kind_is_written(fields: dict[str, Any], expected: str) -> None:
    """S22: as far as possible, and not in the midst of the log as an error of logging's."""
    record = a_record(**fields)
    message, *details = expected.splitlines()
    found = json_of(record)
    assert message in found["message"]
    assert found.get("traceback", "").splitlines() == details
    assert expected.splitlines()[-1] in text_of(record)


def test_a_record_of_any_size_has_a_limit() -> None:
    """S22: message, traceback and stack are cut, and say by how much."""
    huge = "x" * 50_000_000
    record = a_record(huge, stack_info=huge)
    error = an_error(huge)
    record.exc_info = (type(error), error, error.__traceback__)
    found = json_of(record)
    for text in (text_of(record), found["message"] + found["traceback"]):
        assert len(text) < 4 * MESSAGE_LENGTH
        assert text.count("characters left out ...]") == 3


# The preset


@contextlib.contextmanager
def bare_logging() -> Iterator[logging.Logger]:
    """Take the root logger's handlers away for a while."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    root.handlers = []
    try:
        yield root
    finally:
        root.handlers = handlers
        root.setLevel(level)


class Plain:
    """Has nothing of a stream but this."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


class AsksNobody(io.StringIO):
    def isatty(self) -> NoReturn:
        raise OSError("no terminal")


@pytest.mark.parametrize("stream", [Plain(), AsksNobody()], ids=["no isatty", "isatty raises"])
def test_a_stream_that_can_only_be_written_to_is_no_terminal(stream: Any) -> None:  # noqa: ANN401  it is like a stream
    """S22: it gets JSON."""
    with bare_logging():
        preset_logging(stream)
        logging.getLogger("x").info("hello")
    text = stream.text if isinstance(stream, Plain) else stream.getvalue()
    assert json.loads(text)["message"] == "hello"


def test_without_standard_error_there_is_no_handler() -> None:
    """S22: there is nowhere to write to; the level is set, for the handlers that there are."""
    with bare_logging() as root:
        assert preset_logging(None, logging.DEBUG)
        assert (root.handlers, root.level) == ([], logging.DEBUG)


def closed(stream: IO[str]) -> IO[str]:
    stream.close()
    return stream


class BrokenPipe(io.StringIO):
    def write(self, _: str) -> NoReturn:
        raise BrokenPipeError("nobody reads")


@pytest.mark.parametrize("stream", [closed(io.StringIO()), BrokenPipe()], ids=["closed", "broken"])
def test_a_stream_that_takes_nothing_harms_nobody(
    stream: IO[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """S22: not even where standard error itself is that stream."""
    monkeypatch.setattr(sys, "stderr", stream)
    with bare_logging():
        preset_logging(stream)
        logging.getLogger("x").error("hello")


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def test_text_is_escaped_where_the_terminal_has_no_such_characters() -> None:
    """S22: a record is not lost for one of them."""
    raw = io.BytesIO()
    with bare_logging():
        terminal = Terminal(raw, encoding="latin-1", write_through=True)
        preset_logging(terminal)
        logging.getLogger("x").info("Grüße 👋")
    assert raw.getvalue().decode("latin-1").endswith("  Grüße \\U0001f44b\n")


# The DN of a record


class Seen(logging.Handler):
    """Keeps records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def dns(self) -> list[str]:
        return [logging.Formatter("%(dn)s").format(record) for record in self.records]


library = logging.getLogger("test_log_safety.library")


@pytest.fixture
def seen() -> Iterator[Seen]:
    """What the library's logger gets."""
    handler = Seen()
    library.addHandler(handler)
    yield handler
    library.removeHandler(handler)


async def in_a_runnable(function: Callable[[], object]) -> None:
    """Call ``function`` in the node root."""

    async def root() -> None:
        function()
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    await supervisor.supervise(root, propagate=True)


async def test_a_format_may_name_the_dn_of_any_record(seen: Seen) -> None:
    """S17: of those made outside of all trees, too."""
    library.warning("before")
    await in_a_runnable(partial(library.warning, "inside"))
    library.warning("after")
    assert seen.dns == ["-", "root", "-"]
    assert [logging.Formatter("{dn}", style="{").format(record) for record in seen.records] == [
        "-",
        "root",
        "-",
    ]


async def test_a_record_factory_of_somebody_else_changes_nothing(seen: Seen) -> None:
    """S17: whenever it is set; one that gives a dn of its own is asked first."""
    usual = logging.getLogRecordFactory()

    class Record(logging.LogRecord):
        pass

    def labelled(*args: Any, **kwargs: Any) -> logging.LogRecord:  # noqa: ANN401  passed on
        record = Record(*args, **kwargs)
        record.dn = "its own"
        return record

    def use(factory: Callable[..., logging.LogRecord]) -> None:
        logging.setLogRecordFactory(factory)
        library.warning("x")

    try:
        await in_a_runnable(partial(use, Record))
        await in_a_runnable(partial(use, labelled))
    finally:
        logging.setLogRecordFactory(usual)
    assert seen.dns == ["root", "its own"]
    assert json_of(seen.records[1])["dn"] == "root"


async def test_others_may_log_a_dn_as_an_extra(seen: Seen) -> None:
    """S17: it is the record's; the package's own formatters show which runnable made it."""
    log = partial(library.warning, "bind", extra={"dn": "root.forged"})
    log()
    await in_a_runnable(log)
    assert seen.dns == ["root.forged", "root.forged"]
    assert [json_of(record)["dn"] for record in seen.records] == ["-", "root"]


async def test_a_record_keeps_its_dn_wherever_it_goes(seen: Seen) -> None:
    """S17: into other threads, by queues, copies and pickles, and when it is handled again."""
    pipe: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    sender = logging.handlers.QueueHandler(pipe)
    library.addHandler(sender)
    try:
        await in_a_runnable(partial(library.warning, "queued"))
    finally:
        library.removeHandler(sender)
    seen.records.clear()
    queued = pipe.get_nowait()
    fields = pickle.loads(pickle.dumps(queued.__dict__))  # noqa: S301  our own
    thread = threading.Thread(target=library.handle, args=(logging.makeLogRecord(fields),))
    thread.start()
    thread.join()
    await in_a_runnable(partial(library.handle, queued))
    assert seen.dns == ["root", "root"]


async def test_a_record_from_elsewhere_gets_a_dn_where_it_is_handled(seen: Seen) -> None:
    """S17: a process without the package may have sent it."""
    record = logging.makeLogRecord({"msg": "from afar", "levelno": logging.ERROR})
    await in_a_runnable(partial(library.handle, record))
    library.handle(logging.makeLogRecord({"msg": "from afar", "levelno": logging.ERROR}))
    assert seen.dns == ["root", "-"]


# No record for nobody


class Refusing(logging.Logger):
    """A class of a user's."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  logging's name
        raise OSError("no space left", level)


@pytest.fixture
def child_logger() -> Iterator[logging.Logger]:
    """The logger of the node root.child."""
    logger = logging.getLogger("supervisor.node.root.child")
    yield logger
    logger.setLevel(logging.NOTSET)
    logger.__class__ = logging.Logger


async def fail() -> NoReturn:
    raise OSError("x")


async def stop_badly() -> None:
    supervisor.signal(Signal.HEALTHY)
    try:
        await trio.sleep_forever()
    finally:
        raise OSError("x")


def make_badly(calls: list[None]) -> dict[str, Callable[[], Awaitable[object]]]:
    calls.append(None)
    if len(calls) > 1:
        raise OSError("x")
    return {"child": fail}


@pytest.mark.parametrize(
    "start",
    [
        partial(supervisor.run, "child", fail, backoff=PATIENT),
        partial(supervisor.run, "child", stop_badly),
        partial(supervisor.run_group, partial(make_badly, []), backoff=Backoff(initial=0.0)),
    ],
    ids=["death", "stop", "factory"],
)
async def test_no_record_is_made_that_nobody_wants(
    start: Callable[[], object], child_logger: logging.Logger
) -> None:
    """S17: neither its text, nor the record; the crash is in the snapshot all the same."""
    made: list[object] = []
    usual = logging.getLogRecordFactory()

    def note(*args: Any, **kwargs: Any) -> logging.LogRecord:  # noqa: ANN401  passed on
        made.append(args)
        return usual(*args, **kwargs)

    async def root() -> None:
        start()
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    child_logger.setLevel(logging.CRITICAL)
    logging.setLogRecordFactory(note)
    try:
        async with supervisor.open_supervisor(root, backoff=PATIENT) as tree:
            await tree.wait_settled()
        node = tree.snapshot().nodes["root.child"]
        assert node.crashes or node.stop_error
    finally:
        logging.setLogRecordFactory(usual)
    assert made == []


async def test_a_logger_that_cannot_be_asked_harms_nothing(
    child_logger: logging.Logger,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S17: standard error says what could not be logged, with nothing that a terminal obeys."""
    child_logger.__class__ = Refusing

    async def child() -> None:
        supervisor.signal(Signal.HEALTHY)
        supervisor.set_ready(False, "red \x1b[31m")  # noqa: FBT003  as its docs have it
        raise OSError("a death is logged all the same")

    async def root() -> None:
        supervisor.run("child", child, backoff=PATIENT)
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    async with open_harness(root) as tree:
        await tree.wait_settled()
    errors = capsys.readouterr().err
    assert "no space left" in errors
    assert "could not log this: root.child is not ready" in errors
    assert "\x1b" not in errors
    assert "root.child died" in caplog.text

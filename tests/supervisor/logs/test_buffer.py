"""What a LogBuffer keeps, and what read() gives of it."""

from __future__ import annotations

import logging
import threading
import traceback
from typing import Any

import pytest
import trio

import supervisor
from supervisor import InvalidNameError, Signal
from supervisor.logs import LogBuffer, LogEntry

from ..helpers.buffers import attached, put, texts
from ..helpers.runnables import finish

# What an entry has


def test_an_entry_has_what_the_record_says() -> None:
    """S36: number, time, level, DN, logger and the message with its arguments."""
    buffer = LogBuffer()
    put(buffer, "root.net", "%d of %s", 2, "two", level=logging.WARNING, created=1_700_000_000.25)
    assert buffer.read() == [
        LogEntry(
            seq=1,
            time=1_700_000_000.25,
            level=logging.WARNING,
            dn="root.net",
            logger="supervisor.node.root.net",
            text="2 of two",
            stream=None,
        )
    ]


async def test_the_dn_is_that_of_the_runnable() -> None:
    """S36, S17: any library's records have the runnable's DN, those of worker threads too."""
    library = logging.getLogger("some.library")

    async def child() -> None:
        library.warning("from the task")
        await trio.to_thread.run_sync(library.warning, "from a thread")
        supervisor.sub_logger("http").warning("from a sub-logger")
        await finish()

    async def root() -> None:
        supervisor.run("child", child)
        await finish()

    with attached(logging.getLogger()) as buffer:
        library.warning("from outside")
        await supervisor.supervise(root)
    assert [(entry.dn, entry.text) for entry in buffer.read(level=logging.WARNING)] == [
        ("-", "from outside"),
        ("root.child", "from the task"),
        ("root.child", "from a thread"),
        ("root.child.http", "from a sub-logger"),
    ]


def test_a_traceback_is_part_of_the_text() -> None:
    """S36: an error that is logged is there with its frames."""
    logger = logging.getLogger("tests.traceback")
    with attached(logger) as buffer:
        try:
            raise OSError("the disk is full")  # noqa: TRY301  a traceback is what is wanted
        except OSError:
            logger.exception("no room")
    (entry,) = buffer.read()
    assert entry.text.startswith("no room\nTraceback (most recent call last):\n")
    assert entry.text.endswith("\nOSError: the disk is full")


def test_a_message_that_cannot_be_formatted_is_kept_as_it_is() -> None:
    """S36: arguments that don't fit lose no record."""
    buffer = LogBuffer()
    put(buffer, "root", "%d of %d", 1)
    (text,) = texts(buffer.read())
    assert text.startswith("'%d of %d' with (1,) (it can't be formatted: ")


# Limits


def test_each_dn_keeps_its_newest() -> None:
    """S36: per_node entries of each DN, and one that logs much displaces no other's."""
    buffer = LogBuffer(per_node=3)
    put(buffer, "root.quiet", "quiet")
    for number in range(10):
        put(buffer, "root.noisy", "%d", number)
    assert texts(buffer.read()) == ["quiet", "7", "8", "9"]


def test_what_a_dn_has_dropped_counts_no_more() -> None:
    """S36: one noisy node does not fill the total with entries that are gone."""
    buffer = LogBuffer(per_node=2, total=4)
    put(buffer, "root.quiet", "quiet")
    for number in range(1000):
        put(buffer, "root.noisy", "%d", number)
    put(buffer, "root.other", "other")
    assert texts(buffer.read()) == ["quiet", "998", "999", "other"]


def test_all_together_keep_the_newest() -> None:
    """S36: total entries in all, whatever their DNs; a DN without entries is forgotten."""
    buffer = LogBuffer(total=3)
    for number in range(100):
        put(buffer, f"root.pool.{number}", "%d", number)
    assert texts(buffer.read()) == ["97", "98", "99"]
    assert len(buffer._rings) == len(buffer._order) == 3


def test_texts_together_are_bounded() -> None:
    """S36: 1000 characters for each entry of the total, of which long ones use up more."""
    buffer = LogBuffer(total=10)
    put(buffer, "root.early", "early")
    for number in range(10):
        put(buffer, "root", "%s", str(number) * 4000)
    assert [text[0] for text in texts(buffer.read())] == ["8", "9"]
    assert buffer._characters == 8000


def test_a_long_text_is_cut() -> None:
    """S36: a text has at most 16 384 characters, and says how many are left out."""
    buffer = LogBuffer(total=1)
    put(buffer, "root", "%s", "x" * 20_000)
    (text,) = texts(buffer.read())
    assert len(text) < 16_500
    assert "3616 characters left out" in text


def test_an_entry_keeps_nothing_alive() -> None:
    """S36: arguments and errors are gone once they are text."""
    alive: list[int] = []

    class Argument:
        def __del__(self) -> None:
            alive.pop()

    buffer = LogBuffer()
    alive.append(1)
    put(buffer, "root", "%s", Argument())
    assert not alive
    assert len(buffer.read()) == 1


def test_equal_names_are_one_string() -> None:
    """S36: the entries of a DN share it, though each record makes it anew."""
    buffer = LogBuffer()
    put(buffer, "root.net", "a")
    put(buffer, "root.net", "b")
    first, second = buffer.read()
    assert first.dn is second.dn


# What is read


@pytest.fixture
def family() -> LogBuffer:
    """Return a buffer with a few records of several nodes, and of none."""
    buffer = LogBuffer()
    put(buffer, "root.net", "1", level=logging.INFO)
    put(buffer, "root.net.dns", "2", level=logging.ERROR)
    put(buffer, "root.network", "3", level=logging.WARNING)
    put(buffer, "-", "4", level=logging.WARNING)
    put(buffer, "root.net", "5", level=logging.WARNING)
    put(buffer, "root", "6", level=logging.DEBUG)
    return buffer


@pytest.mark.parametrize(
    ("dn", "options", "expected"),
    [
        ("root", {}, "123456"),
        ("root", {"n": 2}, "56"),
        ("root", {"n": 0}, ""),
        ("root", {"n": None}, "123456"),
        ("root", {"children": False}, "6"),
        ("root.net", {}, "125"),
        ("root.net", {"n": 2}, "25"),
        ("root.net", {"children": False}, "15"),
        ("root.net", {"children": False, "n": 1}, "5"),
        ("root.net", {"level": logging.WARNING}, "25"),
        ("root.net", {"level": logging.WARNING, "n": 1}, "5"),
        ("root.net.dns", {"level": logging.ERROR}, "2"),
        ("-", {}, "4"),
        ("-", {"children": False}, "4"),
        ("root.unknown", {}, ""),
        ("root.unknown", {"children": False}, ""),
    ],
    ids=str,
)
def test_read_gives_the_newest_of_a_subtree(
    family: LogBuffer, dn: str, options: dict[str, Any], expected: str
) -> None:
    """S36: in order; root has all, and a name that begins alike is no node below."""
    assert "".join(texts(family.read(dn, **options))) == expected


async def test_raw_tells_lines_that_came_as_text() -> None:
    """S36, S17: those of a raw logger, and of a command, which say their stream."""

    async def root() -> None:
        print("printed", file=supervisor.raw_logger())
        supervisor.logger().error("from a command", extra={"stream": "stderr"})
        supervisor.logger().error("logged", extra={"stream": 2})
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    logger = logging.getLogger("supervisor.node.root")
    logger.setLevel(logging.INFO)
    try:
        with attached(logger) as buffer:
            await supervisor.supervise(root)
    finally:
        logger.setLevel(logging.NOTSET)
    raw = buffer.read(raw=True)
    assert [(entry.text, entry.stream) for entry in raw] == [
        ("printed", "raw"),
        ("from a command", "stderr"),
    ]
    assert texts(buffer.read(raw=False)) == ["logged"]
    assert len(buffer.read()) == 3


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"dn": "net"}, InvalidNameError, r"dn='net' can be no node's"),
        ({"dn": "root.Net"}, InvalidNameError, r"dn='root.Net' can be no node's"),
        ({"dn": "sidecars."}, InvalidNameError, r"dn='sidecars.' can be no node's"),
        ({"dn": None}, InvalidNameError, r"dn=None can be no node's"),
        ({"n": -1}, ValueError, r"n=-1 is not a whole number of at least 0"),
        ({"n": 1.5}, TypeError, r"n=1.5 is not a whole number of at least 0"),
        ({"level": "INFO"}, TypeError, r"level='INFO' is not a whole number of at least 0"),
        ({"children": 1}, TypeError, r"children=1 is not a bool"),
        ({"raw": "yes"}, TypeError, r"raw='yes' is not a bool"),
    ],
)
def test_read_refuses_what_makes_no_sense(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    """S36: a wrong argument is named."""
    with pytest.raises(error, match=text):
        LogBuffer().read(**arguments)


@pytest.mark.parametrize("name", ["per_node", "total"])
def test_a_buffer_keeps_something(name: str) -> None:
    """S36: the limits are whole numbers of at least 1."""
    with pytest.raises(ValueError, match=f"{name}=0 is not a whole number of at least 1"):
        LogBuffer(**{name: 0})
    with pytest.raises(TypeError, match=f"{name}='9' is not a whole number of at least 1"):
        LogBuffer(**{name: "9"})  # type: ignore[arg-type]  # the subject


# As a handler


def test_level_and_filters_are_those_of_any_handler() -> None:
    """S36: what a handler is not to get is not kept."""
    logger = logging.getLogger("tests.filters")
    with attached(logger) as buffer:
        buffer.setLevel(logging.ERROR)
        buffer.addFilter(lambda record: "secret" not in record.getMessage())
        logger.warning("too low")
        logger.error("a secret")
        logger.error("kept")
    assert texts(buffer.read()) == ["kept"]


def test_a_record_is_put_into_words_without_the_lock() -> None:
    """S36: an argument may wait for another thread that logs."""
    logger = logging.getLogger("tests.words")

    class Argument:
        def __str__(self) -> str:
            thread = threading.Thread(target=logger.warning, args=("from the thread",))
            thread.start()
            thread.join()
            return "from the argument"

    logger.propagate = False  # pytest's own handler holds its lock meanwhile
    with attached(logger) as buffer:
        logger.warning("%s", Argument())
    assert texts(buffer.read()) == ["from the thread", "from the argument"]


def test_threads_write_and_read_at_once() -> None:
    """S36: no record is lost, and each number is given once."""
    logger = logging.getLogger("tests.threads")
    failures: list[str] = []

    def write(which: int) -> None:
        try:
            for number in range(200):
                logger.warning("%d %d", which, number)
                buffer.read(n=10)
        except Exception:  # noqa: BLE001  the test shows it
            failures.append(traceback.format_exc())

    with attached(logger, LogBuffer(per_node=1000)) as buffer:
        threads = [threading.Thread(target=write, args=(which,)) for which in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    entries = buffer.read(n=None)
    assert [entry.seq for entry in entries] == list(range(1, 801))
    assert len(set(texts(entries))) == 800


def test_what_is_closed_can_still_be_read() -> None:
    """S36: close() ends followers only."""
    buffer = LogBuffer()
    put(buffer, "root", "before")
    buffer.close()
    put(buffer, "root", "after")
    assert texts(buffer.read()) == ["before", "after"]

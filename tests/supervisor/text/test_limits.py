"""Text is bounded, says what is missing, and costs no more than what it shows (S14, S17, S18)."""

from __future__ import annotations

import logging
import tracemalloc
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import trio

import supervisor
from supervisor import Backoff, Signal
from supervisor._observing._logging import DN_LENGTH
from supervisor._text import _exceptions, _frames, _printable, _stacks
from supervisor._text._exceptions import format_error, one_line
from supervisor.testing import open_harness

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from trio.testing import MockClock

PATIENT = Backoff(initial=1e6, maximum=1e6, jitter=0.0)
LONGEST = 64 * 1024
"""Longer than any text may be, with its counts of what is missing."""


def fail(error: BaseException) -> NoReturn:
    raise error


def caught(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except BaseException as error:  # noqa: BLE001  whatever it is
        return error
    raise AssertionError(function)


async def start(function: Callable[..., object], *args: object) -> None:
    function(*args)
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


def memory_for(function: Callable[[], object]) -> int:
    """Return how many bytes ``function`` needs at most at one time."""
    function()  # what is made once
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# The cut


@pytest.mark.parametrize("length", [0, 1, 99, 100])
def test_what_is_within_the_limit_is_not_cut(length: int) -> None:
    """S14: the same text comes back."""
    text = "x" * length
    assert _printable.cut(text, 100) is text


def test_the_middle_is_left_out_and_counted() -> None:
    """S14: start and end tell most."""
    text = "a" * 60 + "b" * 12_345 + "c" * 40
    cut = _printable.cut(text, 100)
    assert cut == "a" * 60 + " [... 12345 characters left out ...] " + "c" * 40


# Messages


HUGE = "x" * 50_000_000


def with_huge_cause() -> NoReturn:
    raise ValueError("short") from caught(partial(fail, OSError(HUGE)))


@pytest.mark.parametrize(
    "function",
    [
        partial(fail, OSError(HUGE)),
        with_huge_cause,
        partial(fail, ExceptionGroup("several", [OSError(HUGE), OSError(HUGE)])),
        partial(fail, ExceptionGroup(HUGE, [OSError("one")])),
        partial(fail, SyntaxError("message", ("file", 1, 1, HUGE))),
    ],
    ids=["message", "cause", "members", "group", "source"],
)
def test_a_message_of_any_length_costs_what_is_shown_of_it(function: Callable[[], object]) -> None:
    """S14: it is not copied, and the text says how much of it is missing."""
    error = caught(function)
    assert memory_for(lambda: (one_line(error), format_error(error))) < 300_000
    text = format_error(error)
    assert len(text) < LONGEST
    assert "characters left out ...]" in text
    assert len(one_line(error)) < 2 * _exceptions.LINE_LENGTH


def test_in_one_line_a_huge_message_is_counted() -> None:
    """S14: as what it was, whatever is left of it."""
    line = one_line(OSError(HUGE))
    missing = len(HUGE) - _exceptions.LINE_LENGTH
    assert line == f"OSError: {'x' * 300} [... {missing} characters left out ...] {'x' * 200}"


def test_notes_have_a_limit() -> None:
    """S14: in length and in number."""
    error = OSError("noted")
    error.add_note(HUGE)
    assert memory_for(lambda: format_error(error)) < 300_000
    for number in range(1000):
        error.add_note(f"note {number}")
    lines = format_error(error).splitlines()
    assert lines[-2:] == ["note 48", "[951 notes left out]"]
    assert len(lines[1]) < 2 * _exceptions.MESSAGE_LENGTH


def test_a_long_message_of_many_words_is_one_line() -> None:
    """S14: of the start and the end of it, whatever separates the words."""
    line = one_line(OSError("first\n" + "\r\n\t \u2028".join(["word"] * 1_000_000) + "\nlast"))
    assert line.startswith("OSError: first word word")
    assert line.endswith("word last")
    assert "\n" not in line


def test_what_gives_up_names_the_cause_at_each_level() -> None:
    """S14: a message that quotes a message, and so on, keeps its end."""

    async def nested(levels: int) -> None:
        if levels:
            limit = supervisor.RestartLimit(0, within=1.0)
            supervisor.run("a_rather_long_name", nested, levels - 1, limit=limit)
            supervisor.signal(Signal.HEALTHY)
            await trio.sleep_forever()
        fail(OSError("the real cause"))

    with pytest.raises(supervisor.RestartLimitExceeded, match="OSError: the real cause") as caught:
        trio.run(
            partial(supervisor.supervise, nested, 12, limit=supervisor.RestartLimit(0, within=1.0))
        )
    assert len(str(caught.value)) < 2 * _exceptions.LINE_LENGTH


# Causes and groups


def test_a_chain_of_any_length_shows_both_ends() -> None:
    """S14: the newest, and the first of all."""
    error: Exception = OSError("number 0")
    for number in range(1, 900):
        following = OSError(f"number {number}")
        following.__context__ = error
        error = following
    text = format_error(error)
    assert [line for line in text.splitlines() if "number" in line or "left out" in line] == [
        *(f"OSError: number {number}" for number in range(5)),
        "[880 exceptions left out]",
        *(f"OSError: number {number}" for number in range(885, 900)),
    ]
    for number in range(900, 200_000):
        following = OSError(f"number {number}")
        following.__cause__ = error
        error = following
    text = format_error(error)
    assert "[980 or more exceptions left out]" in text
    assert text.endswith("OSError: number 199999")


def test_any_number_of_members_has_a_limit() -> None:
    """S14: wide, deep, or both."""
    wide: list[Exception] = [OSError("x" * 1000) for _ in range(200_000)]
    deep: Exception = OSError("x")
    for number in range(5000):
        deep = ExceptionGroup("in each other", [deep, OSError(number)])
    both: Exception = OSError("x")
    for _ in range(8):
        both = ExceptionGroup("many times", [both] * 10)
    for error in (ExceptionGroup("many", wide), deep, both):
        assert len(format_error(error)) < LONGEST
        assert len(one_line(error)) < 2 * _exceptions.LINE_LENGTH


# Frames


def bounce(number: int) -> object:
    return bounce_back(number - 1) if number else fail(OSError("the real cause"))


def bounce_back(number: int) -> object:
    return bounce(number - 1) if number else fail(OSError("the real cause"))


def test_of_many_frames_the_first_and_the_last_are_shown() -> None:
    """S14: where it began, and where it happened."""
    lines = format_error(caught(partial(bounce, 301))).splitlines()
    shown = _frames.ROWS_FIRST + _frames.ROWS_LAST
    assert sum(line.startswith("  File ") for line in lines) == shown
    assert f"  [{304 - shown} frames left out]" in lines
    assert lines[-3].endswith("in fail")
    assert lines[-1] == "OSError: the real cause"


def test_a_traceback_that_was_added_to_all_the_time_is_read_to_a_limit() -> None:
    """S14: an object that was raised again and again in one run has the frames of all times."""
    error = OSError("a cached failure")
    for _ in range(20_000):
        caught(partial(fail, error))
    text = format_error(error)
    assert "  [20000 frames left out]\n" in text
    assert len(text) < LONGEST


def test_source_and_names_of_any_length_have_a_limit(tmp_path: Path) -> None:
    """S14: they may be generated."""
    path = tmp_path / ("f" * 200 + ".py")
    path.write_text(f"def {'g' * 5000}(): return 1 / 0 + {'1 + ' * 100_000} 1\n")
    scope: dict[str, Any] = {}
    exec(compile("def f(): return 1 / 0", str(path), "exec"), scope)  # noqa: S102  our own
    assert len(format_error(caught(scope["f"]))) < 3 * _frames.FRAME_LENGTH
    name = "g" * 100_000
    exec(compile(f"def {name}(): return 1 / 0", "<generated>", "exec"), scope)  # noqa: S102  our own
    assert len(format_error(caught(scope[name]))) < 3 * _frames.FRAME_LENGTH
    kind = type("E" * 100_000, (Exception,), {"__module__": "m" * 100_000})
    assert len(format_error(kind("x"))) < 3 * _exceptions.LINE_LENGTH
    assert len(one_line(kind("x"))) < 2 * _exceptions.LINE_LENGTH


# Records of deaths


async def test_a_death_of_a_huge_message_makes_small_records(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S14, S17: crash record, log record, snapshot's line."""

    async def child() -> None:
        fail(OSError(HUGE))

    async with open_harness(start, supervisor.run, "child", child, backoff=PATIENT) as tree:
        await tree.wait_settled()
        snapshot = tree.snapshot()
        (crash,) = snapshot.nodes["root.child"].crashes
    assert len(crash.error) < 1000
    assert len(crash.traceback) < LONGEST
    (record,) = caplog.records
    assert len(record.getMessage()) < LONGEST
    assert len(str(snapshot)) < 2000


async def test_a_group_of_any_number_has_a_short_name_in_records(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S17: the record of a death does not list the members."""

    async def idle() -> None:
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    async def child() -> None:
        fail(OSError("x"))

    members: dict[str, Callable[[], Awaitable[object]]] = {f"idle_{n}": idle for n in range(1000)}
    members["child"] = child
    async with open_harness(start, supervisor.run_group, members, backoff=PATIENT) as tree:
        await tree.wait_settled()
    (record,) = caplog.records
    first = record.getMessage().splitlines()[0]
    assert "its group root.{idle_0,idle_1," in first
    assert len(first) < 2 * DN_LENGTH


async def test_a_picture_of_a_chain_is_not_wider_with_each_level() -> None:
    """S16: below thirty levels, a line says which it is."""

    async def nested(levels: int) -> None:
        if levels:
            supervisor.run("below", nested, levels - 1)
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    async with supervisor.open_supervisor(nested, 60) as tree:
        await tree.wait_ready()
        lines = str(tree.snapshot()).splitlines()
    assert len(lines) == 61
    assert lines[30].startswith("  " * 30 + "below ")
    assert lines[60].startswith("  " * 30 + "(level 60) below ")
    assert max(map(len, lines)) < 150


# Reports of stuck nodes


class Reports(logging.Handler):
    """Keeps the texts of reports."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


async def report_of(child: Callable[[trio.Event], Awaitable[object]]) -> str:
    """Return the report of a child that does not end within five seconds."""
    reports, event = Reports(), trio.Event()
    logger = logging.getLogger("supervisor.node.root.child")
    logger.addHandler(reports)
    try:
        async with supervisor.open_supervisor(start, supervisor.run, "child", child, event) as tree:
            await tree.wait_ready()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tree.stop)
                await trio.sleep(6.0)
                event.set()
    finally:
        logger.removeHandler(reports)
    (text,) = reports.texts
    return text


async def hold(event: trio.Event) -> None:
    with trio.CancelScope(shield=True):
        await event.wait()


async def hold_deep(event: trio.Event, depth: int) -> None:
    if depth:
        await hold_deep(event, depth - 1)
    else:
        await hold(event)


@pytest.mark.parametrize("number", [1, 2, 900, 3000])
async def test_tasks_that_wait_alike_are_reported_once(
    number: int, autojump_clock: MockClock
) -> None:
    """S18: and counted; after a thousand they are counted without a look at them."""

    async def child(event: trio.Event) -> None:
        supervisor.signal(Signal.HEALTHY)
        async with trio.open_nursery() as nursery:
            for _ in range(number):
                nursery.start_soon(hold, event, name="a connection")

    text = await report_of(child)
    assert autojump_clock.current_time() == 6.0
    assert text.count(", in hold\n") == 1
    assert text.count("await event.wait()") == 1
    assert {
        1: "task a connection:\n",
        2: "task a connection and 1 more task:\n",
        900: "task a connection and 899 more tasks:\n",
        3000: "task a connection and 998 more tasks:\n",
    }[number] in text
    assert ("\nand 2001 more tasks" in text) == (number == 3000)


async def test_of_many_stacks_fifty_are_reported(autojump_clock: MockClock) -> None:
    """S18: the tasks with others are counted."""

    async def child(event: trio.Event) -> None:
        supervisor.signal(Signal.HEALTHY)
        async with trio.open_nursery() as nursery:
            for number in range(80):
                nursery.start_soon(hold_deep, event, 2 * number, name=f"task {number}")

    text = await report_of(child)
    assert autojump_clock.current_time() == 6.0
    assert len(text) < LONGEST
    shown = text.count("\ntask ")
    assert shown == _stacks.STACKS_SHOWN
    assert text.endswith(f"\nand {81 - shown} more tasks")


async def test_a_stack_of_any_depth_is_folded(autojump_clock: MockClock) -> None:
    """S18: as a traceback is."""

    async def child(event: trio.Event) -> None:
        supervisor.signal(Signal.HEALTHY)
        await hold_deep(event, 300)

    text = await report_of(child)
    assert autojump_clock.current_time() == 6.0
    assert "  [Previous line repeated 297 more times]\n" in text
    assert ", in hold\n" in text
    assert len(text) < 3000


async def test_a_report_of_much_text_is_cut_short(autojump_clock: MockClock) -> None:
    """S18: each stack may be long."""
    lines = [f"async def f{n}(event): await f{n + 1}(event)" for n in range(3000)]
    scope: dict[str, Any] = {"f3000": hold}
    exec(compile("\n".join(lines), "f" * 1000, "exec"), scope)  # noqa: S102  our own

    async def child(event: trio.Event) -> None:
        supervisor.signal(Signal.HEALTHY)
        async with trio.open_nursery() as nursery:
            for number in range(2800, 3000):
                nursery.start_soon(scope[f"f{number}"], event, name="x" * 10_000)

    text = await report_of(child)
    assert autojump_clock.current_time() == 6.0
    assert len(text) < 4 * _stacks.STACKS_LENGTH
    assert " more tasks" in text.splitlines()[-1]
    assert "characters left out" in text


class Refusal(BaseException):
    """What nobody expects."""


@pytest.mark.parametrize("refusal", [KeyError("no"), SystemExit(7), KeyboardInterrupt(), Refusal()])
async def test_a_loader_that_raises_makes_a_report_poorer(
    refusal: BaseException, autojump_clock: MockClock
) -> None:
    """S18: there is no source, and nothing else is different."""

    class Loader:
        def get_source(self, _: str) -> NoReturn:
            raise refusal

    scope: dict[str, Any] = {"hold": hold, "__name__": "frozen", "__loader__": Loader()}
    source = "async def freeze(event): await hold(event)\ndef divide(): 1 / 0"
    exec(compile(source, f"frozen_{type(refusal).__name__}.py", "exec"), scope)  # noqa: S102  our own

    async def child(event: trio.Event) -> None:
        supervisor.signal(Signal.HEALTHY)
        await scope["freeze"](event)

    text = await report_of(child)
    assert autojump_clock.current_time() == 6.0
    assert 'line 1, in freeze\n  File "' in text
    assert "await event.wait()" in text
    text = format_error(caught(scope["divide"]))
    assert text.endswith("line 2, in divide\nZeroDivisionError: division by zero")


async def test_an_awaitable_that_raises_when_it_is_asked_makes_a_report_poorer(
    autojump_clock: MockClock,
) -> None:
    """S18: the report says so in the place of the frames that can't be found."""

    class Odd:
        def __init__(self, event: trio.Event) -> None:
            self._wait = hold(event)

        def __await__(self) -> Any:  # noqa: ANN401  it is no generator, and need not be
            return self

        def __iter__(self) -> Odd:
            return self

        def __next__(self) -> object:
            return self._wait.send(None)

        def send(self, value: object) -> object:
            return self._wait.send(value)

        def throw(self, error: BaseException) -> object:
            return self._wait.throw(error)

        @property
        def cr_frame(self) -> NoReturn:
            raise SystemExit(7)

    async def child(event: trio.Event) -> None:
        supervisor.signal(Signal.HEALTHY)
        await Odd(event)

    text = await report_of(child)
    assert autojump_clock.current_time() == 6.0
    assert ", in child\n" in text
    assert text.endswith("  <what it awaits raised SystemExit>")


async def test_no_stack_is_looked_at_for_nobody(autojump_clock: MockClock) -> None:
    """S18: where the logger takes no warnings, no report is made."""
    logger = logging.getLogger("supervisor.node.root.child")
    logger.setLevel(logging.CRITICAL)

    async def child(event: trio.Event) -> None:
        supervisor.signal(Signal.HEALTHY)
        await hold(event)

    try:
        with pytest.raises(ValueError, match="not enough values"):
            await report_of(child)
    finally:
        logger.setLevel(logging.NOTSET)
    assert autojump_clock.current_time() == 6.0

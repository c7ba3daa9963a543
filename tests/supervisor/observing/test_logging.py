"""Logging: whose logger is whose, DNs on records, the record of a death, raw text."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NoReturn

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, RestartLimit, Signal
from supervisor.testing import Remote, open_harness

if TYPE_CHECKING:
    from trio.testing import MockClock

AT_ONCE = Backoff(initial=0.0)
STEADY = Backoff(initial=2.0, factor=2.0, jitter=0.0)
PATIENT = Backoff(initial=1000.0, maximum=1000.0, jitter=0.0)

library = logging.getLogger("somebody.elses.library")


async def idle() -> None:
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


async def start(function: Callable[..., object], *args: object) -> None:
    """Be a root that starts something and returns, which is enough for the harness."""
    function(*args)


async def run_to_the_end(child: Callable[[], Awaitable[object]]) -> None:
    """Run ``child`` under a root that is there for it alone, until it is DONE."""

    async def root() -> None:
        supervisor.run("child", child)
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    await supervisor.supervise(root, propagate=True)


def finish() -> None:
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


def dn_of(record: logging.LogRecord) -> object:
    return record.__dict__["dn"]


def of_package(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name.startswith("supervisor")]


# Loggers and DNs.


async def test_a_runnables_loggers_are_named_after_its_dn() -> None:
    """S17: supervisor.node.<dn>, and below it the sub-loggers."""
    names: list[str] = []

    async def child() -> None:
        names.append(supervisor.logger().name)
        names.append(supervisor.sub_logger("wire").name)
        finish()

    await run_to_the_end(child)
    assert names == ["supervisor.node.root.child", "supervisor.node.root.child.wire"]


async def test_records_made_inside_of_a_runnable_carry_its_dn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S17: by whatever library, in its nurseries and its worker threads as well."""

    async def task() -> None:
        library.warning("in a nursery")

    async def child() -> None:
        library.warning("in the runnable")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task)
        await trio.to_thread.run_sync(library.warning, "in a thread")
        supervisor.logger().warning("by its logger")
        finish()

    await run_to_the_end(child)
    library.warning("outside")
    assert {record.getMessage(): dn_of(record) for record in caplog.records} == {
        "in the runnable": "root.child",
        "in a nursery": "root.child",
        "in a thread": "root.child",
        "by its logger": "root.child",
        "outside": "-",
    }


async def test_the_records_of_deaths_and_stop_errors_carry_the_dn_of_the_node(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S17: what the package logs about a node is found under its DN."""
    remote = Remote()

    async def loud() -> None:
        supervisor.signal(Signal.HEALTHY)
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("flush failed")

    members = {"remote": remote, "loud": loud}
    async with open_harness(start, supervisor.run_group, members, backoff=PATIENT):
        await remote.die()
        await wait_all_tasks_blocked()
    found = {record.name: dn_of(record) for record in of_package(caplog)}
    assert found == {
        "supervisor.node.root.remote": "root.remote",
        "supervisor.node.root.loud": "root.loud",
    }


# The record of a death.


async def fail(error: Exception) -> NoReturn:
    raise error


async def test_a_death_is_one_record_with_all_there_is_to_know(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """S17: DN, incarnation, uptime, error, next delay, and then the traceback."""
    error = ValueError("broken")

    async def child() -> None:
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(5.0)
        await fail(error)

    async with open_harness(start, supervisor.run, "child", child, backoff=STEADY):
        await trio.sleep(6.0)
    (record,) = of_package(caplog)
    first, *rest = record.getMessage().splitlines()
    assert (record.name, record.levelno) == ("supervisor.node.root.child", logging.ERROR)
    assert first == (
        "root.child died in incarnation 1, 5.0 s old: ValueError: broken; it restarts in 2.00 s"
    )
    assert rest[0] == "Traceback (most recent call last):"
    assert rest[-1] == "ValueError: broken"
    assert autojump_clock.current_time() == 6.0


async def test_the_traceback_shows_the_users_frames_only(caplog: pytest.LogCaptureFixture) -> None:
    """S17: no frame of Trio or of this package, in no member and no cause of the exception."""

    send, receive = trio.open_memory_channel[None](0)

    async def get() -> None:
        receive.close()
        await receive.receive()

    async def child() -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(get)
                nursery.start_soon(trio.sleep_forever)
        except* trio.ClosedResourceError as group:
            raise OSError("gone") from group

    async with open_harness(start, supervisor.run, "child", child, backoff=PATIENT) as tree:
        await tree.wait_settled()
        traceback = tree.snapshot().nodes["root.child"].crashes[-1].traceback
    send.close()
    (record,) = of_package(caplog)
    assert record.getMessage().endswith(traceback)
    files = [line.split('"')[1] for line in traceback.splitlines() if ' File "' in line]
    assert files
    assert set(files) == {__file__}
    assert traceback.count("in get") == 1
    assert "trio.ClosedResourceError" in traceback
    assert traceback.index("ExceptionGroup") < traceback.index("OSError: gone")


GIVES_UP = RestartLimit(0, within=1.0)


@pytest.mark.parametrize(
    ("members", "limit", "consequence"),
    [
        (["a"], None, "it restarts in 1000.00 s"),
        (["a", "b"], None, "its group root.{a,b} restarts in 1000.00 s"),
        (["a"], GIVES_UP, "it gives up (0 restarts within 1 s are allowed)"),
        (["a", "b"], GIVES_UP, "its group root.{a,b} gives up (0 restarts within 1 s are allowed)"),
    ],
)
async def test_the_record_says_what_follows(
    members: list[str],
    limit: RestartLimit | None,
    consequence: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S17: who restarts, and when; or that it gives up, and why."""
    remote = Remote()

    async def root() -> None:
        runnables = {name: remote if name == "a" else idle for name in members}
        supervisor.run_group(runnables, backoff=PATIENT, limit=limit)
        await idle()

    async with supervisor.open_supervisor(root, backoff=PATIENT):
        await remote.die()
        await wait_all_tasks_blocked()
    died = next(record for record in of_package(caplog) if record.name.endswith("root.a"))
    assert (
        died.getMessage()
        .splitlines()[0]
        .endswith(f"RemoteDeathError: died on request; {consequence}")
    )


async def test_a_repeated_identical_death_is_summarised(caplog: pytest.LogCaptureFixture) -> None:
    """S17: of identical deaths the 1st, 11th and 21st show their traceback; a new one does too."""
    deaths = 0

    async def child() -> None:
        nonlocal deaths
        deaths += 1
        if deaths <= 21:
            raise ValueError("the same")
        if deaths <= 23:
            raise ValueError("another")
        await idle()

    async with open_harness(start, supervisor.run, "child", child, backoff=AT_ONCE) as tree:
        await tree.wait_settled()
        await wait_all_tasks_blocked()
    messages = [record.getMessage() for record in of_package(caplog)]
    assert len(messages) == 23
    in_full = [number for number, message in enumerate(messages, 1) if "Traceback" in message]
    assert in_full == [1, 11, 21, 22]
    assert messages[1].endswith("(the same death again, 2 in a row)")
    assert messages[9].endswith("(the same death again, 10 in a row)")
    assert "\n" not in messages[1]
    assert "died in incarnation 2, 0.0 s old: ValueError: the same; it restarts" in messages[1]


async def test_the_same_error_from_another_place_is_another_death(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S17: identical means type, message and traceback."""
    deaths = 0

    async def child() -> None:
        nonlocal deaths
        deaths += 1
        if deaths == 1:
            raise ValueError("the same")
        if deaths == 2:
            await fail(ValueError("the same"))
        await idle()

    async with open_harness(start, supervisor.run, "child", child, backoff=AT_ONCE) as tree:
        await tree.wait_settled()
        await wait_all_tasks_blocked()
    assert ["Traceback" in record.getMessage() for record in of_package(caplog)] == [True, True]


class Unspeakable(Exception):  # noqa: N818  a property of it, not an error
    """Cannot be put into words."""

    def __str__(self) -> str:
        raise KeyError("no words")


class Uncaused(Exception):  # noqa: N818  as above
    """Cannot even be formatted."""

    @property
    def __cause__(self) -> NoReturn:  # type: ignore[override,mutable-override]
        raise KeyError("no cause")


@pytest.mark.parametrize(
    ("error", "line", "text"),
    [
        (Unspeakable(), "Unspeakable: <its __str__ raised KeyError>", "Unspeakable"),
        (Uncaused("why"), "Uncaused: why", "can't be formatted: KeyError: 'no cause'"),
        (ValueError(), "ValueError", "ValueError"),
        (ValueError("two\n  lines"), "ValueError: two lines", "two\n  lines"),
    ],
    ids=["no str", "no cause", "no message", "two lines"],
)
async def test_an_error_that_is_hard_to_report_is_a_death_like_any_other(
    error: Exception, line: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """S17: whatever the exception's own methods raise, the death is reported and survived."""
    deaths = 0

    async def child() -> None:
        nonlocal deaths
        deaths += 1
        if deaths == 1:
            raise error
        await idle()

    async with open_harness(start, supervisor.run, "child", child, backoff=AT_ONCE) as tree:
        await tree.wait_settled()
        await wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root.child"].incarnation == 2
    (record,) = of_package(caplog)
    assert f" s old: {line}; it restarts" in record.getMessage()
    assert text in record.getMessage()


async def test_a_clean_stop_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """S17: a healthy tree that is stopped is no news."""
    caplog.set_level(logging.DEBUG)
    members = {"a": idle, "b": idle}
    async with open_harness(start, supervisor.run_group, members) as tree:
        await tree.wait_settled()
    assert of_package(caplog) == []


# Raw text.


async def lines_of(
    write: Callable[[supervisor.RawLogger], object], caplog: pytest.LogCaptureFixture
) -> list[str]:
    """Return the messages that ``write`` brings about in the node root.child."""
    caplog.set_level(logging.INFO, logger="supervisor.node.root.child")
    streams: list[supervisor.RawLogger] = []

    async def child() -> None:
        streams.append(supervisor.raw_logger())
        write(streams[0])
        finish()

    await run_to_the_end(child)
    records = of_package(caplog)
    assert {(record.name, record.levelname) for record in records} <= {
        ("supervisor.node.root.child", "INFO")
    }
    messages = [record.getMessage() for record in records]
    streams[0].close()  # else it is closed when it is collected, in another test
    return messages


LONG = "x" * 65_536  # the longest line that is kept in one piece


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
        ([LONG], []),
        ([LONG, "y"], [LONG]),
        ([LONG + LONG + "y", "z\n"], [LONG, LONG, "yz"]),
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
    """S17: once, and then the stream takes no more."""

    def write(stream: supervisor.RawLogger) -> None:
        assert stream.writable()
        with stream:
            print("one\ntwo", end="", file=stream)
        stream.close()
        with pytest.raises(ValueError, match="closed raw logger"):
            stream.write("three\n")

    assert await lines_of(write, caplog) == ["one", "two"]

"""The log record of a death (S17)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NoReturn

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, RestartLimit, Signal
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import AT_ONCE, LONG
from ..helpers.loggers import of_package, text_of
from ..helpers.runnables import idle, start

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

TWO_SECONDS = Backoff(initial=2.0, factor=2.0, jitter=0.0)


async def fail(error: Exception) -> NoReturn:
    raise error


async def test_a_death_is_one_record(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """S17: DN, incarnation, uptime, error, next delay, with arguments; then the traceback."""
    error = ValueError("broken")

    async def child() -> None:
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(5.0)
        await fail(error)

    async with open_harness(start, supervisor.run, "child", child, backoff=TWO_SECONDS):
        await trio.sleep(6.0)
    (record,) = of_package(caplog)
    first, *rest = text_of(record).splitlines()
    assert (record.name, record.levelno) == ("supervisor.node.root.child", logging.ERROR)
    assert first == (
        "root.child died in incarnation 1, 5.0 s old: ValueError: broken; it restarts in 2.00 s"
    )
    assert record.getMessage() == first
    assert record.msg == "%s died in incarnation %d, %.1f s old: %s; %s"
    assert record.args == ("root.child", 1, 5.0, "ValueError: broken", "it restarts in 2.00 s")
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

    async with open_harness(start, supervisor.run, "child", child, backoff=LONG) as tree:
        await tree.wait_settled()
        traceback = tree.snapshot().nodes["root.child"].crashes[-1].traceback
    send.close()
    (record,) = of_package(caplog)
    assert text_of(record).endswith(traceback)
    files = [line.split('"')[1] for line in traceback.splitlines() if ' File "' in line]
    assert files
    assert set(files) == {__file__}
    assert traceback.count("in get") == 1
    assert "trio.ClosedResourceError" in traceback
    assert traceback.index("ClosedResourceError") < traceback.index("OSError: gone")


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
    """S17: what restarts, and when; or that it gives up, and why."""
    remote = Remote()

    async def root() -> None:
        runnables = {name: remote if name == "a" else idle for name in members}
        supervisor.run_group(runnables, backoff=LONG, limit=limit)
        await idle()

    async with supervisor.open_supervisor(root, backoff=LONG):
        await remote.die()
        await wait_all_tasks_blocked()
    died = next(record for record in of_package(caplog) if record.name.endswith("root.a"))
    assert (
        died.getMessage()
        .splitlines()[0]
        .endswith(f"RemoteDeathError: died on request; {consequence}")
    )


async def test_a_repeated_identical_death_is_summarised(caplog: pytest.LogCaptureFixture) -> None:
    """S17: of identical deaths the 1st, 11th and 21st show the traceback; a different one, too."""
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
    records = of_package(caplog)
    assert [record.exc_info is not None for record in records].count(True) == 4
    messages = [text_of(record) for record in records]
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
    assert ["Traceback" in text_of(record) for record in of_package(caplog)] == [True, True]


async def test_what_takes_the_error_itself_gets_it(caplog: pytest.LogCaptureFixture) -> None:
    """S17: exc_info, from the user's first frame on; formatters show the text of the crash."""
    error = ValueError("broken")

    async with open_harness(start, supervisor.run, "child", fail, error, backoff=LONG) as tree:
        await tree.wait_settled()
        (crash,) = tree.snapshot().nodes["root.child"].crashes
    (record,) = of_package(caplog)
    assert record.exc_info is not None
    kind, value, frames = record.exc_info
    assert (kind, value) == (ValueError, error)
    assert frames is not None
    assert (frames.tb_frame.f_code, frames.tb_next) == (fail.__code__, None)
    assert record.exc_text == crash.traceback
    assert vars(record)["crash"] is crash


async def test_an_error_without_frames_of_users_has_none(caplog: pytest.LogCaptureFixture) -> None:
    """S17: where only the machinery has raised, exc_info has no traceback."""
    remote = Remote()
    async with open_harness(start, supervisor.run, "child", remote, backoff=LONG) as tree:
        await remote.die()
        await tree.wait_settled()
    (record,) = of_package(caplog)
    assert record.exc_info is not None
    assert record.exc_info[2] is None
    assert text_of(record).endswith(
        "it restarts in 1000.00 s\nsupervisor.testing.RemoteDeathError: died on request"
    )


async def test_a_repetition_has_its_crash_only(caplog: pytest.LogCaptureFixture) -> None:
    """S17: 100 equal deaths are 10 errors with tracebacks, and 90 lines with a template."""
    deaths = 0

    async def child() -> None:
        nonlocal deaths
        deaths += 1
        if deaths <= 100:
            raise ValueError("the same")
        await idle()

    async with open_harness(start, supervisor.run, "child", child, backoff=AT_ONCE) as tree:
        await tree.wait_settled()
        await wait_all_tasks_blocked()
    records = of_package(caplog)
    assert len(records) == 100
    in_full = [record for record in records if "Traceback" in text_of(record)]
    assert len(in_full) == 10
    repeated = records[1]
    assert (repeated.exc_info, repeated.exc_text) == (None, None)
    assert vars(repeated)["crash"].incarnation == 2
    assert repeated.msg.endswith("; %s (the same death again, %d in a row)")


async def test_a_crash_three_nurseries_deep_is_one_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S14, S17: the frames of each group come before its member's, and the user's line is last."""

    async def innermost() -> None:
        raise OSError("the disk is full")

    async def inner() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(innermost)

    async def middle() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(inner)

    async def child() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(middle)

    async with open_harness(start, supervisor.run, "child", child, backoff=LONG) as tree:
        await tree.wait_settled()
    (record,) = of_package(caplog)
    first, head, *frames, source, last = text_of(record).splitlines()
    assert "OSError: the disk is full" in first
    assert head == "Traceback (most recent call last):"
    assert len(text_of(record).splitlines()) <= 12
    assert len(frames) == 7
    assert source == '    raise OSError("the disk is full")'
    assert last == "OSError: the disk is full"


async def test_other_failures_are_errors_too(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """S17: those of a stop, and of a function that makes a group's runnables."""
    starts = 0

    async def stops_badly() -> None:
        try:
            await idle()
        finally:
            raise OSError("flush failed")

    def group() -> dict[str, Callable[[], Awaitable[None]]]:
        nonlocal starts
        starts += 1
        if starts > 1:
            raise LookupError("no channels today")
        return {"worker": stops_badly}

    async def root() -> None:
        handle = supervisor.run_group(group, backoff=LONG)
        await wait_all_tasks_blocked()
        await handle.restart()
        await idle()

    async with supervisor.open_supervisor(root):
        await trio.sleep(1.0)
    errors = [record for record in of_package(caplog) if record.levelno == logging.ERROR]
    shown = [(record.msg, record.exc_info and record.exc_info[0]) for record in errors]
    assert shown == [
        ("%s was asked to stop and raised an error: %s", OSError),
        ("the function that makes the runnables of %s failed: %s; %s", LookupError),
    ]
    for record in errors:
        assert record.exc_info is not None
        frames = record.exc_info[2]
        assert frames is not None
        assert frames.tb_frame.f_code in {stops_badly.__code__, group.__code__}
        assert record.exc_text == vars(record)["crash"].traceback
    assert autojump_clock.current_time() == 1.0


class Unspeakable(Exception):  # noqa: N818  a property of it, not an error
    """Its ``__str__`` raises."""

    def __str__(self) -> str:
        raise KeyError("no words")


class Uncaused(Exception):  # noqa: N818  as above
    """It cannot be formatted."""

    @property
    def __cause__(self) -> NoReturn:  # type: ignore[override,mutable-override]
        raise KeyError("no cause")


@pytest.mark.parametrize(
    ("error", "line", "text"),
    [
        (Unspeakable(), "Unspeakable: <its __str__ raised KeyError>", "Unspeakable"),
        (Uncaused("why"), "Uncaused: why", "Uncaused: why"),
        (ValueError(), "ValueError", "ValueError"),
        (ValueError("two\n  lines"), "ValueError: two lines", "two\n  lines"),
    ],
    ids=["no str", "no cause", "no message", "two lines"],
)
async def test_an_error_that_cannot_be_formatted_is_a_death_like_any_other(
    error: Exception, line: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """S17: if the exception's own methods raise, the death is logged and the node restarts."""
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
    assert text in text_of(record)

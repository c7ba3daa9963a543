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
from ..helpers.loggers import of_package
from ..helpers.runnables import idle, start

if TYPE_CHECKING:
    from trio.testing import MockClock

TWO_SECONDS = Backoff(initial=2.0, factor=2.0, jitter=0.0)


async def fail(error: Exception) -> NoReturn:
    raise error


async def test_a_death_is_one_record(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """S17: DN, incarnation, uptime, error, next delay, and then the traceback."""
    error = ValueError("broken")

    async def child() -> None:
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(5.0)
        await fail(error)

    async with open_harness(start, supervisor.run, "child", child, backoff=TWO_SECONDS):
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

    async with open_harness(start, supervisor.run, "child", child, backoff=LONG) as tree:
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
    assert text in record.getMessage()

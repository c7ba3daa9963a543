"""Before a process stops, nothing of its tree is ready for a while (S33)."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import pytest
import trio

import supervisor
from supervisor._process._countdown import Request
from supervisor._process._last_resort import LastResort
from supervisor._process._service import Service

from ..helpers.services import (
    SIGINT,
    SIGTERM,
    end_of,
    next_line,
    send_second,
    service,
    wait_for_log,
)

if TYPE_CHECKING:
    import subprocess

    from trio.testing import MockClock


REQUESTS = 500


async def ask(port: int, question: bytes) -> bytes:
    """Send a request, and return the answer; one that is refused raises an error."""
    answer = b""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(question + b"\n")
        async for part in stream:
            answer += part
    return answer


async def test_no_request_is_refused_that_was_sent_while_ready() -> None:
    """S33, S25: 50 clients look before each request, and all get their answers around SIGTERM."""
    answers = []

    async def send_while_ready(port: int, process: subprocess.Popen[str]) -> None:
        while await ask(port, b"ready") == b"True":
            answers.append(await ask(port, b"request"))
            if len(answers) == REQUESTS:
                process.send_signal(SIGTERM)

    # The drain is longer than a client takes from its look to its answer.
    with service("drained.py", 2.0) as process:
        port = int(next_line(process))
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(send_while_ready, port, process)
        status, log = await trio.to_thread.run_sync(end_of, process)
        with pytest.RaisesGroup(OSError, flatten_subgroups=True, allow_unwrapped=True):
            await ask(port, b"request")
    assert len(answers) >= REQUESTS
    assert set(answers) == {b"done"}
    assert status == 0
    assert [record["message"] for record in log] == [
        "SIGTERM: draining for 2 s, then stopping, within 30 s",
        "drained for 2 s: stopping, within 30 s",
    ]


def test_the_stop_begins_when_the_drain_is_over() -> None:
    """S33: both are logged, and the status is that of any stop."""
    with service("asked.py", "serve", "", 0.1) as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGTERM)
        status, log = end_of(process)
    assert status == 0
    assert [(record["level"], record["message"]) for record in log] == [
        ("INFO", "SIGTERM: draining for 0.1 s, then stopping, within 30 s"),
        ("INFO", "drained for 0.1 s: stopping, within 30 s"),
    ]


def test_a_second_signal_ends_a_drain_at_once() -> None:
    """S33, S22: it cancels everything, as it does in a stop; the status is 3."""
    with service("asked.py", "serve", "", 3600) as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGTERM)
        wait_for_log(process, "SIGTERM: draining for 3600 s")
        send_second(process, SIGINT)
        status, log = end_of(process)
    assert status == 3
    assert [record["message"] for record in log] == ["SIGINT again: stopping at once"]


@pytest.mark.parametrize("how", ["signal", "error"])
async def test_a_tree_that_is_cancelled_in_the_drain_is_not_stopped_after_it(
    how: str, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """S33, S22: clean-up may last longer than the drain, whose end means nothing then."""
    caplog.set_level(logging.INFO, "supervisor")

    async def child() -> None:
        await trio.sleep(4.0)
        raise SystemExit(7)

    async def root() -> None:
        supervisor.run("child", child)
        supervisor.signal(supervisor.Signal.HEALTHY)
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(20.0)

    last_resort = LastResort({}, timeout=30.0, drain=10.0)  # it does not run, and ends nothing
    tree = supervisor.Supervisor(
        root, None, None, None, None, observers=(), report_after=None, propagate=False
    )
    serving = Service(
        tree,
        drain=10.0,
        timeout=30.0,
        reload=None,
        own_sidecars={},
        sidecars=None,
        blocked_after=None,
        last_resort=last_resort,
    )

    async def signal() -> None:
        await trio.sleep(1.0)
        serving.carry_out(Request.STOP, "SIGTERM")
        if how == "signal":
            await trio.sleep(1.0)
            serving.carry_out(Request.CANCEL, "SIGTERM")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(signal)
        if how == "signal":
            assert await serving.run() == 3
        else:
            with pytest.raises(SystemExit):
                await serving.run()
    for end in (last_resort._signals._reader, last_resort._signals._writer):
        end.close()
    assert autojump_clock.current_time() == (22.0 if how == "signal" else 24.0)
    messages = [record.getMessage() for record in caplog.records]
    assert "SIGTERM: draining for 10 s, then stopping, within 30 s" in messages
    assert not [each for each in messages if each.startswith("drained")]


def test_a_tree_that_ends_in_the_drain_has_ended() -> None:
    """S33: when all of it is DONE, nothing is waited for."""
    with service("asked.py", "finish_on_line", "", 3600) as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGTERM)
        wait_for_log(process, "SIGTERM: draining for 3600 s")
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        assert end_of(process) == (0, [])


@pytest.mark.parametrize("drain", [-1.0, float("nan")])
def test_a_wrong_drain_is_named(drain: float) -> None:
    """S2, S33: drain= is a number of seconds, and nothing has been run when it is not."""
    message = f"drain={drain!r} is not a number of seconds of at least 0"
    with pytest.raises(ValueError, match=re.escape(message)):
        supervisor.main(trio.sleep_forever, drain=drain)

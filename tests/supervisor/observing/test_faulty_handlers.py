"""Handlers and filters of logging that raise (S17)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import NoReturn

import pytest
import trio
from trio.testing import MockClock

import supervisor
from supervisor import NodeState, Signal
from supervisor.testing import Remote, RemoteDeathError, open_harness

from ..helpers.backoffs import AT_ONCE
from ..helpers.runnables import idle, start_and_idle


def refuse(_: logging.LogRecord) -> NoReturn:
    raise OSError("no space left")


class Refusing(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        refuse(record)


@pytest.fixture(params=["handler", "filter"])
def refusing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let all logging about the node root.child, and about the package, fail."""
    loggers = [logging.getLogger(name) for name in ("supervisor", "supervisor.node.root.child")]
    handler = Refusing()
    for logger in loggers:
        if request.param == "handler":
            logger.addHandler(handler)
        else:
            logger.addFilter(refuse)
    yield
    for logger in loggers:
        logger.removeHandler(handler)
        logger.removeFilter(refuse)


@pytest.mark.usefixtures("refusing")
async def test_a_death_that_cannot_be_logged_is_a_death_like_any_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """S17: its group restarts, and standard error says what could not be logged, and why."""
    remote = Remote()
    group = {"child": remote, "other": idle}
    async with open_harness(start_and_idle, supervisor.run_group, group, backoff=AT_ONCE) as tree:
        await remote.become_healthy()
        await remote.die()
        await remote.become_healthy()
        await tree.wait_ready()
        assert tree.snapshot().nodes["root.other"].incarnation == 2
    errors = capsys.readouterr().err
    assert "OSError: no space left\n" in errors
    assert "supervisor.node.root.child could not log this: root.child died" in errors


@pytest.mark.usefixtures("refusing")
async def test_a_report_that_cannot_be_logged_harms_nothing(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """S18: the stuck node is still waited for, and what it raises is kept."""

    async def child() -> None:
        try:
            await idle()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(8.0)
            raise ValueError("at last")

    async with supervisor.open_supervisor(start_and_idle, supervisor.run, "child", child) as tree:
        await tree.wait_settled()
        await tree.stop()
        assert autojump_clock.current_time() == 8.0
    (stop_error,) = [node.stop_error for node in tree.snapshot().nodes.values() if node.stop_error]
    assert stop_error.error == "ValueError: at last"
    errors = capsys.readouterr().err
    assert "could not log this: root.child has not ended 5 s after" in errors
    assert "could not log this: root.child was asked to stop and raised" in errors


@pytest.mark.usefixtures("refusing")
async def test_metrics_that_raise_into_a_broken_log_harm_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """S16: also where neither the failure nor the metrics' own repr() can be shown."""

    class Broken:
        def __repr__(self) -> NoReturn:
            raise OSError("no repr")

        def notify_node_state(self, dn: str, state: NodeState) -> NoReturn:
            raise ValueError(dn, state)

        def notify_node_gone(self, dn: str) -> NoReturn:
            raise ValueError(dn)

    async with open_harness(
        start_and_idle, supervisor.run, "child", idle, metrics=Broken()
    ) as tree:
        await tree.wait_ready()
    assert "no space left" in capsys.readouterr().err


class Exiting(logging.Handler):
    """Ends the process at the first error."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            raise SystemExit(7)


@pytest.mark.parametrize("late", [False, True])
def test_a_handler_that_exits_ends_the_tree(*, late: bool) -> None:
    """S11: SystemExit leaves supervise(), raised by a handler at a death or at a stop."""

    async def leaf() -> None:
        supervisor.signal(Signal.HEALTHY)
        if late:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("at last")
        raise ValueError("a mistake")

    async def middle() -> None:
        supervisor.run("leaf", leaf)
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(1.0)
        if late:
            raise RemoteDeathError
        await trio.sleep_forever()

    async def main() -> None:
        with trio.fail_after(100.0):
            await supervisor.supervise(start_and_idle, supervisor.run, "middle", middle)

    handler = Exiting()
    # What is below is stopped before its parent's death is logged to this.
    name = "supervisor.node.root.middle.leaf"
    logging.getLogger(name).addHandler(handler)
    try:
        with pytest.raises(SystemExit) as caught:
            trio.run(main, clock=MockClock(autojump_threshold=0.0))
    finally:
        logging.getLogger(name).removeHandler(handler)
    assert caught.value.code == 7

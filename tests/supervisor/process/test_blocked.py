"""What blocks the event loop of a process is on the log while it does (S18)."""

from __future__ import annotations

import contextvars
import logging
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

import supervisor
from supervisor import Signal

from ..helpers.services import end_of, next_line, service, status_of, wait_for_log

if TYPE_CHECKING:
    from collections.abc import Iterator

SOON = 0.01
colour = contextvars.ContextVar[str]("colour")


class Records(logging.Handler):
    """Keeps records, and sets an event at the first that is a warning."""

    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[logging.LogRecord] = []
        self.warned = threading.Event()
        self.colours: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING:
            self.warnings.append(record)
            self.colours.append(colour.get("none"))
            self.warned.set()


@pytest.fixture
def records() -> Iterator[Records]:
    handler = Records()
    logging.getLogger("supervisor").addHandler(handler)
    yield handler
    logging.getLogger("supervisor").removeHandler(handler)


def watchers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "supervisor: blocked loop"]


async def finish() -> None:
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


def test_a_node_that_blocks_is_named_while_it_blocks(records: Records) -> None:
    """S18: the record has its DN and the user's frames, and is made in the task's context."""

    async def block() -> None:
        colour.set("red")
        records.warned.wait()

    async def child() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(block)
        await finish()

    async def root() -> None:
        supervisor.run("child", child)
        await finish()

    assert status_of(partial(supervisor.main, root, blocked_after=SOON)) == 0
    first = records.warnings[0]
    assert first.name == "supervisor"
    assert first.dn == "root.child"  # type: ignore[attr-defined]  # each record has it
    who, _, where = first.getMessage().partition("\n")
    assert who == "root.child has blocked the event loop for 0.01 s; it is here:"
    assert where.splitlines()[0].endswith("in block")
    assert records.colours[0] == "red"


def test_the_log_says_when_the_loop_goes_on(records: Records) -> None:
    """S18: with the time that was counted, once."""

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        records.warned.wait()
        records.warned.clear()
        await trio.to_thread.run_sync(records.warned.wait)
        supervisor.signal(Signal.DONE)

    assert status_of(partial(supervisor.main, root, blocked_after=SOON)) == 0
    first, second = (each.getMessage() for each in records.warnings[:2])
    assert first.startswith("root has blocked the event loop")
    assert second.startswith("the event loop goes on, after ")
    assert records.warnings[1].dn == "root"  # type: ignore[attr-defined]  # each record has it


def test_what_belongs_to_no_node_is_reported_too(records: Records) -> None:
    """S18: other parts of the process have the loop as well."""

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        trio.lowlevel.spawn_system_task(block)
        await over.wait()
        supervisor.signal(Signal.DONE)

    async def block() -> None:
        records.warned.wait()
        over.set()

    over = trio.Event()
    assert status_of(partial(supervisor.main, root, blocked_after=SOON)) == 0
    first = records.warnings[0].getMessage()
    assert first.startswith("a task of no node has blocked the event loop")
    assert records.warnings[0].dn == "-"  # type: ignore[attr-defined]  # each record has it


def test_the_thread_ends_with_the_tree() -> None:
    """S18: there is one while the tree runs."""
    seen: list[threading.Thread] = []

    async def root() -> None:
        seen.extend(watchers())
        await finish()

    assert status_of(partial(supervisor.main, root)) == 0
    (thread,) = seen
    thread.join()


@pytest.mark.parametrize("never", [None, float("inf")])
def test_nobody_asks_without_a_time(never: float | None) -> None:
    """S18: there is no thread then."""
    seen: list[threading.Thread] = []

    async def root() -> None:
        seen.extend(watchers())
        await finish()

    assert status_of(partial(supervisor.main, root, blocked_after=never)) == 0
    assert seen == []


class Exits(logging.Handler):
    """Ends the process at the first warning; on a busy machine there may be more."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING and not logged.is_set():
            logged.set()
            raise SystemExit(9)


logged = threading.Event()


def test_what_a_handler_raises_there_leaves_the_tree() -> None:
    """S17, S18: as where the tree logs: what is no Exception leaves it."""

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        logged.wait()
        await trio.sleep_forever()

    handler = Exits()
    logging.getLogger("supervisor").addHandler(handler)
    try:
        assert status_of(partial(supervisor.main, root, blocked_after=SOON)) == 9
    finally:
        logging.getLogger("supervisor").removeHandler(handler)


def test_a_process_says_what_blocks_it() -> None:
    """S18: on its standard error, while it is blocked; the option is --blocked-after."""
    options = ("--blocked-after", "0.01")
    with service("blocked.py", "run", "__main__:root", *options) as process:
        assert next_line(process) == "blocking"
        warning = wait_for_log(process, "root.child has blocked the event loop for 0.01 s")
        assert (warning["level"], warning["dn"]) == ("WARNING", "root.child")
        assert "in child\n    sys.stdin.readline()" in warning["message"]
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        wait_for_log(process, "the event loop goes on, after ")
        process.stdin.write("end\n")
        process.stdin.close()
        assert end_of(process)[0] == 0


@pytest.mark.parametrize(
    ("wrong", "error"), [(0, ValueError), (-1.0, ValueError), ("5", TypeError), (True, TypeError)]
)
def test_a_wrong_time_is_refused(wrong: float, error: type[Exception]) -> None:
    """S2, S18: before anything starts."""
    with pytest.raises(error, match=r"blocked_after=.* is not a number of seconds above 0"):
        supervisor.main(finish, blocked_after=wrong)

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
    """Keeps the first warning about a function ``block()``, and the next that the loop goes on.

    On a busy machine, the loop may be late elsewhere as well.
    """

    def __init__(self) -> None:
        super().__init__()
        self.blocked: logging.LogRecord | None = None
        self.colour = ""
        self.warned = threading.Event()
        self.goes_on: logging.LogRecord | None = None
        self.went_on = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if is_about_block(record) and self.blocked is None:
            self.blocked, self.colour = record, colour.get("none")
            self.warned.set()
        elif self.blocked is not None and self.goes_on is None and "goes on" in record.msg:
            self.goes_on = record
            self.went_on.set()


def is_about_block(record: logging.LogRecord) -> bool:
    return ", in block\n" in record.getMessage()


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> None:
    """Wait for the thread of another test, which may end after its tree."""
    for thread in watchers():
        thread.join()


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
    first = records.blocked
    assert first is not None
    assert first.name == "supervisor"
    assert first.dn == "root.child"  # type: ignore[attr-defined]  # each record has it
    who, _, where = first.getMessage().partition("\n")
    assert who == "root.child has blocked the event loop for 0.01 s; it is here:"
    assert where.splitlines()[0].endswith("in block")
    assert records.colour == "red"


def test_the_log_says_when_the_loop_goes_on(records: Records) -> None:
    """S18: with the time that was counted, once."""

    def block() -> None:
        records.warned.wait()

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        block()
        await trio.to_thread.run_sync(records.went_on.wait)
        supervisor.signal(Signal.DONE)

    assert status_of(partial(supervisor.main, root, blocked_after=SOON)) == 0
    first, second = records.blocked, records.goes_on
    assert first is not None
    assert first.getMessage().startswith("root has blocked the event loop")
    assert second is not None
    assert second.getMessage().startswith("the event loop goes on, after ")
    assert second.dn == "root"  # type: ignore[attr-defined]  # each record has it


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
    first = records.blocked
    assert first is not None
    assert first.getMessage().startswith("a task of no node has blocked the event loop")
    assert first.dn == "-"  # type: ignore[attr-defined]  # each record has it


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
    """Ends the process at the first warning about a function ``block()``."""

    def emit(self, record: logging.LogRecord) -> None:
        if is_about_block(record) and not logged.is_set():
            logged.set()
            raise SystemExit(9)


logged = threading.Event()


def test_what_a_handler_raises_there_leaves_the_tree() -> None:
    """S17, S18: as where the tree logs: what is no Exception leaves it."""

    def block() -> None:
        logged.wait()

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        block()
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
        about, place = "root.child has blocked the event loop for 0.01 s", "sys.stdin.readline()"
        warning = wait_for_log(process, about)
        while place not in warning["message"]:  # on a busy machine, it may have been late before
            warning = wait_for_log(process, about)
        assert (warning["level"], warning["dn"]) == ("WARNING", "root.child")
        assert f"in child\n    {place}" in warning["message"]
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

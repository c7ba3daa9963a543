"""What looks at a tree and raises: observers, record factories, logger classes, source loaders."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import NoReturn

import pytest
import trio
from trio.testing import MockClock

import supervisor
from supervisor import Backoff, NodeState, Signal
from supervisor._core._events import Event, NodeDied, NodeMoved
from supervisor.testing import Remote, open_harness

AT_ONCE = Backoff(initial=0.0)


class EndOfWorldError(BaseException):
    """No Exception."""


async def idle() -> None:
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


async def run_both(call: Callable[[], Awaitable[None]]) -> None:
    """Start a runnable, and one that nothing must happen to."""
    supervisor.run("innocent", idle)
    supervisor.run("child", call)
    await idle()


# Observers


async def test_an_observer_that_raises_is_reported_and_the_others_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S16: in order, and of each event; the tree goes on."""
    told: list[tuple[str, NodeState]] = []

    def broken(event: Event) -> NoReturn:
        raise ValueError(event)

    def well(event: Event) -> None:
        if isinstance(event, NodeMoved):
            told.append((event.node.name, event.state))

    remote = Remote()
    async with open_harness(run_both, remote, backoff=AT_ONCE) as tree:
        for observer in (broken, well):
            tree._port.add_observer(observer)
        await remote.become_healthy()
        await remote.die()
        await remote.become_healthy()
        await tree.wait_ready()
        assert tree.snapshot().nodes["root.innocent"].incarnation == 1
        tree._port.remove_observer(broken)
        tree._port.remove_observer(well)
    assert [state for name, state in told if name == "child"] == [
        NodeState.NEW,
        NodeState.HEALTHY,
        NodeState.DEAD,
        NodeState.NEW,
        NodeState.HEALTHY,
    ]
    failures = [record for record in caplog.records if "broken" in record.message]
    assert len(failures) >= len(told)
    assert {record.name for record in failures} == {"supervisor"}


async def test_what_an_observer_raises_that_is_no_exception_leaves() -> None:
    """S11, S16: when all tasks of the tree are gone; the others are told to the end."""
    told: list[Event] = []

    def leaving(event: Event) -> None:
        if isinstance(event, NodeDied):
            raise EndOfWorldError

    remote = Remote()

    async def main() -> None:
        async with supervisor.open_supervisor(run_both, remote) as tree:
            tree._port.add_observer(leaving)
            tree._port.add_observer(told.append)
            await remote.become_healthy()
            await remote.die()
            await trio.sleep_forever()

    with pytest.raises(EndOfWorldError):
        await main()
    assert any(isinstance(event, NodeDied) for event in told)
    last = {event.node.name: event.state for event in told if isinstance(event, NodeMoved)}
    assert last["innocent"] is NodeState.CANCELED


# Logging


class Silent(Exception):  # noqa: N818  its name is all that it has
    """Can't be shown; not even an Exception comes of it."""

    def __str__(self) -> str:
        raise EndOfWorldError

    __repr__ = __str__


@pytest.fixture
def broken_factory() -> Iterator[Callable[[BaseException], None]]:
    """Let each record that the package makes fail."""
    make = logging.getLogRecordFactory()

    def break_it(error: BaseException) -> None:
        def factory(name: str, *args: object, **kwargs: object) -> logging.LogRecord:
            if name.startswith("supervisor"):
                raise error
            record: logging.LogRecord = make(name, *args, **kwargs)
            return record

        logging.setLogRecordFactory(factory)

    yield break_it
    logging.setLogRecordFactory(make)


async def test_a_record_factory_that_raises_harms_nothing(
    broken_factory: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """S17: standard error says what could not be logged, and the group restarts."""
    remote = Remote()
    async with open_harness(run_both, remote, backoff=AT_ONCE) as tree:
        await remote.become_healthy()
        broken_factory(OSError("no records"))
        await remote.die()
        await remote.become_healthy()
        await tree.wait_ready()
        assert tree.snapshot().nodes["root.innocent"].incarnation == 1
    errors = capsys.readouterr().err
    assert "OSError: no records" in errors
    assert "supervisor.node.root.child could not log this: root.child died" in errors


async def test_a_record_factory_that_raises_is_the_death_of_a_runnable_that_logs(
    broken_factory: Callable[[BaseException], None],
) -> None:
    """S12: it is an error in its own task."""
    broken_factory(OSError("no records"))

    async def child() -> None:
        supervisor.logger().warning("hello")
        await idle()

    async with open_harness(run_both, child) as tree:
        await tree.wait_settled()
        nodes = tree.snapshot().nodes
        assert nodes["root.innocent"].state is NodeState.HEALTHY
        assert [crash.error for crash in nodes["root.child"].crashes] == ["OSError: no records"]


@pytest.mark.parametrize("error", [EndOfWorldError(), Silent()])
async def test_what_a_record_factory_raises_that_is_no_exception_leaves(
    broken_factory: Callable[[BaseException], None], error: BaseException
) -> None:
    """S11, S17: also where it comes from what can't be shown on standard error."""
    remote = Remote()

    async def main() -> None:
        async with supervisor.open_supervisor(run_both, remote) as tree:
            await remote.become_healthy()
            broken_factory(error)
            await remote.die()
            await tree.wait_settled()
            if isinstance(error, Exception):
                assert tree.snapshot().nodes["root.innocent"].state is NodeState.HEALTHY

    if isinstance(error, Exception):
        await main()
    else:
        with pytest.raises(EndOfWorldError):
            await main()


class Refused(logging.Logger):
    """Can't be made."""

    def __init__(self, name: str, level: int = logging.NOTSET) -> None:
        if name.startswith("supervisor.node"):
            raise OSError("no loggers")
        super().__init__(name, level)


async def test_a_class_of_loggers_that_cannot_be_made_harms_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S16, S17: that a death could not be logged is reported on the package's own logger."""
    remote = Remote()
    before = logging.getLoggerClass()

    async def root() -> None:
        supervisor.run("without_logger", remote)  # no other test has made one of its name
        await idle()

    async with open_harness(root, backoff=AT_ONCE) as tree:
        await remote.become_healthy()
        logging.setLoggerClass(Refused)
        try:
            await remote.die()
            await remote.become_healthy()
        finally:
            logging.setLoggerClass(before)
        await tree.wait_ready()
        assert tree.snapshot().nodes["root.without_logger"].incarnation == 2
    (failure,) = [record for record in caplog.records if "failed at NodeDied" in record.message]
    assert failure.name == "supervisor"


# Reports


class Loader:
    """Loads no source."""

    def get_source(self, name: str) -> NoReturn:
        raise ValueError(name)


SOURCE = """
async def stuck(release):
    supervisor.signal(supervisor.Signal.HEALTHY)
    with trio.CancelScope(shield=True):
        await release.wait()
"""


async def test_a_report_is_made_although_the_source_cannot_be_loaded(
    caplog: pytest.LogCaptureFixture,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S18: it lacks the lines of the source that can't be loaded, and has all others."""
    module = {
        "__name__": "frozen",
        "__loader__": Loader(),
        "trio": trio,
        "supervisor": supervisor,
    }
    exec(compile(SOURCE, "frozen.py", "exec"), module)  # noqa: S102  a module from elsewhere
    release = trio.Event()
    handles: list[supervisor.Handle] = []

    async def root() -> None:
        supervisor.run("innocent", idle)
        handles.append(supervisor.run("stuck", module["stuck"], release))  # type: ignore[arg-type]

    async with open_harness(root) as tree, trio.open_nursery() as nursery:
        await tree.wait_settled()
        nursery.start_soon(handles[0].stop)
        await trio.sleep(6.0)
        release.set()
    (report,) = [record for record in caplog.records if "has not ended 5 s" in record.message]
    assert 'File "frozen.py", line 5, in stuck\n' in report.message
    assert "await _core.wait_task_rescheduled(abort_fn)" in report.message
    assert tree.snapshot().nodes["root.innocent"].incarnation == 1

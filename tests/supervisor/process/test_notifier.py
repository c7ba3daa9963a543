"""systemd is told how the tree of a process is, and it harms nothing (S40)."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, RestartLimit, Signal
from supervisor._calls._supervisor import port_of
from supervisor.systemd import notify
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import AT_ONCE, LONG
from ..helpers.folders import tmp_path  # noqa: F401  a short one, for a socket
from ..helpers.internals import FOLLOWING, QUIET, Notifier, Sidecars, Watchdog, notifiers
from ..helpers.notifications import Manager, manager, open_manager  # noqa: F401  one is a fixture
from ..helpers.runnables import finish, idle
from ..helpers.services import SIGTERM, end_of, next_line, service, status_of, wait_for_log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from supervisor import Supervisor

PAGE = Path(__file__).parents[3] / "docs" / "systemd.md"
EXTENDED = "EXTEND_TIMEOUT_USEC=20000000"


class Transcript:
    """What a manager reads, with the seconds since its beginning."""

    def __init__(self) -> None:
        self.lines: list[tuple[float, str]] = []
        self.began = trio.current_time()

    async def read(self, opened: Manager) -> None:
        source = trio.socket.from_stdlib_socket(opened.socket)
        while True:
            text = (await source.recv(65536)).decode()
            self.lines.append((round(trio.current_time() - self.began, 3), text))

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.lines]

    def fields(self, name: str) -> list[tuple[float, str]]:
        """Return the values of a field, with their times."""
        return [
            (time, line.removeprefix(f"{name}="))
            for time, text in self.lines
            for line in text.splitlines()
            if line.startswith(f"{name}=")
        ]


@contextlib.asynccontextmanager
async def open_told(
    opened: Manager,
    root: Callable[[], Awaitable[object]],
) -> AsyncIterator[tuple[Supervisor, Transcript]]:
    """Run a tree, and beside it what tells a manager of it, until the tree has ended."""
    async with trio.open_nursery() as reading:
        transcript = Transcript()
        reading.start_soon(transcript.read, opened)
        async with trio.open_nursery() as nursery:
            async with open_harness(root, backoff=LONG, patience=3600.0) as tree:
                await wait_all_tasks_blocked()
                made: dict[str, Callable[[], Awaitable[object]]] = {"systemd": Notifier(tree)}
                beside = Sidecars(made | {"other": linger}, lambda _: None)
                await beside.begin(nursery)
                yield tree, transcript
            await beside.stop(trio.current_time() + FOLLOWING)
        await wait_all_tasks_blocked()
        reading.cancel_scope.cancel()


async def linger() -> None:
    """Need half a second to stop, so that what tells has its turn after the end of the tree."""
    supervisor.signal(Signal.HEALTHY)
    await supervisor.wait_stop_requested()
    await trio.sleep(0.5)


linger.grace = 5.0  # type: ignore[attr-defined]  # the attribute that the tree reads


def tree_of(**runnables: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
    async def root() -> None:
        for name, each in runnables.items():
            supervisor.run(name, each)

    return root


# What is told


async def test_a_life_is_told(
    manager: Manager,  # noqa: F811  the fixture
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S40: when the tree is first ready, what is wrong with it, and its stop; the page has it."""

    async def dhcp() -> None:
        await trio.sleep(2.5)
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(7.5)
        raise OSError("no lease")

    async def dns() -> None:
        supervisor.signal(Signal.HEALTHY)
        with trio.CancelScope(shield=True):
            await trio.sleep(25)

    async def root() -> None:
        supervisor.run("dhcp", dhcp, backoff=Backoff(initial=3.0, jitter=0.0))
        supervisor.run("dns", dns)
        supervisor.signal(Signal.HEALTHY)
        with trio.CancelScope(shield=True):
            await trio.sleep(22)

    async with open_told(manager, root) as (tree, transcript):
        await tree.wait_ready()
        await trio.sleep(15)
        port_of(tree).begin_drain("a test")
        await trio.sleep(2)
    lines = [f"{time:6.1f}  {text}".replace("\n", " ") for time, text in transcript.lines]
    shown = re.findall(r"^ +\d+\.\d  \S.*$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert lines == shown
    assert lines[:2] == [
        "   0.0  STATUS=2/3 ready; root.dhcp NEW",
        "   2.5  READY=1 STATUS=3/3 ready",
    ]


async def test_a_tree_is_ready_once(
    manager: Manager,  # noqa: F811  the fixture
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S40: systemd is not told again when it is ready again; the status tells."""
    one = Remote()
    async with open_told(manager, tree_of(one=one)) as (tree, transcript):
        for _ in range(3):
            await one.become_healthy()
            await tree.wait_ready()
            await trio.sleep(10)
            await one.die()
            await trio.sleep(1010)
    assert len(transcript.fields("READY")) == 1
    assert len(transcript.fields("STOPPING")) == 1
    assert [text for _, text in transcript.fields("STATUS")].count("2/2 ready") == 3


async def test_a_long_countdown_is_told_by_the_minute(
    manager: Manager,  # noqa: F811  the fixture
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S40: the text has changed before it is sent again."""
    one = Remote()
    async with open_told(manager, tree_of(one=one)) as (_, transcript):
        await one.die(OSError())
        await trio.sleep(1001)
    times = [time for time, text in transcript.fields("STATUS") if " min (OSError)" in text]
    assert len(times) == 17  # from 17 min to 1 min, and then each second
    assert {round(later - time) for time, later in pairwise(times[1:])} == {60}


async def test_the_status_is_told_at_most_once_a_second(
    manager: Manager,  # noqa: F811  the fixture
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S40: however much happens; what is true in the end is told, and how it ended at once."""

    async def crash() -> None:
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(0.03)
        if trio.current_time() < end:
            raise OSError
        await trio.sleep_forever()

    async def root() -> None:
        supervisor.run("one", crash, backoff=AT_ONCE)

    end = trio.current_time() + 20
    async with open_told(manager, root) as (_, transcript):
        await trio.sleep(30)
        assert transcript.fields("STATUS")[-1][1] == "2/2 ready"
    times = [time for time, _ in transcript.fields("STATUS")]
    assert min(later - time for time, later in pairwise(times[:-1])) >= QUIET - 0.001


async def test_only_the_status_waits(
    manager: Manager,  # noqa: F811  the fixture
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S40: a tree that is ready, or stops, within a second of a status is told as such at once."""

    async def hold_on() -> None:
        supervisor.signal(Signal.HEALTHY)
        with trio.CancelScope(shield=True):
            await trio.sleep(9)

    one, other = Remote(), Remote()
    async with open_told(manager, tree_of(one=one, other=other, slow=hold_on)) as (_, transcript):
        await trio.sleep(0.25)
        await one.become_healthy()
        await trio.sleep(0.25)
        await other.become_healthy()
        await trio.sleep(0.25)
    assert transcript.fields("READY") == [(0.5, "1")]
    assert transcript.fields("STOPPING") == [(0.75, "1")]
    assert [time for time, _ in transcript.fields("STATUS")][:2] == [0.0, 1.0]


async def test_one_that_died_is_named_rather_than_one_that_waits(
    manager: Manager,  # noqa: F811  the fixture
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S40: although that is not ready for longer."""
    new, dead = Remote(), Remote()
    async with open_told(manager, tree_of(new=new, dead=dead)) as (_, transcript):
        await trio.sleep(5)
        assert transcript.texts[-1] == "STATUS=1/3 ready; root.new NEW"
        await dead.die(ValueError("x"))
        await trio.sleep(1)
        assert transcript.texts[-1] == (
            "STATUS=1/3 ready; root.dead DEAD, restarts in 17 min (ValueError)"
        )


async def test_no_text_of_a_user_makes_a_field(
    manager: Manager,  # noqa: F811  the fixture
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S17, S40: a name of an error or a reason may be long, have any characters, and forge one."""
    bad = type("Bad\nSTOPPING=1\n" + "\U0001f600" * 5000, (Exception,), {})

    async def unready() -> None:
        supervisor.signal(Signal.HEALTHY)
        supervisor.set_ready(False, "no\nREADY=1\n\udc80" + "\U0001f600" * 5000)  # noqa: FBT003  as users write it
        await trio.sleep_forever()

    one = Remote()
    async with open_told(manager, tree_of(one=one, other=unready)) as (tree, transcript):
        await one.become_healthy()
        await trio.sleep(5)
        assert re.fullmatch(
            r"STATUS=.*root\.other HEALTHY, not ready: no READY=1 \\udc80.*", transcript.texts[-1]
        )
        await one.die(bad())
        await trio.sleep(5)
        assert re.fullmatch(r"STATUS=.*root\.one DEAD.*\(Bad.*\)", transcript.texts[-1])
        assert not transcript.fields("STOPPING")
        assert tree.snapshot().nodes["root.one"].deaths == 1
    assert not transcript.fields("READY")


async def test_a_stop_before_it_is_ready_is_told_as_such(
    manager: Manager,  # noqa: F811  the fixture
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S40: systemd sees that the start has failed."""
    async with open_told(manager, tree_of(one=Remote())) as (_, transcript):
        pass
    assert not transcript.fields("READY")
    assert len(transcript.fields("STOPPING")) == 1


async def die_at_once() -> None:
    raise OSError("no\nlease")


async def die_below() -> None:
    supervisor.run("dhcp", die_at_once, limit=RestartLimit(0, within=1.0))
    await idle()


async def give_up_below() -> None:
    supervisor.run("net", die_below, limit=RestartLimit(0, within=1.0))
    await idle()


async def exit_now() -> None:
    raise SystemExit(7)


async def raise_own() -> None:
    raise supervisor.GroupFailedError("mine", dn="root.x", causes=())


@pytest.mark.parametrize(
    ("root", "how"),
    [
        (finish, "the tree has finished"),
        (die_at_once, "the tree has given up: root died (OSError)"),
        (give_up_below, "the tree has given up: root.net.dhcp died (OSError)"),
        (raise_own, "the tree has given up: root died (GroupFailedError)"),
        (exit_now, "the tree has ended by SystemExit"),
    ],
)
def test_the_last_status_says_how_the_tree_has_ended(
    manager: Manager,  # noqa: F811  the fixture
    root: Callable[[], Awaitable[object]],
    how: str,
) -> None:
    """S34, S40: within a second of the status before, too; what the error says is left out."""
    status_of(partial(supervisor.main, root, limit=RestartLimit(0, within=1.0)))
    assert [line for text in manager.waiting() for line in text.splitlines()][-1] == f"STATUS={how}"


async def test_a_tree_that_is_cancelled_is_told_as_such(
    manager: Manager,  # noqa: F811  the fixture
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S34, S40: as the log does."""
    async with open_told(manager, idle) as (tree, transcript):
        port_of(tree).cancel("a test")
        await wait_all_tasks_blocked()
    assert transcript.fields("STATUS")[-1][1] == "the tree was cancelled"


async def test_a_dead_node_is_named_however_many_wait_for_longer(
    manager: Manager,  # noqa: F811  the fixture
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S40: among hundreds that are still NEW."""
    dead = Remote()
    new = {f"new{number}": trio.sleep_forever for number in range(300)}
    async with open_told(manager, tree_of(**new, dead=dead)) as (_, transcript):
        await dead.die(ValueError("x"))
        await trio.sleep(1.5)
        assert transcript.texts[-1] == (
            "STATUS=1/302 ready; root.dead DEAD, restarts in 17 min (ValueError)"
        )


# Nobody reads


async def test_with_a_manager_that_does_not_read_the_service_runs_on(
    manager: Manager,  # noqa: F811  the fixture
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S40: READY=1 is tried every second until it is sent, whatever happens; one record tells."""
    one = Remote()
    manager.fill()
    async with (
        open_harness(tree_of(one=one), patience=60.0) as tree,
        trio.open_nursery() as nursery,
    ):
        beside = Sidecars({"systemd": Notifier(tree)}, lambda _: None)
        await beside.begin(nursery)
        await one.become_healthy()
        await tree.wait_ready()
        await trio.sleep(100.5)
        assert set(manager.waiting()) == {"X_FULL=1"}
        path = port_of(tree).path("root.one")
        assert path is not None
        port_of(tree).restart_node(path[-1], "a test")
        await one.become_healthy()
        await trio.sleep(0.4)
        assert manager.waiting() == []
        await trio.sleep(0.2)
        assert manager.waiting() == ["READY=1\nSTATUS=2/2 ready"]
        await beside.stop(trio.current_time() + FOLLOWING)
    (warning,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert warning.name == "supervisor.node.sidecars.systemd"
    assert re.fullmatch(
        rf"can't send to NOTIFY_SOCKET={manager.variable} \(nobody reads\): "
        "(READY, )?STATUS will be tried again every second",
        warning.getMessage(),
    )


async def test_what_keeps_a_notification_from_being_sent_is_logged(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,  # noqa: F811  the fixture
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S40: a path may be that of a file, which is another error than that nobody reads."""
    path = tmp_path / "file"
    path.touch()
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    async with open_harness(idle, patience=60.0) as tree:
        await tree.wait_ready()
        notifier = Notifier(tree)
        monkeypatch.delenv("NOTIFY_SOCKET")  # a program may hide it from its children
        async with supervisor.open_supervisor(notifier):
            await trio.sleep(5)
    (warning,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert warning.getMessage() == (
        f"can't send to NOTIFY_SOCKET={path} ([Errno 111] Connection refused): "
        "READY, STATUS will be tried again every second"
    )


async def test_a_stop_is_told_as_soon_as_somebody_reads(
    manager: Manager,  # noqa: F811  the fixture
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S40: what is true by then, which is not that it is ready."""

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        with trio.CancelScope(shield=True):
            await trio.sleep(10)

    manager.fill()
    async with open_harness(root, patience=60.0) as tree, trio.open_nursery() as nursery:
        beside = Sidecars({"systemd": Notifier(tree)}, lambda _: None)
        await beside.begin(nursery)
        await tree.wait_ready()
        tree.request_stop("a test")
        await trio.sleep(1.5)
        assert set(manager.waiting()) == {"X_FULL=1"}
        await trio.sleep(1)
        assert manager.waiting() == [
            f"STOPPING=1\n{EXTENDED}\nSTATUS=stopping; root HEALTHY, is being stopped"
        ]
        await beside.stop(trio.current_time() + FOLLOWING)


@pytest.mark.parametrize("variable", ["/nobody/is/here", None])
@pytest.mark.parametrize(("root", "status"), [(finish, 0), (Remote.die, 1)])
def test_the_status_is_that_of_the_tree(
    monkeypatch: pytest.MonkeyPatch,
    manager: Manager,  # noqa: F811  the fixture
    variable: str | None,
    root: object,
    status: int,
) -> None:
    """S22, S40: whether a manager is not there, or does not read."""

    async def die() -> None:
        raise OSError

    manager.fill()
    if variable is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", variable)
    runnable = finish if root is finish else die
    limit = RestartLimit(0, within=1.0)
    assert status_of(partial(supervisor.main, runnable, limit=limit)) == status


# As sidecars


def test_a_process_tells_by_itself(
    manager: Manager,  # noqa: F811  the fixture
) -> None:
    """S35, S40: from before the start until all other sidecars have stopped, beside the tree."""
    nodes: list[str] = []

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        nodes.extend(supervisor.current_supervisor().snapshot().nodes)
        supervisor.signal(Signal.DONE)

    async def beside() -> None:
        supervisor.signal(Signal.HEALTHY)
        nodes.extend(supervisor.current_supervisor().snapshot().nodes)
        try:
            await trio.sleep_forever()
        finally:
            notify(X_BESIDE="ends")

    status = status_of(partial(supervisor.main, root, sidecars=lambda _: {"beside": beside}))
    assert status == 0
    assert nodes == ["sidecars", "sidecars.beside", "root"]
    told = manager.waiting()
    assert any("READY=1" in text for text in told)
    assert told.index("X_BESIDE=ends") < len(told) - 1
    assert told[-1].endswith(f"{EXTENDED}\nSTATUS=the tree has finished")


def test_a_sidecar_that_ends_all_of_the_user_ends_nothing_that_tells(
    manager: Manager,  # noqa: F811  the fixture
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S11, S35, S40: systemd would kill a service whose watchdog is silent."""

    async def leave() -> None:
        await begun.wait()
        raise SystemExit(3)

    async def other() -> None:
        supervisor.signal(Signal.HEALTHY)
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            over.set()

    async def root() -> None:
        await over.wait()
        await wait_all_tasks_blocked()
        manager.waiting()
        supervisor.signal(Signal.HEALTHY)
        await supervisor.current_supervisor().wait_ready()
        await wait_all_tasks_blocked()
        supervisor.signal(Signal.DONE)

    begun, over = trio.Event(), trio.Event()
    made = {"leave": leave, "other": other}
    assert status_of(partial(supervisor.main, root, sidecars=lambda _: made)) == 0
    assert any("a sidecar raised SystemExit" in text for text in caplog.messages)
    first, *_, last = manager.waiting()
    assert first.startswith("READY=1")
    assert last.endswith(f"{EXTENDED}\nSTATUS=the tree has finished")


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({}, []),
        ({"NOTIFY_SOCKET": ""}, []),
        ({"WATCHDOG_USEC": "10"}, []),
        ({"NOTIFY_SOCKET": "@x"}, ["systemd"]),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "10"}, ["systemd", "systemd_watchdog"]),
        (
            {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "10", "WATCHDOG_PID": str(os.getpid())},
            ["systemd", "systemd_watchdog"],
        ),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "10", "WATCHDOG_PID": "1"}, ["systemd"]),
    ],
)
def test_the_environment_says_what_is_told(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], names: list[str]
) -> None:
    """S40: the watchdog of another process is not ours."""
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert list(notifiers()) == names


async def test_one_that_starts_again_tells_only_what_is_new(
    manager: Manager,  # noqa: F811  the fixture
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S40: cancelled where it waits, it observes no more, and tells no stop while the tree runs."""
    async with open_harness(idle, patience=60.0) as tree:
        await tree.wait_ready()
        notifier = Notifier(tree)
        for _ in range(2):
            async with supervisor.open_supervisor(notifier):
                await trio.sleep(5)
        assert manager.waiting() == ["READY=1\nSTATUS=1/1 ready"]
        assert notifier._observe not in [each.observer for each in port_of(tree).tree._observers]


@pytest.mark.parametrize("step", range(4))
async def test_a_cancellation_at_its_beginning_leaves_nothing(
    manager: Manager,  # noqa: F811  the fixture
    step: int,
) -> None:
    """S12, S40: at each of its first steps."""
    async with open_harness(idle, patience=60.0) as tree:
        await tree.wait_ready()
        observers = port_of(tree).tree._observers
        notifier = Notifier(tree)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.supervise, notifier)
            for _ in range(step):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert port_of(tree).tree._observers == observers
    assert not any("STOPPING" in text for text in manager.waiting())


# The watchdog


async def test_the_watchdog_is_fed_twice_in_its_time(
    manager: Manager,  # noqa: F811  the fixture
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S40: from the loop, on its clock, and not when it was cancelled."""
    transcript = Transcript()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transcript.read, manager)
        async with supervisor.open_supervisor(Watchdog("3000000")) as tree:
            await tree.wait_ready()
            await trio.sleep(5)
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert transcript.lines == [(time, "WATCHDOG=1") for time in (0.0, 1.5, 3.0, 4.5)]


async def test_a_watchdog_that_could_not_be_fed_is_fed_soon(
    manager: Manager,  # noqa: F811  the fixture
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S40: after a second, and not after half of its time."""
    manager.fill()
    async with supervisor.open_supervisor(Watchdog("60000000")) as tree:
        await tree.wait_ready()
        assert set(manager.waiting()) == {"X_FULL=1"}
        await trio.sleep(1.5)
        assert manager.waiting() == ["WATCHDOG=1"]


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "x", "9" * 30, "²"])
async def test_a_time_that_is_none_is_told(
    manager: Manager,  # noqa: F811  the fixture
    caplog: pytest.LogCaptureFixture,
    text: str,
) -> None:
    """S40: the log has it, and nothing is fed."""
    await supervisor.supervise(Watchdog(text))
    assert f"WATCHDOG_USEC={text!r} is no time, so no WATCHDOG=1 is sent" in caplog.messages
    assert manager.waiting() == []


def test_a_runnable_that_blocks_the_loop_silences_the_watchdog() -> None:
    """S18, S40: systemd restarts the service; the log names the runnable while it blocks."""
    with (
        open_manager() as opened,
        # As often as the loop can: what it sends meanwhile would be seen at once.
        service(
            "notified.py", "block", NOTIFY_SOCKET=opened.variable, WATCHDOG_USEC="2"
        ) as process,
    ):
        assert process.stdin is not None
        while opened.next() != "WATCHDOG=1":
            pass
        process.stdin.write("go\n")
        process.stdin.flush()
        assert next_line(process) == "blocks"
        warning = wait_for_log(process, "root.child has blocked the event loop for 0.01 s")
        assert warning["dn"] == "root.child"
        opened.waiting()
        process.stdin.write("go\n")
        process.stdin.flush()
        assert next_line(process) == "blocks still"
        assert opened.waiting() == []
        process.stdin.write("go\n")
        process.stdin.flush()
        assert opened.next() == "WATCHDOG=1"


def test_a_service_tells_its_manager() -> None:
    """S40: a real one, which is stopped by its manager."""
    with (
        open_manager() as opened,
        service("notified.py", "serve", NOTIFY_SOCKET=opened.variable) as process,
    ):
        assert process.stdin is not None
        assert opened.next() == "STATUS=0/1 ready; root NEW"
        process.stdin.write("go\n")
        process.stdin.flush()
        while "READY=1" not in (text := opened.next()):
            assert text.startswith("STATUS=0/1 ready; root ")
        process.send_signal(SIGTERM)
        while not (text := opened.next()).startswith(f"STOPPING=1\n{EXTENDED}"):
            assert text == "STATUS=1/1 ready"
        assert end_of(process)[0] == 0
        assert "STATUS=the tree has stopped" in "\n".join(opened.waiting()).splitlines()

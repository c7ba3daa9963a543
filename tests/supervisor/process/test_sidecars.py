"""Sidecars: what runs beside the tree of a process, and harms it by nothing (S35)."""

from __future__ import annotations

import logging
import math
import signal as signals
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import pytest
import trio

import supervisor
from supervisor import InMemoryMetrics, RestartLimit, Signal

from ..helpers.internals import (
    FOLLOWING,
    OWN,
    LastResort,
    Service,
    Sidecars,
    asked_for,
    check_sidecars,
    notifiers,
)
from ..helpers.services import (
    SIGTERM,
    SIGUSR1,
    end_of,
    next_line,
    send_second,
    service,
    status_of,
    wait_for_log,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

    from supervisor import Supervisor
    from supervisor.tree_events import Event


async def serve() -> None:
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


async def idle_maker(_: Supervisor) -> Callable[[], Awaitable[object]]:
    return serve


async def finish() -> None:
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


def ends(
    root: Callable[[], Awaitable[object]],
    limit: RestartLimit | None = None,
    **sidecars: Callable[[], Awaitable[object]],
) -> object:
    """Run a tree with sidecars, and return the exit status."""
    return status_of(partial(supervisor.main, root, limit=limit, sidecars=lambda _: sidecars))


# Their place


def test_sidecars_begin_before_the_tree_and_end_after_it() -> None:
    """S35: what shows a tree is there before it starts, and until it has stopped."""
    happened: list[str] = []

    async def beside() -> None:
        happened.append("a sidecar begins")
        try:
            await serve()
        finally:
            happened.append("a sidecar ends")

    async def root() -> None:
        happened.append("the root begins")
        await finish()
        happened.append("the root ends")

    assert ends(root, one=beside, other=beside) == 0
    assert happened == [
        *["a sidecar begins"] * 2,
        "the root begins",
        "the root ends",
        *["a sidecar ends"] * 2,
    ]


def test_the_function_gets_the_tree_before_it_runs() -> None:
    """S35: an observer that it adds is told of the first start."""
    told: list[Event] = []

    def make(tree: Supervisor) -> dict[str, Callable[[], Awaitable[object]]]:
        assert not tree.ready()
        tree.add_observer(told.append)
        return {}

    assert status_of(partial(supervisor.main, finish, sidecars=make)) == 0
    assert told


def test_the_tree_knows_nothing_of_its_sidecars(caplog: pytest.LogCaptureFixture) -> None:
    """S35: metrics and events are those of the tree; the log has its life only."""
    caplog.set_level(logging.INFO, "supervisor")
    metrics = InMemoryMetrics()
    status = status_of(
        partial(supervisor.main, finish, metrics=metrics, sidecars=lambda _: {"one": serve})
    )
    assert status == 0
    assert list(metrics.nodes()) == ["root"]
    told = [each.getMessage()[:12] for each in caplog.records]
    assert told == ["logging is s", "the tree is ", "the tree has"]


def test_a_sidecar_knows_its_own_tree() -> None:
    """S28, S35: current_supervisor() is the tree of the sidecars, whose DNs begin with it."""
    seen: list[object] = []

    async def beside() -> None:
        tree = supervisor.current_supervisor()
        supervisor.signal(Signal.HEALTHY)
        await tree.wait_ready()
        seen.extend((supervisor.current_dn(), *tree.snapshot().nodes))
        seen.append(tree.ready())
        seen.append(tree.ready("sidecars.beside"))
        with pytest.raises(supervisor.InvalidNameError, match="dotted path from 'sidecars' on"):
            tree.ready("root")
        tree.request_stop("seen")
        await trio.sleep_forever()

    assert ends(serve, beside=beside) == 0
    assert seen == ["sidecars.beside", "sidecars", "sidecars.beside", True, True]


def test_a_sidecar_can_stop_the_process(caplog: pytest.LogCaptureFixture) -> None:
    """S33, S35: by the tree that it was given, as by its own."""
    caplog.set_level(logging.INFO, "supervisor")

    def make(tree: Supervisor) -> dict[str, Callable[[], Awaitable[object]]]:
        async def beside() -> None:
            supervisor.signal(Signal.HEALTHY)
            await tree.wait_ready()
            tree.request_stop("asked from beside")
            await trio.sleep_forever()

        return {"beside": beside}

    assert status_of(partial(supervisor.main, serve, sidecars=make)) == 0
    assert "stop requested: asked from beside; stopping, within 30 s" in caplog.messages


def test_the_dump_has_the_sidecars() -> None:
    """S33, S35: they are shown below the tree, with where they wait."""
    with service("sidecars.py", "serve", "stay") as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGUSR1)
        shown = wait_for_log(process, "SIGUSR1: 1 node\n")["message"]
        process.kill()
    assert "\nand of the sidecars 2 nodes\nsidecars " in shown
    assert ", in stay\n    await trio.sleep_forever()" in shown


def test_the_dump_has_those_of_the_process_itself_too() -> None:
    """S33, S35: in their own tree, before the others."""
    with service("sidecars.py", "serve", "stay", NOTIFY_SOCKET="@nobody-is-here") as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGUSR1)
        shown = wait_for_log(process, "SIGUSR1: 1 node\n")["message"]
        process.kill()
    _, own, others = shown.split("\nand of the sidecars 2 nodes\nsidecars ")
    assert "task sidecars.systemd:" in own
    assert "task sidecars.beside:" in others


# They harm nothing


def test_a_sidecar_that_dies_is_restarted_and_does_not_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S35: the tree is ready meanwhile, and ends as it would without."""
    deaths = 0

    async def beside() -> None:
        nonlocal deaths
        deaths += 1
        if deaths < 3:
            raise OSError("the port is taken")
        supervisor.signal(Signal.HEALTHY)
        went_on.set()
        await trio.sleep_forever()

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        await went_on.wait()
        assert supervisor.current_supervisor().ready()
        supervisor.signal(Signal.DONE)

    went_on = trio.Event()
    assert ends(root, RestartLimit(0, within=1.0), beside=beside) == 0
    died = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert [each.name for each in died] == ["supervisor.node.sidecars.beside"] * 2


@pytest.mark.parametrize("error", [SystemExit(7), KeyboardInterrupt()])
def test_what_leaves_the_sidecars_does_not_leave_the_tree(
    caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    """S11, S35: a sidecar that raises no Exception ends the sidecars only, and the log tells."""

    async def beside() -> None:
        await begun.wait()
        raise error

    async def other() -> None:
        supervisor.signal(Signal.HEALTHY)
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            over.set()

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        await over.wait()
        supervisor.signal(Signal.DONE)

    begun, over = trio.Event(), trio.Event()
    assert ends(root, beside=beside, other=other) == 0
    (text,) = [each for each in caplog.messages if "a sidecar raised" in each]
    name = type(error).__name__
    assert text.startswith(f"a sidecar raised {name}")
    assert text.endswith("which ends all sidecars in its tree; the service goes on")


def test_a_sidecar_whose_stop_fails_does_not_count() -> None:
    """S35: the status is decided when the tree has ended."""

    async def beside() -> None:
        try:
            await serve()
        finally:
            raise SystemExit(9)

    assert ends(finish, beside=beside) == 0


async def give_up() -> None:
    raise OSError("the disk is full")


async def leave() -> None:
    raise SystemExit(5)


@pytest.mark.parametrize(("root", "status"), [(finish, 0), (give_up, 1), (leave, 5)])
def test_the_status_is_that_of_the_tree(root: Callable[[], Awaitable[object]], status: int) -> None:
    """S22, S35: however it ends, the sidecars are stopped, and it exits with its own status."""
    ended: list[str] = []

    async def beside() -> None:
        try:
            await serve()
        finally:
            ended.append("beside")

    assert ends(root, RestartLimit(0, within=1.0), beside=beside) == status
    assert ended == ["beside"]


def test_what_leaves_the_tree_leaves_main() -> None:
    """S22, S35: an error that is no SystemExit is raised as it is, after the sidecars."""
    error = GeneratorExit("the tree raised it")

    async def root() -> None:
        raise error

    with pytest.raises(GeneratorExit) as caught:
        ends(root, beside=serve)
    assert caught.value is error
    caught.value.__dict__.clear()  # the process goes on


# Their end


async def test_sidecars_have_5_seconds_to_stop(autojump_clock: MockClock) -> None:  # noqa: ARG001  time is Trio's
    """S35: what takes longer is cancelled then, whatever grace it has."""

    async def beside() -> None:
        supervisor.signal(Signal.HEALTHY)
        await supervisor.wait_stop_requested()
        asked.append(trio.current_time())
        try:
            await trio.sleep_forever()
        finally:
            asked.append(trio.current_time())

    beside.grace = 3600.0  # type: ignore[attr-defined]  # the attribute that the tree reads
    asked: list[float] = []
    sidecars = Sidecars({"beside": beside}, lambda _: None)
    async with trio.open_nursery() as nursery:
        await sidecars.begin(nursery)
        await trio.sleep(10.0)
        began = trio.current_time()
        await sidecars.stop(began + FOLLOWING)
    assert asked == [began, began + FOLLOWING]


@pytest.mark.parametrize("slow", ["other", "health", "both", "none"])
async def test_all_sidecars_together_have_5_seconds(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
    slow: str,
) -> None:
    """S35: those of main() itself begin first, and are stopped when all others have ended."""
    told: list[tuple[str, float]] = []

    def make(name: str) -> Callable[[], Awaitable[None]]:
        async def beside() -> None:
            supervisor.signal(Signal.HEALTHY)
            told.append((f"{name} begins", trio.current_time()))
            try:
                await supervisor.wait_stop_requested()
                told.append((f"{name} stops", trio.current_time() - began))
                await trio.sleep(math.inf if slow in {name, "both"} else 1.0)
            finally:
                told.append((f"{name} ends", trio.current_time() - began))

        beside.grace = 3600.0  # type: ignore[attr-defined]  # the attribute that the tree reads
        return beside

    began = trio.current_time()
    last_resort = LastResort({}, timeout=30.0, drain=0.0)  # it does not run, and ends nothing
    tree = supervisor.Supervisor(
        finish, None, None, None, None, observers=(), report_after=None, propagate=False
    )
    await Service(
        tree,
        drain=0.0,
        timeout=30.0,
        reload=None,
        own_sidecars={"health": lambda _: make("health")},
        sidecars=lambda _: {"other": make("other")},
        blocked_after=None,
        last_resort=last_resort,
    ).run()
    for opened in (last_resort._signals._reader, last_resort._signals._writer):
        opened.close()
    others_end = 5.0 if slow in {"other", "both"} else 1.0
    end = {"other": 5.0, "health": 5.0, "both": 5.0, "none": 2.0}[slow]
    assert [name for name, _ in told[:2]] == ["health begins", "other begins"]
    expected = [("other stops", 0.0), ("other ends", others_end)]
    if others_end < 5.0:
        expected += [("health stops", others_end)]
    assert sorted(told[2:]) == sorted([*expected, ("health ends", end)])


async def test_a_stop_that_is_cancelled_leaves_nothing(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S12, S35: cancelled while the sidecars stop, all of their tasks are gone."""

    async def beside() -> None:
        supervisor.signal(Signal.HEALTHY)
        await supervisor.wait_stop_requested()
        await trio.sleep_forever()

    beside.grace = 3600.0  # type: ignore[attr-defined]  # the attribute that the tree reads
    sidecars = Sidecars({"beside": beside}, lambda _: None)
    with trio.move_on_after(1.0) as scope:
        async with trio.open_nursery() as nursery:
            await sidecars.begin(nursery)
            await sidecars.stop(trio.current_time() + FOLLOWING)
    assert scope.cancelled_caught
    assert not sidecars.port.running()


async def test_a_beginning_that_is_cancelled_leaves_nothing(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S12, S35: cancelled while the sidecars begin, all of their tasks are gone."""
    sidecars = Sidecars({"beside": serve}, lambda _: None)
    with trio.CancelScope() as scope:
        scope.cancel()
        async with trio.open_nursery() as nursery:
            await sidecars.begin(nursery)
    assert scope.cancelled_caught
    assert not sidecars.port.running()


async def test_sidecars_that_raise_as_they_begin_hold_nothing_up(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S11, S35: the tree starts although one of its sidecars has never begun."""

    async def beside() -> NoReturn:
        raise KeyboardInterrupt

    def never() -> Awaitable[object]:
        raise SystemExit(3)

    sidecars = Sidecars({"beside": beside, "other": never}, lambda _: None)
    async with trio.open_nursery() as nursery:
        await sidecars.begin(nursery)
    assert {type(error) for error in sidecars.port.errors} <= {KeyboardInterrupt, SystemExit}


def test_a_second_signal_cancels_the_sidecars_too() -> None:
    """S22, S35: in the stop of the tree it cancels all, and the sidecars right after the tree."""
    with service("sidecars.py", "linger", "be_slow") as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGTERM)
        wait_for_log(process, "SIGTERM: stopping")
        send_second(process, SIGTERM)
        status, log = end_of(process)
        assert next_line(process) == ""
    assert status == 3
    assert [each["message"] for each in log] == ["SIGTERM again: stopping at once"]


def test_a_signal_does_not_wait_for_sidecars_that_stop() -> None:
    """S35: a second signal, after the end of the tree, cancels them; the status is as decided."""
    with service("sidecars.py", "serve", "be_slow") as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGTERM)
        assert next_line(process) == "slow"
        send_second(process, SIGTERM)
        status, log = end_of(process)
    assert status == 0
    assert [each["message"] for each in log] == [
        "SIGTERM: stopping, within 30 s",
        "SIGTERM again: the sidecars stop at once",
    ]


@pytest.mark.processes
def test_a_sidecar_that_does_not_end_does_not_keep_the_process() -> None:
    """S22, S35: 5 s after a second signal the process ends without it, with the tree's status."""
    with service("sidecars.py", "serve", "stay") as process:
        assert next_line(process) == "serving"
        process.send_signal(SIGTERM)
        assert next_line(process) == "staying"
        send_second(process, SIGTERM)
        status, log = end_of(process)
    assert status == 0
    *_, stuck, last = log
    assert stuck["dn"] == "sidecars.beside"
    assert ", in stay\n" in stuck["message"]
    assert last["message"] == "the process ends without these nodes"


@pytest.mark.processes
def test_a_sidecar_that_blocks_the_loop_does_not_keep_the_process() -> None:
    """S22, S35: nobody has to send a signal; it is named, and the status is the tree's."""
    with service("sidecars.py", "finish", "block") as process:
        assert next_line(process) == "serving"
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.close()
        assert next_line(process) == "blocking"
        status, log = end_of(process)
    assert status == 0
    *_, last = log  # it has blocked the loop for longer than is reported, too
    assert last["level"] == "CRITICAL"
    assert last["message"].startswith(
        "sidecars.beside blocks the event loop; the process ends without it. It is here:\n"
    )


# Arguments


def test_what_the_function_raises_leaves_main() -> None:
    """S35: nothing has started, so there is nothing to protect."""

    def make(tree: Supervisor) -> NoReturn:
        raise LookupError(tree.state.name)

    with pytest.raises(LookupError):
        supervisor.main(serve, sidecars=make)
    assert signals.getsignal(SIGTERM) is signals.SIG_DFL


def test_sidecars_has_to_be_a_function() -> None:
    """S2, S35: a mapping in its place is refused before anything starts."""
    with pytest.raises(TypeError, match=r"sidecars=\{\} is not callable: pass a function"):
        supervisor.main(serve, sidecars={})  # type: ignore[arg-type]  # that is what is wrong


@pytest.mark.parametrize(
    ("made", "error", "text"),
    [
        (None, TypeError, "sidecars= returned None: return a mapping"),
        ({"Web": serve}, supervisor.InvalidNameError, "invalid name 'Web' of a sidecar: use 1 to"),
        ({"web": None}, TypeError, "the sidecar 'web' got None, which is not an async function"),
        *(
            ({name: serve}, supervisor.DuplicateNameError, f"a sidecar can't be called '{name}'")
            for name in ("systemd", "systemd_watchdog", "inspector", "health")
        ),
    ],
)
def test_what_the_function_returns_is_checked(
    made: object, error: type[Exception], text: str
) -> None:
    """S2, S35: the error names what is wrong, and the tree does not start."""
    with pytest.raises(error, match=text):
        supervisor.main(serve, sidecars=lambda _: made)  # type: ignore[arg-type, return-value]  # that is what is wrong


def test_the_names_of_own_sidecars_are_kept_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """S35: also those that systemd asks for."""
    monkeypatch.setenv("NOTIFY_SOCKET", "@x")
    monkeypatch.setenv("WATCHDOG_USEC", "10")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    made = {**notifiers(), **asked_for(True, "127.0.0.1:0")}  # noqa: FBT003  as users write it
    assert tuple(made) == OWN


async def call() -> None:
    raise AssertionError


@pytest.mark.parametrize("argument", ["health", "inspect"])
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda _: None, "= returned None: return an? [a-z_]+\\(\\), or another async function"),
        (lambda _: call(), "= returned <coroutine .* or another async function without arguments"),
        (str, "= returned '<.*: return an? "),
        (idle_maker, "=<function idle_maker at .* is async: pass a function that returns an? "),
    ],
)
def test_what_makes_an_own_sidecar_is_checked(
    argument: str, make: Callable[[Supervisor], object], text: str
) -> None:
    """S2, S35: the error names the argument, a coroutine is closed, and nothing has started."""
    started: list[str] = []

    async def root() -> None:
        started.append("root")
        await finish()

    with pytest.raises(TypeError, match=f"^{argument}{text}"):
        supervisor.main(root, **{argument: make})  # type: ignore[arg-type]  # that is what is wrong
    assert started == []
    assert signals.getsignal(SIGTERM) is signals.SIG_DFL


class Odd(str):
    """A key that equals no other."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def test_two_sidecars_have_two_names() -> None:
    """S2, S35: names are compared as text."""
    with pytest.raises(supervisor.DuplicateNameError, match="a sidecar 'web' already"):
        check_sidecars({Odd("web"): serve, Odd("web"): serve})


def test_a_wrong_grace_of_a_sidecar_is_refused() -> None:
    """S21, S35: as that of any runnable."""

    async def beside() -> None:
        await trio.sleep_forever()

    beside.grace = -1  # type: ignore[attr-defined]  # that is what is wrong
    with pytest.raises(ValueError, match="the runnable 'beside': grace=-1 is not a number of"):
        check_sidecars({"beside": beside})


@pytest.mark.parametrize("as_mapping", [True, False])
def test_coroutines_are_closed(*, as_mapping: bool) -> None:
    """S2, S35: calls in place of functions leave no warning of Python's behind."""
    wrong = {"one": serve(), "other": serve()} if as_mapping else serve()
    with pytest.raises(TypeError, match=r"without calling it|return a mapping"):
        check_sidecars(wrong)
    del wrong

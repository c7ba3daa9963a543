"""Functions that block, in threads, as runnables (S24)."""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.from_thread import check_cancelled, run_sync as in_trio
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import NodeState, Signal
from supervisor.adapters import command, thread
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import AT_ONCE
from ..helpers.programs import WAITS
from ..helpers.trees import open_recorded, open_started

if TYPE_CHECKING:
    from collections.abc import Callable


class Blocking:
    """A function that blocks until it is told to return, and what it has seen."""

    def __init__(self) -> None:
        self.jobs: queue.Queue[str | None] = queue.Queue()
        self.started = trio.Event()
        self.dns: list[str] = []
        self.stops: list[threading.Thread] = []
        self.threads: set[threading.Thread] = set()

    def __call__(self) -> None:
        self.threads.add(threading.current_thread())
        self.dns.append(supervisor.current_dn())
        supervisor.logger().info("blocks")
        in_trio(self.started.set)
        while self.jobs.get() is not None:
            pass

    def stop(self) -> None:
        self.stops.append(threading.current_thread())
        self.jobs.put(None)


@pytest.fixture
def blocking() -> Blocking:
    return Blocking()


async def test_a_function_runs_in_a_thread_of_its_runnable(
    blocking: Blocking, caplog: pytest.LogCaptureFixture
) -> None:
    """S24, S1: its DN and its logger are there, and the node is HEALTHY from the start."""
    caplog.set_level(logging.INFO)
    child = thread(blocking, on_stop=blocking.stop)
    async with open_recorded(supervisor.run, "child", child) as (tree, _, transitions):
        await blocking.started.wait()
        assert blocking.dns == ["root.child"]
        assert threading.current_thread() not in blocking.threads
        assert tree.snapshot().nodes["root.child"].state is NodeState.HEALTHY
    (record,) = [record for record in caplog.records if record.message == "blocks"]
    assert (record.name, vars(record)["dn"]) == ("supervisor.node.root.child", "root.child")
    assert [state for _, _, state in transitions.seen] == ["NEW", "HEALTHY", "CANCELED"]


async def test_on_stop_is_called_once_in_the_thread_of_trio(blocking: Blocking) -> None:
    """S24, S21: at the stop request; a return after it is no error."""
    child = thread(blocking, on_stop=blocking.stop)
    async with open_started(supervisor.run, "child", child, grace=3600.0) as (tree, handle):
        await blocking.started.wait()
        await handle.stop()
        assert blocking.stops == [threading.current_thread()]
        node = tree.snapshot().nodes["root.child"]
        assert (node.state, node.stop_error) == (NodeState.CANCELED, None)


async def test_on_stop_is_called_once_though_the_grace_is_over(mock_clock: MockClock) -> None:
    """S24, S21: cancelled here, after the request: the function is still waited for."""
    stops: list[float] = []
    release, started = threading.Event(), trio.Event()

    def block() -> None:
        in_trio(started.set)
        release.wait()

    child = thread(block, on_stop=lambda: stops.append(trio.current_time()))
    async with open_started(supervisor.run, "child", child, grace=2.0) as (tree, handle):
        await started.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(handle.stop)
            await wait_all_tasks_blocked()
            mock_clock.jump(3.0)
            await wait_all_tasks_blocked()
            assert tree.snapshot().nodes["root.child"].state is NodeState.HEALTHY
            release.set()
    assert stops == [0.0]


async def test_on_stop_is_called_at_a_cancellation_from_outside(blocking: Blocking) -> None:
    """S24, S12: cancelled here, without a request; the tree ends when the thread has."""
    child = thread(blocking, on_stop=blocking.stop)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.supervise, child)
            await blocking.started.wait()
            scope.cancel()
    assert scope.cancelled_caught
    assert len(blocking.stops) == 1


async def test_a_runnable_that_is_cancelled_before_its_thread_starts_needs_no_stop() -> None:
    """S24, S12: cancelled here, before the thread; on_stop would leave something to the next."""
    scope = trio.CancelScope()

    class CancelsAtOnce:
        def notify_node_state(self, _dn: str, state: NodeState) -> None:
            if state is NodeState.HEALTHY:
                scope.cancel()

        def notify_node_gone(self, _dn: str) -> None: ...

    calls: list[str] = []
    child = thread(calls.append, "called", on_stop=partial(calls.append, "stopped"))
    with scope:
        await supervisor.supervise(child, metrics=CancelsAtOnce())
    assert (calls, scope.cancelled_caught) == ([], True)


async def test_on_stop_is_not_called_for_a_thread_that_has_ended() -> None:
    """S24: neither after a death nor after a return."""
    calls: list[str] = []

    def fail() -> None:
        raise OSError

    for function in (fail, partial(calls.append, "returned")):
        child = thread(function, on_stop=partial(calls.append, "stopped"))
        with pytest.raises((OSError, supervisor.UnexpectedReturnError)):
            await supervisor.supervise(child, propagate=True)
    assert calls == ["returned"]


async def test_a_thread_can_ask_whether_it_has_to_end() -> None:
    """S24: check_cancelled() raises from the stop request on, long before the grace is over."""
    started = trio.Event()
    asked: list[str] = []

    def ask() -> None:
        in_trio(started.set)
        while True:
            try:
                check_cancelled()
            except BaseException as error:
                asked.append(type(error).__name__)
                raise

    async with open_started(supervisor.run, "child", thread(ask), grace=3600.0) as (tree, handle):
        await started.wait()
        await handle.stop()
        assert tree.snapshot().nodes["root.child"].stop_error is None
    assert asked == ["Cancelled"]


async def test_an_error_is_a_death_without_a_group_around_it() -> None:
    """S24, S5: its traceback shows the function, and its context is its own."""

    def fail(text: str) -> None:
        try:
            os.environ[text]
        except KeyError:
            raise OSError(text)  # noqa: B904  its context is what is looked at

    with pytest.raises(OSError, match="no such disk") as caught:
        await supervisor.supervise(thread(fail, "no such disk"), propagate=True)
    assert isinstance(caught.value.__context__, KeyError)
    assert caught.traceback[-1].name == "fail"


async def test_an_error_after_the_stop_request_is_the_stop_error(blocking: Blocking) -> None:
    """S24, S5: of the function and of on_stop; two errors are in a group."""

    def fail() -> None:
        blocking()
        raise OSError("of the function")

    def fail_to_stop() -> None:
        blocking.stop()
        raise LookupError("of on_stop")

    cases: list[tuple[Callable[[], None], Callable[[], None], str]] = [
        (fail, blocking.stop, "OSError: of the function"),
        (blocking, fail_to_stop, "LookupError: of on_stop"),
        (fail, fail_to_stop, "2 sub-exceptions"),
    ]
    for function, on_stop, expected in cases:
        blocking.started = trio.Event()
        child = thread(function, on_stop=on_stop)
        async with open_started(supervisor.run, "child", child, grace=9.0) as (tree, handle):
            await blocking.started.wait()
            await handle.stop()
            assert expected in str(tree.snapshot().nodes["root.child"].stop_error)


async def test_a_return_is_judged_as_ever() -> None:
    """S24, S5: without DONE it is a death; with DONE the node is DONE."""

    def finish() -> None:
        in_trio(supervisor.signal, Signal.DONE)

    with pytest.raises(supervisor.UnexpectedReturnError):
        await supervisor.supervise(thread(len, ()), propagate=True)
    await supervisor.supervise(thread(finish))


async def test_a_function_may_say_itself_when_it_is_healthy(blocking: Blocking) -> None:
    """S24: with healthy_at_start=False the node is NEW until the thread signals."""
    go, started = threading.Event(), trio.Event()

    def prepare() -> None:
        in_trio(started.set)
        go.wait()
        in_trio(supervisor.signal, Signal.HEALTHY)
        blocking()

    child = thread(prepare, healthy_at_start=False, on_stop=blocking.stop)
    async with open_started(supervisor.run, "child", child) as (tree, handle):
        await started.wait()
        await wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root.child"].state is NodeState.NEW
        go.set()
        await handle.wait_healthy()
        assert tree.snapshot().nodes["root.child"].state is NodeState.HEALTHY


async def test_a_thread_that_goes_on_holds_up_its_group_and_is_reported(
    mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """S24, S7, S18: no member starts beside it, and the log says which node it is."""
    release, started = threading.Event(), trio.Event()

    def block() -> None:
        in_trio(started.set)
        release.wait()

    remote = Remote()
    group = {"stuck": thread(block), "mate": remote}
    async with open_started(supervisor.run_group, group, backoff=AT_ONCE) as (_, _):
        await started.wait()
        await remote.become_healthy()
        await remote.die()
        await wait_all_tasks_blocked()
        assert (remote.incarnations, remote.running) == (1, 0)
        mock_clock.jump(5.0)
        await wait_all_tasks_blocked()
        (report,) = [each for each in caplog.records if each.name.endswith("root.stuck")]
        assert report.levelno == logging.WARNING
        assert "run_sync" in report.getMessage()
        release.set()
        await remote.become_healthy()
        assert remote.incarnations == 2


async def test_a_restart_runs_the_function_again_in_the_next_incarnation() -> None:
    """S24, S19: what on_stop has told one thread is not left to the next."""
    left, right = socket.socketpair()
    received: list[bytes] = []
    got = trio.Event()

    def receive() -> None:
        received.append(right.recv(1))
        if received[-1] == b"x":
            in_trio(got.set)
            right.recv(1)

    child = thread(receive, on_stop=partial(left.send, b"."))
    with left, right:
        async with open_started(supervisor.run, "child", child, grace=9.0) as (_, handle):
            await handle.restart()
            left.send(b"x")
            await got.wait()
    assert received == [b".", b"x"]


async def test_two_hundred_threads_leave_room_for_a_program() -> None:
    """S24: they use none of the threads that Trio has for others, such as starts of processes."""
    blocked = [Blocking() for _ in range(200)]
    program = command(WAITS)

    async def root() -> None:
        for number, each in enumerate(blocked):
            supervisor.run(f"thread{number}", thread(each, on_stop=each.stop))
        for each in blocked:
            await each.started.wait()
        supervisor.run("program", program)
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    async with open_harness(root, patience=60.0) as tree:
        await tree.wait_ready()
        assert program.pid is not None
    assert len(set().union(*(each.threads for each in blocked))) == 200


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        ((5,), {}, r"thread\(\) got 5, which is not a function$"),
        ((print,), {"on_stop": 5}, r"thread\(\) got 5, which is not a function for on_stop=$"),
        ((trio.sleep,), {}, r"thread\(\) got .*, which is async: pass a function, which nothing"),
        ((partial(trio.sleep),), {}, "which is async: pass a function"),
        ((print,), {"on_stop": trio.sleep}, "is async: pass a function for on_stop=, which no"),
        ((print,), {"healthy_at_start": None}, "healthy_at_start=None is not a bool: pass"),
    ],
)
def test_a_wrong_argument_is_refused_at_the_call(
    args: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    """S24, S2: the message names it, and says what to pass."""
    with pytest.raises(TypeError, match=message):
        thread(*args, **options)

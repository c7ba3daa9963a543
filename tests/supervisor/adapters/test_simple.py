"""Async functions that know nothing of signals, as runnables (S24)."""

from __future__ import annotations

import logging
import random
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import GroupState, NodeState, Signal
from supervisor.adapters import from_start, oneshot, periodic
from supervisor.testing import Remote

from ..helpers.backoffs import AT_ONCE, STEADY
from ..helpers.runnables import idle
from ..helpers.trees import open_recorded, open_started

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

ADAPTERS: list[Callable[..., Callable[[], Awaitable[None]]]] = [
    oneshot,
    from_start,
    partial(periodic, every=1.0),
]
over_adapters = pytest.mark.parametrize("adapter", ADAPTERS, ids=["oneshot", "start", "periodic"])


async def do_nothing() -> None:
    """Return at once."""


async def fail(number: int, **_options: object) -> None:
    raise OSError(number, "no such disk")


# All of them


@over_adapters
async def test_an_error_is_a_death_without_a_group_around_it(
    adapter: Callable[..., Callable[[], Awaitable[None]]],
) -> None:
    """S24, S5: the node dies of what the function raised."""
    with pytest.raises(OSError, match="no such disk") as caught:
        await supervisor.supervise(adapter(fail, 5), propagate=True)
    assert caught.value.errno == 5


@over_adapters
def test_what_is_no_function_is_refused_at_the_call(
    adapter: Callable[..., object], recwarn: pytest.WarningsRecorder
) -> None:
    """S24, S2: a coroutine is closed, and the message says what to pass instead."""
    with pytest.raises(TypeError, match=r"\(\) got 5, which is not an async function"):
        adapter(5)
    with pytest.raises(TypeError, match="and its arguments, without calling it"):
        adapter(do_nothing())
    assert not recwarn.list


async def iterate() -> AsyncIterator[int]:
    await trio.lowlevel.checkpoint()
    yield 1


def generate() -> Iterator[int]:
    yield 1


@over_adapters
@pytest.mark.parametrize("function", [iterate, partial(iterate), generate, int], ids=repr)
def test_what_returns_nothing_to_await_is_refused_at_the_call(
    adapter: Callable[..., object], function: object
) -> None:
    """S24, S2: as far as that is known before it is called, as by supervisor.run()."""
    with pytest.raises(TypeError, match=r"\(\) got .*, which is not an async function"):
        adapter(function)


# oneshot


async def test_what_is_ordered_after_a_oneshot_waits_for_its_return(
    autojump_clock: MockClock,
) -> None:
    """S24, S20: it is NEW while the function runs, then HEALTHY and DONE."""
    group = {"migrate": oneshot(trio.sleep, 3.0), "api": idle}
    async with open_recorded(supervisor.run_group, group, ordered=True) as (_, _, transitions):
        await trio.sleep(5.0)
        assert transitions.seen == [
            (0.0, "migrate", "NEW"),
            (3.0, "migrate", "HEALTHY"),
            (3.0, "migrate", "DONE"),
            (3.0, "api", "NEW"),
            (3.0, "api", "HEALTHY"),
        ]
    assert autojump_clock.current_time() == 5.0


async def test_the_children_of_a_oneshot_live_on() -> None:
    """S24, S6: the function may start children, for its node is NEW."""

    async def begin(name: str) -> None:
        supervisor.run(name, idle)

    async with open_started(supervisor.run, "parent", oneshot(begin, "child")) as (tree, _):
        nodes = tree.snapshot().nodes
        assert nodes["root.parent"].state is NodeState.DONE
        assert nodes["root.parent.child"].state is NodeState.HEALTHY


async def test_a_oneshot_may_end_its_work_within_the_grace(autojump_clock: MockClock) -> None:
    """S24, S21: a return after the stop request is no error."""
    ended: list[float] = []

    async def work() -> None:
        await trio.sleep(3.0)
        ended.append(trio.current_time())

    async with open_started(supervisor.run, "work", oneshot(work), grace=5.0) as (tree, handle):
        await handle.stop()
        node = tree.snapshot().nodes["root.work"]
        assert (node.state, node.stop_error, ended) == (NodeState.CANCELED, None, [3.0])
    assert autojump_clock.current_time() == 3.0


async def test_a_cancelled_oneshot_is_not_healthy() -> None:
    """S24, S12: cancelled here, in the function; a restart begins again."""
    async with open_recorded(supervisor.run, "work", oneshot(trio.sleep_forever)) as (
        _,
        handle,
        transitions,
    ):
        await handle.restart()
        await handle.stop()
        states = [state for _, _, state in transitions.seen]
        assert states == ["NEW", "CANCELED", "NEW", "CANCELED"]


@pytest.mark.parametrize("adapter", [oneshot, from_start])
async def test_a_member_that_dies_takes_it_with_it(
    adapter: Callable[..., Callable[[], Awaitable[None]]],
) -> None:
    """S24, S7: it runs again, before what is ordered after it."""
    runs: list[str] = []
    mate = Remote()

    async def work(task_status: trio.TaskStatus[None] | None = None) -> None:
        runs.append("run")
        if task_status is not None:
            task_status.started()
            await trio.sleep_forever()

    group = {"work": adapter(work), "mate": mate}
    async with open_started(supervisor.run_group, group, ordered=True, backoff=AT_ONCE):
        await mate.become_healthy()
        await mate.die()
        await mate.become_healthy()
        assert runs == ["run", "run"]


# from_start


async def test_from_start_is_healthy_at_started() -> None:
    """S24: Trio's own server is healthy when it listens, and runs until it is stopped."""

    async def serve(*, task_status: trio.TaskStatus[list[trio.SocketListener]]) -> None:
        await trio.serve_tcp(answer, 0, host="127.0.0.1", task_status=task_status)

    async def answer(stream: trio.SocketStream) -> None:
        await stream.send_all(b"hello")

    async with open_started(supervisor.run, "server", from_start(serve)) as (tree, handle):
        await handle.wait_healthy()
        assert tree.snapshot().nodes["root.server"].state is NodeState.HEALTHY
        await handle.stop()
        assert tree.snapshot().nodes["root.server"].stop_error is None


async def test_a_task_of_the_function_may_call_started() -> None:
    """S24, S1: as Trio's own servers do, which call it in a nursery."""

    async def serve(*, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(accept, task_status=task_status))

    async def accept(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep_forever()

    async with open_started(supervisor.run, "server", from_start(serve)) as (_, handle):
        await handle.wait_healthy()


async def test_a_return_without_done_is_a_death(autojump_clock: MockClock) -> None:
    """S24, S5: returns are judged as ever, before and after started()."""

    async def begin(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()

    async def return_(*, task_status: trio.TaskStatus[None]) -> None:  # noqa: ARG001
        return

    for function, state in ((begin, "HEALTHY"), (return_, "NEW")):
        async with open_started(supervisor.run, "child", from_start(function)) as (tree, _):
            (crash,) = tree.snapshot().nodes["root.child"].crashes
            assert crash.error.startswith("UnexpectedReturnError")
            assert state in crash.error
    assert autojump_clock.current_time() == 0.0


async def test_an_error_after_started_restarts_with_backoff(autojump_clock: MockClock) -> None:
    """S24, S9: as of any runnable that was HEALTHY."""
    starts: list[float] = []

    async def serve(*, task_status: trio.TaskStatus[None]) -> None:
        starts.append(trio.current_time())
        task_status.started()
        await trio.sleep(1.0)
        raise OSError

    async with open_started(supervisor.run, "child", from_start(serve), backoff=STEADY):
        await trio.sleep(3.5)
        assert starts == [0.0, 2.0]
    assert autojump_clock.current_time() == 3.5


async def test_started_twice_is_an_error() -> None:
    """S24, S4: HEALTHY is signalled once."""

    async def begin_twice(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        task_status.started()

    with pytest.raises(supervisor.SignalError, match="signalled HEALTHY when HEALTHY"):
        await supervisor.supervise(from_start(begin_twice), propagate=True)


async def test_a_function_is_cancelled_before_started() -> None:
    """S24, S12: cancelled here; unlike under start(), nothing holds it up."""

    async def hang(*, task_status: trio.TaskStatus[None]) -> None:  # noqa: ARG001
        await trio.sleep_forever()

    async with open_recorded(supervisor.run, "child", from_start(hang)) as (_, handle, transitions):
        await handle.restart()
        await handle.stop()
        states = [state for _, _, state in transitions.seen]
        assert states == ["NEW", "CANCELED", "NEW", "CANCELED"]


# periodic


async def test_calls_begin_at_once_and_then_from_start_to_start(
    autojump_clock: MockClock,
) -> None:
    """S24: the time that a call takes makes no difference; starts that were missed are left out."""
    durations = iter([1.0, 0.0, 25.0, 4.0, 0.0])
    starts: list[float] = []

    async def call(factor: float) -> None:
        starts.append(trio.current_time())
        await trio.sleep(factor * next(durations))

    child = periodic(call, 1.0, every=10.0)
    async with open_recorded(supervisor.run, "child", child) as (_, _, transitions):
        await trio.sleep(65.0)
        assert starts == [0.0, 10.0, 20.0, 50.0, 60.0]
        # HEALTHY after the first call.
        assert transitions.seen == [(0.0, "child", "NEW"), (1.0, "child", "HEALTHY")]
    assert autojump_clock.current_time() == 65.0


async def test_a_call_that_ends_when_the_next_is_due_misses_none(
    autojump_clock: MockClock,
) -> None:
    """S24: a start is missed when its time is over; it is never made up for twice."""
    starts: list[float] = []

    async def call() -> None:
        starts.append(trio.current_time())
        await trio.sleep(1.0)

    async with open_started(supervisor.run, "child", periodic(call, every=0.5)):
        await trio.sleep(2.5)
    # The stop lets the third end, and no other begins, although one is due.
    assert starts == [0.0, 1.0, 2.0]
    assert autojump_clock.current_time() == 3.0


async def test_an_interval_that_no_float_holds_is_kept(autojump_clock: MockClock) -> None:
    """S24: however the times are rounded, no call begins twice for one start."""
    starts: list[float] = []

    async def call() -> None:
        starts.append(trio.current_time())

    async with open_started(supervisor.run, "child", periodic(call, every=0.1)):
        await trio.sleep(99.95)
    assert len(starts) == 1000
    assert autojump_clock.current_time() == 99.95


async def test_jitter_begins_a_call_later_by_a_share_of_the_interval(
    autojump_clock: MockClock,
) -> None:
    """S24: the first call begins at once, and the times do not add up."""
    random.seed(7)
    late: list[float] = []

    async def call() -> None:
        late.append(trio.current_time() - 10.0 * len(late))

    async with open_started(supervisor.run, "child", periodic(call, every=10.0, jitter=0.5)):
        await trio.sleep(1000.0)
    assert late[0] == 0.0
    assert len(set(late)) == len(late) >= 99
    assert all(0.0 <= seconds < 5.0 for seconds in late)
    assert max(late) > 4.0
    assert autojump_clock.current_time() == 1000.0


async def test_a_call_in_progress_ends_within_the_grace(autojump_clock: MockClock) -> None:
    """S24, S21: the stop waits for it, and no other begins."""
    ends: list[float] = []

    async def call() -> None:
        await trio.sleep(4.0)
        ends.append(trio.current_time())

    child = periodic(call, every=10.0)
    async with open_started(supervisor.run, "child", child, grace=5.0) as (tree, handle):
        await trio.sleep(11.0)
        await handle.stop()
        assert ends == [4.0, 14.0]
        assert tree.snapshot().nodes["root.child"].stop_error is None
    assert autojump_clock.current_time() == 14.0


async def test_a_periodic_brings_a_grace_of_its_own(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """S24, S21: without it there would be no time between the request and the cancellation."""
    child = periodic(trio.sleep, 4.0, every=10.0)
    async with open_started(supervisor.run, "child", child) as (_, handle):
        await trio.sleep(1.0)
        await handle.stop()
    assert autojump_clock.current_time() == 4.0
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_stop_between_two_calls_ends_at_once(autojump_clock: MockClock) -> None:
    """S24, S21: the grace is for calls, not for pauses."""
    child = periodic(do_nothing, every=100.0)
    async with open_started(supervisor.run, "child", child, grace=50.0) as (_, handle):
        await trio.sleep(11.0)
        await handle.stop()
    assert autojump_clock.current_time() == 11.0


async def test_a_call_is_cancelled_when_the_grace_is_over(autojump_clock: MockClock) -> None:
    """S24, S12: cancelled here, in a call, in a pause, and without a request."""
    child = periodic(trio.sleep_forever, every=1.0)
    async with open_started(supervisor.run, "child", child, grace=2.0) as (_, handle):
        await handle.stop()
        assert autojump_clock.current_time() == 2.0
    for function in (trio.sleep_forever, do_nothing):
        with trio.move_on_after(1.5) as scope:
            await supervisor.supervise(periodic(function, every=1.0))
        assert scope.cancelled_caught
    assert autojump_clock.current_time() == 5.0


async def test_an_error_in_a_later_call_restarts_with_backoff(autojump_clock: MockClock) -> None:
    """S24, S9: the next incarnation calls at once."""
    starts: list[float] = []

    async def call() -> None:
        starts.append(trio.current_time())
        if len(starts) == 2:
            raise OSError

    child = periodic(call, every=10.0)
    async with open_started(supervisor.run, "child", child, backoff=STEADY) as (tree, handle):
        await trio.sleep(22.0)
        assert starts == [0.0, 10.0, 11.0, 21.0]
        assert len(tree.snapshot().nodes["root.child"].crashes) == 1
        await handle.restart()
        await wait_all_tasks_blocked()
        assert starts[4:] == [22.0]
    assert autojump_clock.current_time() == 22.0


async def test_a_member_that_dies_takes_a_periodic_with_it(autojump_clock: MockClock) -> None:
    """S24, S7: it restarts with its group, from its first call on."""
    starts: list[float] = []

    async def call() -> None:
        starts.append(trio.current_time())

    async def die_once() -> None:
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(3.0)
        if len(starts) < 2:
            raise OSError
        await trio.sleep_forever()

    group = {"beat": periodic(call, every=100.0), "partner": die_once}
    async with open_started(supervisor.run_group, group, backoff=STEADY) as (_, handle):
        await trio.sleep(10.0)
        assert starts == [0.0, 4.0]
        assert handle.state is GroupState.RUNNING
    assert autojump_clock.current_time() == 10.0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"every": 0}, ValueError, r"periodic\(\): every=0 is not a number of seconds above 0"),
        ({"every": -1.0}, ValueError, r"every=-1\.0 is not"),
        ({"every": float("nan")}, ValueError, "every=nan is not"),
        ({"every": float("inf")}, ValueError, "every=inf is not"),
        ({"every": 10**400}, ValueError, r"every=10+… is not"),
        ({"every": "1"}, TypeError, "every='1' is not"),
        ({"every": True}, TypeError, "every=True is not"),
        ({"every": 1, "jitter": 1.5}, ValueError, r"jitter=1\.5 is not a number from 0 to 1"),
        ({"every": 1, "jitter": None}, TypeError, "jitter=None is not"),
    ],
)
def test_a_wrong_number_is_refused_at_the_call(
    options: dict[str, float], error: type[Exception], message: str
) -> None:
    """S24, S2: the message names the argument and shows the value."""
    with pytest.raises(error, match=message):
        periodic(do_nothing, **options)


def test_a_value_without_a_repr_is_refused_too() -> None:
    """S2: what is wrong with the argument is told, not what is wrong with its repr."""

    class Nameless:
        def __repr__(self) -> str:
            raise OSError

    with pytest.raises(TypeError, match="every=<a Nameless that has no repr> is not"):
        periodic(do_nothing, every=Nameless())  # type: ignore[arg-type]  # that is the test


async def test_an_adapter_may_be_the_root() -> None:
    """S24: what they return is a runnable like any other."""
    await supervisor.supervise(oneshot(do_nothing))

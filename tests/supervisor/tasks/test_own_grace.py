"""A runnable may bring its own grace, which counts where no number is given (S21)."""

from __future__ import annotations

import re
from functools import partial
from math import nan
from typing import TYPE_CHECKING, final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import open_supervisor
from supervisor.testing import open_harness

from ..helpers.backoffs import STEADY
from ..helpers.runnables import idle, start_and_idle
from ..helpers.stop_times import StopTimes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from trio.testing import MockClock

    from supervisor import Handle

    Runnables = Mapping[str, Callable[[], Awaitable[object]]]


@final
class Patient:
    """A runnable with a grace of its own, which uses all of it."""

    def __init__(self, stops: StopTimes, grace: object) -> None:
        self.grace: object = grace
        self._stops = stops

    async def __call__(self, work: float = 1e9) -> None:
        await self._stops.stay(work)


async def run_and_stop(start: Callable[[], object]) -> None:
    """Run a tree whose root calls ``start``, and stop it when it has settled."""
    async with open_supervisor(start_and_idle, start) as tree:
        await tree.wait_settled()


@pytest.mark.parametrize("own", [8.0, 8])
async def test_a_runnable_brings_its_own_grace(own: float, autojump_clock: MockClock) -> None:
    """S21: it counts in run(), where no grace is given."""
    stops = StopTimes()
    await run_and_stop(lambda: supervisor.run("a", Patient(stops, own)))
    assert stops.ended == {"root.a": 8.0}
    assert autojump_clock.current_time() == 8.0


@pytest.mark.parametrize("given", [0.0, 0, 2.0])
async def test_a_given_number_wins(given: float, autojump_clock: MockClock) -> None:
    """S21: also 0, in run()."""
    stops = StopTimes()
    await run_and_stop(lambda: supervisor.run("a", Patient(stops, 8.0), grace=given))
    assert stops.ended == {"root.a": given}
    assert autojump_clock.current_time() == given


async def test_arguments_do_not_hide_the_grace(autojump_clock: MockClock) -> None:
    """S21: it counts with arguments too, and through functools.partial."""
    stops = StopTimes()
    await run_and_stop(lambda: supervisor.run("a", Patient(stops, 8.0), 16.0))
    wrapped = partial(partial(Patient(stops, 4.0)), 16.0)
    await run_and_stop(lambda: supervisor.run("b", wrapped))
    assert stops.ended == {"root.a": 8.0, "root.b": 12.0}
    assert autojump_clock.current_time() == 12.0


async def test_the_grace_of_a_partial_comes_before_that_of_its_function(
    autojump_clock: MockClock,
) -> None:
    """S21: an attribute of the runnable that was passed is the nearest."""
    stops = StopTimes()
    wrapped = partial(Patient(stops, 8.0), 16.0)
    wrapped.grace = 2.0  # type: ignore[attr-defined]  # a partial takes attributes
    await run_and_stop(lambda: supervisor.run("a", wrapped))
    assert autojump_clock.current_time() == 2.0


@pytest.mark.parametrize(
    ("grace", "ended"),
    [
        (None, {"root.a": 8.0, "root.b": 4.0, "root.c": 0.0}),
        ({}, {"root.a": 8.0, "root.b": 4.0, "root.c": 0.0}),
        ({"a": 1.0, "c": 2.0}, {"root.a": 1.0, "root.b": 4.0, "root.c": 2.0}),
        ({"a": 0.0}, {"root.a": 0.0, "root.b": 4.0, "root.c": 0.0}),
        (3.0, {"root.a": 3.0, "root.b": 3.0, "root.c": 3.0}),
        (0.0, {"root.a": 0.0, "root.b": 0.0, "root.c": 0.0}),
    ],
)
async def test_each_member_of_a_group_has_its_own_grace(
    grace: float | Mapping[str, float] | None,
    ended: Mapping[str, float],
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S21: a number for all, or one by name, wins; the others keep theirs, or have none."""
    stops = StopTimes()
    a, b = Patient(stops, 8.0), Patient(stops, 4.0)
    members: Runnables = {"a": a, "b": b, "c": stops.stay}
    await run_and_stop(lambda: supervisor.run_group(members, grace=grace))
    assert stops.ended == ended


async def test_a_group_of_one_has_its_members_grace(autojump_clock: MockClock) -> None:
    """S21: run_group() of a single member is no different."""
    stops = StopTimes()
    await run_and_stop(lambda: supervisor.run_group({"a": Patient(stops, 8.0)}))
    assert autojump_clock.current_time() == 8.0


async def test_it_counts_in_the_restart_of_a_group_and_in_stop(autojump_clock: MockClock) -> None:
    """S21: in each stop by the supervisor."""
    stops = StopTimes()
    handles: list[Handle] = []

    async def root() -> None:
        members: Runnables = {"a": Patient(stops, 8.0), "b": stops.stay}
        handles.append(supervisor.run_group(members, backoff=STEADY))
        await idle()

    async with open_supervisor(root) as tree:
        await tree.wait_settled()
        await handles[0].restart()
        assert (stops.ended, trio.current_time()) == ({"root.a": 8.0, "root.b": 0.0}, 8.0)
        await tree.wait_settled()
        await handles[0].stop()
        assert stops.ended == {"root.a": 16.0, "root.b": 8.0}
    assert autojump_clock.current_time() == 16.0


async def test_a_group_function_brings_new_grace_periods(autojump_clock: MockClock) -> None:
    """S8, S21: those of the runnables that run now count."""
    stops = StopTimes()
    periods = [0.0, 4.0, 0.0]
    handles: list[Handle] = []

    def members() -> Runnables:
        return {"a": Patient(stops, periods.pop(0)), "b": stops.stay}

    async def root() -> None:
        handles.append(supervisor.run_group(members))
        await idle()

    async with open_supervisor(root) as tree:
        await tree.wait_settled()
        ended = []
        for _ in range(2):
            await handles[0].restart()
            await tree.wait_settled()
            ended.append(stops.ended["root.a"])
    assert (ended, stops.ended) == ([0.0, 4.0], {"root.a": 4.0, "root.b": 4.0})
    assert autojump_clock.current_time() == 4.0


async def test_it_counts_in_a_pool(autojump_clock: MockClock) -> None:
    """S21, S23: Pool.run() takes it as run() does, and a given number wins."""
    stops = StopTimes()

    async def root() -> None:
        pool = supervisor.run_pool("pool")
        supervisor.signal(supervisor.Signal.HEALTHY)
        await pool.wait_healthy()
        pool.run("a", Patient(stops, 8.0))
        pool.run("b", Patient(stops, 8.0), grace=2.0)
        pool.run("c", stops.stay)
        await trio.sleep_forever()

    async with open_supervisor(root):
        await wait_all_tasks_blocked()
    assert stops.ended == {"root.pool.c": 0.0, "root.pool.b": 2.0, "root.pool.a": 10.0}
    assert autojump_clock.current_time() == 10.0


async def test_the_root_brings_its_own_grace(autojump_clock: MockClock) -> None:
    """S21: open_supervisor() takes it, with arguments too, and a given number wins."""
    stops = StopTimes()
    async with open_supervisor(Patient(stops, 8.0), 16.0) as tree:
        await tree.wait_settled()
    assert stops.ended == {"root": 8.0}
    async with open_supervisor(Patient(stops, 8.0), grace=1.0) as tree:
        await tree.wait_settled()
    assert autojump_clock.current_time() == 9.0


WRONG = [
    (-1.0, ValueError),
    (nan, ValueError),
    ("1", TypeError),
    (True, TypeError),
    ({"a": 1.0}, TypeError),
]


def refusal(name: str, grace: object) -> str:
    return f"^the runnable '{name}': grace={re.escape(repr(grace))} is not a number of seconds of"


@pytest.mark.parametrize(("own", "error"), WRONG)
async def test_a_wrong_attribute_is_an_error_at_the_call(
    own: object, error: type[Exception]
) -> None:
    """S2, S21: as a wrong argument is; nothing has begun, and a given number hides it."""
    wrong = Patient(StopTimes(), own)

    async def root() -> None:
        with pytest.raises(error, match=refusal("a", own)):
            supervisor.run("a", wrong)
        with pytest.raises(error, match=refusal("b", own)):
            supervisor.run_group({"a": idle, "b": wrong}, grace={"a": 1.0})
        pool = supervisor.run_pool("pool")
        supervisor.signal(supervisor.Signal.HEALTHY)
        await pool.wait_healthy()
        with pytest.raises(error, match=refusal("c", own)):
            pool.run("c", wrong)
        pool.run("c", wrong, grace=0.0)
        await trio.sleep_forever()

    async with open_harness(root) as tree:
        await wait_all_tasks_blocked()
        assert set(tree.snapshot().nodes) == {"root", "root.pool", "root.pool.c"}


@pytest.mark.parametrize(("own", "error"), WRONG)
def test_a_wrong_attribute_of_the_root_is_an_error_before_anything_runs(
    own: object, error: type[Exception]
) -> None:
    """S2, S21: in supervise(), open_supervisor() and main()."""
    wrong = Patient(StopTimes(), own)

    async def supervised() -> None:
        await supervisor.supervise(wrong)

    async def opened() -> None:
        async with open_supervisor(wrong):
            raise AssertionError

    for call in (
        partial(trio.run, supervised),
        partial(trio.run, opened),
        partial(supervisor.main, wrong),
    ):
        with pytest.raises(error, match=refusal("root", own)):
            call()


async def test_a_wrong_attribute_at_a_restart_is_a_failure_of_the_group(
    autojump_clock: MockClock,
) -> None:
    """S8, S21: what a group's function returns is checked at each start."""
    periods: list[object] = [1.0, "1", 1.0]
    handles: list[Handle] = []

    async def root() -> None:
        make = lambda: {"a": Patient(StopTimes(), periods.pop(0))}  # noqa: E731
        handles.append(supervisor.run_group(make, backoff=STEADY))
        await idle()

    async with open_harness(root) as tree:
        await tree.wait_settled()
        await handles[0].restart()
        await handles[0].wait_healthy()
        group = tree.snapshot().nodes["root.a"].group
        assert (group.failures, periods) == (1, [])
    assert autojump_clock.current_time() == 3.0

"""The soak notices what it is there to notice, and a short one finds all in order."""

from __future__ import annotations

import logging
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

import supervisor
from supervisor import NodeState, Signal

# Behind all other places, so that the packages which are tested stay those of the wheel.
sys.path.append(str(Path(__file__).parent.parent))

from benchmarks.soak import memory
from benchmarks.soak.ledger import Ledger, Place, Transitions
from benchmarks.soak.run import Plan, soak
from benchmarks.soak.streams import Progress

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def test_a_short_soak_finds_all_in_order(caplog: pytest.LogCaptureFixture) -> None:
    """Everything runs, is told, and ends."""
    caplog.set_level("CRITICAL", logger="supervisor")
    random.seed(1)
    told: list[str] = []
    plan = Plan(5.0, nodes=160, every=1.0, tell=told.append, now=trio.current_time)
    assert trio.run(soak, plan, clock=MockClock(autojump_threshold=0)) == []
    assert [line.split()[0] for line in told] == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("round_", [object, lambda: None], ids=["told", "guessed"])
def test_a_start_beside_the_previous_incarnation_is_a_violation(
    ledger: Ledger, round_: Callable[[], object]
) -> None:
    """S7: a task of the last round is enough, also one further down."""
    above = Place(ledger, "area")
    below = Place(ledger, "leaf", above)
    above.start("a", round_())
    with below.task():
        above.start("a", round_())
    assert ledger.violations == [
        "S7: a of area starts, while 1 tasks of the previous incarnation are alive"
    ]


def test_a_member_that_had_not_started_yet_must_wait_as_well(ledger: Ledger) -> None:
    """S7: it is the group's tasks that have to be gone, not only the member's own."""
    place = Place(ledger, "group")
    place.start("a", object())
    with place.task():
        place.start("b", object())
    assert len(ledger.violations) == 1


def test_members_of_one_round_may_start_beside_each_other(ledger: Ledger) -> None:
    """S7 says nothing of them; but none of them may start twice."""
    place = Place(ledger, "group")
    round_ = object()
    for member in ("a", "b"):
        place.start(member, round_)
        with place.task():
            pass
    assert not ledger.violations
    place.start("b", round_)
    assert ledger.violations == ["S7: b of group starts twice in one round"]


def test_an_illegal_transition_is_a_violation(ledger: Ledger) -> None:
    """S3: no state is skipped, and nothing vanishes that was not there."""
    transitions = Transitions(ledger)
    transitions.notify_node_state("root", NodeState.NEW)
    transitions.notify_node_state("root", NodeState.DONE)
    transitions.notify_node_gone("root.a")
    assert ledger.violations == [
        "S3: root became DONE when it was NEW",
        "S16: root.a vanished, and was not there",
    ]


async def test_a_snapshot_that_differs_from_what_was_told_is_a_violation(ledger: Ledger) -> None:
    """S16: what the tree shows is what it has told."""
    transitions = Transitions(ledger)

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    async with supervisor.open_supervisor(root, metrics=transitions) as tree:
        await tree.wait_settled()
        transitions.compare(tree.snapshot())
        assert not ledger.violations
        transitions.check_the_end()
        transitions.notify_node_state("root.a", NodeState.NEW)
        transitions.compare(tree.snapshot())
    assert ledger.violations == [
        "S12: the tree has ended, but not root",
        "S16: the snapshot differs from what was told of root.a",
    ]


def test_a_logger_of_a_job_that_is_gone_is_a_violation(ledger: Ledger) -> None:
    """S23: of those that are there, logging may keep as much as it likes."""
    transitions = Transitions(ledger)
    dn = "root.only_in_this_test.pool.job1"
    transitions.notify_node_state(dn, NodeState.NEW)
    logging.getLogger(f"supervisor.node.{dn}")
    transitions.check_loggers()
    assert not ledger.violations
    transitions.notify_node_gone(dn)
    transitions.check_loggers()
    logging.Logger.manager.loggerDict.pop(f"supervisor.node.{dn}")
    assert ledger.violations == [f"S23: there are loggers of {dn}"]


def test_what_takes_too_long_hangs(ledger: Ledger) -> None:
    """Nobody waits for ever, and the violation says for what."""

    async def main() -> None:
        with ledger.patience(30, "get()"):
            await trio.sleep(29)
        assert not ledger.violations
        with ledger.patience(30, "get()"):
            await trio.sleep(31)

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert ledger.violations == ["it hangs: get() has not returned within 30 s"]


@pytest.mark.parametrize(("number", "is_new", "held"), [
    (6, False, True),
    (5, False, False),
    (4, False, False),
    (5, True, True),
    (4, True, False),
])  # fmt: skip
def test_a_watcher_never_goes_back(
    ledger: Ledger, number: int, *, is_new: bool, held: bool
) -> None:
    """V3: the same number comes twice at most to a watcher that is new."""
    progress = Progress(ledger, "a watcher")
    progress.take(5)
    if is_new:
        progress.restart()
    progress.take(number)
    assert (not ledger.violations) == held


@pytest.mark.parametrize(("late", "flat"), [(100, True), (109, True), (112, False)])
def test_memory_that_grows_after_the_warm_up_is_a_violation(late: int, *, flat: bool) -> None:
    """What grows before does not count."""
    measured = memory.Memory()
    measured.sizes = [*range(10, 90, 10), 100, 100, 100, 100, 100, late, late, late]
    assert (measured.complaint() is None) == flat

"""The soak finds violations of the guarantees, and a short one finds none in the packages."""

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
from benchmarks.soak.run import Plan, soak
from benchmarks.soak.streams import Progress
from benchmarks.soak.violations import Findings, GroupTasks, Transitions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.processes


@pytest.fixture
def findings() -> Findings:
    return Findings()


@pytest.fixture(autouse=True)
def _no_loggers_left() -> Iterator[None]:
    """Remove the loggers of the soak's nodes: other tests look for loggers that are left over."""
    known = logging.Logger.manager.loggerDict
    before = set(known)
    yield
    for name in known.keys() - before:
        del known[name]


def test_a_short_soak_finds_no_violation(caplog: pytest.LogCaptureFixture) -> None:
    """The tree runs and ends, and each second has its line."""
    caplog.set_level("CRITICAL", logger="supervisor")
    random.seed(1)
    lines: list[str] = []
    plan = Plan(5.0, nodes=160, every=1.0, output=lines.append, now=trio.current_time)
    assert trio.run(soak, plan, clock=MockClock(autojump_threshold=0)) == []
    assert [line.split()[0] for line in lines] == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("round_", [object, lambda: None], ids=["given", "guessed"])
def test_a_start_beside_the_previous_incarnation_is_a_violation(
    findings: Findings, round_: Callable[[], object]
) -> None:
    """S7: one task of the last round violates it, also in a group below."""
    upper = GroupTasks(findings, "area")
    lower = GroupTasks(findings, "leaf", upper)
    upper.add_start("a", round_())
    with lower.count_task():
        upper.add_start("a", round_())
    assert findings.violations == [
        "S7: a of area starts, while 1 tasks of the previous incarnation are alive"
    ]


def test_a_member_that_had_not_started_yet_must_wait_as_well(findings: Findings) -> None:
    """S7: all tasks of the group have to be gone, not only those of the member."""
    group = GroupTasks(findings, "group")
    group.add_start("a", object())
    with group.count_task():
        group.add_start("b", object())
    assert len(findings.violations) == 1


def test_members_of_one_round_may_start_beside_each_other(findings: Findings) -> None:
    """S7: members of a round start in any order, but none of them twice."""
    group = GroupTasks(findings, "group")
    round_ = object()
    for member in ("a", "b"):
        group.add_start(member, round_)
        with group.count_task():
            pass
    assert not findings.violations
    group.add_start("b", round_)
    assert findings.violations == ["S7: b of group starts twice in one round"]


def test_an_illegal_transition_is_a_violation(findings: Findings) -> None:
    """S3: no state is skipped, and nothing vanishes that was not there."""
    transitions = Transitions(findings)
    transitions.notify_node_state("root", NodeState.NEW)
    transitions.notify_node_state("root", NodeState.DONE)
    transitions.notify_node_gone("root.a")
    assert findings.violations == [
        "S3: root became DONE when it was NEW",
        "S16: root.a vanished, and was not there",
    ]


async def test_a_snapshot_that_differs_from_the_transitions_is_a_violation(
    findings: Findings,
) -> None:
    """S16: the snapshot shows the states that metrics were notified of."""
    transitions = Transitions(findings)

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    async with supervisor.open_supervisor(root, metrics=transitions) as tree:
        await tree.wait_settled()
        transitions.compare(tree.snapshot())
        assert not findings.violations
        transitions.check_end()
        transitions.notify_node_state("root.a", NodeState.NEW)
        transitions.compare(tree.snapshot())
    assert findings.violations == [
        "S12: the tree has ended, but not root",
        "S16: the snapshot differs from the transitions of root.a",
    ]


def test_a_logger_of_a_job_that_is_gone_is_a_violation(findings: Findings) -> None:
    """S23: logging may keep loggers of those jobs only that are still there."""
    transitions = Transitions(findings)
    dn = "root.only_in_this_test.pool.job1"
    transitions.notify_node_state(dn, NodeState.NEW)
    logging.getLogger(f"supervisor.node.{dn}")
    transitions.check_loggers()
    assert not findings.violations
    transitions.notify_node_gone(dn)
    transitions.check_loggers()
    assert findings.violations == [f"S23: there are loggers of {dn}"]


def test_a_call_that_exceeds_its_time_limit_is_a_violation(findings: Findings) -> None:
    """The violation names the call."""

    async def main() -> None:
        with findings.time_limit(30, "get()"):
            await trio.sleep(29)
        assert not findings.violations
        with findings.time_limit(30, "get()"):
            await trio.sleep(31)

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert findings.violations == ["it hangs: get() has not returned within 30 s"]


@pytest.mark.parametrize(("number", "is_new", "held"), [
    (6, False, True),
    (5, False, False),
    (4, False, False),
    (5, True, True),
    (4, True, False),
])  # fmt: skip
def test_a_watcher_never_goes_back(
    findings: Findings, number: int, *, is_new: bool, held: bool
) -> None:
    """V3: only a new watcher may be given the last number again."""
    progress = Progress(findings, "a watcher")
    progress.take(5)
    if is_new:
        progress.restart()
    progress.take(number)
    assert (not findings.violations) == held


@pytest.mark.parametrize(("late", "flat"), [(100, True), (109, True), (112, False)])
def test_memory_that_grows_after_the_warm_up_is_a_violation(late: int, *, flat: bool) -> None:
    """Growth before the warm-up is over does not count."""
    measured = memory.Memory()
    measured.sizes = [*range(10, 90, 10), 100, 100, 100, 100, 100, late, late, late]
    assert (measured.violation() is None) == flat

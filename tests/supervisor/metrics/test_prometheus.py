"""What Prometheus is shown of a tree (S42)."""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
import threading
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest as open_metrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_open_metrics,
)
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import NotSupervisedError, RestartPolicy, Signal, Supervisor
from supervisor.prometheus import SupervisorCollector
from supervisor.testing import Remote, open_harness
from supervisor.tree_events import NodeDied

from ..helpers.backoffs import AT_ONCE, DOUBLING, LONG
from ..helpers.exposition import dns_of, faults_of, registry_of, samples_of, text_of
from ..helpers.family import PARENT, A, B, Family
from ..helpers.runnables import finish, idle, start, start_and_idle
from ..helpers.trees import open_pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from prometheus_client.samples import Sample

    from supervisor.tree_events import Event

STATES = ("NEW", "HEALTHY", "DONE", "DEAD", "CANCELED")
BEGAN = 1_700_000_000.0
"""The Unix time at which the clock of a test is 0."""


@pytest.fixture
def unix_clock(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> MockClock:
    """Let Unix time go with the test's clock."""
    monkeypatch.setattr(time, "time", lambda: BEGAN + autojump_clock.current_time())
    return autojump_clock


def of_node(registry: CollectorRegistry, dn: str) -> dict[str, float | str]:
    """Return what is shown of a node, with the one state that it is in."""
    shown: dict[str, float | str] = {}
    for (name, owner, state), value in samples_of(registry).items():
        short = name.removeprefix("supervisor_").removeprefix("node_")
        if owner == dn and not state:
            shown[short] = value
        elif owner == dn and name == "supervisor_node_state" and value:
            assert "state" not in shown
            shown["state"] = state
    return shown


def of_pool(registry: CollectorRegistry, dn: str) -> tuple[dict[str, float], float]:
    """Return how many children a pool has in which state, and how often children have died."""
    samples = samples_of(registry)
    children = {
        state: samples["supervisor_pool_children", dn, state]
        for state in STATES
        if samples["supervisor_pool_children", dn, state]
    }
    return children, samples["supervisor_pool_child_deaths_total", dn, ""]


def totals(registry: CollectorRegistry) -> tuple[dict[str, float], float]:
    """Return how many nodes are in which state, and how many have no series."""
    samples = samples_of(registry)
    nodes = {state: samples["supervisor_nodes", "", state] for state in STATES}
    return (
        {state: count for state, count in nodes.items() if count},
        samples["supervisor_nodes_without_series", "", ""],
    )


def observers_of(tree: Supervisor) -> list[object]:
    return [entry.observer for entry in tree._tree._observers]


def all_samples(collector: SupervisorCollector) -> list[Sample]:
    return [sample for metric in collector.collect() for sample in metric.samples]


# Series


async def test_a_node_has_its_state_and_what_has_happened_to_it(
    unix_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S42: starts, deaths, the last transition, the delay that it waits for."""
    remote = Remote()
    async with open_harness(start_and_idle, supervisor.run, "a", remote, backoff=DOUBLING) as tree:
        registry = registry_of(tree)
        await trio.sleep(3.0)
        await remote.become_healthy()
        healthy = {
            "state": "HEALTHY",
            "starts_total": 1.0,
            "deaths_total": 0.0,
            "last_transition_timestamp_seconds": BEGAN + 3.0,
            "backoff_seconds": 0.0,
            "operator_restarts_total": 0.0,
        }
        assert of_node(registry, "root.a") == healthy
        await trio.sleep(2.0)
        await remote.die()
        await wait_all_tasks_blocked()
        dead = {
            "state": "DEAD",
            "deaths_total": 1.0,
            "last_transition_timestamp_seconds": BEGAN + 5.0,
            "backoff_seconds": 1.0,
        }
        assert of_node(registry, "root.a") == healthy | dead
        assert totals(registry) == ({"HEALTHY": 1.0, "DEAD": 1.0}, 0.0)
        await trio.sleep(0.5)
        assert of_node(registry, "root.a")["backoff_seconds"] == 1.0  # how long it is in all
        await remote.become_healthy()
        await remote.die()
        await wait_all_tasks_blocked()
        assert of_node(registry, "root.a")["backoff_seconds"] == 2.0
        await remote.become_healthy()
        await tree.restart("root.a")
        await remote.become_healthy()
        assert of_node(registry, "root.a") == healthy | {
            "starts_total": 4.0,
            "deaths_total": 2.0,
            "last_transition_timestamp_seconds": BEGAN + 8.0,
            "operator_restarts_total": 1.0,
        }


async def test_all_states_of_a_node_are_there_and_one_of_them_is_1() -> None:
    """S42: a query need not know which were there before."""
    family = Family()
    async with supervisor.open_supervisor(family) as tree:
        registry = registry_of(tree)
        await family.become_healthy()
        samples = samples_of(registry)
        for dn in ("root", PARENT, A, B):
            shown = {state: samples["supervisor_node_state", dn, state] for state in STATES}
            assert shown == dict.fromkeys(STATES, 0.0) | {"HEALTHY": 1.0}


async def test_each_member_of_a_group_waits_for_its_delay_and_has_its_restarts(
    unix_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S42: the group's delay and its restarts on demand are shown with each member."""
    family = Family()
    async with supervisor.open_supervisor(family, backoff=DOUBLING) as tree:
        registry = registry_of(tree)
        await family.become_healthy()
        await family.a.die()
        await wait_all_tasks_blocked()
        assert [of_node(registry, dn)["backoff_seconds"] for dn in (A, B)] == [1.0, 1.0]
        assert [of_node(registry, dn)["deaths_total"] for dn in (A, B)] == [1.0, 0.0]
        await tree.restart(B)
        shown = [of_node(registry, dn)["operator_restarts_total"] for dn in (PARENT, A, B)]
        assert shown == [0.0, 1.0, 1.0]
        assert [of_node(registry, dn)["backoff_seconds"] for dn in (A, B)] == [0.0, 0.0]


async def test_a_group_whose_function_fails_waits_for_the_next_delay(
    unix_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S42: it waits on without a transition of its own; each member counts the death."""
    remote, rounds = Remote(), iter([True, False, True])

    def make() -> dict[str, Remote]:
        if not next(rounds):
            raise OSError("nothing to run")
        return {"a": remote}

    async with open_harness(start_and_idle, supervisor.run_group, make, backoff=DOUBLING) as tree:
        registry = registry_of(tree)
        await remote.become_healthy()
        await remote.die()
        await trio.sleep(1.5)
        shown = of_node(registry, "root.a")
        assert (shown["backoff_seconds"], shown["deaths_total"]) == (2.0, 2.0)
        await remote.become_healthy()
        assert of_node(registry, "root.a")["backoff_seconds"] == 0.0


async def test_series_vanish_with_their_nodes() -> None:
    """S42: the children of a node that starts again, and a member that its group has no more."""
    remote, names = Remote(), iter(["old", "new"])

    async def parent() -> None:
        supervisor.run(next(names), idle)
        await remote()

    async with open_harness(start_and_idle, supervisor.run, "parent", parent, backoff=AT_ONCE) as t:
        registry = registry_of(t)
        await remote.become_healthy()
        assert dns_of(registry) == ["root", PARENT, "root.parent.old"]
        await remote.die()
        await remote.become_healthy()
        assert dns_of(registry) == ["root", PARENT, "root.parent.new"]
        assert not any("old" in dn for _, dn, _ in samples_of(registry))
        await t.wait_ready()
        assert totals(registry) == ({"HEALTHY": 3.0}, 0.0)


async def test_a_node_in_the_place_of_another_begins_its_counters_anew() -> None:
    """S42: a counter that goes back to its beginning is one that Prometheus understands."""
    family = Family()
    async with supervisor.open_supervisor(family, backoff=AT_ONCE) as tree:
        registry = registry_of(tree)
        await family.become_healthy()
        await family.a.die()
        await family.a.become_healthy()
        assert of_node(registry, A)["starts_total"] == 2.0
        await family.parent.die()
        await family.become_healthy()
        assert of_node(registry, A)["starts_total"] == 1.0
        assert of_node(registry, A)["deaths_total"] == 0.0
        assert of_node(registry, PARENT)["starts_total"] == 2.0


async def test_a_member_that_waits_its_turn_has_no_series_yet() -> None:
    """S42: in an ordered group; as snapshots do not show it."""
    first = Remote()

    async def root() -> None:
        supervisor.run_group({"a": first, "b": idle}, ordered=True)
        await idle()

    async with supervisor.open_supervisor(root) as tree:
        await wait_all_tasks_blocked()
        registries = [registry_of(tree)]
        assert dns_of(registries[0]) == ["root", "root.a"]
        await first.become_healthy()
        await tree.wait_ready()
        registries.append(registry_of(tree))
        for registry in registries:
            assert dns_of(registry) == ["root", "root.a", "root.b"]


async def test_a_death_is_counted_while_the_rest_of_the_group_stops(
    unix_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S42: a group that was stopping before the death moves again only when all have ended."""
    late, slow = Remote(), Remote()
    slow.stop_slowly(5.0)

    async def root() -> None:
        supervisor.run_group({"late": late, "slow": slow}, start_timeout=1.0, grace={"slow": 10.0})
        await idle()

    async with supervisor.open_supervisor(root, backoff=DOUBLING) as tree:
        registry = registry_of(tree)
        await slow.become_healthy()
        await trio.sleep(2.0)
        assert of_node(registry, "root.slow")["state"] == "HEALTHY"
        assert of_node(registry, "root.late")["state"] == "DEAD"
        assert of_node(registry, "root.late")["deaths_total"] == 1.0


async def test_nothing_of_a_node_that_is_gone_is_kept() -> None:
    """S42: whether it had series or not; a node holds its runnable."""
    remote = Remote()
    made: list[weakref.ref[object]] = []

    async def parent() -> None:
        async def a_pool() -> None:
            pool = supervisor.Pool()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pool)
                await pool.wait_healthy()
                pool.run("child", a_child)

        async def a_child() -> None:
            await idle()

        async def a_leaf() -> None:
            await idle()

        for name, runnable in (("pool", a_pool), ("a", a_leaf), ("b", a_leaf)):
            supervisor.run(name, runnable)
        made.extend(map(weakref.ref, (a_pool, a_child, a_leaf)))
        await remote()

    async with open_harness(
        start_and_idle, supervisor.run, "parent", parent, backoff=AT_ONCE
    ) as tree:
        registries = [registry_of(tree, max_nodes=count) for count in (0, 4, 1000)]
        await remote.become_healthy()
        await wait_all_tasks_blocked()
        assert totals(registries[0]) == ({"HEALTHY": 6.0}, 5.0)
        await tree.restart(PARENT)  # no death, whose log record would hold frames
        await remote.become_healthy()
        await wait_all_tasks_blocked()
        gc.collect()
        assert [each() is None for each in made] == [True] * 3 + [False] * 3
        assert totals(registries[0]) == ({"HEALTHY": 6.0}, 5.0)


# Pools


async def test_a_pool_counts_its_children_which_have_no_series() -> None:
    """S42: by state, and all deaths; what is below a child is only in the total."""
    held, failing = Remote(), Remote()

    async def child_of_child() -> None:
        supervisor.run("below", idle)
        supervisor.run_pool("pool")
        await idle()

    async with open_pool() as (tree, pool):
        registry = registry_of(tree)
        pool.run("held", held)
        pool.run("failing", failing, restart=RestartPolicy.ON_FAILURE)
        pool.run("parent", child_of_child)
        await failing.become_healthy()
        await wait_all_tasks_blocked()
        assert of_pool(registry, "root.pool") == ({"NEW": 1.0, "HEALTHY": 2.0}, 0.0)
        await failing.die()
        await wait_all_tasks_blocked()
        assert of_pool(registry, "root.pool") == ({"NEW": 1.0, "HEALTHY": 1.0, "DEAD": 1.0}, 1.0)
        assert dns_of(registry) == ["root", "root.pool"]
        pools = {dn for name, dn, _ in samples_of(registry) if name == "supervisor_pool_children"}
        assert pools == {"root.pool"}
        assert totals(registry)[0] == {"NEW": 1.0, "HEALTHY": 4.0, "DONE": 1.0, "DEAD": 1.0}
        await pool.stop("failing")
        await held.become_healthy()
        assert of_pool(registry, "root.pool") == ({"HEALTHY": 2.0}, 1.0)


async def test_10_000_children_come_and_go_and_the_number_of_series_stays() -> None:
    """S42: a database of series does not grow by what a pool does."""
    async with open_pool() as (tree, pool):
        registry = registry_of(tree)
        series = samples_of(registry).keys()
        for _ in range(20):
            for _ in range(500):
                pool.run(None, finish)
            assert samples_of(registry).keys() == series
            assert of_pool(registry, "root.pool") == ({"NEW": 500.0}, 0.0)
            assert totals(registry)[1] == 0.0
            await wait_all_tasks_blocked()
        assert samples_of(registry).keys() == series
        assert pool.statistics().done == 10_000
        assert of_pool(registry, "root.pool") == ({}, 0.0)
        assert sum(totals(registry)[0].values()) == 2.0


async def test_a_runnable_that_is_a_pool_late_is_one_from_its_first_child_on() -> None:
    """S42: nothing tells that it has become one."""
    pool = supervisor.Pool()

    async def child() -> None:
        supervisor.signal(Signal.HEALTHY)
        await wait_all_tasks_blocked()
        await pool()

    async with open_harness(start_and_idle, supervisor.run, "pool", child) as tree:
        registry = registry_of(tree)
        await tree.wait_ready()
        await pool.wait_healthy()
        assert not any(name.startswith("supervisor_pool") for name, _, _ in samples_of(registry))
        pool.run("child", idle)
        assert of_pool(registry, "root.pool") == ({"NEW": 1.0}, 0.0)


async def test_a_pool_that_starts_again_has_no_children_and_keeps_its_deaths() -> None:
    """S42: they are the deaths of the pool's children, through all its incarnations."""
    fatal, pool = Remote(), supervisor.Pool()

    async def root() -> None:
        supervisor.run("pool", pool)
        await idle()

    async with supervisor.open_supervisor(root, backoff=AT_ONCE) as tree:
        registry = registry_of(tree)
        await tree.wait_ready()
        pool.run("fatal", fatal, fatal=OSError)
        pool.run("other", idle)
        await fatal.become_healthy()
        await fatal.die(OSError("it is over"))
        await wait_all_tasks_blocked()
        assert of_pool(registry, "root.pool") == ({}, 1.0)
        assert of_node(registry, "root.pool")["starts_total"] == 2.0
        pool.run("one", idle)
        await wait_all_tasks_blocked()
        assert of_pool(registry, "root.pool") == ({"HEALTHY": 1.0}, 1.0)


async def test_a_pool_vanishes_with_its_children() -> None:
    """S42: with its parent's restart; nothing of it is kept."""
    remote = Remote()

    async def parent() -> None:
        pools.append(supervisor.run_pool("pool"))
        await remote()

    pools: list[supervisor.Pool] = []
    async with open_harness(start_and_idle, supervisor.run, "parent", parent, backoff=LONG) as tree:
        registry = registry_of(tree)
        await remote.become_healthy()
        await pools[0].wait_healthy()
        pools[0].run("child", idle)
        await wait_all_tasks_blocked()
        assert of_pool(registry, "root.parent.pool") == ({"HEALTHY": 1.0}, 0.0)
        await remote.die()
        await wait_all_tasks_blocked()
        await tree.restart(PARENT)
        await remote.become_healthy()
        await wait_all_tasks_blocked()
        assert of_pool(registry, "root.parent.pool") == ({}, 0.0)
        assert totals(registry) == ({"HEALTHY": 3.0}, 0.0)


# Too many nodes


async def test_the_oldest_keep_their_series() -> None:
    """S42: the others are counted, and get those that are free, the oldest first."""
    parents = [Remote(), Remote()]

    async def parent(number: int) -> None:
        for name in ("a", "b"):
            supervisor.run(name, idle)
        await parents[number]()

    async def root() -> None:
        for number in range(2):
            supervisor.run(f"p{number}", parent, number)
            await parents[number].become_healthy()
        await idle()

    first = ["root", "root.p0", "root.p0.a", "root.p0.b", "root.p1"]
    async with supervisor.open_supervisor(root, backoff=AT_ONCE) as tree:
        early = registry_of(tree, max_nodes=5)
        await tree.wait_ready()
        late = registry_of(tree, max_nodes=5)
        for registry in (early, late):
            assert set(dns_of(registry)) == set(first)
            assert totals(registry) == ({"HEALTHY": 7.0}, 2.0)
        await parents[1].die()
        await parents[1].become_healthy()
        await tree.wait_ready()
        for registry in (early, late):
            assert set(dns_of(registry)) == set(first)
            assert totals(registry) == ({"HEALTHY": 7.0}, 2.0)
        await parents[0].die()
        await parents[0].become_healthy()
        await tree.wait_ready()
        for registry in (early, late):
            assert dns_of(registry) == ["root", "root.p0", "root.p1", "root.p1.a", "root.p1.b"]
            assert totals(registry) == ({"HEALTHY": 7.0}, 2.0)
        await parents[1].die()
        await parents[1].become_healthy()
        await tree.wait_ready()
        for registry in (early, late):
            assert dns_of(registry) == ["root", "root.p0", "root.p1", "root.p0.a", "root.p0.b"]


async def test_a_node_that_gets_series_late_has_all_of_its_past(
    unix_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S42: nothing is counted from the moment on when the row is free."""
    old, young = Remote(), Remote()

    async def parent() -> None:
        supervisor.run("old", idle)
        await old()

    async def root() -> None:
        supervisor.run("parent", parent)
        await old.become_healthy()
        supervisor.run("young", young)
        await idle()

    async with supervisor.open_supervisor(root, backoff=LONG) as tree:
        registry = registry_of(tree, max_nodes=3)
        await young.become_healthy()
        await young.die()
        await wait_all_tasks_blocked()
        await trio.sleep(10.0)
        assert "root.young" not in dns_of(registry)
        await old.die()
        await wait_all_tasks_blocked()
        await tree.restart(PARENT)
        assert of_node(registry, "root.young") == {
            "state": "DEAD",
            "starts_total": 1.0,
            "deaths_total": 1.0,
            "last_transition_timestamp_seconds": BEGAN,
            "backoff_seconds": 990.0,  # what is left of it
            "operator_restarts_total": 0.0,
        }


async def test_a_pool_without_series_counts_its_children_all_the_same() -> None:
    """S42: the numbers are right when it gets them."""
    remote, pool = Remote(), supervisor.Pool()
    rounds: Iterator[dict[str, Callable[[], Awaitable[None]]]]
    rounds = iter([{"a": remote, "b": idle}, {"a": remote}])

    async def root() -> None:
        supervisor.run_group(lambda: next(rounds))
        supervisor.run("pool", pool)
        await idle()

    async with supervisor.open_supervisor(root, backoff=AT_ONCE) as tree:
        registry = registry_of(tree, max_nodes=3)
        await remote.become_healthy()
        await tree.wait_ready()
        pool.run("child", idle)
        await wait_all_tasks_blocked()
        assert dns_of(registry) == ["root", "root.a", "root.b"]
        assert not any(dn == "root.pool" for _, dn, _ in samples_of(registry))
        await remote.die()
        await remote.become_healthy()
        assert dns_of(registry) == ["root", "root.a", "root.pool"]
        assert of_pool(registry, "root.pool") == ({"HEALTHY": 1.0}, 0.0)


async def test_without_any_node_there_are_totals() -> None:
    """S42: max_nodes may be 0."""
    family = Family()
    async with supervisor.open_supervisor(family) as tree:
        registry = registry_of(tree, max_nodes=0)
        await family.become_healthy()
        assert dns_of(registry) == []
        assert totals(registry) == ({"HEALTHY": 4.0}, 4.0)


# The format


async def exposed() -> str:
    """Return what is exposed of a tree that has all metrics."""
    async with open_pool() as (tree, pool):
        pool.run(None, idle)
        await wait_all_tasks_blocked()
        return text_of(registry_of(tree))


async def test_what_is_exposed_has_no_fault() -> None:
    """S42: by the rules of promtool; each metric has samples."""
    text = await exposed()
    assert list(faults_of(text)) == []
    typed = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert sorted(typed) == [
        "supervisor_node_backoff_seconds",
        "supervisor_node_deaths_total",
        "supervisor_node_last_transition_timestamp_seconds",
        "supervisor_node_starts_total",
        "supervisor_node_state",
        "supervisor_nodes",
        "supervisor_nodes_without_series",
        "supervisor_operator_restarts_total",
        "supervisor_pool_child_deaths_total",
        "supervisor_pool_children",
    ]
    for name in typed:
        assert any(line.startswith((f"{name} ", f"{name}{{")) for line in text.splitlines())


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
async def test_promtool_finds_no_fault() -> None:
    """S42: the program itself, where there is one."""
    text = await exposed()
    command = ["promtool", "check", "metrics"]
    done = await trio.run_process(
        command, stdin=text.encode(), capture_stdout=True, capture_stderr=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


async def test_open_metrics_have_the_same_samples() -> None:
    """S42: the newer format is stricter, and clients ask for it."""
    family = Family()
    async with supervisor.open_supervisor(family) as tree:
        registry = registry_of(tree)
        await family.become_healthy()
        text: str = open_metrics(registry).decode()  # type: ignore[no-untyped-call]  # it has none
        parsed = {
            (sample.name, sample.labels.get("dn", ""), sample.labels.get("state", "")): sample.value
            for metric in parse_open_metrics(text)  # type: ignore[no-untyped-call]  # likewise
            for sample in metric.samples
        }
        assert parsed == samples_of(registry)


# When, and in which thread


async def test_a_collector_of_a_running_tree_knows_what_one_from_the_start_knows(
    unix_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S42: it takes the nodes that are there; two of them do not disturb each other."""
    family = Family()
    async with supervisor.open_supervisor(family, backoff=AT_ONCE) as tree:
        early = registry_of(tree)
        await family.become_healthy()
        await trio.sleep(3.0)
        await family.a.die()
        await family.a.become_healthy()
        await tree.restart(PARENT)
        await trio.sleep(3.0)
        late = registry_of(tree)
        assert samples_of(late) == samples_of(early)
        await family.become_healthy()
        await family.b.die()
        assert samples_of(late) == samples_of(early)


async def test_a_pool_that_is_there_is_counted() -> None:
    """S42: with the deaths of the children that it has."""
    remote = Remote()
    async with open_pool() as (tree, pool):
        pool.run("child", remote, restart=RestartPolicy.ON_FAILURE)
        await remote.become_healthy()
        await remote.die()
        await wait_all_tasks_blocked()
        assert of_pool(registry_of(tree), "root.pool") == ({"DEAD": 1.0}, 1.0)


async def test_a_collector_made_in_the_middle_of_an_event_counts_once(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S42: an observer may make one, although events wait that have happened before."""
    remote, registries = Remote(), []

    def observe(event: Event) -> None:
        if isinstance(event, NodeDied):
            registries.append(registry_of(tree))

    async with open_pool() as (tree, pool):
        tree.add_observer(observe)
        pool.run("child", remote, restart=RestartPolicy.ON_FAILURE)
        await remote.become_healthy()
        await remote.die()
        await remote.become_healthy()
        assert of_pool(registries[0], "root.pool") == ({"HEALTHY": 1.0}, 1.0)
        assert totals(registries[0]) == ({"HEALTHY": 2.0, "DONE": 1.0}, 0.0)


async def test_what_is_collected_in_a_thread_is_the_tree_after_one_event() -> None:
    """S42: the tree goes on meanwhile, nodes come and go, and what was begun has none of it."""
    family = Family()
    begun, go_on = threading.Event(), threading.Event()

    def collect_slowly() -> list[Sample]:
        samples: list[Sample] = []
        for metric in collector.collect():
            for sample in metric.samples:
                samples.append(sample)
                begun.set()
                assert go_on.wait(60)
        return samples

    async def scrape() -> None:
        assert await trio.to_thread.run_sync(collect_slowly) == before

    async with supervisor.open_supervisor(family, backoff=AT_ONCE) as tree:
        await family.become_healthy()
        collector = SupervisorCollector(tree)
        before = all_samples(collector)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scrape)
            assert await trio.to_thread.run_sync(begun.wait, 60)
            await family.parent.die()
            await family.become_healthy()
            await family.a.die()
            go_on.set()
        assert all_samples(collector) != before


async def test_the_samples_of_a_metric_are_read_as_those_of_any() -> None:
    """S42: they are made when they are read, as often as that is."""
    async with open_harness(start, supervisor.run, "a", idle) as tree:
        await tree.wait_ready()
        for metric in SupervisorCollector(tree).collect():
            samples = list(metric.samples)
            assert len(metric.samples) == len(samples)
            assert [metric.samples[i] for i in range(len(samples))] == samples
            assert metric.samples[:2] == samples[:2]
        registry = registry_of(tree)
        labels = {"dn": "root.a", "state": "HEALTHY"}
        assert registry.get_sample_value("supervisor_node_state", labels) == 1.0
        only = registry.restricted_registry(["supervisor_node_starts_total"])
        assert [len(metric.samples) for metric in only.collect()] == [2]


@pytest.fixture
def _threads_take_turns_often() -> Iterator[None]:
    """Let threads interrupt each other at almost every instruction."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("_threads_take_turns_often")
async def test_threads_collect_while_nodes_come_and_go() -> None:
    """S42: each of their pictures is one that the tree had."""
    stop = threading.Event()
    begun = threading.Barrier(3)
    remote = Remote()

    async def parent() -> None:
        for number in range(10):
            supervisor.run_pool(f"pool{number}")
        await remote()

    def collect_often(collector: SupervisorCollector) -> set[tuple[float, ...]]:
        seen: set[tuple[float, ...]] = set()
        begun.wait(60)
        while not stop.is_set():
            metrics = {metric.name: metric.samples for metric in collector.collect()}
            healths = sum(sample.value for sample in metrics["supervisor_node_state"])
            total = sum(sample.value for sample in metrics["supervisor_nodes"])
            pools = len(metrics["supervisor_pool_child_deaths"])
            seen.add((len(metrics["supervisor_node_starts"]), healths, total, pools <= 10))
        return seen

    async with open_harness(
        start_and_idle, supervisor.run, "parent", parent, backoff=AT_ONCE
    ) as tree:
        collector = SupervisorCollector(tree)
        found: list[set[tuple[float, ...]]] = []

        async def scrape() -> None:
            found.append(await trio.to_thread.run_sync(collect_often, collector))

        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(scrape)
            await trio.to_thread.run_sync(begun.wait, 60)
            for _ in range(50):
                await remote.become_healthy()
                await remote.die()
            stop.set()
    # From the root alone, at the start, to the root, its child and ten pools.
    assert set().union(*found) <= {(count, count, count, True) for count in range(1, 13)}


@pytest.mark.parametrize("collects_before", [True, False])
def test_a_tree_that_is_over_shows_what_was_last_true(*, collects_before: bool) -> None:
    """S42: a registry may scrape when the run of Trio has ended."""
    registries: list[CollectorRegistry] = []

    async def main() -> None:
        family = Family()
        async with supervisor.open_supervisor(family) as tree:
            if collects_before:
                registries.append(registry_of(tree))
            await family.become_healthy()
            await family.parent.be_done()
            await wait_all_tasks_blocked()
        if not collects_before:
            registries.append(registry_of(tree))

    trio.run(main, clock=MockClock(autojump_threshold=0))
    (registry,) = registries
    shown = {dn: of_node(registry, dn)["state"] for dn in dns_of(registry)}
    assert shown == {"root": "CANCELED", PARENT: "DONE", A: "CANCELED", B: "CANCELED"}
    assert totals(registry) == ({"DONE": 1.0, "CANCELED": 3.0}, 0.0)
    assert list(faults_of(text_of(registry))) == []


async def test_a_collector_that_nobody_has_is_told_nothing() -> None:
    """S42: a runnable may make one in each of its incarnations."""
    family = Family()
    async with supervisor.open_supervisor(family, backoff=AT_ONCE) as tree:
        observers = observers_of(tree)
        registry = CollectorRegistry()
        collector = SupervisorCollector(tree)
        registry.register(collector)
        assert len(observers_of(tree)) == len(observers) + 1
        await family.become_healthy()
        registry.unregister(collector)
        del collector
        await family.a.die()
        await wait_all_tasks_blocked()
        assert observers_of(tree) == observers


def test_a_collector_keeps_no_tree_that_is_over() -> None:
    """S42: a registry may be there as long as the process; it has what was true last."""
    registries: list[CollectorRegistry] = []

    def run() -> weakref.ref[object]:
        async def root() -> None:
            registries.append(registry_of(supervisor.current_supervisor()))
            await finish()

        trio.run(supervisor.supervise, root)
        return weakref.ref(root)

    root = run()
    gc.collect()
    assert root() is None
    assert of_node(registries[0], "root")["state"] == "DONE"


async def test_a_registry_takes_one_collector() -> None:
    """S42: two would make two metrics of each name; with another registry there may be two."""
    async with open_harness(start, supervisor.run, "a", idle) as tree:
        registry = registry_of(tree)
        with pytest.raises(ValueError, match="Duplicated timeseries"):
            registry.register(SupervisorCollector(tree))
        assert samples_of(registry).keys() == samples_of(registry_of(tree)).keys()


# What goes wrong


async def test_an_observer_that_raises_harms_neither_the_tree_nor_the_others(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S16, S42: nor does what goes wrong in a collector."""
    family = Family()

    def broken(event: Event) -> None:
        raise ValueError(event)

    async with supervisor.open_supervisor(family, observers=[broken], backoff=AT_ONCE) as tree:
        registry = registry_of(tree)
        tree.add_observer(broken)
        await family.become_healthy()
        assert of_node(registry, A)["state"] == "HEALTHY"
        caplog.clear()
        with monkeypatch.context() as patch:
            patch.setattr("supervisor._observing._node_table.time", None)
            await family.a.die()
            await family.a.become_healthy()
            await family.b.become_healthy()
        failures = [record.getMessage() for record in caplog.records if "_Feed" in record.message]
        assert failures
        assert tree.ready()
        await family.a.die()
        await family.a.become_healthy()
        assert of_node(registry, A) | {"last_transition_timestamp_seconds": 0.0} == {
            "state": "HEALTHY",
            "starts_total": 3.0,
            "deaths_total": 2.0,
            "last_transition_timestamp_seconds": 0.0,
            "backoff_seconds": 0.0,
            "operator_restarts_total": 0.0,
        }
        assert totals(registry) == ({"HEALTHY": 3.0, "NEW": 1.0}, 0.0)


async def test_another_thread_can_make_none() -> None:
    """S1, S42: the table is made between two events; the error says how."""
    async with open_harness(start, supervisor.run, "a", idle) as tree:
        observers = observers_of(tree)
        with pytest.raises(NotSupervisedError) as caught:
            await trio.to_thread.run_sync(SupervisorCollector, tree)
        assert str(caught.value) == (
            "supervisor.prometheus.SupervisorCollector() was called in another thread than that of "
            "root: call trio.from_thread.run_sync(supervisor.prometheus.SupervisorCollector, ...)"
        )
        assert observers_of(tree) == observers


def test_there_is_none_for_a_tree_of_another_run() -> None:
    """S1, S42: its clock is gone."""

    async def main() -> Supervisor:
        async with open_harness(start, supervisor.run, "a", idle) as tree:
            return tree

    with pytest.raises(NotSupervisedError, match="that tree has ended"):
        SupervisorCollector(trio.run(main))


async def test_wrong_arguments_are_named() -> None:
    """S2, S42: at the call, and nothing observes the tree."""
    async with open_harness(start, supervisor.run, "a", idle) as tree:
        observers = observers_of(tree)
        with pytest.raises(TypeError, match=r"tree='root' is not a Supervisor: pass one, such as"):
            SupervisorCollector("root")  # type: ignore[arg-type]  # that is the point
        with pytest.raises(TypeError, match=r"max_nodes=1.5 is not a whole number of at least 0"):
            SupervisorCollector(tree, max_nodes=1.5)  # type: ignore[arg-type]  # that is the point
        with pytest.raises(ValueError, match="max_nodes=-1 is not a whole number of at least 0"):
            SupervisorCollector(tree, max_nodes=-1)
        assert observers_of(tree) == observers


async def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """S42: at the call."""
    async with open_harness(start, supervisor.run, "a", idle) as tree:
        monkeypatch.setitem(sys.modules, "prometheus_client", None)
        with pytest.raises(ImportError) as caught:
            SupervisorCollector(tree)
    assert str(caught.value) == (
        "SupervisorCollector() needs prometheus_client: "
        "python -m pip install 'trio-supervisor[prometheus]'"
    )


def test_the_module_can_be_imported_without_the_extra() -> None:
    """S42: it imports it where it is used."""
    program = "import sys, supervisor.prometheus\nassert 'prometheus_client' not in sys.modules\n"
    subprocess.run([sys.executable, "-c", program], check=True)


async def test_a_collector_names_its_tree() -> None:
    """S42: a registry's errors show it."""
    async with open_harness(partial(start, supervisor.run, "a", idle)) as tree:
        assert repr(SupervisorCollector(tree)) == "<SupervisorCollector of root>"

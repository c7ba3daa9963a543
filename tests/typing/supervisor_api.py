"""How the types of ``supervisor`` look from outside: for type checkers, never run.

Lines that must be refused carry a ``type: ignore`` with the reason that the checker gives;
an ignore that is not needed is itself an error.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import NoReturn, assert_never, assert_type

import trio

import supervisor
import supervisor.testing
from supervisor import (
    Backoff,
    Crash,
    GroupSnapshot,
    GroupState,
    Handle,
    InMemoryMetrics,
    Metrics,
    NodeSnapshot,
    NodeState,
    NodeStatus,
    Pool,
    RawLogger,
    RestartLimit,
    RestartLimitExceeded,
    Signal,
    Snapshot,
    Supervisor,
    SupervisorError,
)


async def idle() -> None: ...


async def serve(port: int, host: str) -> None: ...


async def serve_with_options(port: int, *, host: str = "::") -> None: ...


async def answer() -> int:
    return 42


def blocking() -> None: ...


class Service:
    async def run(self, port: int) -> None: ...

    async def __call__(self) -> None: ...


def run_checks_the_arguments_against_the_function() -> None:
    assert_type(supervisor.run("idle", idle), Handle)
    supervisor.run("serve", serve, 80, "::")
    supervisor.run("method", Service().run, 80)
    supervisor.run("callable", Service())
    supervisor.run("options", partial(serve_with_options, 80, host="::"))
    # What a runnable returns is of no interest to its supervisor.
    supervisor.run("answer", answer)
    supervisor.run("limited", idle, backoff=Backoff(), limit=RestartLimit(3, within=60))
    supervisor.run("patient", serve, 80, "::", grace=5, start_timeout=0.5)

    supervisor.run("wrong", serve, "80", "::")  # type: ignore[arg-type]
    supervisor.run("missing", serve, 80)  # type: ignore[arg-type]
    supervisor.run("surplus", idle, 80)  # type: ignore[arg-type]
    supervisor.run("called", idle())  # type: ignore[arg-type]
    supervisor.run("blocking", blocking)  # type: ignore[arg-type]
    supervisor.run(idle)  # type: ignore[call-arg,arg-type]
    supervisor.run("delays", idle, backoff=0.5)  # type: ignore[arg-type]


def group() -> dict[str, Callable[[], Awaitable[None]]]:
    send, receive = trio.open_memory_channel[bytes](0)
    return {"producer": partial(produce, send), "consumer": partial(consume, receive)}


def group_of_one_kind() -> dict[str, Service]:
    return {"first": Service(), "second": Service()}


async def produce(send: trio.MemorySendChannel[bytes]) -> None: ...


async def consume(receive: trio.MemoryReceiveChannel[bytes]) -> None: ...


def run_group_takes_a_mapping_or_a_function(mapping: Mapping[str, Service]) -> None:
    assert_type(supervisor.run_group({"idle": idle, "answer": answer}), Handle)
    supervisor.run_group(mapping)
    supervisor.run_group(group)
    supervisor.run_group(group_of_one_kind)
    supervisor.run_group(group, backoff=Backoff(), limit=RestartLimit(3, within=60))
    supervisor.run_group(group, ordered=True, grace=5, start_timeout=0.5)
    supervisor.run_group(group, grace={"producer": 5})

    supervisor.run_group({"serve": serve})  # type: ignore[dict-item]
    supervisor.run_group({"blocking": blocking})  # type: ignore[dict-item]
    supervisor.run_group([idle])  # type: ignore[arg-type]
    supervisor.run_group(idle)  # type: ignore[arg-type]
    supervisor.run_group(group, Backoff())  # type: ignore[call-arg]


async def handles_control_a_group(handle: Handle) -> None:
    assert_type(handle.dn, str)
    assert_type(handle.state, GroupState)
    assert_type(await handle.wait_healthy(), None)
    assert_type(await handle.restart(), None)
    assert_type(await handle.stop(), None)


async def pools_check_arguments_as_run_does() -> None:
    pool = supervisor.run_pool("pool", max_children=10, backoff=Backoff())
    assert_type(pool, Pool)
    assert_type(pool.run("serve", serve, 80, "::", grace=5), Handle)
    assert_type(await pool.stop("serve"), None)
    assert_type(await pool.wait_healthy(), None)
    assert_type(pool.dn, str)
    assert_type(pool.state, GroupState)
    pool.run("wrong", serve, "80", "::")  # type: ignore[arg-type]
    supervisor.run_pool("pool", 10)  # type: ignore[call-arg]


async def what_a_runnable_calls() -> None:
    assert_type(await supervisor.wait_stop_requested(), None)
    assert_type(supervisor.current_dn(), str)
    assert_type(supervisor.logger(), logging.Logger)
    assert_type(supervisor.sub_logger("requests"), logging.Logger)
    assert_type(supervisor.raw_logger(), RawLogger)
    print("line", file=supervisor.raw_logger())
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal("HEALTHY")  # type: ignore[arg-type]
    supervisor.signal(NodeState.HEALTHY)  # type: ignore[arg-type]


async def supervise_checks_the_arguments_of_the_root() -> None:
    assert_type(await supervisor.supervise(idle), None)
    await supervisor.supervise(
        serve,
        80,
        "::",
        backoff=Backoff(),
        limit=RestartLimit(3, within=60),
        metrics=InMemoryMetrics(),
        propagate=True,
    )
    await supervisor.supervise(serve, 80)  # type: ignore[arg-type]
    await supervisor.supervise(idle())  # type: ignore[arg-type]
    trio.run(supervisor.supervise, idle)
    trio.run(supervisor.supervise, serve, 80, "::")
    trio.run(partial(supervisor.supervise, idle, propagate=True))


async def open_supervisor_yields_the_running_tree() -> None:
    async with supervisor.open_supervisor(serve, 80, "::", propagate=True) as tree:
        assert_type(tree, Supervisor)
        assert_type(await tree.wait_settled(), None)
        assert_type(tree.snapshot(), Snapshot)
        assert_type(tree.ready(), bool)
        assert_type(tree.ready("root.api"), bool)
        assert_type(await tree.wait_ready("root.api"), None)
        assert_type(await tree.stop(timeout=30), None)
        assert_type(tree.request_stop("a test"), None)
    async with supervisor.open_supervisor(serve, "80", "::"):  # type: ignore[arg-type]
        pass
    with supervisor.open_supervisor(idle):  # type: ignore[attr-defined]
        pass


def main_does_not_return() -> NoReturn:
    supervisor.main(serve, 80, "::", timeout=10, grace=5, metrics=InMemoryMetrics())
    supervisor.main(serve, 80, "::", sidecars=lambda tree: {"beside": tree.wait_settled})


def main_checks_the_arguments_of_the_root() -> None:
    supervisor.main(serve, 80)  # type: ignore[arg-type]


def snapshots_are_immutable(snapshot: Snapshot) -> None:
    assert_type(snapshot.time, float)
    assert_type(snapshot.nodes, Mapping[str, NodeSnapshot])
    node = snapshot.nodes["root"]
    assert_type(node.state, NodeState)
    assert_type(node.since, float)
    assert_type(node.incarnation, int)
    assert_type(node.crashes, tuple[Crash, ...])
    assert_type(node.stop_error, Crash | None)
    assert_type(node.group, GroupSnapshot)
    assert_type(node.group.state, GroupState)
    assert_type(node.group.deadline, float | None)
    assert_type(node.group.failures, int)
    snapshot.nodes["root"] = node  # type: ignore[index]
    node.state = NodeState.DEAD  # type: ignore[misc]


def all_states_can_be_matched(state: NodeState, group_state: GroupState) -> str:
    match state:
        case NodeState.NEW | NodeState.HEALTHY:
            return "lives"
        case NodeState.DONE | NodeState.DEAD | NodeState.CANCELED:
            pass
        case _:
            assert_never(state)
    match group_state:
        case GroupState.RUNNING | GroupState.STOPPING | GroupState.BACKOFF:
            return "goes on"
        case GroupState.FINISHED | GroupState.FAILED | GroupState.STOPPED:
            return "is over"
        case _:
            assert_never(group_state)


class Counter:
    """Metrics of a user's own, which derive from nothing."""

    def notify_node_state(self, dn: str, state: NodeState) -> None: ...

    def notify_node_gone(self, dn: str) -> None: ...


class HalfCounter:
    def notify_node_state(self, dn: str, state: NodeState) -> None: ...


class WrongCounter:
    def notify_node_state(self, dn: str, state: str) -> None: ...

    def notify_node_gone(self, dn: str) -> None: ...


async def metrics_are_whatever_has_the_two_methods() -> None:
    own: Metrics = Counter()
    ours: Metrics = InMemoryMetrics()
    await supervisor.supervise(idle, metrics=own)
    await supervisor.supervise(idle, metrics=ours)
    await supervisor.supervise(idle, metrics=HalfCounter())  # type: ignore[arg-type]
    await supervisor.supervise(idle, metrics=WrongCounter())  # type: ignore[arg-type]
    assert_type(InMemoryMetrics().nodes(), Mapping[str, NodeStatus])
    assert_type(InMemoryMetrics().nodes()["root"].state, NodeState)
    assert_type(InMemoryMetrics().nodes()["root"].since, float)


def backoff_has_named_and_frozen_options() -> None:
    backoff = Backoff(
        initial=1,
        factor=2.0,
        jitter=0,
        maximum=5.0,
        reset_after=0,
        random=random.SystemRandom().random,
    )
    assert_type(backoff.initial, float)
    assert_type(backoff.delay(1), float)
    assert_type(backoff.random(), float)
    Backoff(0.5)  # type: ignore[call-arg]
    Backoff(random=0.5)  # type: ignore[arg-type]
    backoff.initial = 1.0  # type: ignore[misc]


def limits_are_two_numbers() -> None:
    limit = RestartLimit(3, within=60)
    assert_type(limit.restarts, int)
    assert_type(limit.within, float)
    RestartLimit(3)  # type: ignore[call-arg]


def errors_tell_what_happened(error: RestartLimitExceeded) -> SupervisorError:
    assert_type(error.dn, str)
    assert_type(error.causes, tuple[Crash, ...])
    assert_type(error.times, tuple[float, ...])
    assert_type(error.causes[0].traceback, str)
    return error


async def harnesses_are_like_supervisors() -> None:
    async with supervisor.testing.open_harness(serve, 80, "::") as tree:
        assert_type(tree, Supervisor)
    async with supervisor.testing.open_harness(serve, 80):  # type: ignore[arg-type]
        pass
    remote = supervisor.testing.Remote()
    supervisor.run("remote", remote)
    supervisor.run_group({"remote": remote})
    assert_type(await remote.die(OSError()), None)


class Wrapper(Handle):  # type: ignore[misc]
    """Classes that the package makes itself are final."""

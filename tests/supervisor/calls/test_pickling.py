"""Copies of what users get from a tree, by copy and pickle."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable

import attrs
import pytest
import trio
from trio.testing import MockClock

import supervisor
from supervisor import (
    Backoff,
    Crash,
    FatalDeathError,
    GroupFailedError,
    InMemoryMetrics,
    NodeState,
    RestartLimit,
    RestartLimitExceeded,
    Signal,
    Snapshot,
    StopTimeoutError,
    SupervisorError,
)
from supervisor.testing import HarnessError, RemoteDeathError

Copy = Callable[[object], object]


def pickled(protocol: int) -> Copy:
    def copied(original: object) -> object:
        return pickle.loads(pickle.dumps(original, protocol))  # noqa: S301  it is our own

    return copied


COPIES: dict[str, Copy] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"protocol {n}": pickled(n) for n in range(2, pickle.HIGHEST_PROTOCOL + 1)},
}
each_copy = pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)

CRASH = Crash(
    dn="root.a", time=1.0, uptime=0.5, incarnation=2, error="ValueError", traceback="ValueError"
)
WITH_ATTRIBUTES: dict[type[SupervisorError], SupervisorError] = {
    FatalDeathError: FatalDeathError("no", dn="root.a", causes=(CRASH,)),
    GroupFailedError: GroupFailedError("no", dn="root.a", causes=(CRASH,)),
    RestartLimitExceeded: RestartLimitExceeded("no", dn="root.a", causes=(CRASH,), times=(1.0,)),
    StopTimeoutError: StopTimeoutError("slow", dns=("root.a", "root.b")),
}
ERRORS = [
    value
    for value in vars(supervisor).values()
    if inspect.isclass(value) and issubclass(value, SupervisorError)
]


@each_copy
@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_an_error_can_be_copied(kind: type[SupervisorError], copied: Copy) -> None:
    """S10, S21: with its message, its attributes and its notes, but without its cause."""
    error = WITH_ATTRIBUTES.get(kind) or kind("what happened")
    message = str(error)
    error = copy.copy(error)
    error.add_note("a note")
    error.__cause__ = ValueError()
    twin = copied(error)
    assert type(twin) is kind
    assert str(twin) == message != ""
    assert vars(twin) == vars(error)
    assert twin.__cause__ is None


@each_copy
@pytest.mark.parametrize("error", [HarnessError("late"), RemoteDeathError("died")], ids=repr)
def test_an_error_of_the_test_helpers_can_be_copied(error: Exception, copied: Copy) -> None:
    """S2: as any other."""
    assert repr(copied(error)) == repr(error)


@each_copy
@pytest.mark.parametrize(
    "value",
    [
        Backoff(),
        Backoff(initial=1.0, jitter=0.0),
        RestartLimit(3, within=60.0),
        CRASH,
        *NodeState,
        *supervisor.GroupState,
        *Signal,
    ],
    ids=repr,
)
def test_a_value_can_be_copied(value: object, copied: Copy) -> None:
    """S9, S10, S14: it is equal to the original."""
    twin = copied(value)
    assert twin == value
    assert repr(twin) == repr(value)


def test_a_copied_backoff_draws_numbers_of_its_own() -> None:
    """S9: the copy has the process's random source, and not one that repeats the original's."""
    twin = pickle.loads(pickle.dumps(Backoff()))  # noqa: S301  it is our own
    assert twin.random is Backoff().random


async def crash() -> None:
    raise ValueError("a mistake")


def take_snapshot() -> tuple[Snapshot, InMemoryMetrics]:
    """Run a tree with a node that has died, and return a picture of it."""
    metrics = InMemoryMetrics()

    async def root() -> None:
        supervisor.run("child", crash, backoff=Backoff(initial=5.0, jitter=0.0))
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    async def main() -> Snapshot:
        async with supervisor.open_supervisor(root, metrics=metrics) as tree:
            await tree.wait_settled()
            return tree.snapshot()

    return trio.run(main, clock=MockClock(autojump_threshold=0.0)), metrics


@each_copy
def test_a_snapshot_can_be_copied(copied: Copy) -> None:
    """S16: with all that it shows, and the copy is as immutable as the original."""
    snapshot, _ = take_snapshot()
    twin = copied(snapshot)
    assert isinstance(twin, Snapshot)
    assert twin == snapshot
    assert str(twin) == str(snapshot)
    assert list(twin.nodes) == ["root", "root.child"]
    with pytest.raises(TypeError):
        del twin.nodes["root"]  # type: ignore[attr-defined]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        twin.time = 0.0  # type: ignore[misc]


@each_copy
def test_the_states_that_metrics_have_kept_can_be_copied(copied: Copy) -> None:
    """S16: each is a value."""
    _, metrics = take_snapshot()
    for status in metrics.nodes().values():
        assert copied(status) == status

"""What a map of many keys costs, counted: steps of the interpreter and bytes (V20, V23).

A step is an instruction of the package. What C code does in one instruction, such as a copy of all
keys, shows in the bytes.
"""

from __future__ import annotations

import sys
import tracemalloc
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest
from trio.testing import wait_all_tasks_blocked

from trio_event import ValueMap, compose, follow

from ..helpers.calls import Call, counting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    import trio

    from trio_event import Change

FEW: Final = 100
MANY: Final = 10_000
# Less than a reference for each of MANY keys.
FEW_BYTES: Final = 4 * MANY


def steps_of(action: Callable[[], object]) -> int:
    """Count the instructions of ours in an action."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:  # noqa: ANN401  as Python has it
        nonlocal count
        if not frame.f_globals["__name__"].startswith("trio_event."):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return count


@pytest.fixture(autouse=True)
def _traced_before() -> None:
    """Trace once: in Python 3.12 the first trace of instructions in a process sees none."""
    steps_of(partial(filled, 1))


def bytes_of(action: Callable[[], object]) -> int:
    """Count the bytes that an action uses at most."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        action()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def filled(size: int) -> ValueMap[int, int]:
    return ValueMap(dict.fromkeys(range(size), 0))


def reject(_: object) -> bool:
    return False


def count_keys(batch: Sequence[Change[int, int]]) -> bool:
    return len(batch) < 0


async def stay(_: object) -> None:
    await wait_all_tasks_blocked()


# What tasks may do with a map while it is set.
WAITS: Final[dict[str, Callable[[ValueMap[int, int]], Any]]] = {
    "nothing": lambda peers: wait_all_tasks_blocked(),  # noqa: ARG005
    "wait_for": lambda peers: peers.wait_for(reject),
    "wait_for_the_number_of_keys": lambda peers: peers.wait_for(count_keys),
    "wait_for_composed": lambda peers: compose(peers, peers.item(1)).wait_for(reject),
    "wait_for_with_a_hold": lambda peers: peers.wait_for(bool, held_for=60),
    "follow_the_latest": lambda peers: follow(compose(peers), stay, predicate=reject, latest=True),
    "get": lambda peers: peers.watch().get(predicate=reject),
    "item": lambda peers: peers.item(1).wait_for(lambda state: state == -1),
}


@pytest.mark.parametrize("wait", WAITS)
async def test_set_costs_the_same_in_a_map_of_any_size(nursery: trio.Nursery, wait: str) -> None:
    """V20: the steps are as many with ten thousand keys as with a hundred, whatever waits."""
    steps = []
    for size in (FEW, MANY):
        peers = filled(size)
        Call(nursery, partial(WAITS[wait], peers))
        await wait_all_tasks_blocked()
        peers.set(size // 2, 1)
        steps.append(steps_of(partial(peers.set, size // 2, 2)))
        assert bytes_of(partial(peers.set, size // 2, 3)) < FEW_BYTES
    assert steps[0] == steps[1]
    nursery.cancel_scope.cancel()


async def test_wait_for_makes_the_changes_of_what_has_changed(nursery: trio.Nursery) -> None:
    """V20: a predicate that reads all keys has one new change in each set."""
    peers = filled(FEW)
    seen: list[Sequence[Change[int, int]]] = []

    def read(batch: Sequence[Change[int, int]]) -> bool:
        seen.append(tuple(batch))
        return False

    Call(nursery, partial(peers.wait_for, read))
    await wait_all_tasks_blocked()
    peers.set(5, 1)
    peers.set(7, 1)
    old, first, second = seen
    assert sum(before is not after for before, after in zip(old, first, strict=True)) == 1
    assert sum(before is not after for before, after in zip(first, second, strict=True)) == 1
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("times", [1, 3])
async def test_batch_costs_what_has_changed(times: int) -> None:
    """V20: this holds also if one key was set very often, which leaves no traces in the journal."""
    steps = []
    for size in (FEW, MANY):
        peers = filled(size)
        watcher = peers.watch()
        watcher.get_nowait()
        for _ in range(size * times):
            peers.set(5, 1)
            assert len(watcher.get_nowait()) == 1
        peers.apply({5: 2, 6: 2})
        steps.append(steps_of(watcher.get_nowait))
        peers.apply({5: 3, 6: 3})
        assert bytes_of(watcher.get_nowait) < FEW_BYTES
    assert steps[0] == steps[1]


READS: Final[dict[str, Callable[[ValueMap[int, int]], object]]] = {
    "getitem": lambda peers: peers[7],
    "get": lambda peers: peers.get(7),
    "in": lambda peers: 7 in peers,
    "len": len,
    "first": lambda peers: next(iter(peers)),
    "peek": lambda peers: peers.peek(),
    "item": lambda peers: peers.item(7).peek(),
}


@pytest.mark.parametrize("read", READS)
async def test_reading_one_key_copies_nothing(read: str) -> None:
    """V20: it takes as many steps and bytes in a map of any size; so does a peek."""
    steps = []
    for size in (FEW, MANY):
        peers = filled(size)
        peers.watch()
        steps.append(steps_of(partial(READS[read], peers)))
        assert bytes_of(partial(READS[read], peers)) < FEW_BYTES
    assert steps[0] == steps[1]


async def test_set_wakes_only_what_waits_for_its_key(nursery: trio.Nursery) -> None:
    """V23: of a thousand tasks, each with the item of a key of its own, one takes a step."""
    peers = filled(1000)
    gets = []
    for key in range(1000):
        watcher = peers.item(key).watch()
        watcher.get_nowait()
        gets.append(Call(nursery, watcher.get))
    await wait_all_tasks_blocked()
    tasks = {get.task for get in gets}
    with counting() as counts:
        peers.set(7, 1)
        await wait_all_tasks_blocked()
    assert [task for task in counts.steps if task in tasks] == [gets[7].task]
    assert await gets[7].result() == 1
    nursery.cancel_scope.cancel()

"""Ctrl-C and cancellation at any moment of a client's life (E9).

These are parts of sweeps; all of them is in ``python -m benchmarks.soak.faults --only clients``.
"""

from __future__ import annotations

import logging
import signal as signals
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from trio_event.etcd import EtcdClient, Text
from trio_event.etcd._watching._background import Background

# Behind all other places, so that the packages which are tested stay those of the wheel.
sys.path.append(str(Path(__file__).parents[3]))

from benchmarks.soak import clients, sweep

from .helpers.servers import HANG
from .helpers.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .helpers.servers import Cluster


@pytest.fixture(autouse=True)
def _little_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Leave out what trees and clients log of so many ends."""
    caplog.set_level(logging.CRITICAL + 1, logger="supervisor")
    caplog.set_level(logging.CRITICAL + 1, logger="trio_event.etcd")


@pytest.mark.parametrize("only_at_checkpoints", [False, True])
def test_ctrl_c_ends_a_client_at_any_point(*, only_at_checkpoints: bool) -> None:
    """E9: as a KeyboardInterrupt, and nothing is left; the next client finds a good cluster.

    Left would be connections, streams, watches, leases, keys of leases, tasks and coroutines.
    """

    def some(whole: int) -> Iterator[int]:
        return iter(range(7, whole + 1, 907 if only_at_checkpoints else 401))

    faults = clients.sweep_interrupts(some, only_at_checkpoints=only_at_checkpoints)
    assert list(faults) == []


def test_a_client_can_be_cancelled_at_any_step() -> None:
    """E9, E13: nothing is left of it, also where calls fail, and leases and streams are lost."""
    assert list(clients.sweep_steps(lambda whole: range(1, whole + 1, 17))) == []


def test_ctrl_c_leaves_beside_a_fault_of_the_background() -> None:
    """E9: neither is lost."""

    async def fail_late() -> None:
        try:
            await trio.sleep_forever()
        finally:
            signals.raise_signal(signals.SIGINT)  # for the main task, as this one is protected
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()
            raise ValueError("a fault")

    async def main() -> None:
        background = Background(fail_late)
        await background.start()
        await trio.testing.wait_all_tasks_blocked()
        await background.stop(None, None, None)

    handler = signals.signal(signals.SIGINT, signals.default_int_handler)
    try:
        with pytest.RaisesGroup(KeyboardInterrupt, ValueError):
            trio.run(main)
    finally:
        signals.signal(signals.SIGINT, handler)


@pytest.mark.processes
@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_ctrl_c_leaves_nothing_of_a_client_of_a_real_cluster(node: Cluster, quarter: int) -> None:
    """E9: its threads end, and another client works."""

    def life() -> clients.Attempt:
        life = clients.Client(lambda: EtcdClient(node.endpoints, timeout=HANG), 0.05)
        return clients.Attempt(Store(), life)

    async def use() -> None:
        async with EtcdClient(node.endpoints, timeout=HANG) as client:
            await client.put("next", b"1")
            async with client.value("next", Text()) as value:
                assert value.peek() == "1"

    before = set(threading.enumerate())
    whole = sweep.Interruption(0)
    clients.live(life(), whole)
    number = whole.points * quarter // 4
    interruption, attempt = sweep.Interruption(number), life()
    clients.live(attempt, interruption)
    # How many points there are depends on what comes when.
    attempt.check(None if interruption.points < number else KeyboardInterrupt)
    assert attempt.faults == []
    for thread in set(threading.enumerate()) - before:
        thread.join(HANG)
        assert not thread.is_alive()
    trio.run(use)

"""Ctrl-C and cancellation at any moment of a client's life (E9).

These are parts of sweeps; all of them is in ``python -m benchmarks.soak.faults --only clients``.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Behind all other places, so that the packages which are tested stay those of the wheel.
sys.path.append(str(Path(__file__).parents[3]))

from benchmarks.soak import clients

if TYPE_CHECKING:
    from collections.abc import Iterator


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

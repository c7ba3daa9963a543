"""A part of the fault sweep: Ctrl-C, stops and signals at points of a small tree's whole life.

All of it is in ``python -m benchmarks.soak.faults``.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Behind all other places, so that the packages which are tested stay those of the wheel.
sys.path.append(str(Path(__file__).parents[3]))

from benchmarks.soak import sweep
from benchmarks.soak.life import Ending

from ..helpers.services import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _no_deaths_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Leave out the deaths, of which such lives are full."""
    caplog.set_level(logging.CRITICAL + 1, logger="supervisor")


# Where the folder of the benchmarks is, which is not installed.
ROOT = str(Path(__file__).parents[3])


def some(whole: int) -> Iterator[int]:
    """Choose a few points of all lives, the end among them, which matters most."""
    return iter((whole // 2, whole - 15, whole))


@pytest.mark.parametrize("ending", Ending)
@pytest.mark.parametrize("way", sweep.WAYS)
def test_ctrl_c_ends_a_tree_at_any_point(way: sweep.Way, ending: Ending) -> None:
    """S11: once or twice, it leaves as one KeyboardInterrupt, and nothing is left."""
    only = ending is Ending.GIVE_UP
    assert list(sweep.sweep_interrupts(way, ending, some, only_at_checkpoints=only)) == []


@pytest.mark.processes
def test_ctrl_c_ends_a_tree_at_any_point_of_a_wait_for_a_stop_request() -> None:
    """S11, S21: what waits in Trio's event is not left there, to be woken when it is gone."""

    def beginning(whole: int) -> Iterator[int]:
        return iter(range(1, min(whole, 250)))

    faults = sweep.sweep_interrupts(
        sweep.WAYS[0], Ending.STOP, beginning, only_at_checkpoints=False
    )
    assert list(faults) == []


def test_a_tree_ends_at_any_step() -> None:
    """S12, S21: cancelled or stopped at any step, at its own end too, it ends as it is asked to."""
    assert list(sweep.sweep_steps(lambda whole: range(1, whole + 1, 7))) == []


@pytest.mark.processes
def test_a_process_ends_as_documented_at_any_time() -> None:
    """S22, S35: whenever a signal comes, status and output are as promised, sidecars or not."""
    command = [sys.executable, "-m", "benchmarks.soak.faults", "--only", "processes"]
    few = ["--stride", "100", "--sigterms", "4", "--doubled", "0", "--storms", "2"]
    result = subprocess.run(
        [*command, *few],
        env=ENVIRONMENT | {"PYTHONPATH": os.pathsep.join((ENVIRONMENT["PYTHONPATH"], ROOT))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stdout

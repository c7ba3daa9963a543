"""Viewers of all kinds, a few of each; the soak has more."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

# Behind all other places, so that the packages which are tested stay those of the wheel.
sys.path.append(str(Path(__file__).parents[3]))

from benchmarks.soak.viewers import compare, disturb


async def test_bad_viewers_harm_neither_the_service_nor_the_inspector(tmp_path: Path) -> None:
    """S37: killed ones, silent ones, garbage, and more than are served."""
    disturbed = partial(disturb, kills=3, idle=3, connections=50)
    assert await disturbed(200, tmp_path / "s") == []


async def test_the_cost_of_viewers_is_measured(tmp_path: Path) -> None:
    """S37: by turns, without any and with some."""
    both = await compare(tmp_path / "s", nodes=200, rate=100.0, viewers=2, seconds=0.1, rounds=1)
    assert all(lags.p99 > 0 and lags.memory > 0 for lags in both)

"""Five processes elect a leader while all goes wrong; ``nox -s elections`` does it often."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Behind all other places, so that the packages which are tested stay those of the wheel.
sys.path.append(str(Path(__file__).parents[3]))

from benchmarks.soak.elections import Elections

from .helpers.servers import BINARY, running

pytestmark = pytest.mark.processes


async def test_five_processes_have_one_leader_whatever_happens(tmp_path: Path) -> None:
    """E10: killed, frozen, cut off, without members or its key: no older term writes or runs on."""
    with running(BINARY, tmp_path / "etcd", members=3) as cluster:
        elections = Elections(cluster, ttl=1, output=str)
        await elections.run(rounds=3)
    assert elections.violations == []
    assert elections.writes > len(elections.seconds)

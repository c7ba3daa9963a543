"""The benchmarks of the client work: each case runs once, at a small size."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

# Behind all other places, so that the packages which are tested stay those of the wheel.
sys.path.append(str(Path(__file__).parents[3]))

from benchmarks import etcd_cases, results
from benchmarks.harness import TINY

if TYPE_CHECKING:
    from .helpers.servers import Cluster


def test_each_case_measures_what_its_rows_read(node: Cluster) -> None:
    """Each row of the table finds its figures, and is judged if it has a goal.

    Without the peers: httpx leaves generators behind when the answer to a watch is closed.
    """
    for comparison in etcd_cases.comparisons(node.endpoints[0], TINY, peers={}):
        lines = list(results.judged(comparison, comparison.measure(rounds=1)))
        assert [line.measure for line in lines] == [row.measure for row in comparison.rows]
        assert all(
            (line.verdict is None) is (row.goal is None)
            for line, row in zip(lines, comparison.rows, strict=True)
        )

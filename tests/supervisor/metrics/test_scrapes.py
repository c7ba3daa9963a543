"""What a scrape costs is measured; the soak does it with a large tree."""

from __future__ import annotations

import sys
from pathlib import Path

# Behind all other places, so that the packages which are tested stay those of the wheel.
sys.path.append(str(Path(__file__).parents[3]))

from benchmarks.soak.scrapes import scrape


async def test_a_scrape_and_its_delay_are_measured() -> None:
    """S42: by turns, without any and with one."""
    scrapes = await scrape(200, rate=100.0, rounds=2)
    assert [len(each) for each in (scrapes.took, scrapes.delays, scrapes.without)] == [2, 2, 2]
    assert all(seconds > 0 for seconds in scrapes.took)

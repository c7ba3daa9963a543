"""Check that the memory of the process stays flat.

A sample is the resident set after a collection. It grows until each node has as many crash records
as are kept, so the first half of the samples is warm-up. Of the rest, the median of the first third
is compared with that of the last third: a leak shows there, and a short peak does not.
"""

from __future__ import annotations

import gc
import os
import statistics
from pathlib import Path
from typing import Final, final

FEWEST: Final = 12
"""Fewer samples show nothing."""
GROWTH: Final = 1.1
"""As much growth as fragmentation may cause."""


@final
class Memory:
    """The sizes of the process so far."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def sample(self) -> int:
        """Collect garbage; return and keep the size of the process in bytes."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        self.sizes.append(pages * os.sysconf("SC_PAGE_SIZE"))
        return self.sizes[-1]

    def violation(self) -> str | None:
        """Describe the growth, if there is more than there may be."""
        if len(self.sizes) < FEWEST:
            return None
        warm = self.sizes[len(self.sizes) // 2 :]
        third = len(warm) // 3
        early, late = statistics.median(warm[:third]), statistics.median(warm[-third:])
        if late <= early * GROWTH:
            return None
        return (
            f"memory is not flat: {early / 1e6:.1f} MB after the warm-up, {late / 1e6:.1f} MB late"
        )

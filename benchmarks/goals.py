"""What the packages must not exceed, and what they aim at.

A *must* that is missed fails the session. An *aim* that is missed is a task for somebody, so each
goal says what it would take.
"""

from __future__ import annotations

import enum
from typing import Final

import attrs

NOISE: Final = 1.1
"""A must counts as missed when the median is beyond it by more than this factor.

Ratios taken in different runs on one machine differ by up to a tenth.
"""

US: Final = 1e-6
MS: Final = 1e-3


class Verdict(enum.Enum):
    """How a figure compares with its goal."""

    AIM = "aim met"
    MUST = "must met"
    SHORT = "aim missed"
    NOISE = "must met within noise"
    MISSED = "MISSED"


@attrs.frozen(kw_only=True)
class Goal:
    """What a figure must not exceed, and should not exceed; in seconds, bytes, or as a ratio."""

    must: float | None = None
    aim: float | None = None
    takes: str = ""
    """What it would take to meet the aim."""

    def judge(self, figure: float) -> Verdict:
        """Compare a figure with the goal, with as many digits as are shown."""
        figure = float(f"{figure:.3g}")
        if self.aim is not None and figure <= self.aim:
            return Verdict.AIM
        if self.must is None:
            return Verdict.SHORT
        if figure <= self.must:
            return Verdict.MUST
        return Verdict.NOISE if figure <= self.must * NOISE else Verdict.MISSED


SET_IDLE: Final = Goal(must=0.5 * US, aim=0.15 * US, takes="fewer attribute loads in `set`")
SET_IDLE_GROWTH: Final = Goal(must=1.2)
SET_WAITING: Final = Goal(
    must=0.8,
    takes="a set whose own work is less than waking its one waiter is; with more it is met",
)
SET_WAITING_TIME: Final = Goal(aim=10 * US, takes="it is constant, but for the cache")
LAST_WATCHER: Final = Goal(
    must=1.0, aim=0.85, takes="a `get` that waits in fewer frames, and makes no object to wait with"
)
PING_PONG: Final = Goal(must=1.0, aim=0.9, takes=LAST_WATCHER.takes)
PING_PONG_CHANNEL: Final = Goal(must=0.75, takes=LAST_WATCHER.takes)
GET_READY: Final = Goal(must=1.2, aim=1.1, takes="fewer calls of the watcher's methods in `get`")
IDLE_WATCHER: Final = Goal(must=64, aim=48, takes="two slots less in each watcher")
WAITING_WATCHER: Final = Goal(
    must=200, aim=128, takes="coroutine frames with fewer variables: a frame counts with its stack"
)
WATCH_AND_CLOSE: Final = Goal(must=0.4 * US, aim=0.2 * US, takes="one call of `__init__` less")
SELECT: Final = Goal(must=0.3 * US, aim=0.1 * US, takes="one pass over the watchers, without calls")
PIPE: Final = Goal(must=1.3, aim=1.1, takes="a faster `get`: the rest is the channel's")
START_LEAF: Final = Goal(
    must=1.8, aim=1.4, takes="a leaf with fewer objects of its own for its group and its round"
)
LEAF_BYTES: Final = Goal(must=1.7, aim=1.4, takes=START_LEAF.takes)
RESTART: Final = Goal(
    aim=20 * US,
    takes="less for what a death leaves behind (verdict, crash record and log record), "
    "and fewer turns of the loop: to replace a bare task takes more than half of the aim",
)
RESTART_GROWTH: Final = Goal(must=2.0)
GROUP_RESTART: Final = Goal(
    must=1.4, aim=1.1, takes="what the restart of a leaf takes, as the members share one death"
)
GROUP_GROWTH: Final = Goal(must=1.0)
CANCEL: Final = Goal(
    must=1.1, aim=0.8, takes="less to note for each node that ends, and a host without a nursery"
)
DEPTH_GROWTH: Final = Goal(
    must=2.0, takes="nothing at a level that costs its depth, as putting a DN together does"
)
IMPORT: Final = Goal(must=30 * MS, aim=15 * MS, takes="imports that wait until they are needed")

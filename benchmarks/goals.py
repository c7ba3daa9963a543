"""What the packages must not exceed, and what they aim at.

A *must* that is missed fails the session. An *aim* that is missed is work to be done, so its goal
says what that would take.

What a goal is judged against is said once, here, by the section in which it stands:

- *Against the same work by hand*: a ratio to the floor named in the comment, measured in the same
  round. 1.0 is as fast, or as small, as code that does only this.
- *Above the same work by hand*: a difference from the floor named in the comment.
- *Against a smaller size*: a ratio to the same case with the fewest watchers, nodes, members or
  levels. 1.0 is cost that does not grow.
- *Absolute*: seconds or bytes, on the machine that ``docs/performance.md`` names.
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
MB: Final = 1e6


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


# Against the same work by hand

# `set`, all watchers waiting: against a variable and a list of tasks to wake.
SET_WAITING: Final = Goal(
    must=0.8,
    takes="a set whose own work is less than waking its one waiter is; with more it is met",
)
# From `set` until the last watcher has run: against the same.
LAST_WATCHER: Final = Goal(
    must=1.0, aim=0.85, takes="a `get` that waits in fewer frames, and makes no object to wait with"
)
# Two tasks, a set and a get each: against two of these variables, and two memory channels.
PING_PONG: Final = Goal(must=1.0, aim=0.9, takes=LAST_WATCHER.takes)
PING_PONG_CHANNEL: Final = Goal(must=0.75, takes=LAST_WATCHER.takes)
# `get` of a value that is ready: against a checkpoint.
GET_READY: Final = Goal(must=1.2, aim=1.1, takes="fewer calls of the watcher's methods in `get`")
# An item through a pipe: against a task that gets and sends.
PIPE: Final = Goal(must=1.3, aim=1.1, takes="a faster `get`: the rest is the channel's")
# A leaf: against a task in a nursery. Leaves that can be stopped alone are judged against tasks in
# cancel scopes of their own, members of groups against tasks without.
START_LEAF: Final = Goal(
    must=1.8, aim=1.4, takes="a leaf with fewer objects of its own for its group and its round"
)
LEAF_BYTES: Final = Goal(must=1.7, aim=1.4, takes=START_LEAF.takes)
# The cancellation of the largest tree: against that of a nursery, with tasks as for START_LEAF;
# leaves below inner nodes against tasks in scopes.
CANCEL: Final = Goal(
    must=1.1, aim=0.8, takes="less to record for each node that ends, and fewer nurseries"
)
# The restart of a group, divided by its members: against the cancellation of a nursery and the
# start of as many tasks in a new one.
GROUP_RESTART: Final = Goal(
    must=1.4, aim=1.1, takes="what the restart of a leaf takes, as the members share one death"
)

# A log record that a buffer keeps: against a handler that does nothing.
LOG_RECORD: Final = Goal(must=2.0)

# With etcd: against bare grpcio, which knows one member and reads no answer. Puts one after the
# other, with and without their events: against a thread that blocks. Each of many at a time:
# against a thread that keeps as many futures under way, of which 0.75 times as many are wanted.
ETCD_LATENCY: Final = Goal(must=1.3)
ETCD_EACH_OF_MANY: Final = Goal(must=1 / 0.75)

# Above the same work by hand

# A watcher that waits: above a task that waits for a variable.
WAITING_WATCHER: Final = Goal(
    must=200, aim=128, takes="coroutine frames with fewer variables: a frame counts with its stack"
)
# `select`, divided by its watchers: above a checkpoint, divided by as many.
SELECT: Final = Goal(must=0.3 * US, aim=0.1 * US, takes="one pass over the watchers, without calls")
# `import supervisor`: above `import trio`.
IMPORT: Final = Goal(must=30 * MS, aim=15 * MS, takes="imports that wait until they are needed")

# Against a smaller size

SET_IDLE_GROWTH: Final = Goal(must=1.2)
# What concerns one key of a map: the rest of the growth is the cache of the processor.
MAP_GROWTH: Final = Goal(must=1.5)
RESTART_GROWTH: Final = Goal(must=2.0)
GROUP_GROWTH: Final = Goal(must=1.0)
DEPTH_GROWTH: Final = Goal(
    must=2.0, takes="nothing at a level that costs its depth, as putting a DN together does"
)

# Absolute

SET_IDLE: Final = Goal(must=0.5 * US, aim=0.15 * US, takes="fewer attribute loads in `set`")
SET_WAITING_TIME: Final = Goal(aim=10 * US, takes="it is constant, but for the cache")
WATCH_AND_CLOSE: Final = Goal(must=0.4 * US, aim=0.2 * US, takes="one call of `__init__` less")
IDLE_WATCHER: Final = Goal(must=64, aim=48, takes="two slots less in each watcher")
# The restart of a leaf, from its crash to its next start.
RESTART: Final = Goal(
    aim=20 * US,
    takes="less to record for each death (crash record and log record), and fewer turns of the "
    "loop: replacing a bare task takes more than half of the aim",
)
# What a log buffer of the default size keeps when it is full.
LOG_BUFFER: Final = Goal(must=10 * MB)
# With etcd on the same machine, from the start of a client: until 500 values are known, and until a
# map of 10 000 keys is.
ETCD_OPEN_VALUES: Final = Goal(must=1000 * MS)
ETCD_READ_MAP: Final = Goal(must=300 * MS)
# Processor time in a second, with the liveness reads.
ETCD_IDLE: Final = Goal(must=5 * MS)
# What 50 MB of events add to a process whose thread is blocked for 5 s.
ETCD_BLOCKED: Final = Goal(must=16 * MB)

"""A worker that crashes three times, waits longer each time, and then works.

Prints when it is started, in units of the first delay.
"""

from __future__ import annotations

import logging

import trio

import supervisor
from supervisor import Backoff, Signal

UNIT = 0.1
CRASHES = 3
starts: list[float] = []


async def worker() -> None:
    """Fail three times, succeed the fourth."""
    starts.append(trio.current_time())
    waited = (starts[-1] - starts[-2]) / UNIT if len(starts) > 1 else 0.0
    print(f"start {len(starts)}, after {waited:.0f} units")
    if len(starts) <= CRASHES:
        msg = "no connection"
        raise OSError(msg)
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


async def root() -> None:
    """Start the worker, and be done."""
    supervisor.run("worker", worker, backoff=Backoff(initial=UNIT, factor=2.0, jitter=0.0))
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


def main() -> None:
    """Run the tree until the worker, and with it everything, is done."""
    trio.run(supervisor.supervise, root)
    print("all done")


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    main()

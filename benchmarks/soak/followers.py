"""Followers of a log buffer, which come and go while threads write as fast as they can.

``python -m benchmarks.soak.followers`` runs all of it; a test runs the same with small numbers.
"""

from __future__ import annotations

import argparse
import logging
import sys
import threading
import time
from functools import partial
from typing import Final, final

import attrs
import trio

from supervisor.logs import LogBuffer

NAME: Final = "benchmarks.followers"


@final
@attrs.frozen
class Life:
    """What one follower has received: a run of entries, by their numbers."""

    first: int
    last: int
    received: int
    missed_before: int
    """How many it was told it had missed with the first, and then altogether."""
    missed: int
    in_order: bool

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing that was not told, and nothing came twice."""
        told = self.missed - self.missed_before
        # What it begins with is not lost: only one that began in an empty buffer may miss some.
        began_well = self.missed_before in {0, self.first - 1}
        whole = self.received + told == self.last - self.first + 1
        return self.in_order and began_well and whole


async def follow(threads: int, records: int, followers: int) -> list[Life]:
    """Let so many threads write so many records in all, and followers live as they like."""
    lives: list[Life] = []
    start = threading.Barrier(threads)
    logger = logging.getLogger(NAME)
    logger.propagate = False
    logger.setLevel(logging.INFO)

    def write(which: int) -> None:
        start.wait()
        for number in range(records // threads):
            logger.info("%d %d", which, number)

    async def live(step: int) -> None:
        ended = False
        while not ended:
            with buffer.follow(n=step) as follower:
                numbers: list[int] = []
                before = 0
                try:
                    while len(numbers) < 100 * step:
                        numbers.append((await follower.receive()).seq)
                        if len(numbers) == 1:
                            before = follower.missed
                except trio.EndOfChannel:
                    ended = True
                if numbers:
                    in_order = numbers == sorted(set(numbers))
                    run = (numbers[0], numbers[-1], len(numbers), before, follower.missed)
                    lives.append(Life(*run, in_order))

    buffer = LogBuffer()
    logger.addHandler(buffer)
    try:
        async with trio.open_nursery() as nursery:
            for step in range(1, followers + 1):
                nursery.start_soon(live, step)
            limiter = trio.CapacityLimiter(threads)
            to_thread = partial(trio.to_thread.run_sync, limiter=limiter)
            async with trio.open_nursery() as writers:
                for which in range(threads):
                    writers.start_soon(to_thread, write, which)
            buffer.close()
    finally:
        logger.removeHandler(buffer)
    return lives


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 1 if a follower has lost something silently."""
    name = "python -m benchmarks.soak.followers"
    parser = argparse.ArgumentParser(prog=name, description=__doc__)
    parser.add_argument("--threads", type=int, default=8, help="that write (8)")
    parser.add_argument("--records", type=int, default=100_000, help="of all threads (100000)")
    parser.add_argument("--followers", type=int, default=20, help="at a time (20)")
    given = parser.parse_args(argv)
    began = time.perf_counter()
    lives = trio.run(follow, given.threads, given.records, given.followers)
    took = time.perf_counter() - began
    broken = [life for life in lives if not life.is_whole]
    missed = sum(life.missed > 0 for life in lives)
    print(f"{given.records} records of {given.threads} threads in {took:.1f} s")
    print(f"{len(lives)} followers, {missed} of which missed some and were told how many")
    for life in broken:
        print(f"broken: {life}")
    return 1 if broken or not lives else 0


if __name__ == "__main__":
    sys.exit(main())

"""What a scrape of a large tree costs the service that is scraped.

``python -m benchmarks.soak.scrapes`` measures it; a test runs the same with small numbers.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import time
from functools import partial
from typing import Final, final

import attrs
import trio
from prometheus_client import CollectorRegistry, generate_latest

from supervisor.prometheus import SupervisorCollector

from .viewers import TICK, measure, open_tree, restart_nodes

MOST: Final = 0.030
"""A scrape may delay the loop by so many seconds."""


@final
@attrs.define
class Scrapes:
    """How long scrapes took, and by how much each delayed the loop at most, in seconds."""

    took: list[float] = attrs.Factory(list)
    delays: list[float] = attrs.Factory(list)
    without: list[float] = attrs.Factory(list)
    """The longest delays in equal times between, when nothing was scraped."""


async def scrape(nodes: int, *, rate: float, rounds: int) -> Scrapes:
    """Scrape a tree of so many nodes in a worker, while so many restart each second."""
    scrapes = Scrapes()
    async with open_tree(nodes) as tree, trio.open_nursery() as nursery:
        registry = CollectorRegistry()
        registry.register(SupervisorCollector(tree, max_nodes=2 * nodes))
        nursery.start_soon(restart_nodes, tree, nodes, rate)
        await _scrape_once(registry)  # for caches to fill
        for _ in range(rounds):
            took, delay = await _scrape_once(registry)
            scrapes.took.append(took)
            scrapes.delays.append(delay)
            scrapes.without.append(max((await measure(took)).seconds, default=0.0))
        nursery.cancel_scope.cancel()
    return scrapes


async def _scrape_once(registry: CollectorRegistry) -> tuple[float, float]:
    """Return how long it took, and by how much a timer was late at most."""
    lags = [0.0]

    async def measure_on() -> None:
        while True:
            due = trio.current_time() + TICK
            await trio.sleep_until(due)
            lags.append(trio.current_time() - due)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(measure_on)
        began = time.perf_counter()
        await trio.to_thread.run_sync(generate_latest, registry)
        took = time.perf_counter() - began
        nursery.cancel_scope.cancel()
    return took, max(lags)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 1 if a scrape delays the loop for too long."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak.scrapes", description=__doc__)
    parser.add_argument("--nodes", type=int, default=10_000, help="of the tree (10000)")
    parser.add_argument("--rate", type=float, default=100.0, help="restarts a second (100)")
    parser.add_argument("--rounds", type=int, default=20, help="scrapes (20)")
    given = parser.parse_args(argv)
    logging.getLogger("supervisor").setLevel(logging.CRITICAL + 1)
    scrapes = trio.run(partial(scrape, given.nodes, rate=given.rate, rounds=given.rounds))
    typical, worst = statistics.median(scrapes.delays), max(scrapes.delays)
    print(f"a scrape of {given.nodes} nodes takes {statistics.median(scrapes.took):.2f} s")
    print(
        f"it delays the loop by {typical * 1000:.1f} ms, at most by {worst * 1000:.1f} ms; without "
        f"it is {statistics.median(scrapes.without) * 1000:.1f} ms, at most "
        f"{max(scrapes.without) * 1000:.1f} ms (at most {MOST * 1000:.0f})"
    )
    return 1 if typical > MOST else 0


if __name__ == "__main__":
    sys.exit(main())

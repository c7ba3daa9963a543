"""``python -m benchmarks.soak.faults`` disturbs trees and clients at each point of their lives.

All of it takes hours; ``--stride 20`` disturbs them at every twentieth point only.
"""

from __future__ import annotations

import argparse
import faulthandler
import itertools
import logging
import random
import sys
import time
from typing import TYPE_CHECKING, Final

from . import clients, endings, sweep
from .life import Ending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HANGS_AFTER: Final = 120.0
"""If one life takes so many seconds, it is printed where it is, and all ends."""


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak.faults", description=__doc__)
    parser.add_argument("--stride", type=int, default=1, help="from one point to the next (1)")
    parser.add_argument("--sigterms", type=int, default=1000, help="around a tree's end (1000)")
    parser.add_argument("--doubled", type=int, default=500, help="first signals, sent twice (500)")
    parser.add_argument("--storms", type=int, default=2000, help="of Ctrl-C (2000)")
    parser.add_argument("--only", default="", help="cases that have this in their names")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 1 if there was a fault."""
    arguments = parse(argv)

    def points(whole: int) -> Iterator[int]:
        return iter(range(random.randint(1, arguments.stride), whole + 1, arguments.stride))

    def guarded(whole: int) -> Iterator[int]:
        # Not where processes are forked: none would get past the end of such a timer.
        for point in points(whole):
            faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
            yield point
        faulthandler.cancel_dump_traceback_later()

    cases: dict[str, Callable[[], Iterator[str]]] = {
        "processes: SIGTERM at the end": lambda: endings.at_the_end(arguments.sigterms),
        "processes: doubled signals": lambda: endings.doubled(arguments.doubled),
        "processes: storms of Ctrl-C": lambda: endings.storms(arguments.storms),
        "processes: signals at each step and point": lambda: endings.swept(points),
        "trees: cancelled or stopped at each step": lambda: without_log(sweep.sweep_steps(guarded)),
        "trees: Ctrl-C at each point": lambda: without_log(interrupts(guarded)),
        "clients: cancelled at each step": lambda: without_log(clients.sweep_steps(guarded)),
        "clients: Ctrl-C at each point": lambda: without_log(client_interrupts(guarded)),
    }
    found = 0
    for name, case in cases.items():
        if arguments.only in name:
            found += report(name, case())
    return 1 if found else 0


def interrupts(points: sweep.Points) -> Iterator[str]:
    """Yield the faults that Ctrl-C shows in all ways to run a tree."""
    for only, way, ending in itertools.product((False, True), sweep.WAYS, Ending):
        yield from sweep.sweep_interrupts(way, ending, points, only_at_checkpoints=only)


def client_interrupts(points: sweep.Points) -> Iterator[str]:
    """Yield the faults that Ctrl-C shows in a client of etcd."""
    for only in (False, True):
        yield from clients.sweep_interrupts(points, only_at_checkpoints=only)


def without_log(faults: Iterator[str]) -> Iterator[str]:
    """Yield faults, and log nothing: deaths and losses are what these lives are made of."""
    loggers = [logging.getLogger(name) for name in ("supervisor", "trio_event.etcd")]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    yield from faults
    for logger in loggers:
        logger.setLevel(logging.NOTSET)  # the processes log theirs


def report(name: str, faults: Iterator[str]) -> int:
    """Print the faults of a case as they are found; return how many there are."""
    count = 0
    began = time.monotonic()
    for fault in faults:
        count += 1
        print(f"{name}: {fault}", flush=True)
    print(f"{name}: {count} faults, in {time.monotonic() - began:.0f} s", flush=True)
    return count


if __name__ == "__main__":
    sys.exit(main())

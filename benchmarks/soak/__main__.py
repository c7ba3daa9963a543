"""``python -m benchmarks.soak`` runs a tree on each core, for a time or until something breaks.

The trees on even cores run on real time, the others on a clock that jumps whenever there is nothing
to do, which makes hours of minutes.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import random
import subprocess
import sys

import trio
from trio.testing import MockClock

from .run import Plan, soak

HANGS_AFTER = 120.0
"""So many seconds after its time a process that has not ended shows where it is, and is ended."""


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long (60)")
    parser.add_argument("--nodes", type=int, default=2000, help="about how many in a tree (2000)")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between lines (5)")
    parser.add_argument("--seed", type=int, help="of all that is left to chance")
    parser.add_argument("--core", type=int, help="run only the tree of this core")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 1 if something was not as guaranteed."""
    arguments = parse(argv)
    if arguments.core is not None:
        return run_one(arguments, arguments.core)
    command = [sys.executable, "-m", "benchmarks.soak", *(sys.argv[1:] if argv is None else argv)]
    processes = [
        subprocess.Popen([*command, "--core", str(core)])
        for core in sorted(os.sched_getaffinity(0))
    ]
    return max(map(abs, [process.wait() for process in processes]))


def run_one(arguments: argparse.Namespace, core: int) -> int:
    """Run one tree in this process."""
    os.sched_setaffinity(0, {core})
    logger = logging.getLogger("supervisor")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed + core
    random.seed(seed)
    jumping = core % 2 == 1

    def tell(text: str) -> None:
        print(f"core {core}{' (jumping clock)' if jumping else ''}  {text}", flush=True)

    tell(f"seed {seed - core}, {arguments.nodes} nodes")
    faulthandler.dump_traceback_later(arguments.seconds + HANGS_AFTER, exit=True)
    clock = MockClock(autojump_threshold=0) if jumping else None
    plan = Plan(arguments.seconds, arguments.nodes, arguments.every, tell)
    violations = trio.run(soak, plan, clock=clock)
    if violations:
        tell(f"{len(violations)} violations of what is guaranteed")
    else:
        tell("all guarantees held")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m benchmarks.soak`` runs a tree on each core and checks what is guaranteed.

Trees on even cores run on real time. The others run on a clock that jumps whenever all tasks wait,
so that minutes of real time are hours of theirs.
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
"""A process that runs this many seconds longer than asked prints its tracebacks and exits."""


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long (60)")
    parser.add_argument("--nodes", type=int, default=2000, help="about how many in a tree (2000)")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between lines (5)")
    parser.add_argument("--seed", type=int, help="of all random choices but the order of tasks")
    parser.add_argument("--core", type=int, help="run only the tree of this core")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 1 if a guarantee was violated."""
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

    def output(text: str) -> None:
        print(f"core {core}{' (jumping clock)' if jumping else ''}  {text}", flush=True)

    output(f"seed {seed - core}, {arguments.nodes} nodes")
    faulthandler.dump_traceback_later(arguments.seconds + HANGS_AFTER, exit=True)
    clock = MockClock(autojump_threshold=0) if jumping else None
    plan = Plan(arguments.seconds, arguments.nodes, arguments.every, output)
    violations = trio.run(soak, plan, clock=clock)
    if violations:
        output(f"{len(violations)} violations of guarantees")
    else:
        output("all guarantees held")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())

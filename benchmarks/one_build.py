"""Measures the cases of one comparison, with the build that ``PYTHONPATH`` names.

``benchmarks.against`` runs this file as a script, in a process of its own for each build. The
``benchmarks`` that it imports are those of the build, which may be an old one. So it uses only
these, which have to stay as they are: ``comparisons()`` and ``keep_quiet()`` of the command,
``Scale``, ``Comparison.cases`` and ``Comparison.measure()``.

What it prints are lines of JSON: first the names of the cases; then, for each case that a line of
the standard input names, its samples. Without a comparison, it prints the names of all.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import attrs

import supervisor
import trio_event
from benchmarks import __main__ as command, harness


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scale", type=int, nargs=3, metavar=("ROUNDS", "LIMIT", "EFFORT"))
    parser.add_argument("comparison", nargs="?")
    arguments = parser.parse_args()
    build = Path(os.environ["PYTHONPATH"])
    for module in (supervisor, trio_event, command):
        assert module.__file__ is not None
        assert Path(module.__file__).is_relative_to(build), f"{module.__file__} is not in {build}"
    comparisons = {each.name: each for each in command.comparisons(harness.Scale(*arguments.scale))}
    if arguments.comparison is None:
        print(json.dumps(list(comparisons)))
    else:
        command.keep_quiet()
        answer(comparisons[arguments.comparison])


def answer(comparison: harness.Comparison) -> None:
    """Measure each case that the standard input names."""
    print(json.dumps(list(comparison.cases)), flush=True)
    for line in sys.stdin:
        case = line.rstrip("\n")
        alone = attrs.evolve(comparison, cases={case: comparison.cases[case]})
        print(json.dumps(alone.measure(1)), flush=True)


if __name__ == "__main__":
    main()

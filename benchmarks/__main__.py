"""``python -m benchmarks`` measures everything, prints a table, and writes JSON.

``--etcd`` measures ``trio_event.etcd`` instead, with a server of its own.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import attrs

from . import (
    against,
    fan_out,
    log_cases,
    map_cases,
    memory_cases,
    page,
    pictures,
    results,
    table,
    tree_cases,
    triotp_peer,
    value_cases,
)
from .harness import FULL, QUICK, Comparison, Scale, pin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def comparisons(scale: Scale) -> Iterator[Comparison]:
    """Return all comparisons that this process measures."""
    return itertools.chain(
        fan_out.comparisons(scale),
        value_cases.comparisons(scale),
        map_cases.comparisons(scale),
        tree_cases.comparisons(scale),
        log_cases.comparisons(scale),
        memory_cases.comparisons(scale),
    )


def measure(
    found: results.Results,
    chosen: Iterable[Comparison],
    scale: Scale,
    only: str,
    triotp: Path | None = None,
) -> None:
    """Measure those of the comparisons that have ``only`` in their names."""
    elsewhere = [triotp_peer.comparison(scale)] if triotp is not None else []
    for comparison in (*chosen, *elsewhere):
        if only not in comparison.name:
            continue
        begin = perf_counter()
        if comparison in elsewhere and triotp is not None:
            samples = triotp_peer.measure_elsewhere(triotp, scale)
        else:
            samples = comparison.measure(scale.rounds)
        print(f"{comparison.name}: {perf_counter() - begin:.1f} s", file=sys.stderr, flush=True)
        found.samples[comparison.name] = samples
        found.lines.extend(results.judged(comparison, samples))


def judge_again(last: results.Results, chosen: Iterable[Comparison]) -> results.Results:
    """Judge results that were measured before by the present goals."""
    lines = [
        line
        for comparison in chosen
        if comparison.name in last.samples
        for line in results.judged(comparison, last.samples[comparison.name])
    ]
    return attrs.evolve(last, lines=lines)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer rounds")
    parser.add_argument("--rounds", type=int, help="how many rounds (9; 3 with --quick)")
    parser.add_argument("--core", type=int, help="the core to stay on (the last one)")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="comparisons with it in the name"
    )
    parser.add_argument(
        "--etcd", action="store_true", help="measure trio_event.etcd: the rest needs no server"
    )
    parser.add_argument("--triotp", type=Path, metavar="PYTHON", help="where triotp is installed")
    parser.add_argument(
        "--page", action="store_true", help="don't measure: put the last results into the page"
    )
    parser.add_argument(
        "--against",
        metavar="PATH_OR_REV",
        help="compare with another build: the checkout in a folder, or a revision",
    )
    arguments = parser.parse_args(argv)
    if arguments.etcd and (arguments.against is not None or arguments.core is not None):
        parser.error("--etcd measures this build, on all cores: leave out --against, --core")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    arguments = parse(argv)
    scale = QUICK if arguments.quick else FULL
    if arguments.etcd:
        return main_of_etcd(arguments, scale)
    path = results.QUICK_RESULTS if arguments.quick else results.FULL_RESULTS
    if arguments.page:
        chosen = (*comparisons(scale), triotp_peer.comparison(scale))
        last = judge_again(results.load(path), chosen)
        last.save(path)
        pictures.draw(last, page.DOCS)
        page.write(last)
        return 0
    scale = attrs.evolve(scale, rounds=arguments.rounds or scale.rounds)
    core = pin(arguments.core)
    if arguments.against is not None:
        return compare(arguments.against, scale, arguments.only)
    keep_quiet()
    found = results.Results(results.circumstances(mode(arguments), scale.rounds, core), [], {})
    measure(found, comparisons(scale), scale, arguments.only, arguments.triotp)
    if not arguments.only:
        found.save(path)
    return report(found)


def main_of_etcd(arguments: argparse.Namespace, scale: Scale) -> int:
    """Run the command line for what needs a server."""
    from tests.trio_event.etcd.helpers.servers import BINARY, running

    from . import etcd_cases, etcd_peers

    path = results.QUICK_ETCD_RESULTS if arguments.quick else results.ETCD_RESULTS
    peers = etcd_peers.installed()
    if arguments.page:
        last = judge_again(results.load(path), etcd_cases.comparisons("", scale, peers))
        last.save(path)
        page.write(last, page.ETCD_PAGE, page.ETCD_BLOCKS)
        return 0
    for name in etcd_peers.missing():
        print(f"{name} is not installed, and not measured", file=sys.stderr)
    scale = attrs.evolve(scale, rounds=arguments.rounds or scale.rounds)
    made_of = results.ETCD_MEASURED_WITH
    found = results.Results(
        results.circumstances(mode(arguments), scale.rounds, None, made_of), [], {}
    )
    with (
        tempfile.TemporaryDirectory(prefix="benchmarks-") as folder,
        running(BINARY, Path(folder, "etcd")) as cluster,
    ):
        chosen = etcd_cases.comparisons(cluster.endpoints[0], scale, peers)
        measure(found, chosen, scale, arguments.only)
    if not arguments.only:
        found.save(path)
    return report(found)


def mode(arguments: argparse.Namespace) -> str:
    """Return how large the sizes are, in a word."""
    return "quick" if arguments.quick else "full"


def compare(place: str, scale: Scale, only: str) -> int:
    """Compare with another build by the comparisons with ``only`` in their names."""
    chosen = [comparison for comparison in comparisons(scale) if only in comparison.name]
    try:
        return against.run(place, scale, chosen)
    except against.NoBuildError as error:
        print(error, file=sys.stderr)
        return 2


def report(found: results.Results) -> int:
    """Print the results; return the exit status, which is 1 if a must is missed."""
    print(*table.text(found.lines), sep="\n")
    for line in found.missed:
        print(f"missed: {line.measure}", file=sys.stderr)
    return 1 if found.missed else 0


def keep_quiet() -> None:
    """Let deaths be logged as usual, to a handler that drops the records."""
    logger = logging.getLogger("supervisor")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False


if __name__ == "__main__":
    sys.exit(main())

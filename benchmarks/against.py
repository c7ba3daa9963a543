"""The cost of a change: this build and another one, measured in one interleaved run.

Two runs of the same build, one after the other, differ by up to a tenth, and on a busy machine by a
factor. Here the two builds take turns: each case runs on both, in random order, before the next
case does. A figure is the median over the rounds of the ratios of two such runs.

Both builds define the same packages, so each is measured in processes of its own, with the
dependencies of this environment. Each round has new processes, and so new hashes of strings and new
addresses: the spread includes what these change. Each build is measured by its own ``benchmarks``,
and the cases are matched by name.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import attrs

from . import peers, table
from .harness import Kind, Spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .harness import Comparison, Samples, Scale

ROOT: Final = Path(__file__).parent.parent
ONE_BUILD: Final = Path(__file__).parent / "one_build.py"

WORSE: Final = 1.05
"""Figures with a ratio above this, new to base, are flagged."""

CONTROLS: Final = frozenset({"floor", "bare", "scoped", "channel"})
"""The kinds of cases that do not use the packages: all that they differ by is noise."""

HEADS: Final = ("figure", "base", "new", "new/base", "spread", "")


class NoBuildError(Exception):
    """The command line names no build."""


@contextlib.contextmanager
def checkout(place: str) -> Iterator[Path]:
    """Return the folder of a build, given its path or a revision of this repository."""
    path = Path(place)
    if path.is_dir():
        yield path.resolve()
        return
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", "--format=tar", place],  # noqa: S607  as on PATH
        check=False,
        capture_output=True,
    )
    if archive.returncode:
        reason = archive.stderr.decode(errors="replace").strip()
        msg = f"{place!r} is neither a folder nor a revision of {ROOT}: {reason}"
        raise NoBuildError(msg)
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            tar.extractall(folder, filter="data")
        yield Path(folder).resolve()


def names(build: Path, scale: Scale) -> list[str]:
    """Return the names of the comparisons that a build has."""
    with Measuring(build, scale) as process:
        found: list[str] = process.read()
    return found


class Measuring:
    """A process that runs ``one_build.py`` with the packages of a build."""

    def __init__(self, build: Path, scale: Scale, *comparison: str) -> None:
        # -P: modules are not looked for in the folder of the script.
        command = [sys.executable, "-P", str(ONE_BUILD)]
        command += [*map(str, attrs.astuple(scale)), *comparison]
        self._build = build
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=build,
            env=os.environ | {"PYTHONPATH": str(build)},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # which ends its input, and waits for it
            pass

    def read(self) -> Any:
        """Return what the process prints next."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            msg = f"the benchmarks of {self._build} failed: the traceback is above"
            raise RuntimeError(msg)
        return json.loads(line)

    def measure(self, case: str) -> Samples:
        """Run a case once."""
        assert self._process.stdin is not None
        print(case, file=self._process.stdin, flush=True)
        samples: Samples = self.read()
        return samples


def measure(
    base: Path, new: Path, scale: Scale, comparisons: Sequence[Comparison]
) -> dict[str, tuple[Samples, Samples]]:
    """Measure both builds in turn; return the samples of base and new by comparison."""
    found: dict[str, tuple[Samples, Samples]] = {each.name: ({}, {}) for each in comparisons}
    for round_ in range(scale.rounds):
        print(f"round {round_ + 1} of {scale.rounds}", file=sys.stderr, flush=True)
        for comparison in random.sample(comparisons, len(comparisons)):
            if round_ < (comparison.rounds or scale.rounds):
                measure_round(base, new, scale, comparison.name, found[comparison.name])
    return found


def measure_round(
    base: Path, new: Path, scale: Scale, comparison: str, found: tuple[Samples, Samples]
) -> None:
    """Run each case of a comparison on both builds, except those of peers; add the samples."""
    with Measuring(base, scale, comparison) as one, Measuring(new, scale, comparison) as other:
        known = set(one.read())
        cases = [case for case in other.read() if case in known and kind(case) not in peers.PEERS]
        turns = list(zip((one, other), found, strict=True))
        for case in random.sample(cases, len(cases)):
            random.shuffle(turns)
            for process, samples in turns:
                for key, amounts in process.measure(case).items():
                    samples.setdefault(key, []).extend(amounts)


def kind(case: str) -> str:
    """Return what a case measures: the first part of its name."""
    return case.partition(",")[0]


@attrs.frozen
class Change:
    """A figure of both builds."""

    figure: str
    unit: str
    base: Spread
    new: Spread
    ratio: Spread
    is_control: bool = attrs.field(kw_only=True)

    @property
    def is_worse(self) -> bool:
        """Whether the figure is worse than it may be."""
        return not self.is_control and self.ratio.median > WORSE

    def is_clear(self, noise: float) -> bool:
        """Return whether noise, the largest ratio of a control, does not explain the ratio.

        It is more than that of each control, and the new build was worse in three of four rounds.
        """
        return self.ratio.median > noise and self.ratio.low > 1


def changes(comparison: Comparison, base: Samples, new: Samples) -> Iterator[Change]:
    """Compare the figures of the cases, and of the rows that are differences of two."""
    name = comparison.name
    for key in (key for key in new if key in base):
        case, _, figure = key.rpartition(": ")
        unit = {"bytes": "B", "import": "ms"}.get(figure, "µs")
        is_control = kind(case) in CONTROLS
        yield change(f"{name}: {key}", unit, base[key], new[key], is_control=is_control)
    for row in comparison.rows:
        if row.kind is Kind.DIFFERENCE and {row.ours, row.against} <= new.keys() & base.keys():
            yield change(row.measure, row.unit, row.read(base), row.read(new), is_control=False)


def change(
    figure: str, unit: str, base: Sequence[float], new: Sequence[float], *, is_control: bool
) -> Change:
    """Compare the amounts of each round."""
    ratios = [now / before for before, now in zip(base, new, strict=True)]
    return Change(
        figure, unit, Spread.of(base), Spread.of(new), Spread.of(ratios), is_control=is_control
    )


def text(found: Iterable[Change]) -> Iterator[str]:
    """Write the table for the terminal, and the noise that the controls show."""
    found = list(found)
    low, high = noise(found)
    rows = [
        (
            each.figure,
            table.show(each.base.median, each.unit),
            table.show(each.new.median, each.unit),
            f"{each.ratio.median:.2f}",
            f"{each.ratio.low:.2f} … {each.ratio.high:.2f}",
            flag(each, high),
        )
        for each in found
    ]
    yield from table.columns([HEADS, *rows])
    yield f"noise: new/base of the controls is from {low:.2f} to {high:.2f}"


def noise(found: Iterable[Change]) -> tuple[float, float]:
    """Return the smallest and the largest ratio of a control, which would be 1 without noise."""
    controls = [each.ratio.median for each in found if each.is_control]
    return min(controls, default=1.0), max(controls, default=1.0)


def flag(found: Change, noise: float) -> str:
    """Write the last column."""
    if found.is_control:
        return "control"
    if not found.is_worse:
        return ""
    worse = f"worse by more than {WORSE - 1:.0%}"
    return worse if found.is_clear(noise) else f"{worse}, within noise"


def run(place: str, scale: Scale, comparisons: Iterable[Comparison]) -> int:
    """Compare this build with another; return the exit status, 1 if a figure is clearly worse."""
    with checkout(place) as base:
        there = names(base, scale)
        common = [each for each in comparisons if each.name in there]
        for each in comparisons:
            if each.name not in there:
                print(f"the base does not have: {each.name}", file=sys.stderr)
        samples = measure(base, ROOT, scale, common)
    found = [found for each in common for found in changes(each, *samples[each.name])]
    print(*text(found), sep="\n")
    _, high = noise(found)
    return 1 if any(each.is_worse and each.is_clear(high) for each in found) else 0

"""The figures in ``docs/performance.md`` and ``docs/etcd.md``, which this program writes.

The pages are written by hand, except for their *blocks*: the text between ``<!-- begin NAME -->``
and ``<!-- end NAME -->`` is generated from the results.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from . import table
from .goals import NOISE, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .results import Line, Results

DOCS: Final = Path(__file__).parent.parent / "docs"
PAGE: Final = DOCS / "performance.md"
ETCD_PAGE: Final = DOCS / "etcd.md"


def write(results: Results, page: Path = PAGE, blocks: Iterable[str] | None = None) -> None:
    """Put the results into the blocks of a page; by default into all that there are."""
    content = page.read_text("utf-8")
    for name in BLOCKS if blocks is None else blocks:
        make = BLOCKS[name]
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        before, found, rest = content.partition(begin)
        _, found_too, after = rest.partition(end)
        if not (found and found_too):
            msg = f"{page} has no block {begin} … {end}: write the two lines where it belongs"
            raise ValueError(msg)
        content = "\n".join([before + begin, "", *make(results), "", end + after])
    page.write_text(content, "utf-8")


def circumstances(results: Results) -> Iterator[str]:
    """Write when, where and with which versions the run has measured."""
    found = results.circumstances
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    where = "on" if found["core"] is None else f"on core {found['core']} of"
    yield f"- Taken on {found['date']}, in {found['rounds']} rounds,"
    yield f"  {where} a machine with {found['machine']}, {found['system']}."
    yield f"- {found['python']}; {versions}."


def judged(results: Results) -> Iterator[str]:
    """Write the figures that have a must or an aim."""
    yield from table.markdown(line for line in results.lines if line.verdict is not None)


def others(results: Results) -> Iterator[str]:
    """Write the figures that have no goal."""
    yield from table.markdown(line for line in results.lines if line.verdict is None)


def unmet(results: Results) -> Iterator[str]:
    """Write which aims and musts were missed, and what it would take to meet them."""
    missing: dict[str, list[str]] = {}
    for line in results.lines:
        if is_unmet(line):
            figure = table.show(line.spread.median, line.unit)
            wanted = table.show(line.aim if line.aim is not None else line.must, line.unit)
            missing.setdefault(line.takes or "not known", []).append(
                f"{line.measure} ({figure}, wanted {wanted})"
            )
    if not missing:
        yield "All aims are met."
    for takes, measures in missing.items():
        yield f"- *What it takes:* {takes}. *For:* {'; '.join(measures)}."


def is_unmet(line: Line) -> bool:
    """Return whether the figure misses its aim, or its must where it has no aim."""
    if line.verdict is Verdict.MUST:
        return line.aim is not None
    return line.verdict not in {None, Verdict.AIM}


def noise(_: Results) -> Iterator[str]:
    """Write how much noise is allowed for."""
    yield f"A must counts as missed when the median is beyond it by more than {NOISE - 1:.0%}."


BLOCKS: Final = {
    "circumstances": circumstances,
    "noise": noise,
    "judged": judged,
    "unmet": unmet,
    "others": others,
}
ETCD_BLOCKS: Final = ("circumstances", "noise", "judged", "others")

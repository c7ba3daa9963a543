"""The figures in ``docs/performance.md``, which are written by this program and by nobody else.

The page is written by hand, but for its *blocks*: what stands between ``<!-- begin NAME -->`` and
``<!-- end NAME -->`` is made of the results.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from . import table
from .goals import NOISE, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .results import Line, Results

DOCS: Final = Path(__file__).parent.parent / "docs"
PAGE: Final = DOCS / "performance.md"


def write(results: Results, page: Path = PAGE) -> None:
    """Put the results into the page."""
    content = page.read_text("utf-8")
    for name, make in BLOCKS.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        before, found, rest = content.partition(begin)
        _, found_too, after = rest.partition(end)
        if not (found and found_too):
            msg = f"{page} has no block {begin} … {end}: write the two lines where it is to be"
            raise ValueError(msg)
        content = "\n".join([before + begin, "", *make(results), "", end + after])
    page.write_text(content, "utf-8")


def circumstances(results: Results) -> Iterator[str]:
    """Tell when, where and with what was measured."""
    found = results.circumstances
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    yield f"- Taken on {found['date']}, in {found['rounds']} rounds, on core {found['core']}"
    yield f"  of a machine with {found['machine']}, {found['system']}."
    yield f"- {found['python']}; {versions}."


def judged(results: Results) -> Iterator[str]:
    """Write the figures that have a must or an aim."""
    yield from table.markdown(line for line in results.lines if line.verdict is not None)


def others(results: Results) -> Iterator[str]:
    """Write the figures that are there to compare with."""
    yield from table.markdown(line for line in results.lines if line.verdict is None)


def unmet(results: Results) -> Iterator[str]:
    """Tell what was missed, and what it would take to meet it."""
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
    """Return whether there is something that the figure should be and is not."""
    if line.verdict is Verdict.MUST:
        return line.aim is not None
    return line.verdict not in {None, Verdict.AIM}


def noise(_: Results) -> Iterator[str]:
    """Tell how much noise is allowed for."""
    yield f"A must counts as missed when the median is beyond it by more than {NOISE - 1:.0%}."


BLOCKS: Final = {
    "circumstances": circumstances,
    "noise": noise,
    "judged": judged,
    "unmet": unmet,
    "others": others,
}

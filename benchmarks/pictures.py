"""Two pictures of how cost grows."""

from __future__ import annotations

import re
import statistics
from typing import TYPE_CHECKING, Any, Final

from .goals import US

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .harness import Samples
    from .results import Results

# Colours that colour-blind readers can tell apart (Okabe and Ito).
COLOURS: Final = {
    "ours": "#0072b2",
    "floor": "#000000",
    "trio-util": "#d55e00",
    "anyio": "#009e73",
    "reactivex": "#cc79a7",
    "triotp": "#e69f00",
}
# Which comparisons are drawn, and which of their figures.
GROWTH: Final = {
    "restart of a leaf": "restart",
    "set, no one waiting": "set",
    "set, all waiting": "set",
    "triotp": "restart",
}
# In seconds, by nodes: from the table of upstream's figures in docs/performance.md.
UPSTREAM: Final = {10: 1.25e-3, 100: 2.4e-3, 1_000: 35e-3, 10_000: 1.172}
RESTART: Final = "restart-cost.svg"
SET: Final = "set-cost.svg"


def draw(results: Results, folder: Path) -> None:
    """Write the pictures of the results into a folder."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    samples = results.samples
    # The same results make the same file, and text stays text in it.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "trio-supervisor"}):
        figure = Figure(figsize=(6, 3.4), layout="constrained")
        axes = figure.subplots()
        plot(axes, samples, "restart of a leaf", "triotp")
        points = {size: seconds / US for size, seconds in UPSTREAM.items()}
        axes.plot(
            *zip(*points.items(), strict=True), "o--", color="#999999", label="upstream", ms=4
        )
        axes.set_ylim(10, 3e6)
        label(axes, "nodes in the tree", "restart of a leaf, µs")
        figure.savefig(folder / RESTART, metadata={"Date": None})

        figure = Figure(figsize=(9, 3.4), layout="constrained")
        idle, waiting = figure.subplots(1, 2, sharey=True)
        plot(idle, samples, "set, no one waiting")
        plot(waiting, samples, "set, all waiting")
        label(idle, "watchers, none of which waits", "a set, µs")
        label(waiting, "watchers, all of which wait", "")
        figure.savefig(folder / SET, metadata={"Date": None})


def series(measured: str, figure: str, samples: Samples) -> dict[int, float]:
    """Return the medians of a figure, by size."""
    found = {}
    for key, amounts in samples.items():
        match = re.fullmatch(rf"{re.escape(measured)}, (\d+): {figure}", key)
        if match is not None:
            found[int(match[1])] = statistics.median(amounts) / US
    return dict(sorted(found.items()))


def plot(axes: Any, samples: Mapping[str, Samples], *comparisons: str) -> None:
    """Draw a line for ours, the floor and each peer that was measured."""
    for measured, colour in COLOURS.items():
        for name in comparisons:
            points = series(measured, GROWTH[name], samples.get(name, {}))
            if points:
                axes.plot(
                    *zip(*points.items(), strict=True), "o-", color=colour, label=measured, ms=4
                )


def label(axes: Any, below: str, beside: str) -> None:
    """Label the axes."""
    axes.set(xscale="log", yscale="log", xlabel=below, ylabel=beside)
    axes.minorticks_off()
    axes.grid(visible=True, color="#dddddd")
    axes.legend(frameon=False, fontsize="small")

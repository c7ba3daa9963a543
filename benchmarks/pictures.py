"""How cost grows, as two pictures."""

from __future__ import annotations

import re
import statistics
from typing import TYPE_CHECKING, Any, Final

from .goals import US

if TYPE_CHECKING:
    from pathlib import Path

    from .harness import Samples
    from .results import Results

# Colours that those who see few colours can tell apart (Okabe and Ito).
COLOURS: Final = {
    "ours": "#0072b2",
    "floor": "#000000",
    "trio-util": "#d55e00",
    "anyio": "#009e73",
    "reactivex": "#cc79a7",
    "triotp": "#e69f00",
}
RESTART: Final = "restart-cost.svg"
SET: Final = "set-cost.svg"


def draw(results: Results, folder: Path) -> None:
    """Write the pictures of the results into a folder."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    samples = results.samples
    # The same results make the same file, and text stays text.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "trio-supervisor"}):
        figure = Figure(figsize=(6, 3.4), layout="constrained")
        axes = figure.subplots()
        plot(axes, "restart", samples["restart of a leaf"], samples.get("triotp", {}))
        label(axes, "nodes in the tree", "restart of a leaf, µs")
        figure.savefig(folder / RESTART, metadata={"Date": None})

        figure = Figure(figsize=(9, 3.4), layout="constrained")
        idle, waiting = figure.subplots(1, 2, sharey=True)
        plot(idle, "set", samples["set, no one waiting"])
        plot(waiting, "set", samples["set, all waiting"])
        label(idle, "watchers, none of which waits", "a set, µs")
        label(waiting, "watchers, all of which wait", "")
        figure.savefig(folder / SET, metadata={"Date": None})


def series(who: str, figure: str, samples: Samples) -> dict[int, float]:
    """Return the medians of a figure, by size."""
    found = {}
    for key, amounts in samples.items():
        match = re.fullmatch(rf"{re.escape(who)}, (\d+): {figure}", key)
        if match is not None:
            found[int(match[1])] = statistics.median(amounts) / US
    return dict(sorted(found.items()))


def plot(axes: Any, figure: str, *many: Samples) -> None:
    """Draw a line for each of those who were measured."""
    for who, colour in COLOURS.items():
        for samples in many:
            points = series(who, figure, samples)
            if points:
                axes.plot(*zip(*points.items(), strict=True), "o-", color=colour, label=who, ms=4)


def label(axes: Any, below: str, beside: str) -> None:
    """Say what is shown."""
    axes.set(xscale="log", yscale="log", xlabel=below, ylabel=beside)
    axes.grid(visible=True, color="#dddddd")
    axes.legend(frameon=False, fontsize="small")

"""How soon a browser shows a crash.

``python -m benchmarks.soak.browser`` measures it; a test runs the same with small numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

import supervisor
from supervisor import Backoff, Signal
from supervisor.inspector import inspector
from supervisor.testing import Remote
from tests.supervisor.helpers.chromium import FOUND, PROGRAMS, running_chromium

from .viewers import leaf

if TYPE_CHECKING:
    from tests.supervisor.helpers.chromium import Chromium

MOST: Final = 0.5
"""A crash may be shown so many seconds later."""

MORTAL: Final = "root.mortal"

SHOWN: Final = f"""
    [...document.getElementById("rows").children].some(
        (row) => row.cells[0].title === "{MORTAL}" && row.cells[1].textContent === "STATE")
"""


async def show_crashes(
    nodes: int, path: Path, chromium: Chromium, *, rounds: int, rate: float = 0.0
) -> list[float]:
    """Have one of so many nodes crash; return how many seconds later each crash was shown.

    Meanwhile, other nodes restart at this rate a second.
    """
    mortal = Remote()

    async def root() -> None:
        # The first: not all rows of a large tree are drawn.
        supervisor.run("mortal", mortal, backoff=Backoff(initial=1000.0, maximum=1000.0))
        for number in range(nodes - 1):
            supervisor.run(f"n{number}", leaf)
        await leaf()

    async def beside() -> None:
        supervisor.run("inspector", inspector(tree, path=path, http="127.0.0.1:0"))
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async def disturb() -> None:
        for number in range(sys.maxsize if rate else 0):
            await tree.restart(f"root.n{number % (nodes - 1)}")
            await trio.sleep(1 / rate)

    took: list[float] = []
    async with supervisor.open_supervisor(root) as tree, trio.open_nursery() as nursery:
        written = io.StringIO()
        with contextlib.redirect_stderr(written):  # the token is nowhere else
            async with supervisor.open_supervisor(beside) as other:
                await other.wait_ready()
                async with chromium.open() as browser:
                    page = await browser.open(written.getvalue().split()[-1])
                    nursery.start_soon(disturb)
                    for _ in range(rounds + 1):  # the first rows are drawn in the first
                        await mortal.become_healthy()
                        await page.until(SHOWN.replace("STATE", "HEALTHY"))
                        began = time.perf_counter()
                        await mortal.die()
                        await page.until(SHOWN.replace("STATE", "DEAD"))
                        took.append(time.perf_counter() - began)
                        await tree.restart(MORTAL)
                nursery.cancel_scope.cancel()
    return took[1:]


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 1 if a crash is shown too late."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak.browser", description=__doc__)
    parser.add_argument("--nodes", type=int, default=500, help="of the tree (500)")
    parser.add_argument("--rate", type=float, default=0.0, help="restarts a second (none)")
    parser.add_argument("--rounds", type=int, default=50, help="crashes (50)")
    given = parser.parse_args(argv)
    if FOUND is None:
        parser.error(f"none of {', '.join(PROGRAMS)} is installed")
    logging.getLogger("supervisor").setLevel(logging.CRITICAL + 1)
    with tempfile.TemporaryDirectory() as folder, running_chromium() as chromium:
        shown = partial(
            show_crashes,
            given.nodes,
            Path(folder, "s"),
            chromium,
            rounds=given.rounds,
            rate=given.rate,
        )
        took = trio.run(shown)
    typical = statistics.median(took)
    print(
        f"a crash among {given.nodes} nodes is shown after {typical:.2f} s (at most {MOST}), "
        f"the slowest of {given.rounds} after {max(took):.2f} s"
    )
    return 1 if typical > MOST else 0


if __name__ == "__main__":
    sys.exit(main())

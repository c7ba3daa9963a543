"""The cost of triotp, in an environment of its own: it needs Trio 0.19.

``python -m benchmarks.triotp_peer`` runs there, without our packages, and prints samples as JSON.
It measures a floor of its own, because figures of two versions of Trio are not comparable.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled

from .floors import Gate
from .harness import Comparison, Samples, Scale, clock, number, plain, ratio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.lowlevel import Task

    from .harness import Figures, Row

    Leaf = Callable[[int], Awaitable[None]]

LIMIT: Final = 10_000


def comparison(scale: Scale) -> Comparison:
    """Return the comparison of triotp with its floor."""
    sizes = scale.sizes(10, LIMIT)
    cases: dict[str, Callable[[], Figures]] = {}
    rows: list[Row] = []
    for n in sizes:
        cases[f"floor, {n}"] = partial(time_bare, n)
        cases[f"triotp, {n}"] = partial(time_triotp, n, scale.times(100))
        what = f"triotp on Trio 0.19, {number(n)} nodes"
        rows += [
            ratio(
                f"{what}, start of one, against bare", f"triotp, {n}: start", f"floor, {n}: start"
            ),
            plain(f"{what}, restart of one", f"triotp, {n}: restart", "µs"),
        ]
    return Comparison("triotp", cases, rows)


def measure_elsewhere(python: Path, scale: Scale) -> Samples:
    """Measure in the environment of another Python."""
    command = [str(python), "-m", __name__, str(scale.rounds), str(scale.limit), str(scale.effort)]
    ended = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent
    )
    samples: Samples = json.loads(ended.stdout)
    return samples


def time_bare(size: int) -> Figures:
    """Time the start of bare tasks until the last has run."""

    async def main() -> float:
        gate = Gate()

        async def leaf() -> None:
            gate.go_through()
            await trio.sleep_forever()

        gate.close(size)
        async with trio.open_nursery() as nursery:
            begin = clock()
            for _ in range(size):
                nursery.start_soon(leaf)
            await gate.wait_opened()
            nursery.cancel_scope.cancel()
        return (gate.opened_at - begin) / size

    return {"start": trio.run(main)}


def time_triotp(size: int, times: int) -> Figures:
    """Time the start of a supervisor's children, and the restart of one of them at random."""
    from logbook import NullHandler
    from triotp import supervisor

    async def main() -> Figures:
        gate = Gate()
        tasks: list[Task | None] = [None] * size

        async def leaf(index: int) -> None:
            tasks[index] = current_task()
            gate.go_through()
            await wait_task_rescheduled(lambda _: Abort.SUCCEEDED)
            raise RuntimeError

        children = [
            supervisor.child_spec(f"n{index}", leaf, [index], supervisor.restart_strategy.PERMANENT)
            for index in range(size)
        ]
        spent = 0.0
        async with trio.open_nursery() as nursery:
            gate.close(size)
            begin = clock()
            nursery.start_soon(supervisor.start, children, supervisor.options(10**6, 1))
            await gate.wait_opened()
            start = gate.opened_at - begin
            for _ in range(times):
                gate.close(1)
                task = tasks[random.randrange(size)]
                assert task is not None
                begin = clock()
                reschedule(task)
                await gate.wait_opened()
                spent += gate.opened_at - begin
            nursery.cancel_scope.cancel()
        return {"start": start / size, "restart": spent / times}

    with NullHandler().applicationbound():
        return trio.run(main)


def main() -> None:
    """Measure, and print the samples."""
    parser = argparse.ArgumentParser()
    for argument in ("rounds", "limit", "effort"):
        parser.add_argument(argument, type=int)
    scale = Scale(**vars(parser.parse_args()))
    print(json.dumps(comparison(scale).measure(scale.rounds)))


if __name__ == "__main__":
    main()

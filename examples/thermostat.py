"""A thermostat for the processor: a worker heats, and rests when it gets too hot.

The temperature is real: the share of a processor that this process uses. What to do is derived from
it and from a setting, and only changes are acted on::

    load ──────────┐
                   ├─ compose ─ filter ─ map ─ distinct ─→ the worker
    limit ─────────┘
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from typing import TYPE_CHECKING

import trio

import supervisor
from supervisor import Signal
from trio_event import Composition, MemoryValue, ValueWatch, compose, follow

try:
    import psutil
except ImportError:
    sys.exit(f"this example needs psutil: type `{sys.executable} -m pip install psutil`")

if TYPE_CHECKING:
    from collections.abc import Sequence

HEAT_BELOW = 0.6


async def measure(load: MemoryValue[float]) -> None:
    """Set the load of this process, in percent of one processor, five times a second."""
    process = psutil.Process()
    process.cpu_percent()
    supervisor.signal(Signal.HEALTHY)
    while True:
        await trio.sleep(0.2)
        load.set(process.cpu_percent())


def thermostat(load: ValueWatch[float], limit: ValueWatch[float]) -> ValueWatch[bool]:
    """Derive whether to heat: below the limit, but not for every little drop."""

    def is_clear(now: Composition[float]) -> bool:
        load, limit = now["load"], now["limit"]
        return load > limit or load < limit * HEAT_BELOW

    return (
        compose(load=load, limit=limit)
        .filter(is_clear)
        .map(lambda now: now.load < now.limit)
        .distinct()
    )


async def work(heat: ValueWatch[bool]) -> None:
    """Keep the processor busy while it is to be heated."""

    async def obey(heating: bool) -> None:  # noqa: FBT001  a value comes by position
        print("heat" if heating else "rest", flush=True)
        while heating:
            until = time.perf_counter() + 0.01
            while time.perf_counter() < until:
                pass
            await trio.lowlevel.checkpoint()

    supervisor.signal(Signal.HEALTHY)
    await follow(heat, obey, latest=True)


async def warn(load: ValueWatch[float], limit: float) -> None:
    """Say when the load has been above the limit for half a second without a break."""
    supervisor.signal(Signal.HEALTHY)
    while True:
        hot = await load.wait_for(lambda now: now > limit, held_for=0.5)
        print(f"hot for half a second: {hot:.0f} %", flush=True)
        await load.wait_for(lambda now: now <= limit)


async def root(limit: float) -> None:
    """Start everything, and be done."""
    load: MemoryValue[float] = MemoryValue()
    supervisor.run("load", measure, load)
    supervisor.run("worker", work, thermostat(load, MemoryValue(limit)))
    supervisor.run("warning", warn, load, limit)
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


def positive(text: str) -> float:
    """Parse a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value > 0:
        msg = f"{text!r} is not a number above 0"
        raise argparse.ArgumentTypeError(msg)
    return value


async def main(argv: Sequence[str] | None = None) -> None:
    """Run the tree for as long as the command line says."""
    parser = argparse.ArgumentParser(description="Keep the load of this process below a limit.")
    parser.add_argument(
        "--limit", type=positive, default=50.0, metavar="PERCENT", help="of one processor"
    )
    parser.add_argument("--seconds", type=positive, default=math.inf, metavar="S", help="then end")
    arguments = parser.parse_args(argv)
    with trio.move_on_after(arguments.seconds):
        await supervisor.supervise(root, arguments.limit)


if __name__ == "__main__":
    try:
        trio.run(main)
    except KeyboardInterrupt:
        print("stopped by Ctrl-C")

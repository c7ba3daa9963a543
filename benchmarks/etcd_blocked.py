"""How much a process grows while its Trio thread is blocked and events come.

That is measured in a process of its own, because one of the figures is the largest amount of memory
that the process has had. It prints both as JSON. The events are made by one more process.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_event.etcd import Bytes, EtcdClient

from . import etcd_floors

if TYPE_CHECKING:
    from .harness import Figures

ROOT: Final = Path(__file__).parent.parent
# Behind all other places, so that the packages which are measured stay those of this process.
PROGRAM: Final = (
    "import sys; sys.path.append(sys.argv.pop(1)); "
    "from benchmarks import etcd_blocked; etcd_blocked.main()"
)
KEY: Final = "bench/blocked"
SIZE: Final = 100_000
"""Bytes of an event."""


def measure_elsewhere(endpoint: str, events: int, seconds: float) -> Figures:
    """Measure in another process."""
    figures: Figures = json.loads(run_elsewhere("measure", endpoint, events, seconds))
    return figures


def run_elsewhere(role: str, endpoint: str, events: int, seconds: float) -> str:
    """Run :func:`main` in another process; return what it prints."""
    command = [sys.executable, "-c", PROGRAM, str(ROOT), role, endpoint, str(events), str(seconds)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def event(number: int) -> bytes:
    """Return what is put."""
    return b"%d" % number + bytes(SIZE)


def write(endpoint: str, events: int) -> None:
    """Make the events."""
    with etcd_floors.opened(endpoint) as channel:
        put: Any = channel.unary_unary(etcd_floors.PUT)
        for number in range(1, events + 1):
            put(etcd_floors.put_request(KEY.encode(), event(number)))


async def measure(endpoint: str, events: int, seconds: float) -> Figures:
    """Block the thread while the events come, and then let it take them.

    Return by how many bytes the process has grown when the thread goes on, and by how many at most
    until it has the newest state.
    """
    async with EtcdClient([endpoint]) as client, client.value(KEY, Bytes()) as value:
        await value.put(event(0))
        await value.wait_for(lambda data: data == event(0))
        before, begin = memory("VmRSS"), time.perf_counter()
        run_elsewhere("write", endpoint, events, seconds)
        time.sleep(max(0, begin + seconds - time.perf_counter()))  # noqa: ASYNC251  it is to block
        blocked = memory("VmRSS") - before
        await value.wait_for(lambda data: data == event(events))
        return {"blocked": blocked, "most": memory("VmHWM") - before}


def memory(name: str) -> int:
    """Return an amount of memory, in bytes, as the kernel calls it."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text("utf-8"))
    assert found is not None
    return int(found[1]) * 1024


def main() -> None:
    """Play the role that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["measure", "write"])
    parser.add_argument("endpoint")
    parser.add_argument("events", type=int)
    parser.add_argument("seconds", type=float)
    arguments = parser.parse_args()
    if arguments.role == "write":
        write(arguments.endpoint, arguments.events)
    else:
        figures = trio.run(measure, arguments.endpoint, arguments.events, arguments.seconds)
        print(json.dumps(figures))

"""A process that takes part in an election, and reports what it does; see ``elections.py``."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time

import trio

import supervisor
from supervisor import Signal
from trio_event.etcd import (
    EtcdClient,
    EtcdError,
    UnavailableError,
    UnknownOutcomeError,
    current_leadership,
    elect,
)


def report(event: str, **more: object) -> None:
    """Print what has happened; the clock is that of the machine."""
    print(json.dumps({"event": event, "at": time.monotonic(), **more}), flush=True)


async def lead() -> None:
    """Write under a new key again and again, and once more after the end."""
    leadership = current_leadership()
    supervisor.signal(Signal.HEALTHY)
    report("leads", term=leadership.revision, key=leadership.key)
    late = number = 0
    try:
        while True:
            number += 1
            with contextlib.suppress(UnavailableError, UnknownOutcomeError):
                await leadership.put(f"writes/{leadership.revision}/{number}", b"")
            late += trio.current_time() > leadership.lease.deadline
            await trio.sleep(0.005)
            late += trio.current_time() > leadership.lease.deadline
    finally:
        report("ends", term=leadership.revision, writes=number, late=late)
        # As somebody does who shields what should have been cancelled.
        with trio.move_on_after(0.5, shield=True), contextlib.suppress(EtcdError):
            await leadership.put(f"writes/{leadership.revision}/shielded", b"")


async def main(ttl: int, endpoints: list[str]) -> None:
    """Take part until the process is killed."""
    async with EtcdClient(endpoints) as client:
        await supervisor.supervise(elect(client, "election", lead, ttl=ttl))


if __name__ == "__main__":
    logging.disable()  # losing the leadership is what it is for
    trio.run(main, int(sys.argv[1]), sys.argv[2:])

"""What is still in memory."""

from __future__ import annotations

import gc

import trio

from trio_event import MemoryValue, Watcher

from .internals import Waiter


def watchers_alive() -> int:
    """Count the watchers that there are."""
    gc.collect()
    return sum(Watcher in type(thing).__mro__ for thing in gc.get_objects())


def held_by(value: MemoryValue[int]) -> int:
    """Count the watchers, waits and tasks that a value refers to."""
    count = 0
    found = {id(value)}
    rest: list[object] = [value]
    while rest:
        for held in gc.get_referents(rest.pop()):
            if isinstance(held, Watcher | Waiter | trio.lowlevel.Task):
                count += 1
            elif id(held) not in found and not isinstance(held, type | trio.lowlevel.TrioToken):
                found.add(id(held))
                rest.append(held)
    return count

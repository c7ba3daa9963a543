"""Event Values for Trio: the newest state of something, and any number of watchers.

A *value* holds the newest state of something. *Watchers* follow it and never block the
producer: each sees the newest state that it has not seen, and may skip states that were
replaced before it looked. A *pipe* sends a value to a memory channel, as a runnable of the
package ``supervisor``. Modelled on ``osbase/event`` of Monogon Metropolis::

    import trio
    from trio_event import MemoryValue

    async def main() -> None:
        lease: MemoryValue[str] = MemoryValue()

        async def show() -> None:
            with lease.watch() as watcher:
                async for address in watcher:
                    print(address)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(show)
            lease.set("203.0.113.24")
            lease.close()

    trio.run(main)
"""

from __future__ import annotations

from ._absent import ABSENT as ABSENT, Absent as Absent
from ._consuming._follow import follow as follow
from ._consuming._pipe import pipe as pipe
from ._consuming._select import select as select
from ._derived._composed import Composition as Composition
from ._memory._contents import Change as Change
from ._memory._map import ValueMap as ValueMap
from ._memory._value import MemoryValue as MemoryValue, Statistics as Statistics
from ._steps import atomic as atomic
from ._unset import UNSET as UNSET, Unset as Unset, UnsetError as UnsetError
from ._value import Value as Value, ValueWatch as ValueWatch, compose as compose
from ._view import View as View
from ._watcher import BacklogDone as BacklogDone, Update as Update, Watcher as Watcher

__all__ = (
    "ABSENT",
    "UNSET",
    "Absent",
    "BacklogDone",
    "Change",
    "Composition",
    "MemoryValue",
    "Statistics",
    "Unset",
    "UnsetError",
    "Update",
    "Value",
    "ValueMap",
    "ValueWatch",
    "View",
    "Watcher",
    "atomic",
    "compose",
    "follow",
    "pipe",
    "select",
)

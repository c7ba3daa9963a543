"""Trees to measure, and the same tasks by hand."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
import trio

import supervisor
from supervisor import Backoff

from .harness import clock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Leaf = Callable[[int], Awaitable[None]]

AT_ONCE: Final = Backoff(initial=0.0, jitter=0.0)
"""No delay before a restart: what is measured is what the restart itself costs."""
MEMBERS: Final = 100
"""How many leaves share a group or a parent, where some do."""


@attrs.define
class Planting:
    """What is to be planted, and when it was begun."""

    leaf: Leaf
    size: int
    names: list[str] = attrs.field(init=False)
    begun: float = 0.0

    def __attrs_post_init__(self) -> None:
        # Made beforehand: bare tasks have no names to make.
        self.names = [f"n{index}" for index in range(self.size)]


async def bare(planting: Planting) -> None:
    """Start tasks in a nursery."""
    leaf = planting.leaf
    async with trio.open_nursery() as nursery:
        planting.begun = clock()
        for index in range(planting.size):
            nursery.start_soon(leaf, index)


async def bare_in_scopes(planting: Planting) -> None:
    """Start tasks in a nursery, each of which can be cancelled alone."""
    leaf = planting.leaf

    async def scoped(index: int) -> None:
        with trio.CancelScope():
            await leaf(index)

    async with trio.open_nursery() as nursery:
        planting.begun = clock()
        for index in range(planting.size):
            nursery.start_soon(scoped, index)


async def lone(planting: Planting) -> None:
    """Start leaves below the root, each in a group of its own."""

    async def root() -> None:
        planting.begun = clock()
        for index, name in enumerate(planting.names):
            supervisor.run(name, planting.leaf, index)
        await trio.sleep_forever()

    await supervisor.supervise(root, backoff=AT_ONCE)


async def grouped(planting: Planting) -> None:
    """Start leaves below the root, in groups of a hundred."""

    async def root() -> None:
        planting.begun = clock()
        for first in range(0, planting.size, MEMBERS):
            run_members(planting, range(first, min(first + MEMBERS, planting.size)))
        await trio.sleep_forever()

    await supervisor.supervise(root, backoff=AT_ONCE)


async def one_group(planting: Planting) -> None:
    """Start leaves below the root, all in one group."""

    async def root() -> None:
        planting.begun = clock()
        run_members(planting, range(planting.size))
        await trio.sleep_forever()

    await supervisor.supervise(root, backoff=AT_ONCE)


async def bushy(planting: Planting) -> None:
    """Start leaves below inner nodes, a hundred below each."""

    async def branch(first: int) -> None:
        for index in range(first, min(first + MEMBERS, planting.size)):
            supervisor.run(planting.names[index], planting.leaf, index)
        await trio.sleep_forever()

    async def root() -> None:
        planting.begun = clock()
        for first in range(0, planting.size, MEMBERS):
            supervisor.run(planting.names[first], branch, first)
        await trio.sleep_forever()

    await supervisor.supervise(root, backoff=AT_ONCE)


def run_members(planting: Planting, indices: range) -> None:
    """Start leaves in one group."""
    supervisor.run_group(
        {planting.names[index]: partial(planting.leaf, index) for index in indices}
    )

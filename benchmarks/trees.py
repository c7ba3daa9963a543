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
"""No delay before a restart: only the restart itself is measured."""
MEMBERS: Final = 100
"""How many leaves share a group or a parent, where they do."""


@attrs.define
class TreeSpec:
    """The leaves that a tree is to have, and when their start began."""

    leaf: Leaf
    size: int
    names: list[str] = attrs.field(init=False)
    started_at: float = 0.0

    def __attrs_post_init__(self) -> None:
        # Made before the clock starts: bare tasks have no names.
        self.names = [f"n{index}" for index in range(self.size)]


async def bare(spec: TreeSpec) -> None:
    """Start tasks in a nursery."""
    leaf = spec.leaf
    async with trio.open_nursery() as nursery:
        spec.started_at = clock()
        for index in range(spec.size):
            nursery.start_soon(leaf, index)


async def bare_in_scopes(spec: TreeSpec) -> None:
    """Start tasks in a nursery, each in a cancel scope of its own."""
    leaf = spec.leaf

    async def scoped(index: int) -> None:
        with trio.CancelScope():
            await leaf(index)

    async with trio.open_nursery() as nursery:
        spec.started_at = clock()
        for index in range(spec.size):
            nursery.start_soon(scoped, index)


async def lone(spec: TreeSpec) -> None:
    """Start leaves below the root, each in a group of its own."""

    async def root() -> None:
        spec.started_at = clock()
        for index, name in enumerate(spec.names):
            supervisor.run(name, spec.leaf, index)
        await trio.sleep_forever()

    await supervisor.supervise(root, backoff=AT_ONCE)


async def grouped(spec: TreeSpec) -> None:
    """Start leaves below the root, in groups of a hundred."""

    async def root() -> None:
        spec.started_at = clock()
        for first in range(0, spec.size, MEMBERS):
            run_members(spec, range(first, min(first + MEMBERS, spec.size)))
        await trio.sleep_forever()

    await supervisor.supervise(root, backoff=AT_ONCE)


async def one_group(spec: TreeSpec) -> None:
    """Start leaves below the root, all in one group."""

    async def root() -> None:
        spec.started_at = clock()
        run_members(spec, range(spec.size))
        await trio.sleep_forever()

    await supervisor.supervise(root, backoff=AT_ONCE)


async def bushy(spec: TreeSpec) -> None:
    """Start leaves below inner nodes, a hundred below each."""

    async def branch(first: int) -> None:
        for index in range(first, min(first + MEMBERS, spec.size)):
            supervisor.run(spec.names[index], spec.leaf, index)
        await trio.sleep_forever()

    async def root() -> None:
        spec.started_at = clock()
        for first in range(0, spec.size, MEMBERS):
            supervisor.run(spec.names[first], branch, first)
        await trio.sleep_forever()

    await supervisor.supervise(root, backoff=AT_ONCE)


def run_members(spec: TreeSpec, indices: range) -> None:
    """Start leaves in one group."""
    supervisor.run_group({spec.names[index]: partial(spec.leaf, index) for index in indices})

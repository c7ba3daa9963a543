"""Runnables that many tests need."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import trio

import supervisor
from supervisor import Signal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from supervisor import Backoff


async def idle() -> None:
    """Become HEALTHY, and run until the supervisor stops it."""
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


async def finish() -> None:
    """Become HEALTHY, then DONE."""
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


async def hold_on() -> None:
    """Become HEALTHY, and take a minute to end, whatever asks for that."""
    supervisor.signal(Signal.HEALTHY)
    with trio.CancelScope(shield=True):
        await trio.sleep(60)


def root_of_group(
    backoff: Backoff, **members: Callable[[], Awaitable[object]]
) -> Callable[[], Awaitable[None]]:
    """Return a root for ``open_harness()`` that starts one group."""

    async def root() -> None:
        supervisor.run_group(members, backoff=backoff)

    return root


async def start(function: Callable[..., object], *args: object) -> None:
    """Call ``function`` and return: a root for ``open_harness()``, which keeps its children."""
    function(*args)


async def start_and_idle(function: Callable[..., object], *args: object) -> None:
    """Call ``function``, become HEALTHY, and run until the supervisor stops it."""
    function(*args)
    await idle()


@final
class CountsCleanUps:
    """A runnable that idles, and counts how often it has cleaned up."""

    def __init__(self) -> None:
        self.cleaned_up = 0

    async def __call__(self) -> None:
        try:
            await idle()
        finally:
            self.cleaned_up += 1


def root_above(
    failing: Callable[[], Awaitable[object]], other: CountsCleanUps, *, depth: int
) -> Callable[[], Awaitable[None]]:
    """Return a root below which ``failing`` runs, ``depth`` levels further down.

    Each level, the root included, runs ``other`` itself and has it as a child.
    """

    async def level(below: int) -> None:
        if below:
            supervisor.run("inner", level, below - 1)
        else:
            supervisor.run("failing", failing)
        supervisor.run("other", other)
        await other()

    async def root() -> None:
        await level(depth)

    return root

"""How a tree is left: by one exception where there is one to tell of (S11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import pytest
import trio
import trio.testing

import supervisor
from supervisor import RestartLimit, RestartLimitExceeded, open_supervisor, supervise

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def interrupted() -> NoReturn:
    """Raise what Ctrl-C raises in a runnable."""
    raise KeyboardInterrupt


async def interrupted_at_the_end() -> None:
    """Be interrupted when it is stopped."""
    try:
        await trio.sleep_forever()
    finally:
        await interrupted()


async def two_interrupts() -> None:
    supervisor.run("child", interrupted_at_the_end)
    await trio.testing.wait_all_tasks_blocked()
    await interrupted()


async def a_group_of_interrupts() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(interrupted)
        nursery.start_soon(interrupted)


@pytest.mark.parametrize("root", [two_interrupts, a_group_of_interrupts])
async def test_two_interrupts_leave_as_one(root: Callable[[], Awaitable[None]]) -> None:
    """S11: pressing Ctrl-C twice is no exception group, wherever it is raised."""
    with pytest.raises(KeyboardInterrupt):
        await supervise(root)


async def test_an_interrupt_of_the_body_is_the_same_as_the_trees() -> None:
    """S11: in the body of open_supervisor() and in a runnable, it leaves as one."""
    with pytest.raises(KeyboardInterrupt):
        async with open_supervisor(two_interrupts):
            await interrupted_at_the_end()


async def test_an_interrupt_beside_another_exception_is_a_group() -> None:
    """S11: only what is the same is told once."""

    async def leave() -> NoReturn:
        try:
            await trio.sleep_forever()
        finally:
            raise SystemExit(7)

    async def root() -> None:
        supervisor.run("leave", leave)
        await two_interrupts()

    with pytest.RaisesGroup(KeyboardInterrupt, SystemExit):
        await supervise(root)


async def test_an_error_leaves_without_the_cancellation_beside_it() -> None:
    """S10, S12: a tree that gives up as its body is cancelled from outside raises its own error."""

    async def give_up() -> NoReturn:
        raise OSError("the disk is full")

    async def body() -> None:
        with trio.CancelScope() as scope:
            async with open_supervisor(give_up, limit=RestartLimit(0, within=1.0)):
                try:
                    await trio.sleep_forever()
                finally:
                    scope.cancel()

    with pytest.raises(RestartLimitExceeded):
        await body()

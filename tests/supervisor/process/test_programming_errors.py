"""Mistakes in the program of a root, which no restart repairs (S27)."""

from __future__ import annotations

import signal as signals
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

import supervisor
from supervisor import Backoff, RestartLimit, Signal

from ..helpers.services import status_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

AT_ONCE = Backoff(initial=0.0)


def runs_of(root: Callable[[], Awaitable[object]]) -> int:
    """Return how often a root is started that dies each time; the limit admits two restarts."""
    runs = 0

    async def counted() -> None:
        nonlocal runs
        runs += 1
        await root()

    limit = RestartLimit(2, within=3600.0)
    assert status_of(lambda: supervisor.main(counted, backoff=AT_ONCE, limit=limit)) == 1
    return runs


async def stay() -> None:
    await trio.sleep_forever()


async def wrong_name() -> None:
    supervisor.run("Bad Name", stay)


async def taken_name() -> None:
    supervisor.run("child", stay)
    supervisor.run("child", stay)


async def wrong_argument() -> None:
    supervisor.run("child", stay, grace=-1.0)


async def no_function() -> None:
    supervisor.run("child", stay())  # type: ignore[arg-type]


async def wrong_signal() -> None:
    supervisor.signal(Signal.DONE)


async def in_a_nursery() -> None:
    async with trio.open_nursery(), trio.open_nursery():
        supervisor.signal(Signal.DONE)


@pytest.mark.parametrize(
    "root", [wrong_name, taken_name, wrong_argument, no_function, wrong_signal, in_a_nursery]
)
def test_what_the_checks_of_the_package_raise_is_not_retried(
    root: Callable[[], Awaitable[object]],
) -> None:
    """S27: names, arguments and signals, also in groups of one."""
    assert runs_of(root) == 1


async def takes_none() -> None:
    await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    "root",
    [partial(takes_none, 1), lambda: 5],  # type: ignore[call-arg]  # as it is meant
)
def test_a_root_that_can_not_be_called_is_not_retried(
    root: Callable[[], Awaitable[object]],
) -> None:
    """S27: its arguments are wrong, or it is no async function."""
    patient = Backoff(initial=3600.0, maximum=3600.0)
    assert status_of(lambda: supervisor.main(root, backoff=patient, limit=None)) == 1


async def parse() -> None:
    int("seven")


async def several() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(parse)
        supervisor.signal(Signal.DONE)


async def too_late() -> None:
    supervisor.signal(Signal.HEALTHY)
    supervisor.run("child", stay)


async def raise_again() -> None:
    try:
        supervisor.signal(Signal.DONE)
    except supervisor.SignalError as error:
        raise ValueError("of a library") from error


@pytest.mark.parametrize("root", [parse, several, too_late, raise_again])
def test_other_errors_are_retried(root: Callable[[], Awaitable[object]]) -> None:
    """S27: what was raised elsewhere, of other classes, or together with others."""
    assert runs_of(root) == 3


def test_a_mistake_of_a_child_is_its_own() -> None:
    """S27: only the root's errors end the process; the child is restarted as any other."""
    runs = 0

    async def child() -> None:
        nonlocal runs
        runs += 1
        if runs == 3:
            signals.raise_signal(signals.SIGTERM)
        supervisor.signal(Signal.DONE)

    async def root() -> None:
        supervisor.run("child", child, backoff=AT_ONCE)
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    assert status_of(lambda: supervisor.main(root)) == 0
    assert runs >= 3

"""The first death leaves the tree, with ``propagate=True`` (S15)."""

from __future__ import annotations

import dataclasses

import pytest
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Signal

from ..helpers.loggers import text_of
from ..helpers.runnables import CountsCleanUps, idle, root_above


@pytest.mark.parametrize("depth", [0, 3])
async def test_propagate_lets_the_first_death_leave_as_it_is(depth: int) -> None:
    """S15: it cancels the tree; the runnable's own exception leaves, with a note of the DN."""
    other, error = CountsCleanUps(), ValueError("broken")

    async def failing() -> None:
        supervisor.signal(Signal.HEALTHY)
        await wait_all_tasks_blocked()
        raise error

    with pytest.raises(ValueError, match="broken") as caught:
        await supervisor.supervise(root_above(failing, other, depth=depth), propagate=True)
    assert caught.value is error
    assert error.__notes__ == [f"raised by the runnable root{'.inner' * depth}.failing"]
    assert other.cleaned_up == 2 * (depth + 1)


async def test_propagate_lets_an_unexpected_return_leave() -> None:
    """S15: a death without an exception leaves as an UnexpectedReturnError."""

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)

    with pytest.raises(supervisor.UnexpectedReturnError, match="root returned when HEALTHY"):
        await supervisor.supervise(root, propagate=True)


async def test_of_two_deaths_at_once_the_first_propagates(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S15: the first death asks the other node to stop, so its error is logged as a stop error."""
    errors = [ValueError("broken"), ValueError("broken too")]

    async def dies(error: Exception) -> None:
        await wait_all_tasks_blocked()
        raise error

    async def root() -> None:
        supervisor.run("a", dies, errors[0])
        supervisor.run("b", dies, errors[1])
        await idle()

    with pytest.raises(ValueError, match="broken") as caught:
        await supervisor.supervise(root, propagate=True)
    errors.remove(caught.value)
    died, stopped = (text_of(record) for record in caplog.records)
    assert (
        f"died in incarnation 1, 0.0 s old: ValueError: {caught.value}; it is being stopped\n"
        in died
    )
    assert f"was asked to stop and raised an error: ValueError: {errors[0]}\n" in stopped


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):  # noqa: N818  its name is of no account
    """It takes no notes."""


async def test_an_exception_that_takes_no_note_propagates_without() -> None:
    """S15: a frozen exception leaves as it is, and not the error of adding a note."""

    async def root() -> None:
        raise Frozen

    with pytest.raises(Frozen):
        await supervisor.supervise(root, propagate=True)

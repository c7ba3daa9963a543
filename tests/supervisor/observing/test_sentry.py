"""What an error tracker makes of deaths, with a transport that sends nothing."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any, NoReturn

import sentry_sdk
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.transport import Transport
from trio.testing import wait_all_tasks_blocked

import supervisor

from ..helpers.backoffs import AT_ONCE
from ..helpers.runnables import idle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from sentry_sdk.envelope import Envelope


class Kept(Transport):
    """Keeps what would be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        event = envelope.get_event()
        assert event is not None
        self.events.append(dict(event))


# What the integration puts in place of callHandlers(), which it does once in a process.
_replacements: list[Any] = []


@contextlib.contextmanager
def sentry() -> Iterator[list[dict[str, Any]]]:
    """Have errors that are logged captured for a while."""
    transport = Kept()
    logger_class: Any = logging.Logger
    call_handlers = logger_class.callHandlers
    sentry_sdk.init(
        dsn="https://key@sentry.invalid/1",
        transport=transport,
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[LoggingIntegration()],
    )
    if logger_class.callHandlers is not call_handlers:
        _replacements.append(logger_class.callHandlers)
    (logger_class.callHandlers,) = _replacements
    try:
        yield transport.events
    finally:
        logger_class.callHandlers = call_handlers
        # Without a DSN, nothing is captured. The defaults would change subprocess for good.
        sentry_sdk.init(default_integrations=False, auto_enabling_integrations=False)


def dies(times: int, error: Exception) -> Callable[[], Awaitable[None]]:
    deaths = 0

    async def runnable() -> None:
        nonlocal deaths
        deaths += 1
        if deaths <= times:
            raise_it(error)
        await idle()

    return runnable


def raise_it(error: Exception) -> NoReturn:
    raise error


def kind(event: dict[str, Any]) -> tuple[str, ...]:
    """Return by what Sentry groups: types and frames of users, else the template of the message."""
    if "exception" not in event:
        return ("message", event["logentry"]["message"])
    return tuple(
        f"{value['type']} {[frame['function'] for frame in value['stacktrace']['frames']]}"
        for value in event["exception"]["values"]
    )


async def test_two_kinds_of_death_are_told_apart() -> None:
    """S17: each has type and frames, whichever node dies; repetitions are of a third kind."""
    with sentry() as events:

        async def root() -> None:
            supervisor.run("a", dies(3, OSError("the disk is full")), backoff=AT_ONCE)
            supervisor.run("b", dies(1, ValueError("no number")), backoff=AT_ONCE)
            supervisor.run("c", dies(1, OSError("no space left")), backoff=AT_ONCE)
            await idle()

        async with supervisor.open_supervisor(root) as tree:
            await tree.wait_settled()
            await wait_all_tasks_blocked()
    kinds = [(event["logger"], kind(event)) for event in events]
    by_node = {
        name: [kind for logger, kind in kinds if logger == f"supervisor.node.root.{name}"]
        for name in "abc"
    }
    died = "%s died in incarnation %d, %.1f s old: %s; %s"
    repeated = ("message", f"{died} (the same death again, %d in a row)")
    frames = "['runnable', 'raise_it']"
    assert by_node == {
        "a": [(f"OSError {frames}",), repeated, repeated],
        "b": [(f"ValueError {frames}",)],
        "c": [(f"OSError {frames}",)],
    }
    assert {event["logentry"]["message"] for event in events if "exception" in event} == {died}

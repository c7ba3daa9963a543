"""Sidecars: what runs beside the tree of a process, in trees of their own (S35).

Probes, an inspector and the like show a service to the outside. They must not hurt it. In the
service's own tree they would: a port that is taken would make the tree not ready, and a stop would
end them first, when a stop that hangs is what somebody wants to see. So the process has trees for
them. They start before the service's tree and are stopped after it, when the exit status is decided
already. Nothing of them is part of the service's readiness, events or end.

``main`` has sidecars of its own, such as what tells systemd that the process lives. What is no
``Exception`` ends the tree in which it is raised. So those of the user are in another tree: if one
of them exits, systemd must not kill the process because its watchdog is silent.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

import trio

from supervisor._calls._runnable import run, signal
from supervisor._calls._supervisor import Supervisor, port_of, run_tree
from supervisor._core._arguments import name_of, own_grace, shown
from supervisor._core._errors import DuplicateNameError, InvalidNameError
from supervisor._core._states import Signal
from supervisor._observing._logging import log
from supervisor._tasks._members import check_runnable, discard
from supervisor._text._exceptions import one_line

if TYPE_CHECKING:
    from collections.abc import Container

MakeSidecar: TypeAlias = Callable[[Supervisor], Callable[[], Awaitable[object]]]
"""What makes a sidecar of the tree that it shows."""

NAME: Final = "sidecars"
"""The root of each tree of sidecars, with which their DNs begin."""

OWN: Final = ("systemd", "systemd_watchdog", "inspector", "health")
"""The names of ``main``'s own sidecars. No other one may have them: the log has DNs of both."""

_logger = logging.getLogger("supervisor")


def check_made(
    argument: str,
    make: MakeSidecar,
    example: str,
    tree: Supervisor,
) -> Callable[[], Awaitable[object]]:
    """Return the runnable that a function of the user's, an argument of ``main``, makes of a tree.

    Raises:
        TypeError: if that is no runnable; one like ``example`` is named.
    """
    made = make(tree)
    msg = (
        f"{argument}= returned {shown(made)}: return {example}, or another async function without "
        "arguments"
    )
    try:
        check_runnable(made, argument)
    except TypeError:
        raise TypeError(msg) from None
    return made


def check_sidecars(made: object) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return the runnables that a function of the user's has made, by names that are plain strings.

    Raises:
        InvalidNameError: if a name can't be part of a DN.
        TypeError: if it is no mapping, or one of them is not callable.
        DuplicateNameError: if two keys have the same text, or one has a name of ``OWN``.
    """
    if not isinstance(made, Mapping):
        discard(made)
        msg = (
            f"sidecars= returned {shown(made)}: return a mapping from names to async functions "
            "without arguments"
        )
        raise TypeError(msg)
    runnables: dict[str, Callable[[], Awaitable[object]]] = {}
    items: list[tuple[object, Any]] = list(made.items())
    try:
        for key, runnable in items:
            name = _checked_name(key, runnables)
            check_runnable(runnable, "the sidecar %s", name)
            own_grace(name, runnable)
            runnables[name] = runnable
    except BaseException:  # nobody will await the coroutines among them
        for _, runnable in items:
            discard(runnable)
        raise
    return runnables


def _checked_name(key: object, taken: Container[str]) -> str:
    name = name_of(key)
    if name is None:
        msg = (
            f"invalid name {shown(key)} of a sidecar: use 1 to 64 of the characters a-z, 0-9 and _"
        )
        raise InvalidNameError(msg)
    if name in OWN:
        msg = f"a sidecar can't be called {name!r}, as one of main() itself is: choose another name"
        raise DuplicateNameError(msg)
    if name in taken:  # keys may differ whose text is the same
        msg = f"there is a sidecar {name!r} already: choose another name"
        raise DuplicateNameError(msg)
    return name


@final
class Sidecars:
    """A tree of sidecars of a process."""

    def __init__(
        self,
        runnables: Mapping[str, Callable[[], Awaitable[object]]],
        stop_requested: Callable[[str], object],
    ) -> None:
        """Make the tree, which is yet to run, and hand requests to stop to the process."""
        self._sidecars = [_Sidecar(name, each, self._has_begun) for name, each in runnables.items()]
        self._to_begin: set[str] = set(runnables)
        self._begun = trio.Event()
        self._ended = trio.Event()
        self._tree = Supervisor(
            self._root,
            backoff=None,
            limit=None,
            metrics=None,
            grace=None,
            observers=None,
            report_after=10.0,
            propagate=False,
            name=NAME,
            tells_life=False,
        )
        self.port = port_of(self._tree)
        self.port.take_stop_requests(stop_requested)

    async def begin(self, nursery: trio.Nursery) -> None:
        """Run the tree as a task of ``nursery``, and return when all sidecars have begun."""
        nursery.start_soon(self._run, name=NAME)
        await self._begun.wait()

    async def stop(self, until: float) -> None:
        """Stop the tree in good order, wait for that until a time, and cancel what is left."""
        reason, left = "the tree of the process has ended", until - trio.current_time()
        if left <= 0:
            self.cancel(reason)
        elif not self.port.is_cancelled:
            self.port.stop(reason, round(left, 3))  # the log has the time if it is not enough
        with trio.move_on_at(until):
            await self._ended.wait()

    def cancel(self, reason: str) -> None:
        """Cancel all of it at once."""
        self.port.cancel(reason)

    async def _run(self) -> None:
        await run_tree(self._tree)
        self._begun.set()
        self._ended.set()
        for error in self.port.errors:
            text = "a sidecar raised %s, which ends all sidecars in its tree; the service goes on"
            log(self.port.abort, _logger, logging.ERROR, text, one_line(error))

    async def _root(self) -> None:
        for sidecar in self._sidecars:
            run(sidecar.name, sidecar)
        signal(Signal.HEALTHY)
        signal(Signal.DONE)

    def _has_begun(self, name: str) -> None:
        self._to_begin.discard(name)
        if not self._to_begin:
            self._begun.set()


@final
class _Sidecar:
    """A runnable that tells when it begins."""

    __slots__ = ("_begins", "_runnable", "grace", "name")

    def __init__(
        self,
        name: str,
        runnable: Callable[[], Awaitable[object]],
        begins: Callable[[str], object],
    ) -> None:
        self.name: str = name
        # The node has that of the runnable itself (S21).
        self.grace: float | None = own_grace(name, runnable)
        self._runnable: Callable[[], Awaitable[object]] = runnable
        self._begins: Callable[[str], object] = begins

    def __call__(self) -> Awaitable[object]:
        self._begins(self.name)
        return self._runnable()

    def __repr__(self) -> str:
        return shown(self._runnable)

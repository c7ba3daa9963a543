"""The runnable that shows a tree (S37).

It stands on the port of the tree and on its events, and on nothing that holds up the loop. It is
meant to be a sidecar: a fault of its own ends its clients, or itself, and never the tree it shows.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import trio

from supervisor._calls._runnable import logger, signal
from supervisor._calls._supervisor import Supervisor, port_of
from supervisor._core._arguments import check_kind, shown
from supervisor._core._states import Signal
from supervisor._http._server import HttpServer, open_port
from supervisor._instances import default_name
from supervisor._observing._logging import log
from supervisor.logs import LogBuffer, current_buffer

from ._access import Access, check_control, check_loopback
from ._api import Api
from ._changes import Changes
from ._unix import check_path, listening
from ._values import check_values

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from ._access import Address, Control
    from ._values import Inspectable

_logger: Final = logging.getLogger("supervisor")


def inspector(
    tree: Supervisor,
    *,
    path: str | os.PathLike[str] | None = None,
    http: str | None = None,
    control: Control = True,
    logs: LogBuffer | None = None,
    values: Mapping[str, Inspectable] | None = None,
) -> Callable[[], Awaitable[None]]:
    """Return a runnable that shows a tree over a socket, and acts on it for its user (S37).

    ``python -m supervisor status`` and the other commands ask it. It needs the extra
    ``[inspect]``. Run it as a sidecar of :func:`supervisor.main`, by ``inspect=``: beside the tree,
    not in it.

    Args:
        tree: What it shows.
        path: Where its Unix socket is to be. By default it has the name of the program, in
            ``$RUNTIME_DIRECTORY``, ``$XDG_RUNTIME_DIR/supervisor``, or a folder of the user's below
            the system's temporary one.
        http: A ``HOST:PORT`` of the loopback interface to listen on as well. What is needed to use
            it is written to standard error once. By default there is no port.
        control: Whether it restarts and stops groups: with ``True`` over the socket only, with
            ``"http"`` over the port as well.
        logs: The newest log records; by default those of :func:`supervisor.main`, if that runs it.
        values: Values to show, by name; those of ``trio_event`` can be shown.

    Returns:
        An async function without arguments.

    Raises:
        ImportError: if h11 is not installed.
        TypeError: if an argument is of a wrong kind.
        ValueError: if the path is too long for a socket, ``http`` is no port of the loopback
            interface, or ``control`` none of its values.

    Checkpoints:
        Never; the runnable always.

    Example::

        supervisor.main(root, inspect=lambda tree: inspector(tree, values=values))
    """
    return Inspector(tree, path=path, http=http, control=control, logs=logs, values=values)


@final
class Inspector:
    """Shows a tree to those who ask."""

    def __init__(
        self,
        tree: Supervisor,
        *,
        path: str | os.PathLike[str] | None,
        http: str | None,
        control: Control,
        logs: LogBuffer | None,
        values: Mapping[str, Inspectable] | None,
        name: str | None = None,
    ) -> None:
        """Listen on nothing yet; ``name`` is by default that of the socket, or the program's."""
        check_kind("tree", tree, Supervisor, "current_supervisor()", optional=False)
        check_kind("logs", logs, LogBuffer, "LogBuffer(), or None for that of main()")
        self._path: Path | None = check_socket_path(path)
        self._address: Address | None = check_loopback(http)
        self._access = Access(check_control(control))
        if name is None:
            name = default_name() if self._path is None else self._path.stem
        self._name: str = name
        self._logs: LogBuffer | None = logs
        self._port = port_of(tree)
        self._changes = Changes(self._port)
        self._is_announced = False
        self._api = Api(
            self._port,
            self._access,
            self._changes,
            name=self._name,
            buffer=self._buffer,
            values=check_values(values),
        )
        self._server = HttpServer(
            self._api.handle, function="inspector", report=self._failed, admit=self._access.admit
        )

    def __repr__(self) -> str:
        """Name the instance."""
        return f"<inspector of {self._name}>"

    async def __call__(self) -> None:
        """Serve until this is cancelled."""
        with listening(self._path, self._name) as (unix, path), contextlib.ExitStack() as opened:
            listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(unix))]
            if self._address is not None:
                port = await self._open_port(self._address)
                opened.callback(port.socket.close)
                listeners.append(port)
            logger().info("the inspector listens at %s", path)
            signal(Signal.HEALTHY)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._changes.run)
                nursery.start_soon(self._server.serve, listeners)

    async def _open_port(self, address: Address) -> trio.SocketListener:
        (listener,) = await open_port(address.host, address.port)
        url = self._access.open_port(*listener.socket.getsockname()[:2])
        if not self._is_announced and sys.stderr is not None:
            self._is_announced = True
            # Not logged: a log goes to places where nobody may have the token.
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(f"the inspector is at {url}\n")
                sys.stderr.flush()
        return listener

    def _buffer(self) -> LogBuffer | None:
        if self._logs is None:
            with contextlib.suppress(LookupError):
                return current_buffer()
        return self._logs

    def _failed(self, error: Exception) -> None:
        text = "a request to the inspector failed"
        log(self._port.abort, _logger, logging.ERROR, text, exc_info=error)


def check_socket_path(path: object) -> Path | None:
    """Return where the socket is to be; ``None`` for the usual place."""
    if path is None:
        return None
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        msg = f"path={shown(path)} is no path: pass that of the socket, or None for the usual place"
        raise TypeError(msg)
    found = Path(path)
    check_path(found)
    return found

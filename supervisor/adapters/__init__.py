"""Adapters: what makes runnables of other things (S24).

Each is a function that returns a runnable, for :func:`supervisor.run`,
:func:`supervisor.run_group` or a pool. Some need a package more than the core does: they say so
when they are called, and nothing is imported before.
"""

from __future__ import annotations

from ._asgi import AsgiServer as AsgiServer, asgi as asgi
from ._command import (
    Command as Command,
    CommandError as CommandError,
    command as command,
)
from ._simple import (
    from_start as from_start,
    oneshot as oneshot,
    periodic as periodic,
)
from ._tcp import TcpServer as TcpServer, tcp as tcp
from ._thread import thread as thread
from ._watch import restart_on_change as restart_on_change

__all__ = (
    "AsgiServer",
    "Command",
    "CommandError",
    "TcpServer",
    "asgi",
    "command",
    "from_start",
    "oneshot",
    "periodic",
    "restart_on_change",
    "tcp",
    "thread",
)

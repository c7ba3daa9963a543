"""Log records: the newest ones by node, formatters for :mod:`logging`, what other loggers need.

:func:`supervisor.main` sets up both where logging is not set up. They serve any program::

    handler = logging.StreamHandler()
    handler.setFormatter(supervisor.logs.JSONFormatter())
    buffer = supervisor.logs.LogBuffer()
    logging.basicConfig(handlers=[handler, buffer], level=logging.INFO)
"""

from __future__ import annotations

from ._buffer import LogBuffer as LogBuffer
from ._current import current_buffer as current_buffer
from ._entry import LogEntry as LogEntry
from ._follower import LogFollower as LogFollower
from ._formatters import JSONFormatter as JSONFormatter, TextFormatter as TextFormatter
from ._klog import parse_klog as parse_klog
from ._structlog import add_dn as add_dn

__all__ = (
    "JSONFormatter",
    "LogBuffer",
    "LogEntry",
    "LogFollower",
    "TextFormatter",
    "add_dn",
    "current_buffer",
    "parse_klog",
)

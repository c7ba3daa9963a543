"""The loggers of nodes that standard logging keeps.

They are the process's, and so are those of other tests' trees: a test asks for its own names.
"""

from __future__ import annotations

import logging


def dns_with_loggers(prefix: str) -> set[str]:
    """Return the DNs that begin with ``prefix`` and have a logger."""
    start = f"supervisor.node.{prefix}"
    known = logging.Logger.manager.loggerDict
    return {name.removeprefix("supervisor.node.") for name in known if name.startswith(start)}

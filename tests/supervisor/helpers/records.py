"""Log records that no logger has made."""

from __future__ import annotations

import logging


def record(dn: str, text: str, level: int = logging.INFO) -> logging.LogRecord:
    """Make a record of a node."""
    made = logging.LogRecord("x", level, "x.py", 1, text, (), None)
    made.dn = dn
    return made

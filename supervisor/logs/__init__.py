"""Formatters for :mod:`logging`: records as text for a person, and as JSON for a program.

:func:`supervisor.main` uses them where logging is not set up. They serve any handler::

    handler = logging.StreamHandler()
    handler.setFormatter(supervisor.logs.JSONFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO)
"""

from __future__ import annotations

from ._formatters import JSONFormatter as JSONFormatter, TextFormatter as TextFormatter

__all__ = ("JSONFormatter", "TextFormatter")

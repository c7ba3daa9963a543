"""The exceptions of the package's own; all others are Trio's."""

from __future__ import annotations

from typing import final


@final
class BacklogDone(Exception):  # noqa: N818  it is an answer, like StopIteration, and no error
    """A ``get(backlog_only=True)`` has nothing more to give."""


@final
class UnsetError(LookupError):
    """A value that has no data yet was asked for it."""

"""What some functions and commands need beyond the core, and how a user gets it (S24)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def needs(who: str, package: str, *, extra: str) -> Iterator[None]:
    """Say which extra to install if the block can't import what it needs.

    Args:
        who: What needs it: a function, with its brackets, or a command.
        package: Its name, as its project writes it.
        extra: The extra of ours that has it.

    Raises:
        ImportError: if it is not installed. An error inside it is raised as itself.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != package.lower():
            raise
        msg = f"{who} needs {package}: python -m pip install 'trio-supervisor[{extra}]'"
        raise ImportError(msg, name=error.name) from None

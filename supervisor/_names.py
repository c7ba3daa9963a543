"""What a node or sub-logger may be called."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ._errors import DuplicateNameError, InvalidNameError

if TYPE_CHECKING:
    from collections.abc import Container

    from ._node import Node

_NAME = re.compile(r"[a-z0-9_]{1,64}")


def check_name(name: object, parent: Node) -> None:
    """Raise :exc:`InvalidNameError` unless ``name`` can be part of a DN."""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        msg = (
            f"invalid name {name!r} under {parent.dn}: use 1 to 64 of the characters a-z, 0-9 and _"
        )
        raise InvalidNameError(msg)


def check_free(
    name: str, parent: Node, nodes: Container[str] | None, loggers: Container[str] | None
) -> None:
    """Raise :exc:`DuplicateNameError` if a node or a sub-logger has ``name``."""
    is_node = nodes is not None and name in nodes
    if is_node or (loggers is not None and name in loggers):
        kind = "a node" if is_node else "a sub-logger"
        msg = f"{kind} {parent.dn}.{name} exists already: choose another name than {name!r}"
        raise DuplicateNameError(msg)

"""The DN in the events of structlog, which it hands from one function to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from supervisor._observing._logging import runnable_of_caller

if TYPE_CHECKING:
    from collections.abc import MutableMapping


def add_dn(
    logger: object,  # noqa: ARG001  structlog passes it
    method_name: str,  # noqa: ARG001  likewise
    event_dict: MutableMapping[str, Any],
) -> MutableMapping[str, Any]:
    """Add ``dn`` and ``incarnation`` of the calling runnable: a processor of structlog (S17).

    A key that is there already stays as it is. Outside of runnables, nothing is added.

    Args:
        logger: Is ignored.
        method_name: Is ignored.
        event_dict: What is logged; it is changed.

    Returns:
        ``event_dict``.

    Checkpoints:
        Never. It may be called in a worker thread of a runnable.

    Example::

        structlog.configure(
            processors=[supervisor.logs.add_dn, structlog.processors.JSONRenderer()]
        )
    """
    dn, incarnation = runnable_of_caller()
    if dn is not None:
        event_dict.setdefault("dn", dn)
        event_dict.setdefault("incarnation", incarnation)
    return event_dict

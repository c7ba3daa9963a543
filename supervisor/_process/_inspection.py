"""What makes the inspector of a process, if it is to have one (S38)."""

from __future__ import annotations

import os
from functools import partial
from typing import Final, TypeAlias

from supervisor._core._arguments import check_function, shown

from ._sidecars import MakeSidecar, check_made

Inspect: TypeAlias = bool | str | os.PathLike[str] | MakeSidecar

VARIABLE: Final = "SUPERVISOR_INSPECT"


def inspection(inspect: object) -> MakeSidecar | None:
    """Return the function that makes the inspector which ``main(inspect=)`` asks for.

    Raises:
        TypeError: if ``inspect`` is of a wrong kind.
    """
    if inspect is None:
        inspect = _asked_by_environment()
    if inspect is False:
        return None
    if callable(inspect):
        check_function("inspect", inspect, "an inspector()")
        return partial(check_made, "inspect", inspect, "an inspector()")
    if inspect is not True and not isinstance(inspect, (str, os.PathLike)):
        msg = (
            f"inspect={shown(inspect)} is no place for a socket: pass True, False, the path of "
            "one, or a function of the tree that returns an inspector()"
        )
        raise TypeError(msg)
    from supervisor.inspector import inspector  # noqa: PLC0415  it is needed on demand only

    return partial(inspector, path=None if inspect is True else inspect)


def _asked_by_environment() -> bool | str:
    """Return whether there is to be an inspector, or where, by ``$SUPERVISOR_INSPECT``."""
    text = os.environ.get(VARIABLE, "")
    return {"": False, "0": False, "1": True}.get(text, text)

"""Logging from where an exception must not come: the machinery of a tree.

The handlers and filters of :mod:`logging` are users' code. What one of them raises would be raised
in the middle of a death or a stop, which has to go on.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable


def log(
    leave: Callable[[BaseException], object],
    logger: logging.Logger,
    level: int,
    text: str,
    *args: object,
    exc_info: bool = False,
) -> None:
    """Log; where that fails, tell standard error what could not be logged, and why.

    What a handler raises that is no ``Exception``, such as ``SystemExit``, is handed to ``leave``.
    """
    try:
        logger.log(level, text, *args, exc_info=exc_info, stacklevel=2)
    except Exception:  # noqa: BLE001  a foreign handler may raise anything
        # Nor must standard error's troubles come there, or those of an argument's repr().
        with contextlib.suppress(Exception):
            traceback.print_exc()
            sys.stderr.write(f"{logger.name} could not log this: {text % args}\n")
    except BaseException as error:  # noqa: BLE001  it leaves, as a runnable's does
        leave(error)

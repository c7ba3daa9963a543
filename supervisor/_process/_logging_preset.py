"""The logging of a process that has not set it up itself."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import IO, final

from supervisor.logs import JSONFormatter, TextFormatter


@final
class _PresetHandler(logging.StreamHandler[IO[str]]):
    """Writes what can be written; raises nothing into the code that logs."""

    def format(self, record: logging.LogRecord) -> str:
        """Escape what the stream's encoding does not have."""
        text = super().format(record)
        encoding = getattr(self.stream, "encoding", None)
        if text.isascii() or not isinstance(encoding, str):
            return text
        return text.encode(encoding, "backslashreplace").decode(encoding)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        """Say what is wrong, unless standard error is what is: closed, or a broken pipe."""
        with contextlib.suppress(Exception):  # ValueError, OSError, or what a substitute raises
            super().handleError(record)


def preset_logging(stream: IO[str] | None) -> None:
    """Log records from ``INFO`` on to ``stream``, unless logging is set up already (S22).

    A terminal gets text, with colours unless ``NO_COLOR`` is set; anything else gets JSON. Without
    a stream, which is what a process that was started without standard error has, nothing is
    done.
    """
    root = logging.getLogger()
    if root.handlers or stream is None:
        return
    handler = _PresetHandler(stream)
    if _is_terminal(stream):
        handler.setFormatter(TextFormatter(colour="NO_COLOR" not in os.environ))
    else:
        handler.setFormatter(JSONFormatter())
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def _is_terminal(stream: IO[str]) -> bool:
    try:
        return bool(stream.isatty())
    except Exception:  # noqa: BLE001  it is closed, or a substitute that has no isatty()
        return False

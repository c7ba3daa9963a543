"""Sets up logging for a process that has not done so itself."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import IO, final

from supervisor.logs import JSONFormatter, TextFormatter


@final
class _PresetHandler(logging.StreamHandler[IO[str]]):
    """Writes records; what can't be written raises nothing in the code that logs."""

    def format(self, record: logging.LogRecord) -> str:
        """Escape the characters that the stream's encoding does not have."""
        text = super().format(record)
        encoding = getattr(self.stream, "encoding", None)
        if text.isascii() or not isinstance(encoding, str):
            return text
        return text.encode(encoding, "backslashreplace").decode(encoding)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        """Report the error on standard error, if that can be written to."""
        with contextlib.suppress(Exception):  # ValueError, OSError, or what a substitute raises
            super().handleError(record)


def preset_logging(stream: IO[str] | None) -> None:
    """Log records from level ``INFO`` to ``stream``, unless logging is set up already (S22).

    A terminal gets text, with colours unless ``NO_COLOR`` is set; anything else gets JSON. Without
    a stream, as in a process that was started without standard error, nothing is done.
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

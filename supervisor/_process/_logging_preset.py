"""Sets up logging for a process that has not done so itself."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import IO, Final, final

from supervisor._core._arguments import check_count, plain, shown
from supervisor.logs import JSONFormatter, TextFormatter
from supervisor.logs._journal import JournalFormatter


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


FORMATS: Final = ("auto", "text", "json", "journal")
"""What a user may ask for."""


def check_level(level: object) -> int:
    """Return a level as a number (S22).

    Raises:
        TypeError: if it is neither a number nor a name.
        ValueError: if it is negative, or no name of a level.
    """
    if isinstance(level, int) and not isinstance(level, bool):
        return check_count("log_level", level, least=0)
    name = plain(level)
    number = None if name is None else logging.getLevelNamesMapping().get(name.upper())
    if number is None:
        msg = f"log_level={shown(level)} is no level: pass one, such as 'INFO' or logging.INFO"
        raise TypeError(msg) if name is None else ValueError(msg)
    return number


def check_format(log_format: object) -> str:
    """Return a format, checked (S22).

    Raises:
        TypeError: if it is no string.
        ValueError: if there is no such format.
    """
    name = plain(log_format)
    if name in FORMATS:
        return name
    msg = f"log_format={shown(log_format)} is no format: pass one of {', '.join(FORMATS)}"
    raise TypeError(msg) if name is None else ValueError(msg)


def preset_logging(
    stream: IO[str] | None, level: int = logging.INFO, log_format: str = "auto"
) -> bool:
    """Log records from ``level`` on to ``stream``, unless logging is set up already (S22).

    Without a stream, as in a process that was started without standard error, only the level is
    set.

    Args:
        stream: Mostly standard error.
        level: The level of the root logger.
        log_format: ``text``, ``json`` or ``journal``. With ``auto``, a terminal gets text, the
            journal of systemd lines with priorities, and anything else JSON.

    Returns:
        Whether logging was not set up.
    """
    root = logging.getLogger()
    if root.handlers:
        return False
    root.setLevel(level)
    if stream is not None:
        handler = _PresetHandler(stream)
        handler.setFormatter(_formatter(stream, log_format))
        root.addHandler(handler)
    return True


def _formatter(stream: IO[str], log_format: str) -> logging.Formatter:
    is_terminal = _is_terminal(stream)
    if log_format == "auto":
        log_format = "text" if is_terminal else "journal" if _is_journal(stream) else "json"
    if log_format == "text":
        return TextFormatter(colour=is_terminal and "NO_COLOR" not in os.environ)
    return JournalFormatter() if log_format == "journal" else JSONFormatter()


def _is_journal(stream: IO[str]) -> bool:
    """Return whether the journal of systemd reads the stream: it says which file that is."""
    try:
        status = os.fstat(stream.fileno())
    except Exception:  # noqa: BLE001  it is closed, has no file, or is a substitute
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _is_terminal(stream: IO[str]) -> bool:
    try:
        return bool(stream.isatty())
    except Exception:  # noqa: BLE001  it is closed, or a substitute that has no isatty()
        return False

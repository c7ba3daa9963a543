"""A stream of text whose lines become log records."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    import logging

ORIGIN: Final = {"stream": "raw"}
"""What the records have beside the line: :mod:`supervisor.logs` tells them from others by it."""

LINE_LENGTH: Final = 64 * 1024
"""A raw line longer than this is logged in pieces."""


@final
class RawLogger(io.TextIOBase):
    """A text stream whose lines become log records of a node, at level ``INFO`` (S17).

    Their attribute ``stream`` is ``raw``.

    A line is logged when it is complete, or when it exceeds 65 536 characters;
    :meth:`close` logs what is left.
    """

    def __init__(self, logger: logging.Logger) -> None:
        """Make a stream that writes to ``logger``."""
        self._logger = logger
        # The pieces of the incomplete line. They are joined once: otherwise a line that is written
        # by single characters would be copied for each.
        self._pieces: list[str] = []
        self._length = 0

    def writable(self) -> bool:
        """Return ``True``."""
        return True

    def write(self, text: str, /) -> int:
        """Log the lines that ``text`` completes, and keep the rest."""
        if self.closed:
            msg = "write to a closed raw logger"
            raise ValueError(msg)
        length = self._length + len(text)
        if text.find("\n") < 0 and length <= LINE_LENGTH:
            self._pieces.append(text)
            self._length = length
            return len(text)
        *lines, rest = "".join((*self._pieces, text)).split("\n")
        # The start of a long rest is logged in full records. At least one character is kept.
        start = (max(len(rest) - 1, 0) // LINE_LENGTH) * LINE_LENGTH
        self._keep(rest[start:])  # first: a handler may raise, and nothing is logged twice
        for line in lines:
            self._log(line.removesuffix("\r"))
        if start:
            self._log(rest[:start])
        return len(text)

    def close(self) -> None:
        """Log the incomplete line, and refuse further text."""
        rest = "".join(self._pieces)
        self._keep("")
        try:
            if rest:
                self._log(rest.removesuffix("\r"))
        finally:
            super().close()

    def _keep(self, rest: str) -> None:
        self._pieces = [rest] if rest else []
        self._length = len(rest)

    def _log(self, line: str) -> None:
        for start in range(0, max(len(line), 1), LINE_LENGTH):
            self._logger.info("%s", line[start : start + LINE_LENGTH], extra=ORIGIN)

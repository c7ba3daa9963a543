"""What a program writes, as records of its node (S24).

Bytes become text, text becomes lines, and each line becomes a record. Nothing is lost, and nothing
piles up: what has been read is logged before more is read, so a program that writes faster than
it is logged waits for its pipe. After 64 records others get their turn.

A task that reads may be cancelled at any time. What it has read is kept here, and the next call
goes on with it: so it is read while the program runs, and again when that has ended.
"""

from __future__ import annotations

import codecs
import fcntl
import logging
import os
from collections import deque
from typing import TYPE_CHECKING, Final, final

import trio

from ._arguments import shown

if TYPE_CHECKING:
    import re
    from collections.abc import Callable

    Parse = Callable[[str], tuple[int, str] | None]

LINE_LENGTH: Final = 65536
"""A line of more characters is logged in pieces, as by a raw logger."""

READ_SIZE: Final = 65536
"""The bytes to read at a time: as many as a pipe holds."""

BATCH: Final = 64
"""The records to log before others get their turn."""

KEPT_LINES: Final = 20
"""The last lines that are kept for the error."""

END_TIMEOUT: Final = 1.0
"""How many seconds a pipe is read on when the program has ended."""


@final
class Lines:
    """Cuts bytes into lines, and lines that are too long into pieces.

    Each comes with whether it is a whole line.
    """

    def __init__(self) -> None:
        """Make one for one pipe."""
        self._decode = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode
        # The pieces of the incomplete line. They are joined once: otherwise a line that is written
        # by single characters would be copied for each.
        self._begun: list[str] = []
        self._length = 0
        self._is_cut = False
        """Whether a piece of the incomplete line was returned already."""

    def add(self, data: bytes) -> list[tuple[str, bool]]:
        """Return what more data completes."""
        text = self._decode(data)
        if "\n" not in text and self._length + len(text) <= LINE_LENGTH:
            self._begun.append(text)
            self._length += len(text)
            return []
        *complete, rest = "".join((*self._begun, text)).split("\n")
        found: list[tuple[str, bool]] = []
        for line in complete:
            found += self._cut(line.removesuffix("\r"))
            self._is_cut = False
        # At least one character is kept of a long rest, so that its end is no line of its own.
        start = max(len(rest) - 1, 0) // LINE_LENGTH * LINE_LENGTH
        if start:
            self._is_cut = True
            found += self._cut(rest[:start])
        self._begun = [rest[start:]]
        self._length = len(rest) - start
        return found

    def end(self) -> list[tuple[str, bool]]:
        """Return the last line, if it has no end."""
        rest = "".join((*self._begun, self._decode(b"", final=True)))
        self._begun, self._length = [], 0
        return self._cut(rest.removesuffix("\r")) if rest else []

    def _cut(self, line: str) -> list[tuple[str, bool]]:
        if len(line) <= LINE_LENGTH:
            return [(line, not self._is_cut)]
        return [(line[at : at + LINE_LENGTH], False) for at in range(0, len(line), LINE_LENGTH)]


@final
class Output:
    """What one incarnation of a program writes.

    Attributes:
        last_lines: The last of it, of both streams.
        matched: Is set when a line has matched the pattern.
    """

    def __init__(
        self,
        stdout: trio.lowlevel.FdStream,
        stderr: trio.lowlevel.FdStream,
        pid: int,
        logger: logging.Logger,
        *,
        parse: Parse | None,
        pattern: re.Pattern[str] | None,
    ) -> None:
        """Make it for two pipes, which are closed elsewhere."""
        self.last_lines: deque[str] = deque(maxlen=KEPT_LINES)
        self.matched: trio.Event = trio.Event()
        self._pipes = _Pipe("stdout", stdout), _Pipe("stderr", stderr)
        self._pid = pid
        self._logger = logger
        self._parse = parse
        self._pattern = pattern

    async def read(self) -> None:
        """Log what comes, until both pipes are at their ends."""
        async with trio.open_nursery() as nursery:
            for pipe in self._pipes:
                nursery.start_soon(pipe.read, self._log)

    async def read_to_end(self) -> None:
        """Log the rest, when the program has ended.

        It is not to be cancelled. It takes a second if another process holds a pipe; then what is
        in that is the rest.
        """
        with trio.move_on_after(END_TIMEOUT):
            await self.read()
        for pipe in self._pipes:
            if not await pipe.read_what_is_there(self._log):
                self._logger.warning(
                    "%s of process %d is closed: a process that has left its group holds it",
                    pipe.name,
                    self._pid,
                )

    def _log(self, stream: str, line: str, is_whole: bool) -> None:  # noqa: FBT001  it is private
        self.last_lines.append(line)
        level, message = self._parsed(line) if is_whole else (logging.INFO, line)
        self._logger.log(level, "%s", message, extra={"stream": stream, "pid": self._pid})
        if self._pattern is not None and self._pattern.search(line):
            self.matched.set()

    def _parsed(self, line: str) -> tuple[int, str]:
        as_it_is = logging.INFO, line
        if self._parse is None:
            return as_it_is
        try:
            return _check_parsed(self._parse(line)) or as_it_is
        except Exception:
            self._parse = None
            self._logger.exception("parse= failed on %r, and is not asked again", line)
            return as_it_is


def _check_parsed(parsed: object) -> tuple[int, str] | None:
    match parsed:
        case None:
            return None
        case (int(level), str(message)):
            return level, message
    msg = f"parse= returned {shown(parsed)}, which is not a level and a message, nor None"
    raise TypeError(msg)


@final
class _Pipe:
    """One of the two pipes."""

    def __init__(self, name: str, stream: trio.lowlevel.FdStream) -> None:
        self.name = name
        self._stream = stream
        self._lines = Lines()
        self._found: deque[tuple[str, bool]] = deque()
        """What is read and not logged yet."""
        self._is_at_end = False

    async def read(self, log: Callable[[str, str, bool], None]) -> None:
        """Log what comes, until the end."""
        await trio.lowlevel.checkpoint()
        while self._found or not self._is_at_end:
            if self._found:
                await self._log_batch(log)
            else:
                await trio.lowlevel.wait_readable(self._stream.fileno())
                self._read(READ_SIZE)

    async def read_what_is_there(self, log: Callable[[str, str, bool], None]) -> bool:
        """Log what can be read now, and no more than a pipe holds; return whether it is the end."""
        await trio.lowlevel.checkpoint()
        # One more than it holds, to see the end of one that was full.
        left = fcntl.fcntl(self._stream.fileno(), fcntl.F_GETPIPE_SZ) + 1
        while not self._is_at_end and (size := self._read(min(left, READ_SIZE))):
            left -= size
        is_the_end = self._is_at_end
        if not is_the_end:
            self._add(b"")
        while self._found:
            await self._log_batch(log)
        return is_the_end

    def _read(self, size: int) -> int:
        """Take what there is, without waiting, and return how many bytes that were."""
        try:
            data = os.read(self._stream.fileno(), size)
        except BlockingIOError:
            return 0
        self._add(data)
        return len(data)

    def _add(self, data: bytes) -> None:
        self._is_at_end = not data
        self._found += self._lines.add(data) if data else self._lines.end()

    async def _log_batch(self, log: Callable[[str, str, bool], None]) -> None:
        for _ in range(min(BATCH, len(self._found))):
            log(self.name, *self._found.popleft())
        await trio.lowlevel.checkpoint()

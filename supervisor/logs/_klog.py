"""Lines of klog and glog, the loggers of programs such as kubelet and containerd."""

from __future__ import annotations

import logging
import re
from typing import Final

from supervisor._core._arguments import plain, shown

_LINE: Final = re.compile(
    r"([IWEF])"  # the level
    r"\d{4}\s+"  # month and day
    r"\d{2}:\d{2}:\d{2}(?:\.\d+)?\s+"  # time
    r"\d+\s+"  # thread
    r"[^:\]]+:\d+\]"  # file and line
    r"(?: (.*))?",
    re.DOTALL,
)

_LEVELS: Final = {
    "I": logging.INFO,
    "W": logging.WARNING,
    "E": logging.ERROR,
    "F": logging.CRITICAL,
}


def parse_klog(line: str) -> tuple[int, str] | None:
    """Take the level and the message from a line that klog or glog has written (S17).

    Such as ``E0412 09:13:29.302182   5501 server.go:127] no lease``.

    Args:
        line: The line, with or without its end.

    Returns:
        The level, as in :mod:`logging`, and the message; ``None`` if it is no such line.

    Raises:
        TypeError: if ``line`` is no string.

    Checkpoints:
        Never.

    Example::

        level, message = parse_klog(line) or (logging.INFO, line)
    """
    text = plain(line)
    if text is None:
        msg = f"line={shown(line)} is not a str: pass a line of text, without bytes"
        raise TypeError(msg)
    found = _LINE.fullmatch(text.rstrip("\r\n"))
    return None if found is None else (_LEVELS[found[1]], found[2] or "")

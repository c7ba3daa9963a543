"""Lines of klog and glog."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from supervisor.logs import parse_klog


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("I0412 09:13:29.302182    5501 server.go:127] ready", (logging.INFO, "ready")),
        ("W0412 09:13:29.302182 1 a/b.go:7] slow: 3 s\n", (logging.WARNING, "slow: 3 s")),
        ("E0412 09:13:29 1 b.go:7] x] y\r\n", (logging.ERROR, "x] y")),
        ("F1231 23:59:59.000000 12345 b.cc:7] ", (logging.CRITICAL, "")),
        ("I0412 09:13:29.302182 1 b.go:7]", (logging.INFO, "")),
        ("", None),
        ("ready", None),
        ("X0412 09:13:29.302182 1 b.go:7] x", None),
        ("I0412 9:13:29.302182 1 b.go:7] x", None),
        ("I0412 09:13:29.302182 b.go:7] x", None),
        ("  I0412 09:13:29.302182 1 b.go:7] x", None),
    ],
)
def test_a_line_of_klog_has_level_and_message(line: str, expected: tuple[int, str] | None) -> None:
    """S17: any other line is none."""
    assert parse_klog(line) == expected


def test_a_line_is_text() -> None:
    """S17: bytes are refused, by name."""
    line: Any = b"I0412 09:13:29.302182 1 b.go:7] x"
    with pytest.raises(TypeError, match=r"line=b'I0412.* is not a str"):
        parse_klog(line)

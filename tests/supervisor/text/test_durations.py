"""Durations as people read them."""

from __future__ import annotations

import pytest

from supervisor._text._durations import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1.0, "0.0 s"),
        (3.14, "3.1 s"),
        (75.9, "1 min 15 s"),
        (3700.0, "1 h 1 min"),
        (90_000.0, "1 d 1 h"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text

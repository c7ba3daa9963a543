"""Durations as people read them."""

from __future__ import annotations

import pytest

from supervisor._text._durations import duration, rounded_up


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


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1.0, "0 s"),
        (3.14, "4 s"),
        (59.5, "1 min"),
        (61.0, "2 min"),
        (3600.0, "1 h"),
        (3601.0, "2 h"),
        (86_401.0, "2 d"),
    ],
)
def test_a_duration_that_is_rounded_up_has_one_unit(seconds: float, text: str) -> None:
    assert rounded_up(seconds) == text

"""Backoffs without jitter, so that the times of restarts are known."""

from __future__ import annotations

from typing import Final

from supervisor import Backoff

AT_ONCE: Final = Backoff(initial=0.0)

STEADY: Final = Backoff(initial=1.0, factor=1.0, jitter=0.0)

DOUBLING: Final = Backoff(initial=1.0, factor=2.0, jitter=0.0)

LONG: Final = Backoff(initial=1000.0, maximum=1000.0, jitter=0.0)
"""No restart comes between a death and what a test looks at afterwards."""

"""Clocks."""

from __future__ import annotations

from typing import final

import trio


@final
class Ticking(trio.abc.Clock):
    """Goes on by a microsecond at each look, and to the next deadline when all tasks wait."""

    def __init__(self) -> None:
        self.now = 0.0

    def start_clock(self) -> None:
        pass

    def current_time(self) -> float:
        self.now += 1e-6
        return self.now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        self.now = max(self.now, min(deadline, self.now + 60))
        return 0

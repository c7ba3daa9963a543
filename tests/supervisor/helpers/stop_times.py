"""A runnable that records when it is asked to stop, when it ends, and why."""

from __future__ import annotations

from typing import final

import trio

import supervisor
from supervisor import Signal


@final
class StopTimes:
    """When each runnable was asked to stop; when it ended, and by which cancellation, if any."""

    def __init__(self) -> None:
        self.asked: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.cancelled: dict[str, trio.Cancelled] = {}

    async def stay(self, work: float = 1e9, error: BaseException | None = None) -> None:
        """Become HEALTHY; return or raise ``work`` seconds after having been asked to stop."""
        dn = supervisor.current_dn()
        supervisor.signal(Signal.HEALTHY)
        try:
            await supervisor.wait_stop_requested()
            self.asked[dn] = trio.current_time()
            await trio.sleep(work)
            if error is not None:
                raise error
        except trio.Cancelled as cancelled:
            self.cancelled[dn] = cancelled
            raise
        finally:
            self.ended[dn] = trio.current_time()

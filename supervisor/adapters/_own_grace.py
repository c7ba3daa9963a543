"""Runnables of adapters that are of no use without a grace (S24)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import attrs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

GRACE: Final = 10.0
"""The seconds that the runnable of an adapter gets to stop, unless somebody says otherwise."""


@final
@attrs.frozen
class WithGrace:
    """A runnable that brings its own grace (S21, S24)."""

    run: Callable[[], Awaitable[None]]
    grace: float = GRACE

    async def __call__(self) -> None:
        """Run."""
        await self.run()

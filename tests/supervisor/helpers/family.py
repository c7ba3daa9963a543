"""A small tree under remote control."""

from __future__ import annotations

from typing import Final, final

import supervisor
from supervisor.testing import Remote

from .runnables import idle

PARENT: Final = "root.parent"
A: Final = "root.parent.a"
B: Final = "root.parent.b"


@final
class Family:
    """A HEALTHY root, a parent under remote control, and its two children in a group."""

    def __init__(self) -> None:
        self.parent, self.a, self.b = Remote(), Remote(), Remote()

    async def _parent(self) -> None:
        supervisor.run_group({"a": self.a, "b": self.b})
        await self.parent()

    async def __call__(self) -> None:
        supervisor.run("parent", self._parent)
        await idle()

    async def become_healthy(self) -> None:
        for each in (self.parent, self.a, self.b):
            await each.become_healthy()

"""A network that can be cut: each connection goes through this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import trio

if TYPE_CHECKING:
    from collections.abc import Sequence


@final
class Network:
    """The way from one process to each of several addresses."""

    def __init__(self, targets: Sequence[str]) -> None:
        self.endpoints: list[str] = []
        self._targets = targets
        # Set while bytes pass; what is sent meanwhile comes later, as TCP has it.
        self._up = trio.Event()
        self._down = trio.Event()
        self.mend()

    def cut(self, *, up: bool = False, down: bool = False) -> None:
        """Let nothing pass in one direction, or in both; connections stay as they are."""
        if up:
            self._up = trio.Event()
        if down:
            self._down = trio.Event()

    def mend(self) -> None:
        """Let everything pass."""
        self._up.set()
        self._down.set()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Listen, one port for each target."""
        async with trio.open_nursery() as nursery:
            for target in self._targets:
                (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
                self.endpoints.append(f"127.0.0.1:{listener.socket.getsockname()[1]}")
                nursery.start_soon(self._serve, listener, target)
            task_status.started()

    async def _serve(self, listener: trio.SocketListener, target: str) -> None:
        async def carry(near: trio.SocketStream) -> None:
            await self._up.wait()
            host, _, port = target.partition(":")
            try:
                far = await trio.open_tcp_stream(host, int(port))
            except OSError:
                return
            async with far, trio.open_nursery() as nursery:
                nursery.start_soon(self._carry_up, near, far, nursery.cancel_scope)
                nursery.start_soon(self._carry_down, far, near, nursery.cancel_scope)

        await trio.serve_listeners(carry, [listener])

    async def _carry_up(
        self, near: trio.SocketStream, far: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        try:
            async for data in near:
                await self._up.wait()
                await far.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()

    async def _carry_down(
        self, far: trio.SocketStream, near: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        try:
            async for data in far:
                await self._down.wait()
                await near.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()

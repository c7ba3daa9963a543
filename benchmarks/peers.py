"""Other packages that bring a newest state to many consumers, where they are installed.

Each is used as its documentation recommends: consumers get the newest state, and may skip older
ones. anyio has no values, so each consumer has a stream with room for one item, which the producer
replaces. A ``BehaviorSubject`` of reactivex has no consumers that wait: a set calls each of them.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import Callable


class Broadcast(Protocol):
    """A newest state and its consumers."""

    def set(self, value: int, /) -> object:
        """Replace the state by a different one."""

    async def open_idle(self, watchers: int) -> object:
        """Make watchers that do not wait; they exist as long as the returned object."""

    async def watch(self, seen: Callable[[], object]) -> None:
        """Call ``seen`` for each state that the watcher gets, for ever."""


class TrioUtil:
    """``AsyncValue.eventual_values()`` of trio-util."""

    def __init__(self) -> None:
        from trio_util import AsyncValue

        self._value = AsyncValue(-1)

    def set(self, value: int) -> None:
        self._value.value = value

    async def open_idle(self, watchers: int) -> object:
        idle: list[Any] = [self._value.eventual_values() for _ in range(watchers)]
        for values in idle:
            await anext(values)
        return idle

    async def watch(self, seen: Callable[[], object]) -> None:
        async for _ in self._value.eventual_values():
            seen()


class AnyioStreams:
    """A memory object stream of anyio for each watcher."""

    def __init__(self) -> None:
        self._streams: list[Any] = []

    def set(self, value: int) -> None:
        from anyio import WouldBlock

        for send, receive in self._streams:
            try:
                send.send_nowait(value)
            except WouldBlock:
                receive.receive_nowait()
                send.send_nowait(value)

    async def open_idle(self, watchers: int) -> object:
        for _ in range(watchers):
            self._open()
        await trio.lowlevel.checkpoint()
        return self._streams

    async def watch(self, seen: Callable[[], object]) -> None:
        async for _ in self._open():
            seen()

    def _open(self) -> Any:
        from anyio import create_memory_object_stream

        stream: Any = create_memory_object_stream(1)
        self._streams.append(stream)
        return stream[1]

    def __del__(self) -> None:
        for send, receive in self._streams:  # anyio warns of a stream that was not closed
            send.close()
            receive.close()


class ReactiveX:
    """A ``BehaviorSubject`` of reactivex: its observers are called, and never wait."""

    def __init__(self) -> None:
        from reactivex.subject import BehaviorSubject

        self._subject = BehaviorSubject(-1)
        self.set = self._subject.on_next

    async def open_idle(self, watchers: int) -> object:
        await trio.lowlevel.checkpoint()
        return [self.subscribe() for _ in range(watchers)]

    def subscribe(self) -> Any:
        return self._subject.subscribe(ignore)

    async def watch(self, seen: Callable[[], object]) -> None:
        raise NotImplementedError


def ignore(_: object) -> None:
    """Observe, and do nothing."""


PEERS: dict[str, tuple[str, Callable[[], Broadcast]]] = {
    "trio-util": ("trio_util", TrioUtil),
    "anyio": ("anyio", AnyioStreams),
    "reactivex": ("reactivex", ReactiveX),
}


def installed() -> dict[str, Callable[[], Broadcast]]:
    """Return the peers that are installed."""
    return {
        name: make
        for name, (module, make) in PEERS.items()
        if importlib.util.find_spec(module) is not None
    }


def awaited() -> dict[str, Callable[[], Broadcast]]:
    """Return the installed peers whose watchers are waiting tasks."""
    return {name: make for name, make in installed().items() if make is not ReactiveX}
